"""How the probability of the actual class is spread, class by class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from jinterp import _check
from jinterp.evaluate.predictions import ScoreDistributions
from jinterp.plot._figures import class_ticks, panel, points_per_class, shades
from jinterp.plot._labels import shorten


def score_distributions(
    distributions: ScoreDistributions,
    *,
    class_names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A heat map of the probability given to the actual class: a row a class, a column a bin.

    The colour follows the square root of the share, so that small shares show; a class without
    examples is grey. Where names have no room, the ticks are class numbers.

    Args:
        distributions: what `jinterp.score_distributions` returned.
        class_names: names of the classes; None numbers them.
        ax: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: `class_names` has another length than there are classes.

    >>> import numpy as np
    >>> ax = score_distributions(ScoreDistributions(np.array([[1, 3]]), np.linspace(0, 1, 3)))
    >>> ax.images[0].get_array().tolist()
    [[0.25, 0.75]]
    """
    counts, edges = np.asarray(distributions.counts), np.asarray(distributions.edges)
    names = _check.class_names_match(class_names, len(counts))
    ax = panel(ax, (6.5, float(np.clip(1.3 + 0.28 * len(counts), 2.5, 9))))
    totals = np.broadcast_to(counts.sum(1, keepdims=True), counts.shape)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    image = ax.imshow(
        np.ma.masked_invalid(shares),
        cmap=shades(),
        norm=PowerNorm(0.5, vmin=0, vmax=1),
        extent=(edges[0], edges[-1], len(counts) - 0.5, -0.5),
        aspect="auto",
    )
    row = points_per_class(ax, len(counts), ax.bbox.height)
    class_ticks(ax.yaxis, [shorten(name, 24) for name in names], row)
    ax.set(xlabel="probability of the actual class", ylabel="actual class")
    figure = ax.get_figure()
    assert figure is not None
    figure.colorbar(
        image,
        ax=ax,
        label="share of the class",
        ticks=[0, 0.05, 0.2, 0.5, 1],
        format="{x:g}",
        aspect=25,
    )
    return ax
