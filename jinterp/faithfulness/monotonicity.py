"""Monotonicity: whether the score rises while features come, smallest value first."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import FeatureMask
from jinterp.faithfulness._removal import Fill, curve, num_taken, removal
from jinterp.model import probability


def monotonicity(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target = None,
    *,
    score: Score = probability,
    baseline: Baseline | Fill = 0.0,
    feature_mask: FeatureMask = None,
    channel_axis: int = -1,
    num_steps: int = 64,
) -> Float[Array, " batch"]:
    """The share of steps at which the score does not fall while features come, smallest first.

    It suits values that are above 0 alone: what lowers the score has to lower it when it comes.
    A fall within the rounding of the scores is none. Steps at which nothing comes, of examples
    with fewer features than others, do not count.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, as in `deletion`.
        values: attributions, as in `deletion`.
        target: the class that was explained, as in `deletion`.
        score: which number of the logits.
        baseline: what is seen at first, as in `deletion`.
        feature_mask: the groups that were explained as one, as in `deletion`.
        channel_axis: of arrays with axes in space.
        num_steps: forward passes an example, less one; at most one a feature.

    Returns:
        `[batch]`, from 0 to 1; NaN where values are not finite.

    Raises:
        ValueError: as `deletion` does.

    >>> import jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jnp.array([[3.0, 1.0, -1.0]])
    >>> values = jnp.array([[3.0, 1.0, 2.0]])
    >>> print(monotonicity(apply_fn, jnp.ones((3, 1)), x, values, 0, score=jinterp.logit))
    [0.6666667]

    Source: Arya et al. 2019, whose answer is whether this is 1, without the first step.
    """
    removed = removal(
        "monotonicity",
        *(apply_fn, params, x, values, target),
        score=score,
        baseline=baseline,
        feature_mask=feature_mask,
        channel_axis=channel_axis,
    )
    found = curve(removed, num_steps, inserted=True, ascending=True)
    fractions = jnp.asarray(found.fractions, jnp.float32)[None]
    num = removed.features.present.sum(axis=1, dtype=jnp.int32, keepdims=True)
    is_step = jnp.diff(num_taken(fractions, num), axis=1) > 0
    return _share(found.scores, is_step, jnp.asarray(removed.rounding, found.scores.dtype))


@jax.jit
def _share(scores: Array, is_step: Array, rounding: Array) -> Array:
    """Of the steps `[batch, steps]` those at which scores `[batch, steps + 1]` do not fall."""
    rises = jnp.diff(scores, axis=1)
    least = -8 * rounding * jnp.abs(scores).max(axis=1, keepdims=True)
    risen = is_step & (rises >= least)
    share = risen.sum(axis=1, dtype=scores.dtype) / is_step.sum(axis=1, dtype=scores.dtype)
    return jnp.where(jnp.isfinite(rises).all(axis=1), share, jnp.nan)
