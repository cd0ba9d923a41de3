"""Mean, deviation, what is near zero and what is dead, by layer or by step."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import PercentFormatter

from jinterp.diagnose import ActivationStats, Recorded
from jinterp.plot._by_layer import by_step, check_not_empty, depth_colours, layer_legend, layer_rows
from jinterp.plot._figures import BLUE, VERMILLION, AnyFigure, frameless, grid
from jinterp.plot._labels import title

_TITLES = {
    "mean": "mean ± deviation",
    "deviation": "deviation",
    "near_zero": "near zero: |a| < 3/64",
    "dead": "dead: never active",
}
_BY_STEP = {"dead": "dead: not active in the batch"}
_WITHOUT_BAND = {"mean": "mean"}
_MOST_BANDS = 3
_MOST_TICKS = 5
_APART = 100  # times the median, from where on an axis is logarithmic


def layer_stats(result: ActivationStats | Recorded, *, fig: AnyFigure | None = None) -> AnyFigure:
    """Four panels: mean, deviation, the share near zero and the share of dead units.

    Of a dataset each layer is a row, the first at the top; of a training each is a line over the
    steps. The band around the mean is ± one deviation; by step it is drawn of three layers at most.
    An axis is logarithmic away from 0 where its largest number is 100 times the median or more.
    What is not finite is a gap; rows say so, and the legend counts the steps.

    Args:
        result: what `jinterp.activation_stats` or `ActivationHistory.read` returned. By step a unit
            is dead where nothing of that step's batch makes it active.
        fig: where to draw; None makes a figure that grows with the layers.

    Returns:
        The figure.

    Raises:
        ValueError: there are no layers or no steps.

    Source: fastai's `ActivationStats.plot_layer_stats`, of one layer by step. There a value is near
    zero at a ≤ 0.05, negative ones too.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         return x @ params
    >>> stats = jinterp.activation_stats(apply_fn, jnp.eye(2), (jnp.ones((4, 2)), [0] * 4))
    >>> [ax.get_title(loc="left") for ax in layer_stats(stats).axes]
    ['mean ± deviation', 'deviation', 'near zero: |a| < 3/64', 'dead: never active']
    """
    check_not_empty(result)
    if isinstance(result, Recorded):
        return _by_step(result, fig)
    return _by_layer(result, fig)


def _by_layer(result: ActivationStats, fig: AnyFigure | None) -> AnyFigure:
    names = [layer.name for layer in result.layers]
    size = (2.5, 1.1 + 0.19 * len(names))
    fig, panels = grid(fig, len(_TITLES), size, columns=len(_TITLES))
    places = np.arange(len(names))
    of = {field: _finite([getattr(layer, field) for layer in result.layers]) for field in _TITLES}
    mean, deviation = of["mean"], of["deviation"]
    panels[0].hlines(places, mean - deviation, mean + deviation, color=BLUE, alpha=0.3, linewidth=6)
    for ax, field in zip(panels[:2], ("mean", "deviation"), strict=True):
        ax.plot(of[field], places, ".-", color=BLUE, linewidth=1, markersize=6)
        for number in np.flatnonzero(np.isnan(of[field])).tolist():
            _not_finite(ax, number)
    panels[2].barh(places, of["near_zero"], color=BLUE)
    panels[3].barh(places, of["dead"], color=VERMILLION)
    for ax in panels:
        layer_rows(ax, names if ax is panels[0] else [""] * len(names))
    _scale(panels[0], "x", mean - deviation, mean + deviation)
    _scale(panels[1], "x", deviation)
    for ax in panels[2:]:
        ax.set_xlim(0, 1)
        ax.xaxis.set_major_formatter(PercentFormatter(1))
    _finish(panels, fig, _TITLES)
    return fig


def _by_step(result: Recorded, fig: AnyFigure | None) -> AnyFigure:
    fig, panels = grid(fig, len(_TITLES), (4.2, 2.5), columns=2)
    of = {field: _finite(getattr(result, field)) for field in _TITLES}
    num_gaps = np.isnan(of["deviation"]).sum(0)
    colors = depth_colours(len(result.layers))
    for number, (name, color) in enumerate(zip(result.layers, colors, strict=True)):
        label = name + (f", {num_gaps[number]} not finite" if num_gaps[number] else "")
        style = {"color": color, "linewidth": 1.2, "label": label}
        for ax, values in zip(panels, of.values(), strict=True):
            by_step(ax, result.steps, values[:, number], style)
    has_bands = len(colors) <= _MOST_BANDS
    if has_bands:
        _bands(panels[0], result.steps, of["mean"], of["deviation"], colors)
    _scale(panels[0], "y", of["mean"])
    _scale(panels[1], "y", of["deviation"])
    for ax in panels[2:]:
        ax.set_ylim(-0.02, 1.02)
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    _finish(panels, fig, _TITLES | _BY_STEP | ({} if has_bands else _WITHOUT_BAND))
    fig.supxlabel("step", fontsize=9)
    layer_legend(panels[1])
    return fig


def _bands(
    ax: Axes, steps: np.ndarray, mean: np.ndarray, deviation: np.ndarray, colors: list[str]
) -> None:
    low, high = (mean - deviation).T, (mean + deviation).T
    for number, color in enumerate(colors):
        ax.fill_between(steps, low[number], high[number], color=color, alpha=0.12, linewidth=0)


def _finite(values: Any) -> np.ndarray:
    values = np.asarray(values, float)
    return np.where(np.isfinite(values), values, np.nan)


def _not_finite(ax: Axes, number: int) -> None:
    ax.annotate(
        "not finite",
        (0.02, number),
        xycoords=ax.get_yaxis_transform(),
        color=VERMILLION,
        fontsize=7.5,
        va="center",
    )


def _scale(ax: Axes, along: str, *values: np.ndarray) -> None:
    """Logarithmic away from 0 where the largest hides the others."""
    drawn = np.concatenate([part.ravel() for part in values])
    sizes = np.abs(drawn[np.abs(drawn) > 0])
    if not len(sizes) or np.max(sizes) < _APART * np.median(sizes):
        return
    linear = float(np.median(sizes))
    set_scale = ax.set_xscale if along == "x" else ax.set_yscale
    set_scale("symlog", linthresh=linear)
    tops = {sign: float(np.nanmax(sign * drawn)) for sign in (-1, 1)}
    _power_ticks(ax.xaxis if along == "x" else ax.yaxis, linear, tops)


def _power_ticks(axis: Axis, linear: float, tops: Mapping[int, float]) -> None:
    """0 and powers of ten above `linear`, so far apart that a small axis has room for them."""
    lowest = math.floor(math.log10(linear))
    num = {sign: math.floor(math.log10(max(top, linear))) - lowest for sign, top in tops.items()}
    step = max(1, math.ceil(sum(num.values()) / _MOST_TICKS))
    powers = [(sign, n) for sign in num for n in range(step, num[sign] + 1, step)]
    ticks = [sign * 10.0 ** (lowest + n) for sign, n in powers]
    labels = [f"{'−' if sign < 0 else ''}$10^{{{lowest + n}}}$" for sign, n in powers]
    axis.set_ticks([0.0, *ticks], ["0", *labels])


def _finish(panels: Sequence[Axes], fig: AnyFigure, titles: Mapping[str, str]) -> None:
    for ax, text in zip(panels, titles.values(), strict=True):
        ax.tick_params(labelsize=8)
        title(ax, fig, [text])
        frameless(ax)
