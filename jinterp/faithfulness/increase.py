"""Increase in confidence: whether the model is surer of what the map shows than of the whole."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import FeatureMask
from jinterp.faithfulness._removal import removal
from jinterp.faithfulness._seen import seen_through
from jinterp.model import probability


def increase(
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
    """Whether the score is higher through the map: 1[O > Y], with Y and O as in `average_drop`.

    Its mean over a dataset is the published number. High is good.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, as in `deletion`, floating point.
        values: attributions, as in `deletion`.
        target: the class that was explained, as in `deletion`.
        score: which number of the logits.
        baseline: b, as in `deletion`, but no function.
        feature_mask: the groups that were explained as one, as in `deletion`.
        channel_axis: of arrays with axes in space.

    Returns:
        `[batch]`, 0 or 1; NaN where values are not finite.

    Raises:
        TypeError: `x` is not floating point, or `baseline` is a function.
        ValueError: as `deletion` does.

    >>> import jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jnp.array([[3.0, -1.0]])
    >>> increase(apply_fn, jnp.ones((2, 1)), x, x, 0, score=jinterp.logit).tolist()
    [1.0]

    Source: Chattopadhay et al. 2018 (Grad-CAM++), section 5.1.2.
    """
    removed = removal(
        "increase",
        *(apply_fn, params, x, values, target),
        score=score,
        baseline=baseline,
        feature_mask=feature_mask,
        channel_axis=channel_axis,
        may_fill=False,
    )
    whole, through = seen_through(removed)
    return jnp.where(jnp.isnan(through), jnp.nan, (through > whole).astype(whole.dtype))
