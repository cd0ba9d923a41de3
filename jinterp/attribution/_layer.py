"""The gradient of a score by a layer's output."""

from typing import Any, NamedTuple

import jax
from jaxtyping import Array

from jinterp._types import ApplyFn, Inputs, Params, Score
from jinterp.model.tap import Opened


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
    opened = Opened(apply_fn, params, x, (layer,))

    def total(delta: Any) -> tuple[Array, tuple[Array, Any]]:
        logits, (activation,) = opened((delta,), params, x)
        scores = score(logits, target)
        return scores.sum(), (scores, activation)

    slopes, (scores, activation) = jax.grad(total, has_aux=True)(opened.zeros()[0])
    return LayerSlopes(scores, activation, slopes)


def activation_of(apply_fn: ApplyFn, layer: str, params: Params, x: Inputs) -> Any:
    """The layer's output."""
    opened = Opened(apply_fn, params, x, (layer,))
    return opened(opened.zeros(), params, x)[1][0]
