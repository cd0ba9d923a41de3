"""The risk-coverage curve."""

import numpy as np
from matplotlib.axes import Axes

from jinterp.evaluate import RiskCoverage
from jinterp.plot._figures import BLUE, GREY, frameless, panel

_MOST_POINTS = 2000
_SETTLED = 0.01  # below this coverage the risk is that of a few examples, 0 or 1


def risk_coverage(curve: RiskCoverage, *, ax: Axes | None = None) -> Axes:
    """The error rate among the examples kept, against the share kept, most confident first.

    The dotted line is the error rate over all, where a confidence that says nothing would stay.
    The height of the picture follows the risk from 1% coverage on.

    Args:
        curve: what `jinterp.risk_coverage` returned; at most 2000 of its points are drawn.
        ax: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: the curve has no points.

    >>> import numpy as np
    >>> ax = risk_coverage(RiskCoverage(np.array([0.5, 1.0]), np.array([0.0, 0.5]), np.array(0.25)))
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['area 0.2500', 'error rate 0.5000']
    """
    coverage, risk = np.asarray(curve.coverage), np.asarray(curve.risk)
    if len(coverage) == 0:
        raise ValueError("`curve` has no points; expected at least one example.")
    ax = panel(ax, (5.5, 4.0))
    drawn = np.unique(np.linspace(0, len(coverage) - 1, _MOST_POINTS).round().astype(int))
    ax.plot(
        coverage[drawn],
        risk[drawn],
        color=BLUE,
        marker="o" if len(drawn) == 1 else None,
        label=f"area {float(curve.area):.4f}",
    )
    overall = float(risk[-1])
    ax.axhline(overall, color=GREY, linestyle=":", linewidth=1.2, label=f"error rate {overall:.4f}")
    settled = risk[(coverage >= _SETTLED) & np.isfinite(risk)]
    highest = float(settled.max(initial=0)) or 0.1
    ax.set(xlim=(0, 1.01), ylim=(-0.02 * highest, 1.15 * highest))
    ax.set(xlabel="coverage", ylabel="risk (error rate among the kept)")
    ax.legend(frameon=False, loc="best")
    frameless(ax)
    return ax
