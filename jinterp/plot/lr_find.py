"""The curve of the learning-rate finder."""

import math

import numpy as np
from matplotlib.axes import Axes

from jinterp.diagnose import LrFind
from jinterp.plot._figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILLION,
    frameless,
    panel,
)

_MARKS = {
    "valley": ("o", VERMILLION),
    "slide": ("s", GREEN),
    "minimum": ("D", PURPLE),
    "steep": ("^", ORANGE),
}


def lr_find(
    result: LrFind, *, skip_start: int = 0, skip_end: int = 5, ax: Axes | None = None
) -> Axes:
    """The smoothed loss over the learning rate, the suggestions marked on it.

    Losses of single batches above the highest smoothed loss are out of the picture.

    Args:
        result: what `jinterp.lr_find` returned.
        skip_start: steps left out at the start.
        skip_end: steps left out at the end, where the loss rises out of the picture.
        ax: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: the skips are negative or leave less than two finite losses.

    >>> import numpy as np
    >>> rates, losses = np.geomspace(1e-5, 1, 20), np.linspace(2, 1, 20)
    >>> found = LrFind(rates, losses, losses, 20, "", 1e-3, np.nan, 1e-2, 1e-4)
    >>> [text.get_text() for text in lr_find(found).get_legend().get_texts()]
    ['loss of a batch', 'smoothed', 'valley 1.00e-03', 'minimum 1.00e-02', 'steep 1.00e-04']
    """
    kept = _kept(result, skip_start, skip_end)
    rates = result.learning_rates[kept]
    losses, smoothed = _finite(result.losses[kept]), _finite(result.smoothed_losses[kept])
    ax = panel(ax, (6.5, 4.0))
    ax.plot(rates, losses, color=GREY, alpha=0.35, linewidth=1, label="loss of a batch")
    ax.plot(rates, smoothed, color=BLUE, linewidth=1.5, label="smoothed")
    low, high = np.nanmin([losses, smoothed]), np.nanmax(smoothed)
    margin = 0.05 * (high - low) or 0.1
    ax.set(xscale="log", ylim=(low - margin, high + margin))
    ax.set(xlabel="learning rate", ylabel="loss")
    _mark(ax, result)
    frameless(ax)
    return ax


def _mark(ax: Axes, result: LrFind) -> None:
    is_finite = np.isfinite(result.smoothed_losses)
    rates, losses = np.log(result.learning_rates[is_finite]), result.smoothed_losses[is_finite]
    for name, rate in result.suggested().items():
        if not math.isnan(rate):
            marker, color = _MARKS[name]
            loss = np.interp(math.log(rate), rates, losses)
            label = f"{name} {rate:.2e}"
            ax.plot(rate, loss, marker, color=color, markersize=8, label=label, zorder=3)
    ax.legend(frameon=False, loc="best")


def _finite(losses: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(losses), losses, np.nan)


def _kept(result: LrFind, skip_start: int, skip_end: int) -> slice:
    num_steps = len(result.losses)
    for name, value, usual in (("skip_start", skip_start, 0), ("skip_end", skip_end, 5)):
        if value < 0:
            raise ValueError(f"`{name}` is {value}; expected 0 or more. Try {usual}.")
    kept = slice(skip_start, max(num_steps - skip_end, 0))
    if np.isfinite(result.smoothed_losses[kept]).sum() < 2:
        raise ValueError(
            f"`skip_start` is {skip_start} and `skip_end` {skip_end}, of {num_steps} steps; "
            "expected at least two finite losses between them. Try skip_start=0, skip_end=0."
        )
    return kept
