"""Deletion: how fast the score falls while what matters most is taken away."""

from jaxtyping import Array, Float

from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import FeatureMask
from jinterp.faithfulness._removal import Fill, RemovalCurve, curve, removal
from jinterp.model import probability


def deletion(
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
    """The area below the score while features go, largest value first: ∫ s(x without the first t).

    Low is good: what is said to matter most is what the score needs. An input with features taken
    away is none that the model was trained on, so that some of the fall is surprise, whatever is
    taken; compare with the same number for random values, for two baselines, and with `road`.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them.
        values: attributions, in the shape of `x`, or one a place: `[batch, *space]`. Maps of a
            layer are brought there by `upsample`.
        target: the class that was explained, one an example; None is the one predicted for `x`.
        score: which number of the logits; the paper's is the probability. A model of one logit or
            of a regression wants `logit`.
        baseline: what takes the place of a feature: a number, one example, or one for each; a list
            averages over several; `blur(x, 5.0)`; or a function `fill(x, kept, channel_axis)`
            such as `inpaint`.
        feature_mask: the groups that were explained as one, as `feature_ablation` takes them; of
            values within a group the mean counts. None takes each place with all its channels,
            whose values are added, and each element of inputs without axes in space.
        channel_axis: of arrays with axes in space; give grey images one: `x[..., None]`.
        num_steps: forward passes an example, less one; at most one a feature.

    Returns:
        `[batch]`, in units of the score; NaN where values are not finite. Equal values are taken in
        the order of the places.

    Raises:
        ValueError: `values` are no attributions of `x`, or there are several targets an example.

    >>> import jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jnp.array([[3.0, 1.0]])
    >>> deletion(apply_fn, jnp.ones((2, 1)), x, x, 0, score=jinterp.logit).tolist()
    [1.5]

    Source: Petsiuk, Das and Saenko 2018, section 4.
    """
    removed = removal(
        "deletion",
        *(apply_fn, params, x, values, target),
        score=score,
        baseline=baseline,
        feature_mask=feature_mask,
        channel_axis=channel_axis,
    )
    return curve(removed, num_steps, inserted=False, ascending=False).area


def deletion_curve(
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
    """The scores of which `deletion` is the area, with the same arguments.

    >>> import jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jnp.array([[3.0, 1.0]])
    >>> curve = deletion_curve(apply_fn, jnp.ones((2, 1)), x, x, 0, score=jinterp.logit)
    >>> curve.fractions.tolist(), curve.scores.tolist()
    ([0.0, 0.5, 1.0], [[4.0, 1.0, 0.0]])
    """
    removed = removal(
        "deletion_curve",
        *(apply_fn, params, x, values, target),
        score=score,
        baseline=baseline,
        feature_mask=feature_mask,
        channel_axis=channel_axis,
    )
    return curve(removed, num_steps, inserted=False, ascending=False)
