"""Explainers compared by metrics, as dots with intervals."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from jinterp.faithfulness import Comparison
from jinterp.plot._figures import BLUE, GREY, LIGHT_GREY, AnyFigure, frameless, grid
from jinterp.plot._labels import shorten

_BETTER = {-1: "← lower is better", 0: "", 1: "higher is better →"}


def comparison(found: Comparison, *, fig: AnyFigure | None = None) -> AnyFigure:
    """A panel for each metric, a row for each explainer: the mean, and its interval as a line.

    The best mean of a metric is filled; others are not.

    Args:
        found: what `jinterp.compare` returned.
        fig: where to draw; None makes a figure.

    Returns:
        The figure.

    >>> import jax, jinterp, numpy as np
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> ds = (np.array([[3.0, 1.0], [-1.0, 2.0]], np.float32), np.zeros(2, int))
    >>> found = jinterp.compare(
    ...     [jinterp.gradient, jinterp.input_x_gradient], [jinterp.completeness_gap],
    ...     apply_fn, np.ones((2, 1), np.float32), ds, key=jax.random.key(0), target=0,
    ... )
    >>> figure = comparison(found)
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['gradient', 'input_x_gradient']
    """
    num, rows = len(found.metrics), len(found.explainers)
    columns = min(num, 4)
    fig, panels = grid(fig, num, (2.3 + 1.6 / columns, 0.8 + 0.24 * max(rows, 3)), columns)
    for number, ax in enumerate(panels):
        _draw(ax, found, number, names_shown=number % columns == 0)
    said = "filled: the best mean; lines: the intervals"
    fig.supxlabel(said, fontsize=7, color=GREY, x=0.01, ha="left")
    return fig


def _draw(ax: Axes, found: Comparison, number: int, *, names_shown: bool) -> None:
    at = np.arange(len(found.explainers))
    means, low, high = (each[:, number] for each in (found.means, found.low, found.high))
    ranks = found.ranks[:, number]
    is_best = ranks == np.nanmin(ranks, initial=np.inf)
    ax.hlines(at, low, high, color=GREY, linewidth=1.2)
    for chosen, face in ((~is_best, "white"), (is_best, BLUE)):
        ax.scatter(means[chosen], at[chosen], 26, face, edgecolors=BLUE, zorder=3)
    names = [shorten(name, 28) for name in found.explainers] if names_shown else [""] * len(at)
    ax.set_yticks(at, names, parse_math=False)
    ax.set_ylim(len(at) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.grid(axis="y", color=LIGHT_GREY, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set_title(shorten(found.metrics[number], 32), loc="left", fontsize=9, parse_math=False)
    ax.set_xlabel(_BETTER[_direction(means, ranks)], fontsize=8, color=GREY)
    frameless(ax, "top", "right", "left")


def _direction(means: np.ndarray, ranks: np.ndarray) -> int:
    """1 where a higher mean has the better rank, −1 where a lower one has, 0 where none is."""
    if np.isnan(ranks).all() or np.nanmin(ranks) == np.nanmax(ranks):
        return 0
    return 1 if means[np.nanargmin(ranks)] > means[np.nanargmax(ranks)] else -1
