"""Pixel flipping: how far the score falls, on average, while what matters most goes."""

from jaxtyping import Array, Float

from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import FeatureMask
from jinterp.faithfulness._removal import Fill, curve, removal
from jinterp.model import logit


def pixel_flipping(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
    baseline: Baseline | Fill = 0.0,
    feature_mask: FeatureMask = None,
    channel_axis: int = -1,
    num_steps: int = 64,
) -> Float[Array, " batch"]:
    """The mean fall of the score, largest value first: mean over k of s(x) − s(x without first k).

    The area over the perturbation curve, k from 0 to the number of steps. High is good. With
    `feature_mask=patches(x, size)` it is region perturbation. `deletion_curve` has the curve.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, as in `deletion`.
        values: attributions, as in `deletion`.
        target: the class that was explained, as in `deletion`.
        score: which number of the logits.
        baseline: what takes the place of a feature, as in `deletion`.
        feature_mask: the groups that were explained as one, as in `deletion`.
        channel_axis: of arrays with axes in space.
        num_steps: forward passes an example, less one; at most one a feature.

    Returns:
        `[batch]`, signed, in units of the score; NaN where values are not finite.

    Raises:
        ValueError: as `deletion` does.

    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jnp.array([[4.0, 1.0]])
    >>> pixel_flipping(apply_fn, jnp.ones((2, 1)), x, x, 0).tolist()
    [3.0]

    Source: Bach et al. 2015; Samek et al. 2017, equation 12.
    """
    removed = removal(
        "pixel_flipping",
        *(apply_fn, params, x, values, target),
        score=score,
        baseline=baseline,
        feature_mask=feature_mask,
        channel_axis=channel_axis,
    )
    scores = curve(removed, num_steps, inserted=False, ascending=False).scores
    return scores[:, 0] - scores.mean(axis=1)
