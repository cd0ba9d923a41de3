"""Complexity: over how many features the values are spread."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp._types import ApplyFn, Inputs, Params, Target
from jinterp.attribution._groups import FeatureMask
from jinterp.faithfulness._features import Features, features_of, finite_only, in_units


def complexity(
    apply_fn: ApplyFn | None,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target = None,
    *,
    feature_mask: FeatureMask = None,
    channel_axis: int = -1,
) -> Float[Array, " batch"]:
    """The entropy of the shares p = |values| / Σ |values|: −Σ p ln p.

    0 if one feature has everything, ln n if n have the same; its exponential is how many features
    that would be. It says how easy a map is to read, and nothing of whether it is true.

    Args:
        apply_fn: without effect, as `params` and `target`; taken so that metrics can be exchanged.
        params: without effect.
        x: inputs, as in `deletion`, of which only the shapes are read.
        values: attributions, as in `deletion`.
        target: without effect.
        feature_mask: the groups that were explained as one, as in `deletion`.
        channel_axis: of arrays with axes in space.

    Returns:
        `[batch]`, from 0, in nats; NaN where all values are 0, or some not finite.

    Raises:
        ValueError: `values` are no attributions of `x`.

    >>> import jax.numpy as jnp
    >>> values = jnp.array([[1.0, -1.0], [0.0, 3.0]])
    >>> print(complexity(None, None, values, values).round(2))
    [0.69 0.  ]

    Source: Bhatt, Weller and Moura 2020, definition 5.
    """
    x = jax.tree.map(jnp.asarray, x)
    features = features_of("complexity", values, x, feature_mask, channel_axis)
    return finite_only(_entropy(features), features)


@jax.jit
def _entropy(features: Features) -> Array:
    sizes = in_units(jnp.where(features.present, jnp.abs(features.values), 0))
    total = sizes.sum(axis=1, keepdims=True)
    shares = sizes / jnp.where(total > 0, total, 1)
    found = jax.scipy.special.entr(shares).sum(axis=1)
    return jnp.where(total[:, 0] > 0, found, jnp.nan)
