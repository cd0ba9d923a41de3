"""Feature ablation: the score that is lost with each group of features."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp._question import ask, with_predictions
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import FeatureMask, groups_of, of_groups, scores_at
from jinterp.model import logit


def feature_ablation(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
    feature_mask: FeatureMask = None,
    baseline: Baseline = 0.0,
) -> Any:
    """What the score loses without each group of features: s(x) − s(x with b in the group's place).

    It needs no gradient, but a forward pass a group. Each group is judged with all others in
    place: of two that say the same, neither counts. `exact_shapley` averages over what else is
    there.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, of any dtype.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        feature_mask: which group each element belongs to: integers from 0 in the structure of
            `x`, in the shape of one example or of the batch, where an axis may be 1; `patches` and
            `superpixels` make one. None makes each element a group.
        baseline: what takes the place of a group: a number, one example, or one for each; for
            tokens the id of one that says nothing; a list averages over several.

    Returns:
        As `x` in shape, each element with the value of its group, signed, in units of the score;
        in the dtype of `x`, float32 for integers. With several targets `[batch, targets, ...]`.
        `group_values` reads a value a group.

    Raises:
        TypeError: `feature_mask` is traced, or no integers.
        ValueError: as `gradient` does; `feature_mask` has another shape, or a number is missing.

    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> weights, x = jnp.array([[2.0], [1.0], [1.0]]), jnp.array([[3.0, 1.0, 4.0]])
    >>> feature_ablation(apply_fn, weights, x, 0).tolist()
    [[6.0, 1.0, 4.0]]
    >>> feature_ablation(apply_fn, weights, x, 0, feature_mask=jnp.array([0, 0, 1])).tolist()
    [[7.0, 7.0, 4.0]]

    Source: as Captum's FeatureAblation.
    """
    question = with_predictions(ask(apply_fn, params, x, target, score, differentiable=False))
    groups = groups_of(feature_mask, question.x)
    numbers = np.arange(-1, groups.num, dtype=np.int32)  # −1 takes nothing away
    scores = scores_at(_without, question, groups, baseline, numbers)
    return of_groups(scores[..., :1] - scores[..., 1:], groups, question.x, "feature_ablation")


def _without(static: Any, params: Params, rows: Any, number: Array) -> Array:
    """The score with one group as in the baseline."""
    apply_fn, score = static
    x, target, (baseline, ids) = rows
    replaced = jax.tree.map(lambda own: own == number, ids)
    return score(apply_fn(params, jax.tree.map(jnp.where, replaced, baseline, x)), target)
