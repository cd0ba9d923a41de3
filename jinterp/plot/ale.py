"""Accumulated local effects: a curve, or a map of what two columns do together."""

import numpy as np
from matplotlib.axes import Axes

from jinterp.plot._columns import band, column_axes, legend, places, rug
from jinterp.plot._figures import BLUE, GREY
from jinterp.plot._two_way import two_way
from jinterp.tabular import Ale


def ale(result: Ale, *, ax: Axes | None = None) -> Axes:
    """The effect over a column's values, ± two standard errors; of two columns, a map of cells.

    A cell of the map is the mean of its corners, and grey where no row lies.

    Args:
        result: what `jinterp.ale` returned.
        ax: where to draw; None makes a figure.

    Returns:
        The axes.

    >>> import jinterp, numpy as np
    >>> x = np.array([[0.0], [1.0]], np.float32)
    >>> ale(jinterp.ale(lambda params, x: x[:, 0], None, x, 0)).get_ylabel()
    'effect on the output'
    """
    names, edges, categories = result.column_names, result.edges, result.categories
    if len(names) == 2:
        label = "effect of both together"
        return two_way(
            ax,
            names,
            edges,
            categories,
            np.where(result.counts > 0, _of_cells(result.effect), np.nan),
            result.deciles,
            label=label,
            centred=True,
            cells=True,
        )
    ax = column_axes(ax, names[0], edges[0], categories[0], "effect on the output")
    at, is_points = places(edges[0], categories[0]), categories[0] is not None
    around = 2 * result.standard_error
    lower, upper = result.effect - around, result.effect + around
    label = "± 2 standard errors"
    ax.axhline(0, color=GREY, linewidth=0.8)
    band(ax, at, result.effect, lower, upper, as_points=is_points, label=label)
    ax.plot(at, result.effect, "o" if is_points else "-", color=BLUE, label="effect")
    rug(ax, result.deciles[0])
    legend(ax)
    return ax


def _of_cells(corners: np.ndarray) -> np.ndarray:
    return (corners[:-1, :-1] + corners[1:, :-1] + corners[:-1, 1:] + corners[1:, 1:]) / 4
