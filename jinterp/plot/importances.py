"""The importance of columns as bars."""

from matplotlib.axes import Axes

from jinterp.plot._figures import BLUE, GREY, frameless, panel
from jinterp.plot._labels import shorten
from jinterp.tabular import Importance
from jinterp.tabular.permutation_importance import order_of


def importances(importance: Importance, *, max_vars: int = 20, ax: Axes | None = None) -> Axes:
    """Bars of how much the score falls without each column, largest first, ± one deviation.

    Args:
        importance: what `permutation_importance`, `drop_column_importance` or `oob_importance`
            returned.
        max_vars: how many to show.
        ax: where to draw; None makes a figure.

    Returns:
        The axes; the title says how many columns are left out.

    Raises:
        ValueError: `max_vars` is less than 1.

    >>> import numpy as np
    >>> found = Importance(("a", "b"), np.array([0.1, 0.5]), np.zeros(2), np.zeros((2, 1)), 0.9)
    >>> ax = importances(found)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['b', 'a']
    """
    if max_vars < 1:
        raise ValueError(f"`max_vars` is {max_vars}; expected at least 1. Try 20.")
    shown = order_of(importance)[:max_vars]
    ax = panel(ax, (6.0, 1.1 + 0.26 * max(len(shown), 3)))
    at = range(len(shown))
    errors = importance.deviation[shown]
    style = {"ecolor": GREY, "elinewidth": 1, "capsize": 2}
    ax.barh(at, importance.mean[shown], xerr=errors, color=BLUE, error_kw=style)
    names = [shorten(importance.names[n], 36) for n in shown]
    ax.set_yticks(at, names, parse_math=False)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.invert_yaxis()
    ax.margins(y=0.01)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(f"fall of the score, from {importance.baseline_score:.3g}")
    left_out = len(importance.names) - len(shown)
    if left_out:
        title = f"{len(shown)} of {len(importance.names)}; {left_out} less important not shown"
        ax.set_title(title, loc="left", fontsize=9, color=GREY)
    frameless(ax)
    return ax
