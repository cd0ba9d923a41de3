"""Where a model looked: the attributions of one example over its input."""

from typing import Any

from matplotlib.axes import Axes

from jinterp.plot._figures import panel
from jinterp.plot._heat import bar_below, draw_map, notes
from jinterp.plot._maps import map_of
from jinterp.plot._scale import scale_of


def attribution(
    values: Any,
    image: Any = None,
    *,
    percentile: float = 99.0,
    color_limit: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Attributions as colours over the input: crimson for, blue against, and clear at zero.

    The input is in light grey below, and the opacity grows with |value|. A map coarser than the
    image is interpolated over all of it; at the image's own resolution or alone, cells are what
    they are. Channels are summed, and values that are NaN or infinite are orange and counted; the
    text below the colour bar says so, and where colours were clipped.

    Args:
        values: the attributions of one example: `[height, width]`, of any resolution, or with 1, 3
            or 4 channels last, or first where the image has them first; of a signal `[length]` or
            `[length, channels]`, which without an image is what has at most 16 channels and 8
            times as many steps.
        image: the input, as `top_losses` takes it, or a signal; None draws the values alone.
        percentile: of |value|, above which colours no longer change, 0 to 100.
        color_limit: the |value| at which they no longer change, instead of a percentile, so that
            several pictures share it.
        ax: where to draw; None makes a figure.

    Returns:
        The axes; the colour bar stands below them.

    Raises:
        TypeError: `values` are not numbers.
        ValueError: `values` are not those of one example or do not fit the image, or `percentile`
            or `color_limit` is out of its range.

    >>> import numpy as np
    >>> ax = attribution(np.array([[-0.5, 0.0], [0.25, 2.0]]), np.zeros((8, 8)), color_limit=0.5)
    >>> print(ax.child_axes[0].get_xlabel())
    clipped at ±0.5
    """
    heat = map_of(values, image)
    scale = scale_of([heat.values], percentile, color_limit)
    ax = panel(ax, (2.6, 2.6))
    bar_below(ax, draw_map(ax, heat, image, scale), scale, notes(heat, scale))
    return ax
