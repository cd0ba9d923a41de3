"""How far each two columns act together."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jinterp.plot._figures import panel, shades
from jinterp.plot._labels import shorten
from jinterp.tabular import Interactions

_MOST_WITH_NUMBERS = 12


def interactions(result: Interactions, *, max_vars: int = 20, ax: Axes | None = None) -> Axes:
    """Friedman's H of each pair of columns, those that act most with all others first.

    Args:
        result: what `jinterp.interaction_strength` returned.
        max_vars: how many columns to show.
        ax: where to draw; None makes a figure.

    Returns:
        The axes; the diagonal is empty.

    Raises:
        ValueError: `max_vars` is less than 2.

    >>> import numpy as np
    >>> strong = np.array([[0.0, 0.5], [0.5, 0.0]])
    >>> ax = interactions(Interactions(("a", "b"), strong, np.ones(2), strong, np.arange(3)))
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['a', 'b']
    """
    if max_vars < 2:
        raise ValueError(f"`max_vars` is {max_vars}; expected at least 2. Try 20.")
    order = np.argsort(-result.total, kind="stable")[:max_vars]
    size = len(order)
    ax = panel(ax, (3.2 + 0.3 * size, 2.4 + 0.3 * size))
    strengths = np.ma.masked_array(result.pairwise[np.ix_(order, order)], np.eye(size, dtype=bool))
    picture = ax.imshow(strengths, cmap=shades(), vmin=0, vmax=max(1e-9, strengths.max()))
    figure = ax.get_figure()
    assert figure is not None
    figure.colorbar(picture, ax=ax, label="Friedman's H", pad=0.02)
    names = [shorten(result.names[n], 28) for n in order]
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(range(size), names, parse_math=False, **slanted)
    ax.set_yticks(range(size), names, parse_math=False)
    if size <= _MOST_WITH_NUMBERS:
        _write_numbers(ax, strengths)
    left_out = len(result.names) - size
    if left_out:
        ax.set_title(f"{size} of {len(result.names)} columns", loc="left", fontsize=9)
    return ax


def _write_numbers(ax: Axes, strengths: np.ma.MaskedArray) -> None:
    largest = strengths.max()
    for row, column in zip(*np.nonzero(~np.ma.getmaskarray(strengths)), strict=True):
        value = strengths[row, column]
        color = "white" if value > 0.6 * largest else "black"
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
