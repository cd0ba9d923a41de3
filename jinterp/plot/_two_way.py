"""A number over the values of two columns."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, Normalize

from jinterp.plot._columns import axis_of_column, places, rug
from jinterp.plot._figures import LIGHT_GREY, panel, shades


def two_way(
    ax: Axes | None,
    names: Sequence[str],
    grids: Sequence[np.ndarray],
    categories: Sequence[Sequence[str] | None],
    values: np.ndarray,
    deciles: Sequence[np.ndarray],
    *,
    label: str,
    centred: bool,
    cells: bool = False,
) -> Axes:
    """A map, the first column along x.

    Args:
        ax: where to draw; None makes a figure.
        names: of the columns.
        grids: their values, or the edges of cells.
        categories: of the columns.
        values: `[first, second]`.
        deciles: of the columns.
        label: of the colours.
        centred: whether white is 0.
        cells: whether the values are those of cells between the grids' values.
    """
    ax = panel(ax, (5.4, 4.2))
    at = [places(grid, each) for grid, each in zip(grids, categories, strict=True)]
    edges = at if cells else [_between(each) for each in at]
    cmap = colormaps["RdBu_r"].with_extremes(bad=LIGHT_GREY) if centred else shades()
    norm: Normalize = CenteredNorm(0) if centred else Normalize()
    picture = ax.pcolormesh(*edges, np.ma.masked_invalid(values).T, cmap=cmap, norm=norm)
    figure = ax.get_figure()
    assert figure is not None
    figure.colorbar(picture, ax=ax, label=label, pad=0.02)
    for axis, name, grid, each in zip((ax.xaxis, ax.yaxis), names, grids, categories, strict=True):
        axis_of_column(axis, name, grid, each)
    rug(ax, deciles[0])
    rug(ax, deciles[1], along="y")
    return ax


def _between(at: np.ndarray) -> np.ndarray:
    """The edges of cells around places."""
    if len(at) == 1:
        return at[0] + np.array([-0.5, 0.5])
    middles = (at[1:] + at[:-1]) / 2
    return np.concatenate([[2 * at[0] - middles[0]], middles, [2 * at[-1] - middles[-1]]])
