"""Which words mattered."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_hex
from matplotlib.text import Annotation

from jinterp.plot._figures import LIGHT_GREY, panel
from jinterp.plot._heat import bar_below, not_finite
from jinterp.plot._labels import shorten
from jinterp.plot._scale import scale_of
from jinterp.plot._words import colours_of, text_colours, visible, words_and_values

_WIDTH = 6.0  # inches
_SIZES = (10.0, 9.0, 8.0, 7.0, 6.0)  # points, the first that fits
_PAD, _GAP, _LINE = 0.25, 0.3, 2.0  # in font sizes: around a word, between words, of a line
_BAR = 0.4  # of the width


def tokens(tokens: Any, values: Any, *, ax: Axes | None = None) -> Axes:
    r"""The words of a text, each on a colour for its attribution, in lines.

    Crimson is for, blue against, white zero; the scale ends at the largest |value|. A space at
    either end of a word is ·, one alone ␣, a line break ↵, and what else is invisible its code.
    For a script that matplotlib's font has not, use `tokens_html`.

    Args:
        tokens: `[tokens]` the tokens of one text.
        values: `[tokens]` their attributions; NaN and infinite ones are orange and counted.
        ax: where to draw, at the largest of 10 to 6 points that fits; None makes a figure.

    Returns:
        The axes; the colour bar stands below them.

    Raises:
        TypeError: `tokens` is one string.
        ValueError: there are no tokens, or not a number for each.

    >>> ax = tokens(["not", " bad", "\n"], [-0.5, 1.5, 0.0])
    >>> [text.get_text() for text in ax.texts]
    ['not', '·bad', '↵']
    """
    words, values = words_and_values(tokens, values)
    is_new, scale = ax is None, scale_of([values])
    ax = panel(ax, (_WIDTH, 1.0))
    ax.set_axis_off()
    bar = ScalarMappable(scale.norm, scale.colours)
    lines = ["attribution" if scale.limit else "attribution: all zero", not_finite(values)]
    bar_below(ax, bar, scale, lines, _BAR)
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # the layout tells how wide the axes are
    inches = figure.dpi_scale_trans.inverted().transform_bbox(ax.bbox)
    texts = _texts(ax, words, colours_of(values, scale))
    breaks = [word.endswith("\n") for word in words]
    height = _fit(texts, breaks, 72 * inches.width, np.inf if is_new else 72 * inches.height)
    if is_new:
        figure.set_size_inches(_WIDTH, height / 72 + 0.6)
    return ax


def _texts(ax: Axes, words: list[str], colours: np.ndarray) -> list[Annotation]:
    texts = []
    for word, colour, on_it in zip(words, colours, text_colours(colours), strict=True):
        box = {"boxstyle": f"square,pad={_PAD}", "facecolor": to_hex(tuple(colour))}
        place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
        text = ax.annotate(
            visible(word), (0, 1), (0, 0), color=on_it, parse_math=False, va="baseline",
            bbox=box | {"edgecolor": LIGHT_GREY, "linewidth": 0.5}, **place,
        )  # fmt: skip
        texts.append(text)
    return texts


def _fit(texts: list[Annotation], breaks: list[bool], width: float, height: float) -> float:
    """Lay the texts out in the largest size that fits; the height they take, in points."""
    taken = 0.0
    for size in _SIZES:
        taken = _lay_out(texts, breaks, width, size)
        if taken <= height:
            break
    return taken


def _lay_out(texts: list[Annotation], breaks: list[bool], width: float, size: float) -> float:
    right, line = 0.0, 1
    for text, ends_line in zip(texts, breaks, strict=True):
        text.set_fontsize(size)
        text.set_text(shorten(text.get_text(), int(width / (0.64 * size))))
        needed = _points_wide(text) + 2 * _PAD * size
        if right > 0 and right + needed > width:
            right, line = 0.0, line + 1
        text.set_position((right + _PAD * size, (0.6 - line) * _LINE * size))
        right += needed + _GAP * size
        if ends_line:
            right, line = 0.0, line + 1
    return line * _LINE * size


def _points_wide(text: Annotation) -> float:
    figure = text.get_figure(root=True)
    assert figure is not None
    return text.get_window_extent().width * 72 / figure.dpi
