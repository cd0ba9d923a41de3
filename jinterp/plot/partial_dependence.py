"""Partial dependence: a curve, or a map of two columns."""

from matplotlib.axes import Axes

from jinterp.plot._columns import band, column_axes, legend, places, rug
from jinterp.plot._figures import BLUE
from jinterp.plot._two_way import two_way
from jinterp.tabular import PartialDependence


def partial_dependence(result: PartialDependence, *, ax: Axes | None = None) -> Axes:
    """The mean output over a column's values, and where 90 % of the rows lie; of two, a map.

    Marks at the axis are the deciles of the data: between distant ones little is known. A
    categorical column has points in place of a line.

    Args:
        result: what `jinterp.partial_dependence` returned.
        ax: where to draw; None makes a figure.

    Returns:
        The axes.

    >>> import jinterp, numpy as np
    >>> x = np.array([[0.0], [1.0]], np.float32)
    >>> found = jinterp.partial_dependence(lambda params, x: x[:, 0], None, x, 0)
    >>> partial_dependence(found).get_xlabel()
    'x0'
    """
    names, grids, categories = result.column_names, result.grids, result.categories
    if len(names) == 2:
        return two_way(
            ax, names, grids, categories, result.mean, result.deciles, label="output", centred=False
        )
    ax = column_axes(ax, names[0], grids[0], categories[0], "output")
    at, is_points = places(grids[0], categories[0]), categories[0] is not None
    label = "90 % of the rows"
    band(ax, at, result.mean, result.lower, result.upper, as_points=is_points, label=label)
    ax.plot(at, result.mean, "o" if is_points or len(at) == 1 else "-", color=BLUE, label="mean")
    rug(ax, result.deciles[0])
    legend(ax)
    return ax
