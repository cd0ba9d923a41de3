"""What the values miss of the score's change."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jinterp._question import ask, scores_of, with_predictions
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import FeatureMask
from jinterp.attribution._paths import baselines_of
from jinterp.attribution.group_values import group_values
from jinterp.model import logit
from jinterp.model.score import at_least_float32


def completeness_gap(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
    baseline: Baseline = 0.0,
    feature_mask: FeatureMask = None,
) -> Float[Array, " *batch"]:
    """The sum of the values less the change of the score: Σφ − (s(x) − s(b)).

    Zero is necessary for a path integral to be right, and not sufficient: steps chosen to close
    the gap can leave the values wrong (see `adaptive_integrated_gradients`).

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them.
        values: attributions `[batch, ...]`, of the inputs, or of a layer through which everything
            passes. Where tokens are explained at their embedding and the model also reads them for
            a mask, the two paths differ: the gap is then that of
            `at_layer(adaptive_integrated_gradients, layer)`.
        target: the class that was explained; None is the one predicted for `x`.
        score: the score that was explained.
        baseline: the baseline that was used.
        feature_mask: the groups that were explained together, in the structure of `values`; each
            counts once. None counts every element.

    Returns:
        `[batch]`, signed, in units of the score; with several targets `[batch, targets]`. Captum
        calls it the convergence delta.

    Raises:
        TypeError: `feature_mask` is traced, or no integers.
        ValueError: `values` are not those of these examples, or `feature_mask` is not theirs.

    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jnp.array([[2.0, 1.0]])
    >>> completeness_gap(apply_fn, jnp.ones((2, 1)), x, x, 0).tolist()
    [0.0]

    Source: Sundararajan, Taly and Yan 2017, proposition 1.
    """
    question = with_predictions(ask(apply_fn, params, x, target, score, differentiable=False))
    baselines = baselines_of(baseline, question.x)
    ends = [at_least_float32(scores_of(question._replace(x=each))) for each in baselines]
    change = at_least_float32(scores_of(question)) - sum(ends[1:], ends[0]) / len(ends)
    found = jax.tree.map(jnp.shape, values)
    if not all(leaf.shape[: change.ndim] == change.shape for leaf in jax.tree.leaves(values)):
        raise ValueError(
            f"`values` have the shape {found}; expected {change.shape} in front, as the examples "
            "and targets are."
        )
    values = jax.tree.map(lambda leaf: at_least_float32(jnp.asarray(leaf)), values)
    if feature_mask is not None:
        values = group_values(values, feature_mask, _of_one_target(values, change.ndim))
    sums = [leaf.reshape(*change.shape, -1).sum(axis=-1) for leaf in jax.tree.leaves(values)]
    dtype = np.result_type(change.dtype, *(own.dtype for own in sums))
    return sum(own.astype(dtype) for own in sums) - change.astype(dtype)


def _of_one_target(values: Inputs, num_axes: int) -> Inputs:
    """The shapes `[batch, ...]` of what was explained; `num_axes` are of examples and targets."""

    def one(leaf: Array) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((len(leaf), *leaf.shape[num_axes:]), leaf.dtype)

    return jax.tree.map(one, values)
