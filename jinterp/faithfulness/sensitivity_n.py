"""Sensitivity-n: whether the values of n features tell what the score loses with them."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jinterp import _check
from jinterp._trace import under_transform, warn
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import FeatureMask
from jinterp.faithfulness._features import ValuesOf, finite_only, in_units
from jinterp.faithfulness._removal import removal
from jinterp.faithfulness._subsets import losses, subsets
from jinterp.model import logit


def sensitivity_n(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target = None,
    *,
    key: jax.Array,
    size: int | float = 0.1,
    num_samples: int = 100,
    score: Score = logit,
    baseline: Baseline = 0.0,
    feature_mask: FeatureMask = None,
    values_of: ValuesOf = "groups",
    channel_axis: int = -1,
) -> Float[Array, " batch"]:
    """The correlation over random sets S of n features: corr(Σ_S values, s(x) − s(x without S)).

    It is 1 for every n where the score is additive and the values are its terms. All examples
    share the sets.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, as in `deletion`.
        values: contributions to the score, as in `deletion`; of slopes take
            `values * (x - baseline)`.
        target: the class that was explained, as in `deletion`.
        key: for the sets.
        size: n, or as a float the share of all features, at least one.
        num_samples: sets, each a forward pass.
        score: which number of the logits.
        baseline: what takes the place of a feature, as in `deletion`, but no function.
        feature_mask: the groups that are taken away as one, as in `deletion`.
        values_of: what was explained where there is a `feature_mask`: "groups", whose value all
            their elements carry, as `feature_ablation` and the Shapley values give them, or
            "elements", which are added up, as those of `integrated_gradients`.
        channel_axis: of arrays with axes in space.

    Returns:
        `[batch]`, from −1 to 1; NaN where the values or the score are the same for every set, and
        where values are not finite. Its standard error is about 1/√num_samples.

    Raises:
        TypeError: `key` is missing or no key, or `baseline` is a function.
        ValueError: as `deletion` does; there are not so many features, or fewer than two samples.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jnp.array([[3.0, 1.0, -2.0]])
    >>> found = sensitivity_n(apply_fn, jnp.ones((3, 1)), x, x, 0, key=jax.random.key(0), size=1)
    >>> print(found.round(2))
    [1.]

    Source: Ancona, Ceolini, Öztireli and Gross 2018, definition 1.
    """
    _check.is_key(key)
    _check.at_least_one("num_samples", num_samples, 100)
    if num_samples < 2:
        raise ValueError("`num_samples` is 1; expected at least 2, to correlate. Try 100.")
    removed = removal(
        "sensitivity_n",
        *(apply_fn, params, x, values, target),
        score=score,
        baseline=baseline,
        feature_mask=feature_mask,
        channel_axis=channel_axis,
        may_fill=False,
        values_of=values_of,
    )
    features = removed.features
    kept = subsets(key, num_samples, features.groups.num, _number(size, features.groups.num))
    found = _correlation(*losses(removed, baseline, kept), jnp.float32(removed.rounding))
    found = finite_only(found, features)
    if not under_transform(found) and (num := int(jnp.isnan(found).sum())):
        warn(
            f"`sensitivity_n`: {num} of {len(found)} examples have no correlation: the values or "
            "the score are the same for every set, or not finite."
        )
    return found


def _number(size: int | float, num_features: int) -> int:
    is_share = isinstance(size, float | np.floating)
    number = max(1, round(size * num_features)) if is_share else int(size)
    if not 1 <= number < num_features or (is_share and not 0 < size < 1):
        raise ValueError(
            f"`size` is {size}, with {num_features} features; expected 1 to {num_features - 1}, or "
            "a share of them such as 0.1."
        )
    return number


@jax.jit
def _correlation(said: Array, found: Array, rounding: Array) -> Array:
    """Pearson's, of each row; NaN where one varies by no more than rounding."""
    dtype = np.promote_types(said.dtype, found.dtype)
    a, b = in_units(said.astype(dtype)), in_units(found.astype(dtype))
    own = jnp.asarray(jnp.finfo(dtype).eps, dtype)
    both = _varies(a, own) & _varies(b, jnp.maximum(own, rounding.astype(dtype)))
    a, b = (each - each.mean(axis=1, keepdims=True) for each in (a, b))
    norm = jnp.sqrt(jnp.square(a).sum(axis=1)) * jnp.sqrt(jnp.square(b).sum(axis=1))
    return jnp.where(both, (a * b).sum(axis=1) / jnp.where(both, norm, 1), jnp.nan).clip(-1, 1)


def _varies(values: Array, rounding: Array) -> Array:
    """Of rows whose largest size is 1."""
    return values.max(axis=1) - values.min(axis=1) > 16 * rounding
