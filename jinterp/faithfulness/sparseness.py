"""Sparseness: how few of the features have most of the values."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp._types import ApplyFn, Inputs, Params, Target
from jinterp.attribution._groups import FeatureMask
from jinterp.faithfulness._features import Features, features_of, finite_only, in_units


def sparseness(
    apply_fn: ApplyFn | None,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target = None,
    *,
    feature_mask: FeatureMask = None,
    channel_axis: int = -1,
) -> Float[Array, " batch"]:
    """The Gini index of |values|: 0 if all are equal, 1 − 1/n if one of n has everything.

    It says how easy a map is to read, and nothing of whether it is true.

    Args:
        apply_fn: without effect, as `params` and `target`; taken so that metrics can be exchanged.
        params: without effect.
        x: inputs, as in `deletion`, of which only the shapes are read.
        values: attributions, as in `deletion`.
        target: without effect.
        feature_mask: the groups that were explained as one, as in `deletion`.
        channel_axis: of arrays with axes in space.

    Returns:
        `[batch]`, from 0 to 1; NaN where all values are 0, or some not finite.

    Raises:
        ValueError: `values` are no attributions of `x`.

    >>> import jax.numpy as jnp
    >>> values = jnp.array([[1.0, 1.0], [0.0, 3.0]])
    >>> sparseness(None, None, values, values).tolist()
    [0.0, 0.5]

    Source: Chalasani et al. 2020, section 3.1.
    """
    x = jax.tree.map(jnp.asarray, x)
    features = features_of("sparseness", values, x, feature_mask, channel_axis)
    return finite_only(_gini(features), features)


@jax.jit
def _gini(features: Features) -> Array:
    """Absent features come first, as 0, and their places are taken off."""
    sizes = in_units(jnp.where(features.present, jnp.abs(features.values), 0))
    num = features.present.sum(axis=1, dtype=jnp.int32).astype(sizes.dtype)
    ordered = jnp.sort(sizes, axis=1)
    places = jnp.arange(1, sizes.shape[1] + 1, dtype=jnp.int32).astype(sizes.dtype)[None]
    places = places - (sizes.shape[1] - num)[:, None]  # 1 for the smallest that is there
    weights = (2 * places - num[:, None] - 1) / num[:, None]
    total = sizes.sum(axis=1)
    share = (weights * ordered).sum(axis=1) / jnp.where(total > 0, total, 1)
    return jnp.where(total > 0, share, jnp.nan)
