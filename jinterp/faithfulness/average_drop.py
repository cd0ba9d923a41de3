"""Average Drop: how much of the score is lost if only what matters is seen."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import FeatureMask
from jinterp.faithfulness._removal import removal
from jinterp.faithfulness._seen import seen_through
from jinterp.model import probability


def average_drop(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target = None,
    *,
    score: Score = probability,
    baseline: Baseline = 0.0,
    feature_mask: FeatureMask = None,
    channel_axis: int = -1,
) -> Float[Array, " batch"]:
    """The share of the score that is lost through the map: max(0, Y − O) / Y.

    Y is the score of x, O that of x ⊙ H + b ⊙ (1 − H), with H the values above 0 over the largest.
    Low is good; a map that shows everything has 0. The published number is 100 times the mean
    over a dataset.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, as in `deletion`, floating point.
        values: attributions, as in `deletion`.
        target: the class that was explained, as in `deletion`.
        score: which number of the logits, above 0.
        baseline: b, as in `deletion`, but no function.
        feature_mask: the groups that were explained as one, as in `deletion`.
        channel_axis: of arrays with axes in space.

    Returns:
        `[batch]`, from 0 to 1; NaN where Y is 0 or less, or values are not finite.

    Raises:
        TypeError: `x` is not floating point, or `baseline` is a function.
        ValueError: as `deletion` does.

    >>> import jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jnp.array([[3.0, 1.0]])
    >>> values = jnp.array([[1.0, 0.0]])
    >>> average_drop(apply_fn, jnp.ones((2, 1)), x, values, 0, score=jinterp.logit).tolist()
    [0.25]

    Source: Chattopadhay et al. 2018 (Grad-CAM++), section 5.1.1.
    """
    removed = removal(
        "average_drop",
        *(apply_fn, params, x, values, target),
        score=score,
        baseline=baseline,
        feature_mask=feature_mask,
        channel_axis=channel_axis,
        may_fill=False,
    )
    whole, through = seen_through(removed)
    is_positive = whole > 0
    share = jnp.maximum(whole - through, 0) / jnp.where(is_positive, whole, 1)
    return jnp.where(is_positive, share, jnp.nan)
