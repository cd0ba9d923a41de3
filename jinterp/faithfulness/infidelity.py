"""Infidelity: how far the values are from what the score loses."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jinterp import _check
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import FeatureMask, design_fits
from jinterp.attribution._paths import one_baseline
from jinterp.faithfulness._features import ValuesOf, finite_only, in_units
from jinterp.faithfulness._removal import removal
from jinterp.faithfulness._subsets import Losses, losses
from jinterp.model import logit


def infidelity(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target = None,
    *,
    key: jax.Array,
    num_samples: int = 100,
    remove: float = 0.5,
    scaled: bool = False,
    score: Score = logit,
    baseline: Baseline = 0.0,
    feature_mask: FeatureMask = None,
    values_of: ValuesOf = "groups",
    channel_axis: int = -1,
) -> Float[Array, " batch"]:
    """The mean square over random sets S of features: E (Σ_S values − (s(x) − s(x without S)))².

    With I = x − b on S this is E (Iᵀφ − (s(x) − s(x − I)))², where the values are φ ⊙ (x − b). Low
    is good; values ten times as large have another infidelity, unless it is `scaled`. With
    `remove=1.0` it is the square of `completeness_gap`. All examples share the sets.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, as in `deletion`.
        values: contributions to the score, as in `deletion`; of slopes, such as `gradient`, take
            `values * (x - baseline)`.
        target: the class that was explained, as in `deletion`.
        key: for the sets.
        num_samples: sets, each a forward pass.
        remove: the probability of a feature to be in a set.
        scaled: whether to multiply the values by the β that makes it smallest,
            β = E Δ Iᵀφ / E (Iᵀφ)², so that maps of any unit can be compared.
        score: which number of the logits.
        baseline: what takes the place of a feature, as in `deletion`, but no function.
        feature_mask: the groups that are taken away as one, as in `deletion`, such as
            `patches(x, size)`.
        values_of: what was explained where there is a `feature_mask`: "groups", whose value all
            their elements carry, as `feature_ablation` and the Shapley values give them, or
            "elements", which are added up, as those of `integrated_gradients`.
        channel_axis: of arrays with axes in space.

    Returns:
        `[batch]`, from 0, in squared units of the score; NaN where values are not finite.

    Raises:
        TypeError: `key` is missing or no key, or `baseline` is a function.
        ValueError: as `deletion` does, or `remove` is no probability above 0.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jnp.array([[3.0, 1.0]])
    >>> infidelity(apply_fn, jnp.ones((2, 1)), x, x, 0, key=jax.random.key(0)).tolist()
    [0.0]

    Source: Yeh et al. 2019, definition 2.1, with the square removal of section 2.3; its other
    perturbations add noise.
    """
    _check.is_key(key)
    _check.at_least_one("num_samples", num_samples, 100)
    if not 0 < remove <= 1:
        raise ValueError(f"`remove` is {remove}; expected a probability above 0. Try 0.5.")
    removed = removal(
        "infidelity",
        *(apply_fn, params, x, values, target),
        score=score,
        baseline=baseline,
        feature_mask=feature_mask,
        channel_axis=channel_axis,
        may_fill=False,
        values_of=values_of,
    )
    one_baseline(baseline, removed.question.x)
    num = removed.features.groups.num
    design_fits(num_samples, num, 1)
    kept = ~jax.random.bernoulli(key, jnp.float32(remove), (num_samples, num))
    found = _mean_square(losses(removed, baseline, kept), scaled)
    return finite_only(found, removed.features)


def _mean_square(pair: Losses, scaled: bool) -> Array:
    dtype = np.promote_types(pair.said.dtype, pair.found.dtype)
    said, lost = (each.astype(dtype) for each in pair)
    if scaled:
        said = in_units(said)
        total = jnp.square(said).sum(axis=1, keepdims=True)
        best = (said * lost).sum(axis=1, keepdims=True) / jnp.where(total > 0, total, 1)
        said = said * best
    return jnp.square(said - lost).mean(axis=1)
