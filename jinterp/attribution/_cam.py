"""What class activation maps share: a layer in space, its gradient, and a weighted sum."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp._question import answer, ask, report_blank
from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.attribution._layer import layer_slopes
from jinterp.attribution._space import Grid, view_of

Combine = Callable[[Array, Array], Array]
"""`combine(activation, slopes) -> map`: `[batch, *space, channels]` twice to `[batch, *space]`."""

Map = Float[Array, "batch *space"]


def gradient_cam(
    combine: Combine,
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target,
    *,
    layer: str | None,
    score: Score,
    relu: bool,
    channel_axis: int,
    grid: Grid | None,
) -> Map:
    """The map that `combine` makes of a layer's output and its gradient."""
    question = ask(apply_fn, params, x, target, score, differentiable=False)
    view = view_of(question, layer, grid, channel_axis)
    maps = answer(_at, question, view, combine, relu)
    report(maps, combine.__name__.strip("_"), view.layer)
    return maps


def report(maps: Array, name: str, layer: str) -> None:
    report_blank(
        maps,
        name,
        f"{layer!r} has nothing that speaks for the class: no gradient, or activations that are "
        "negative, as before a ReLU. Try hires_cam where the layers above flatten and do not "
        "average, relu=False, or another layer.",
    )


def _at(static: Any, params: Params, rows: Any, point: None) -> Array:
    apply_fn, score, view, combine, relu = static
    x, target, _ = rows
    found = layer_slopes(apply_fn, score, view.layer, params, x, target)
    maps = combine(view.in_space(found.activation), view.in_space(found.slopes))
    return jax.nn.relu(maps) if relu else maps


def space_axes(values: Array) -> tuple[int, ...]:
    """The axes in space of `[batch, *space, channels]`."""
    return tuple(range(1, values.ndim - 1))


def weighted(activation: Array, weights: Array) -> Array:
    """Σ_k w_k A_k, with weights `[batch, channels]`."""
    return (activation * weights.reshape(len(weights), *[1] * (activation.ndim - 2), -1)).sum(-1)


def divided(a: Array, b: Array) -> Array:
    """A / b, and 0 where b is 0."""
    return jnp.where(b == 0, jnp.zeros((), a.dtype), a / jnp.where(b == 0, 1, b))
