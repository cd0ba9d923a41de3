"""The reliability diagram."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.ticker import PercentFormatter

from jinterp.evaluate import Calibration, ReliabilityBins
from jinterp.plot._figures import BLUE, GREY, VERMILLION, frameless, panel

_LEAST_WIDTH = 0.008  # of a bin whose confidences are nearly one number, that it be seen


class _Bars(NamedTuple):
    """The bins that have examples: arrays `[bins]`."""

    middles: np.ndarray
    widths: np.ndarray
    confidences: np.ndarray
    accuracies: np.ndarray
    shares: np.ndarray


def reliability(
    calibration: Calibration,
    *,
    adaptive: bool = False,
    unit: str = "examples",
    ax: Axes | None = None,
) -> Axes:
    """The accuracy of each bin of confidence, its gap to the confidence, and its examples.

    A model whose confidence is its accuracy has its bars on the diagonal. Bars above show the
    share of the examples in each bin; empty bins have none.

    Args:
        calibration: what `jinterp.calibration` returned.
        adaptive: show the bins of equally many examples in place of those of equal width.
        unit: what was counted, such as "pixels".
        ax: where to draw; None makes a figure.

    Returns:
        The axes; the bars of shares are in `ax.child_axes[0]`.

    Raises:
        ValueError: adaptive bins are asked for, of pixels that were not kept.

    >>> import jax.numpy as jnp, jinterp
    >>> probabilities = jnp.array([[0.8, 0.2], [0.4, 0.6]])
    >>> ax = reliability(jinterp.calibration(probabilities, jnp.array([0, 0]), num_bins=5))
    >>> ax.get_legend().get_title().get_text()
    'ECE 0.400, MCE 0.600'
    """
    bins, errors = _chosen(calibration, adaptive)
    bars = _bars(bins)
    ax = panel(ax, (5.0, 5.0))
    _draw_bars(ax, bars)
    _draw_shares(ax, bars, unit)
    ax.legend(
        title=errors,
        loc="upper left",
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        alignment="left",
    )
    return ax


def _chosen(calibration: Calibration, adaptive: bool) -> tuple[ReliabilityBins, str]:
    """The bins, and the errors that they give."""
    if not adaptive:
        return calibration.bins, (
            f"ECE {float(calibration.expected_calibration_error):.3f}, "
            f"MCE {float(calibration.maximum_calibration_error):.3f}"
        )
    if calibration.adaptive_bins is None or calibration.adaptive_calibration_error is None:
        raise ValueError(
            "`calibration` has no adaptive bins: pixels were counted into bins of equal width as "
            "they came. Leave out `adaptive`."
        )
    return calibration.adaptive_bins, f"ACE {float(calibration.adaptive_calibration_error):.3f}"


def _bars(bins: ReliabilityBins) -> _Bars:
    lower, upper, confidences, accuracies, counts = (np.asarray(column) for column in bins)
    bars = _Bars(
        (lower + upper) / 2,
        np.maximum(upper - lower, _LEAST_WIDTH),
        confidences,
        accuracies,
        counts / max(counts.sum(), 1),
    )
    return _Bars(*(column[counts > 0] for column in bars))


def _draw_bars(ax: Axes, bars: _Bars) -> None:
    ax.bar(
        bars.middles,
        bars.accuracies,
        bars.widths,
        color=BLUE,
        edgecolor="white",
        linewidth=0.6,
        label="accuracy",
    )
    ax.bar(
        bars.middles,
        bars.confidences - bars.accuracies,
        bars.widths,
        bottom=bars.accuracies,
        facecolor=to_rgba(VERMILLION, 0.35),
        edgecolor=VERMILLION,
        hatch="////",
        linewidth=0.6,
        label="gap to confidence",
    )
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    frameless(ax)


def _draw_shares(ax: Axes, bars: _Bars, unit: str) -> None:
    _make_room_above(ax)
    above = ax.inset_axes((0, 1.07, 1, 0.18), sharex=ax)
    above.bar(bars.middles, bars.shares, bars.widths, color=GREY, edgecolor="white")
    above.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    above.locator_params(axis="y", nbins=3)
    above.tick_params(labelbottom=False, labelsize=8)
    above.set_ylabel(unit, fontsize=8)
    frameless(above)


def _make_room_above(ax: Axes) -> None:
    """Where no layout engine does it: the axes, with a quarter more above, in their old place."""
    figure = ax.get_figure(root=True)
    if figure is not None and figure.get_layout_engine() is None:
        place = ax.get_position()
        ax.set_position((place.x0, place.y0, place.width, place.height / 1.25))
