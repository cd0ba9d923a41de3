"""A model cut off at a layer, whose units can be explained as classes are."""

import dataclasses

from jaxtyping import Array

from jinterp import _check
from jinterp._types import ApplyFn, Inputs, Params
from jinterp.attribution._layer import activation_of


@dataclasses.dataclass(frozen=True)
class UpToLayer:
    """What `truncate` returns. Equal ones compile once."""

    apply_fn: ApplyFn
    layer: str

    def __call__(self, params: Params, x: Inputs) -> Array:
        return activation_of(self.apply_fn, self.layer, params, x)


def truncate(apply_fn: ApplyFn, layer: str) -> UpToLayer:
    """The model up to a layer: `(params, x) -> the layer's output`.

    With the scores `channel` and `neuron` every explainer explains a unit of the layer.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        layer: a name that `layers` lists, of a layer with one output.

    Raises:
        TypeError: no function, or no name.
        ValueError: when called, as `tap` does.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         x = x @ params
    ...     return x ** 2
    >>> hidden = truncate(apply_fn, "hidden")
    >>> x = jnp.ones((1, 2))
    >>> jinterp.gradient(hidden, jnp.eye(2), x, 1, score=jinterp.channel).tolist()
    [[0.0, 1.0]]

    Source: as Captum's neuron attribution.
    """
    _check.is_model_function(apply_fn)
    _check.is_layer_name(layer)
    return UpToLayer(apply_fn, layer)
