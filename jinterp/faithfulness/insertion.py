"""Insertion: how fast the score rises while what matters most is put back."""

from jaxtyping import Array, Float

from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import FeatureMask
from jinterp.faithfulness._removal import Fill, RemovalCurve, curve, removal
from jinterp.model import probability


def insertion(
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
    """The area below the score while features come, largest value first: ∫ s(only the first t).

    High is good: what is said to matter most is enough for the score. For an additive score
    deletion + insertion is s(x) + s(b), whatever the values: the two say the same there.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, as in `deletion`.
        values: attributions, as in `deletion`.
        target: the class that was explained, as in `deletion`.
        score: which number of the logits, as in `deletion`.
        baseline: what is seen at first, as in `deletion`; the paper's is a blur, `blur(x, 5.0)`.
        feature_mask: the groups that were explained as one, as in `deletion`.
        channel_axis: of arrays with axes in space.
        num_steps: forward passes an example, less one; at most one a feature.

    Returns:
        `[batch]`, in units of the score; NaN where values are not finite.

    Raises:
        ValueError: as `deletion` does.

    >>> import jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jnp.array([[3.0, 1.0]])
    >>> insertion(apply_fn, jnp.ones((2, 1)), x, x, 0, score=jinterp.logit).tolist()
    [2.5]

    Source: Petsiuk, Das and Saenko 2018, section 4.
    """
    removed = removal(
        "insertion",
        *(apply_fn, params, x, values, target),
        score=score,
        baseline=baseline,
        feature_mask=feature_mask,
        channel_axis=channel_axis,
    )
    return curve(removed, num_steps, inserted=True, ascending=False).area


def insertion_curve(
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
) -> RemovalCurve:
    """The scores of which `insertion` is the area, with the same arguments.

    >>> import jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jnp.array([[3.0, 1.0]])
    >>> insertion_curve(apply_fn, jnp.ones((2, 1)), x, x, 0, score=jinterp.logit).scores.tolist()
    [[0.0, 3.0, 4.0]]
    """
    removed = removal(
        "insertion_curve",
        *(apply_fn, params, x, values, target),
        score=score,
        baseline=baseline,
        feature_mask=feature_mask,
        channel_axis=channel_axis,
    )
    return curve(removed, num_steps, inserted=True, ascending=False)
