"""Curves of single rows."""

from matplotlib.axes import Axes

from jinterp.plot._columns import column_axes, legend, places, rug
from jinterp.plot._figures import BLUE, VERMILLION
from jinterp.tabular import Ice


def ice(result: Ice, *, ax: Axes | None = None) -> Axes:
    """The output of each row over a column's values, and their mean.

    Args:
        result: what `jinterp.ice` returned.
        ax: where to draw; None makes a figure.

    Returns:
        The axes; its last curve is the mean.

    >>> import jinterp, numpy as np
    >>> x = np.array([[0.0], [1.0]], np.float32)
    >>> found = jinterp.ice(lambda params, x: x[:, 0], None, x, 0)
    >>> len(ice(found).lines) - len(found.deciles)
    3
    """
    ylabel = "output, less its first value" if result.centred else "output"
    ax = column_axes(ax, result.column_name, result.grid, result.categories, ylabel)
    at = places(result.grid, result.categories)
    opacity = min(1.0, max(0.1, 25 / len(result.curves)))
    rug(ax, result.deciles)
    for number, curve in enumerate(result.curves):
        label = f"{len(result.curves)} rows" if number == 0 else None
        ax.plot(at, curve, color=BLUE, alpha=opacity, linewidth=0.8, label=label)
    ax.plot(at, result.curves.mean(axis=0), color=VERMILLION, linewidth=2, label="mean")
    legend(ax)
    return ax
