"""What the values miss of the score's change."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._paths import baselines_of
from jinterp.attribution._question import ask, scores_of, with_predictions
from jinterp.model import logit


def completeness_gap(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
    baseline: Baseline = 0.0,
) -> Float[Array, " batch"]:
    """The sum of the values less the change of the score: Σφ − (s(x) − s(b)).

    Zero is necessary for a path integral to be right, and not sufficient: steps chosen to close
    the gap can leave the values wrong (see `adaptive_integrated_gradients`).

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them.
        values: attributions of them, as `x` in shape.
        target: the class that was explained; None is the one predicted for `x`.
        score: the score that was explained.
        baseline: the baseline that was used.

    Returns:
        `[batch]`, signed, in units of the score. Captum calls it the convergence delta.

    Raises:
        ValueError: `values` have another shape than `x`.

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
    ends = [scores_of(question._replace(x=each)) for each in baselines]
    change = scores_of(question) - sum(ends[1:], ends[0]) / len(ends)
    expected = jax.tree.map(lambda leaf: (*change.shape, *leaf.shape[1:]), question.x)
    found = jax.tree.map(jnp.shape, values)
    if found != expected:
        raise ValueError(
            f"`values` have the shape {found}; expected that of `x`, {expected}. For values at a "
            "layer use at_layer(completeness_gap, layer)."
        )
    leaves = [jnp.asarray(leaf).astype(change.dtype) for leaf in jax.tree.leaves(values)]
    return sum(leaf.reshape(*change.shape, -1).sum(axis=-1) for leaf in leaves) - change
