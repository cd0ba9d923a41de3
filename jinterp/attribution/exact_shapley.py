"""Exact Shapley values: every coalition of groups is scored."""

import functools
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp._question import Question, ask, with_predictions
from jinterp._trace import under_transform
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import (
    FeatureMask,
    Groups,
    coalition_scores,
    groups_of,
    of_groups,
)
from jinterp.model import logit
from jinterp.stream import memory

_MOST_GROUPS = 20


def exact_shapley(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    feature_mask: FeatureMask = None,
    score: Score = logit,
    baseline: Baseline = 0.0,
) -> Any:
    """The Shapley value of each group: what it adds to the score, averaged over all orders.

    φ_i = Σ_S |S|! (G − |S| − 1)! / G! · (s(S ∪ i) − s(S)) over the coalitions S without i, where
    s(S) is the score with the groups of S as in `x` and the others as in the baseline. The values
    add up to s(x) − s(b); a group that the model ignores gets 0; groups that can be exchanged get
    the same. G groups take 2^G forward passes.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, of any dtype.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        feature_mask: the groups, at most 20, as in `feature_ablation`.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        baseline: what takes the place of a group, as in `feature_ablation`; with a list of
            examples of your data the values are those of the mean over them, as in SHAP.

    Returns:
        As `x` in shape, each element with the value of its group, signed, in units of the score;
        in the dtype of `x`, float32 for integers. With several targets `[batch, targets, ...]`.

    Raises:
        TypeError: as `feature_ablation` does.
        ValueError: as `feature_ablation` does, or there are more than 20 groups.

    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x[:, :1] * x[:, 1:2] + x[:, 2:]
    >>> exact_shapley(apply_fn, None, jnp.array([[2.0, 3.0, 5.0]]), 0).tolist()
    [[3.0, 3.0, 5.0]]

    Source: Shapley 1953; Lundberg and Lee 2017, equation 8.
    """
    question = ask(apply_fn, params, x, target, score, differentiable=False)
    groups = groups_of(feature_mask, question.x)
    if groups.num > _MOST_GROUPS:
        raise _too_many(question, groups, baseline)
    question = with_predictions(question)
    numbers = np.arange(2**groups.num, dtype=np.int32)[:, None]
    coalitions = (numbers >> np.arange(groups.num, dtype=np.int32)[None, ::-1]) % 2 == 1
    scores = coalition_scores(question, groups, baseline, coalitions)
    return of_groups(_shapley(scores, groups.num), groups, question.x, "exact_shapley")


@functools.partial(jax.jit, static_argnames="num_groups")
def _shapley(scores: Array, num_groups: int) -> Array:
    """`[..., groups]` of scores whose number in binary says who is in, the first group first."""
    lead, others = scores.shape[:-1], num_groups - 1
    num_in = np.bitwise_count(np.arange(2**others))
    weights = np.array([1 / (num_groups * math.comb(others, size)) for size in range(num_groups)])
    values = []
    for group in range(num_groups):
        cube = scores.reshape(*lead, 2**group, 2, 2 ** (others - group))
        added = cube[..., 1, :] - cube[..., 0, :]
        share = jnp.asarray(weights[num_in].reshape(added.shape[-2:]), scores.dtype)
        values.append((added * jax.lax.broadcast(share, lead)).sum(axis=(-2, -1)))
    return jnp.stack(values, axis=-1)


def _too_many(question: Question, groups: Groups, baseline: Baseline) -> ValueError:
    about = ""
    if not under_transform((question.params, question.x)):
        seconds = _seconds(question, groups, baseline) * 2.0**groups.num
        about = f", about {_duration(seconds)} on this machine"
    return ValueError(
        f"there are {groups.num} groups, which take 2^{groups.num} forward passes an example"
        f"{about}; expected at most {_MOST_GROUPS} groups. Give larger groups as `feature_mask`: "
        "of columns by hand, of images by jinterp.patches or jinterp.superpixels. Or use "
        "permutation_shapley or kernel_shap, which sample."
    )


def _seconds(question: Question, groups: Groups, baseline: Baseline) -> float:
    """Of one coalition of all examples, as measured with some."""
    num_coalitions = 4 * memory.rows_per_call(jax.devices()[0])
    coalitions = np.ones((num_coalitions, groups.num), bool)
    measured = functools.partial(coalition_scores, question, groups, baseline, coalitions)
    jax.block_until_ready(measured())  # compiles
    start = time.perf_counter()
    jax.block_until_ready(measured())
    return (time.perf_counter() - start) / num_coalitions


def _duration(seconds: float) -> str:
    for size, name in ((31_557_600, "years"), (86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {name}"
    return f"{seconds:.2g} seconds"
