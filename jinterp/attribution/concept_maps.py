"""Where known concepts lie in other examples."""

import numpy as np

from jinterp._types import ApplyFn, Inputs, Params
from jinterp.attribution.concept_factors import ConceptFactors, factor_maps, outputs_of_layer


def concept_maps(
    apply_fn: ApplyFn, params: Params, x: Inputs, factors: ConceptFactors
) -> np.ndarray:
    """How much of each concept lies where, in examples that the concepts were not made of.

    min ‖A − U W‖² over U ≥ 0, for the bank W of `factors` and the layer's outputs A.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: examples `[batch, ...]`, as the model takes them.
        factors: what `concept_factors` returned for the same model.

    Returns:
        U, `[batch, *space, concepts]` at the layer's resolution, not negative, in units of the
        layer; `upsample` brings the map of one concept, `maps[..., k]`, to the size of an image.

    Raises:
        ValueError: as `concept_factors` does; the layer has another number of channels.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         x = jax.nn.relu(x)
    ...     return x @ params
    >>> model = apply_fn, jnp.ones((3, 1))
    >>> x = jnp.array([[3.0, 0, 0], [1, 2, 2], [0, 1, 1], [2, 0, 0]])
    >>> factors = jinterp.concept_factors(
    ...     *model, x, layer="hidden", num_concepts=2, key=jax.random.key(0)
    ... )
    >>> maps = concept_maps(*model, jnp.array([[5.0, 0, 0]]), factors)
    >>> print(abs(maps.max() - 5) < 0.1, maps.min() < 0.1)
    True True

    Source: Fel et al. 2023 (CRAFT), section 3.2.
    """
    values = outputs_of_layer(apply_fn, params, x, factors.layer, factors.channel_axis)
    num_channels = factors.bank.shape[1]
    if values.shape[-1] != num_channels:
        raise ValueError(
            f"the layer {factors.layer!r} has {values.shape[-1]} channels; `factors` are of "
            f"{num_channels}. Make them with the same model."
        )
    maps = factor_maps(values.reshape(-1, num_channels), factors.bank)
    return maps.reshape(*values.shape[:-1], len(factors.bank))
