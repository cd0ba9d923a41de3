"""The pairs of classes most often confused."""

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from jinterp.evaluate import ConfusedPair
from jinterp.plot._figures import BLUE, GREY, frameless, panel
from jinterp.plot._labels import shorten


def most_confused(
    pairs: list[ConfusedPair],
    *,
    num_pairs: int = 20,
    unit: str = "examples",
    ax: Axes | None = None,
) -> Axes:
    """Bars of how often each actual class was taken for another, in the order given.

    Args:
        pairs: what `jinterp.most_confused` returned.
        num_pairs: how many to show, from the first on.
        unit: what was counted, such as "pixels".
        ax: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: `num_pairs` is less than 1.

    >>> ax = most_confused([ConfusedPair("cat", "dog", 12)])
    >>> ax.get_yticklabels()[0].get_text()
    'cat → dog'
    """
    if num_pairs < 1:
        raise ValueError(f"`num_pairs` is {num_pairs}; expected at least 1. Try 20.")
    shown = pairs[:num_pairs]
    ax = panel(ax, (6.5, 1.1 + 0.26 * max(len(shown), 3)))
    if not shown:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "no class was taken for another", ha="center", color=GREY)
        return ax
    bars = ax.barh(range(len(shown)), [pair.num_examples for pair in shown], color=BLUE)
    ax.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=9)
    ax.set_yticks(range(len(shown)), [_name(pair) for pair in shown], parse_math=False)
    ax.invert_yaxis()
    ax.margins(x=0.08, y=0.01)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True))
    ax.tick_params(axis="y", length=0)
    ax.set(xlabel=unit, ylabel="actual → predicted")
    frameless(ax)
    return ax


def _name(pair: ConfusedPair) -> str:
    return f"{shorten(str(pair.actual), 24)} → {shorten(str(pair.predicted), 24)}"
