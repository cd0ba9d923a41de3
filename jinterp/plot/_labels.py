"""Words for classes and numbers, as short as their place."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties, findfont, get_font

from jinterp import _check
from jinterp.plot._figures import AnyFigure

TITLE_SIZE = 8.5


def shorten(text: str, most: int) -> str:
    """At most `most` characters on one line, the last an ellipsis where some were cut."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: max(most - 1, 1)].rstrip() + "…"


def class_label(value: Any, class_names: Sequence[str] | None) -> str:
    """The name of a class, those of a multi-label row, or "none"."""
    if np.ndim(value):
        labels = [class_label(number, class_names) for number in np.flatnonzero(value)]
        return ", ".join(labels) or "none"
    if value < 0:
        return "none"
    return str(int(value)) if class_names is None else str(class_names[int(value)])


def share(value: Any) -> str:
    """A probability in three digits, and never 1, to which float32 rounds what is less."""
    return ">0.999" if value >= 0.9995 else f"{value:.3g}"


def names_cover(class_names: Sequence[str] | None, *classes: np.ndarray) -> None:
    """A name for every class that occurs; for multi-label rows, one a column."""
    if class_names is None:
        return
    for values in classes:
        if values.ndim == 2:
            _check.class_names_match(class_names, values.shape[1])
        elif values.size and values.max() >= len(class_names):
            raise ValueError(
                f"`class_names` has {len(class_names)} names; the class {values.max()} occurs. "
                "Give one name for each class of the model."
            )


def title(ax: Axes, fig: AnyFigure, lines: Sequence[str], color: str = "black") -> None:
    """Lines above a panel of a grid, each cut to the width of its column."""
    spec = ax.get_subplotspec()
    columns = spec.get_gridspec().ncols if spec is not None else 1
    width = fig.bbox.width * 72 / fig.dpi / columns
    most = max(int(width / (0.58 * TITLE_SIZE)), 12)
    text = "\n".join(shorten(line, most) for line in lines)
    ax.set_title(text, loc="left", fontsize=TITLE_SIZE, color=color, parse_math=False)


def marks() -> tuple[str, str]:
    """What stands before a right and a wrong prediction, in signs that the font has."""
    font = get_font(findfont(FontProperties()))
    has_signs = all(font.get_char_index(ord(sign)) for sign in "✓✗")
    return ("✓", "✗") if has_signs else ("right:", "wrong:")
