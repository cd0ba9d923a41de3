"""Integrated gradients with as many steps as each example needs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinterp import _check
from jinterp._question import (
    Question,
    answer,
    as_inputs,
    ask,
    report_blank,
    scores_of,
    with_predictions,
)
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._paths import midpoint, one_baseline
from jinterp.attribution.integrated_gradients import path_gradient_at
from jinterp.model import logit
from jinterp.stream.rows import is_sharded
from jinterp.stream.with_rows import map_own_rows

_FIRST = 7
# A gradient that jumps at places unknown has errors e_n with E‖e_n − e_3n‖² = 8 E‖e_3n‖².
_CHANGE_OVER_ERROR = np.sqrt(8.0)


class AdaptiveIntegratedGradients(NamedTuple):
    """Integrated gradients, and how far they can be trusted.

    Attributes:
        values: as the inputs in shape and dtype.
        errors: `[batch]` float64, the estimated ‖values − exact‖ / ‖exact‖.
        gaps: `[batch]` float64, Σ values − (s(x) − s(b)), signed, in units of the score.
        num_steps: `[batch]` gradients taken for each example.
        converged: `[batch]` whether the estimated error is within the tolerance.
    """

    values: Inputs
    errors: np.ndarray
    gaps: np.ndarray
    num_steps: np.ndarray
    converged: np.ndarray


def adaptive_integrated_gradients(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
    baseline: Baseline = 0.0,
    tolerance: float = 0.02,
    max_steps: int = 567,
) -> AdaptiveIntegratedGradients:
    """Integrated gradients (x − b) ⊙ ∫₀¹ ∇s(b + α(x − b)) dα, to a tolerance.

    Midpoint rules of 7, 21, 63, ... points hold each other's points, so each costs only the new
    ones. The error of a rule is estimated from the change of the *values* since the rule before,
    ‖v₃ₙ − vₙ‖ / (√8 ‖v₃ₙ‖), which is its expectation for a gradient that jumps along the path, as
    a ReLU network's does, and too large for a smooth one. The gap is no such estimate: it can be
    closed while the values are wrong. Examples that have converged are left out from then on.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: one class an example, as in `gradient`; None is the one predicted for `x`.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        baseline: where the path starts, as in `integrated_gradients`, but one.
        tolerance: of the relative error of an example's values in L2.
        max_steps: no rule with more points is tried.

    Returns:
        The values, and for each example the estimated error, the gap, the steps taken, and whether
        it converged.

    Raises:
        TypeError: `x` is not floating point, or it is called under jit or vmap.
        ValueError: as `integrated_gradients` does, or `max_steps` is less than 21.

    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return (x @ params) ** 2
    >>> x = jnp.array([[3.0, 1.0]])
    >>> found = adaptive_integrated_gradients(apply_fn, jnp.ones((2, 1)), x, 0)
    >>> print(found.values.round().astype(int), found.num_steps, found.converged)
    [[12  4]] [21] [ True]

    Source: the path integral of Sundararajan, Taly and Yan 2017; the nested rules are ours.
    """
    if not tolerance > 0:
        raise ValueError(f"`tolerance` is {tolerance}; expected more than 0. Try 0.02.")
    if max_steps < 3 * _FIRST:
        raise ValueError(f"`max_steps` is {max_steps}; expected at least {3 * _FIRST}. Try 567.")
    _check.is_concrete("adaptive_integrated_gradients", (params, x), "integrated_gradients")
    _check.is_on_this_host("adaptive_integrated_gradients", x)
    question = with_predictions(ask(apply_fn, params, x, target, score))
    _check.one_target(question.target)
    rules = _Rules(question, one_baseline(baseline, question.x))
    while rules.active.size and 3 * rules.last <= max_steps:
        rules.refine(tolerance)
    values = as_inputs(jax.tree.map(jnp.asarray, rules.values()), question.x)
    report_blank(
        values, "adaptive_integrated_gradients", "the score does not change along the path."
    )
    ends = [np.asarray(scores_of(each), np.float64) for each in (question, rules.at_baseline)]
    gaps = sum(_flat(leaf).sum(1) for leaf in rules.sums_over_steps()) - (ends[0] - ends[1])
    return AdaptiveIntegratedGradients(
        values, rules.errors, gaps, rules.num_steps, rules.errors <= tolerance
    )


class _Rules:
    """Sums of contributions for each example, and the rule each has reached."""

    def __init__(self, question: Question, baseline: Inputs):
        self.question, self.baseline = question, baseline
        self.at_baseline = question._replace(x=baseline)
        self.last = _FIRST
        self.active = np.arange(question.num_examples)
        self.errors = np.full(question.num_examples, np.inf)
        self.num_steps = np.full(question.num_examples, _FIRST)
        first = self.contributions(midpoint(_FIRST)[0])
        self.sums, self.treedef = jax.tree.flatten(first)

    def contributions(self, positions: np.ndarray) -> Inputs:
        """Σ (x − b) ⊙ ∇s over positions of the path, for the active examples."""
        num, num_examples = len(self.active), self.question.num_examples
        # Few shapes, and so few programs, however many examples are left.
        size = min(1 << (num - 1).bit_length(), num_examples)
        part, baseline, wanted = self.question, self.baseline, self.active
        if size < num_examples and not is_sharded(part.x):  # a shard loses none of its examples
            some = self.active[np.minimum(np.arange(size), num - 1)]
            part, baseline, wanted = *_part(part, baseline, some), np.arange(num)
        points = (positions, np.ones(len(positions)))
        found = answer(path_gradient_at, part, rows=baseline, points=points)
        return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64)[wanted], found)

    def refine(self, tolerance: float) -> None:
        """Go from n to 3n points for the active examples, and leave out those that converged."""
        positions = midpoint(3 * self.last)[0]
        new = jax.tree.leaves(self.contributions(np.delete(positions, np.s_[1::3])))
        before = [leaf[self.active] / self.last for leaf in self.sums]
        for total, more in zip(self.sums, new, strict=True):
            total[self.active] += more
        self.last *= 3
        after = [leaf[self.active] / self.last for leaf in self.sums]
        change = _norms([a - b for a, b in zip(after, before, strict=True)])
        size = _norms(after)
        is_zero = (size == 0) & (change == 0)
        errors = np.where(is_zero, 0, change / np.where(is_zero, 1, size)) / _CHANGE_OVER_ERROR
        self.errors[self.active], self.num_steps[self.active] = errors, self.last
        self.active = self.active[~(errors <= tolerance)]

    def sums_over_steps(self) -> list[np.ndarray]:
        return [leaf / self.num_steps.reshape(-1, *[1] * (leaf.ndim - 1)) for leaf in self.sums]

    def values(self) -> Inputs:
        return jax.tree.unflatten(self.treedef, self.sums_over_steps())


def _part(question: Question, baseline: Inputs, some: np.ndarray) -> tuple[Question, Inputs]:
    """Some of the examples."""
    params = map_own_rows(lambda leaf: leaf[some], question.params)
    x, target, baseline = _taken((question.x, question.target, baseline), some)
    return question._replace(x=x, target=target, params=params), baseline


def _taken(tree: Inputs, indices: np.ndarray) -> Inputs:
    return jax.tree.map(lambda leaf: leaf[indices], tree)


def _norms(leaves: list[np.ndarray]) -> np.ndarray:
    return np.sqrt(sum(np.square(_flat(leaf)).sum(1) for leaf in leaves))


def _flat(leaf: np.ndarray) -> np.ndarray:
    return leaf.reshape(len(leaf), -1)
