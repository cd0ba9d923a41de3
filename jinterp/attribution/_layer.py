"""The gradient of a score by a layer's output."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp._question import Question
from jinterp._types import ApplyFn, Inputs, Params, Score
from jinterp.model.score import at_least_float32
from jinterp.model.tap import open_layers


class LayerSlopes(NamedTuple):
    """A layer at some inputs.

    Attributes:
        scores: `[batch]`.
        activation: the layer's output, `[batch, ...]`, or a tuple of several.
        slopes: the gradient of the score by it, in its shape.
    """

    scores: Array
    activation: Any
    slopes: Any


def layer_slopes(
    apply_fn: ApplyFn, score: Score, layer: str, params: Params, x: Inputs, target: Any
) -> LayerSlopes:
    """One forward pass, and a backward pass down to the layer."""
    opened = open_layers(apply_fn, params, x, (layer,))
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(opened.shapes)}
    if not all(jnp.issubdtype(name, jnp.floating) for name in dtypes):
        raise TypeError(
            f"the layer {layer!r} returns {', '.join(sorted(dtypes))}, by which no gradient "
            "exists; expected floating point. Use a later layer."
        )

    def total(delta: Any) -> tuple[Array, tuple[Array, Any]]:
        logits, (activation,) = opened((delta,), params, x)
        scores = score(logits, target)
        return scores.sum(), (scores, activation)

    slopes, (scores, activation) = jax.grad(total, has_aux=True)(opened.zeros()[0])
    return LayerSlopes(scores, activation, slopes)


def activation_of(apply_fn: ApplyFn, layer: str, params: Params, x: Inputs) -> Any:
    """The layer's output."""
    opened = open_layers(apply_fn, params, x, (layer,))
    return opened(opened.zeros(), params, x)[1][0]


def floats_of(apply_fn: ApplyFn, layer: str, params: Params, x: Inputs) -> Array:
    """The layer's only output `[batch, ...]`, at least float32, or a named error."""
    values = activation_of(apply_fn, layer, params, x)
    is_one = hasattr(values, "shape") and jnp.issubdtype(values.dtype, jnp.floating)
    if not is_one or values.ndim < 2:
        returned = [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(values)]
        raise TypeError(
            f"the layer {layer!r} returns {', '.join(returned)}; expected one array "
            "[batch, ..., channels] of floating point. Use another layer."
        )
    return at_least_float32(values)


def channels_last(values: Array, layer: str, channel_axis: int) -> Array:
    """`[batch, *space, channels]`, or a named error."""
    if not -values.ndim < channel_axis < values.ndim or channel_axis == 0:
        raise ValueError(
            f"`channel_axis` is {channel_axis}; the layer {layer!r} has the axes {values.shape}. "
            "Try -1."
        )
    return jnp.moveaxis(values, channel_axis, -1)


def pooled(
    apply_fn: ApplyFn, layer: str, channel_axis: int, params: Params, x: Inputs
) -> Float[Array, "batch channels"]:
    """The layer's output as a vector an example: its mean over space."""
    values = channels_last(floats_of(apply_fn, layer, params, x), layer, channel_axis)
    return values.mean(axis=tuple(range(1, values.ndim - 1)))


def as_layer(values: Any, question: Question, layer: str) -> Any:
    """Values in the dtypes of the layer's outputs."""
    apply_fn, _, params, x, _ = question
    empty = _empty(apply_fn, layer, params, x)
    return jax.tree.map(lambda value, own: value.astype(own.dtype), values, empty)


@functools.partial(jax.jit, static_argnames=("apply_fn", "layer"))
def _empty(apply_fn: ApplyFn, layer: str, params: Params, x: Inputs) -> Any:
    """Nothing, in the dtypes of the layer's outputs; JAX keeps the trace."""
    shapes = jax.eval_shape(functools.partial(activation_of, apply_fn, layer), params, x)
    return jax.tree.map(lambda shape: jnp.zeros(0, shape.dtype), shapes)
