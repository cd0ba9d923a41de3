"""The energy-based pointing game: which share of the values lies where the answer does."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp._types import ApplyFn, Inputs, Params, Target
from jinterp.faithfulness._features import features_of, finite_only, in_units
from jinterp.faithfulness._masks import inside_of


def energy_in_mask(
    apply_fn: ApplyFn | None,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target = None,
    *,
    mask: Any,
    channel_axis: int = -1,
) -> Float[Array, " batch"]:
    """The share of the values above 0 that lies within the mask: Σ_mask v⁺ / Σ v⁺.

    Equal values have the share of the mask in the whole, which is what to compare with.

    Args:
        apply_fn: without effect, as `params` and `target`; taken so that metrics can be exchanged.
        params: without effect.
        x: one array of inputs, as in `deletion`, of which only the shape is read.
        values: attributions, as in `deletion`.
        target: without effect.
        mask: where the answer lies, as in `pointing_game`.
        channel_axis: of `x`, which `mask` has not.

    Returns:
        `[batch]`, from 0 to 1; NaN where no value is above 0, or some not finite.

    Raises:
        TypeError: `mask` is not bool, or `x` is not one array.
        ValueError: `mask` has another shape, or marks nothing in some example.

    >>> import jax.numpy as jnp
    >>> values = jnp.array([[1.0, 2.0, -2.0, 1.0]])
    >>> mask = jnp.array([[True, True, True, False]])
    >>> energy_in_mask(None, None, values, values, mask=mask).tolist()
    [0.75]

    Source: Wang et al. 2020 (Score-CAM), section 4.3.
    """
    x = jax.tree.map(jnp.asarray, x)
    inside = inside_of(mask, x, channel_axis)
    features = features_of("energy_in_mask", values, x, None, channel_axis)
    return finite_only(_share(features.values, inside), features)


@jax.jit
def _share(values: Array, inside: Array) -> Array:
    above = in_units(jnp.maximum(values, 0))
    total = above.sum(axis=1)
    within = jnp.where(inside, above, 0).sum(axis=1)
    return jnp.where(total > 0, within / jnp.where(total > 0, total, 1), jnp.nan)
