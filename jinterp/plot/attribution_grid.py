"""Several explanations of several examples, side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinterp.plot._figures import AnyFigure, grid
from jinterp.plot._heat import Captions, caption_lines, draw_panel, one_for_each, say_once
from jinterp.plot._labels import TITLE_SIZE, shorten, title
from jinterp.plot._pictures import draw

_MOST_IN_ROW_TITLE = 22  # characters that fit beside a panel


def attribution_grid(
    values: Mapping[str, Any],
    images: Any,
    *,
    titles: Sequence[str] | None = None,
    captions: Captions | None = None,
    percentile: float = 99.0,
    fig: AnyFigure | None = None,
) -> AnyFigure:
    """A row an example, a column a method: the input, then what each method says of it.

    Methods have units of their own, so each panel has its own colours, whose ends are written
    below it; compare where they point, not how strong they are.

    Args:
        values: from the name of a method to the attributions `[examples, ...]`, each as
            `attribution` takes them.
        images: the inputs `[examples, ...]`, as `top_losses` takes them.
        titles: a title for each example, written beside its row; None for none.
        captions: from the same names to a text for each map, of one line or more, drawn above it,
            such as those of `jinterp.evidence(...).captions()`.
        percentile: of |value| in a panel, above which its colours no longer change, 0 to 100.
        fig: where to draw; None makes a figure.

    Returns:
        The figure.

    Raises:
        ValueError: there are no methods or examples, their numbers differ, or `attribution`
            would refuse a panel.

    >>> import numpy as np
    >>> values = {"saliency": np.ones((2, 8, 8)), "Grad-CAM": np.ones((2, 4, 4))}
    >>> figure = attribution_grid(values, np.zeros((2, 8, 8)), titles=["a cat", "a dog"])
    >>> [ax.get_title(loc="left") for ax in figure.axes]
    ['input', 'saliency', 'Grad-CAM', '', '', '']
    """
    num = len(images)
    one_for_each(values, num, "values", captions)
    if titles is not None and len(titles) != num:
        raise ValueError(
            f"`titles` has {len(titles)} titles; `images` has {num} examples. Give one for each."
        )
    columns = 1 + len(values)
    inches = (1.6, 1.95) if captions is None else (2.0, 2.6)
    fig, panels = grid(fig, num * columns, inches, columns, below=0.3)
    for row, image in enumerate(images):
        first, *others = panels[row * columns : (row + 1) * columns]
        draw(first, image)
        beside = "" if titles is None else shorten(str(titles[row]), _MOST_IN_ROW_TITLE)
        first.set_ylabel(beside, loc="top", fontsize=TITLE_SIZE, parse_math=False)
        title(first, fig, [] if row else ["input"])
        for ax, (name, maps) in zip(others, values.items(), strict=True):
            draw_panel(ax, maps[row], image, percentile)
            title(ax, fig, [*([] if row else [name]), *caption_lines(captions, name, row)])
    say_once(fig, [maps[0] for maps in values.values()], images[0], percentile)
    return fig
