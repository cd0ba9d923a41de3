"""Dead units, and beside them what is near zero, which is another thing."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from jinterp.diagnose import ActivationStats, Recorded
from jinterp.plot._by_layer import by_step, check_not_empty, depth_colours, layer_legend, layer_rows
from jinterp.plot._figures import GREY, SKY, VERMILLION, frameless, panel

_DEAD, _DEAD_IN_BATCH = "dead: units never active", "dead: units not active in the batch"
_NEAR_ZERO = "near zero: values with |a| < 3/64"
_ABOVE: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 2}
_ABOVE |= {"frameon": False, "fontsize": 8}


def dead_chart(result: ActivationStats | Recorded, *, ax: Axes | None = None) -> Axes:
    """The share of units that are dead, and the share of values near zero, which is another thing.

    A dead unit is never active, and its gradient is 0; a rectifier that works makes many zeros and
    need have no dead unit. Of a dataset each layer has two bars; of a training each has a solid
    line of dead units and a dotted one of values near zero. Where no rectifier makes a layer's
    values or reads all of them only a unit that is always 0 is dead; bars say "no rectifier".

    Args:
        result: what `jinterp.activation_stats` or `ActivationHistory.read` returned. By step a unit
            is dead where nothing of that step's batch makes it active, so small batches have more.
        ax: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: there are no layers or no steps.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         return jax.nn.relu(x @ params)
    >>> ds = (jnp.ones((4, 2)), [0] * 4)
    >>> ax = dead_chart(jinterp.activation_stats(apply_fn, jnp.array([[1.0, -1.0]] * 2), ds))
    >>> [float(bar.get_width()) for bar in ax.patches]
    [0.5, 0.5]
    """
    check_not_empty(result)
    if isinstance(result, Recorded):
        return _by_step(result, ax)
    return _by_layer(result, ax)


def _by_layer(result: ActivationStats, ax: Axes | None) -> Axes:
    layers = result.layers
    ax = panel(ax, (6.0, 1.4 + 0.22 * len(layers)))
    places = np.arange(len(layers))
    ax.barh(places - 0.2, [layer.dead for layer in layers], 0.4, color=VERMILLION, label=_DEAD)
    near_zero = [layer.near_zero for layer in layers]
    ax.barh(places + 0.2, near_zero, 0.25, color=SKY, label=_NEAR_ZERO)
    for place, layer in zip(places, layers, strict=True):
        if layer.activation_function != "relu" and layer.dead == 0:
            ax.text(0.005, place - 0.2, "no rectifier", color=GREY, fontsize=6.5, va="center")
    layer_rows(ax, [layer.name for layer in layers])
    ax.set(xlabel="share", xlim=(0, 1))
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.legend(**_ABOVE)
    frameless(ax)
    return ax


def _by_step(result: Recorded, ax: Axes | None) -> Axes:
    ax = panel(ax, (6.5, 3.6))
    colors = depth_colours(len(result.layers))
    for number, (name, color) in enumerate(zip(result.layers, colors, strict=True)):
        solid = {"color": color, "linewidth": 1.8, "label": name}
        dotted = {"color": color, "linewidth": 1, "linestyle": ":"}
        by_step(ax, result.steps, result.dead[:, number], solid)
        by_step(ax, result.steps, result.near_zero[:, number], dotted)
    ax.set(xlabel="step", ylabel="share", ylim=(-0.02, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    kinds = [Line2D([], [], color=GREY, linewidth=1.8, label=_DEAD_IN_BATCH)]
    kinds += [Line2D([], [], color=GREY, linewidth=1, linestyle=":", label=_NEAR_ZERO)]
    above = ax.legend(handles=kinds, **_ABOVE)
    layer_legend(ax)
    ax.add_artist(above)
    above.set_clip_on(False)
    frameless(ax)
    return ax
