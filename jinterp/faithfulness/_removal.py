"""The score while features are taken away, or put back, in an order."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jinterp import _check, _functions
from jinterp._question import Question, answer, ask, with_predictions
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import FeatureMask
from jinterp.attribution._paths import given_baselines, mean_of, one_baseline
from jinterp.faithfulness._features import (
    Features,
    Order,
    ValuesOf,
    features_of,
    finite_only,
    ordered,
)
from jinterp.model.score import at_least_float32, log_probability, probability
from jinterp.stream.cut import automatic

Fill = Callable[[Inputs, Any, int], Inputs]
"""`fill(x, kept, channel_axis) -> x`: what is seen where `kept`, in the structure of `x`, is
False."""


class RemovalCurve(NamedTuple):
    """The score by how much of the input is taken away, or put back.

    Attributes:
        fractions: `[steps + 1]`, of the features, from 0 to 1.
        scores: `[batch, steps + 1]`.
    """

    fractions: Float[np.ndarray, " steps"]
    scores: Float[Array, "batch steps"]

    @property
    def area(self) -> Float[Array, " batch"]:
        """The area below, by trapezoids, in units of the score."""
        return (self.scores[:, 1:] + self.scores[:, :-1]).mean(axis=1) / 2


class Removal(NamedTuple):
    """Features that can be taken away.

    Attributes:
        name: of the metric.
        question: the model, in one class an example.
        features: of the inputs.
        baseline: what takes their place: as explainers take it, or a function.
        channel_axis: of the inputs.
    """

    name: str
    question: Question
    features: Features
    baseline: Any
    channel_axis: int

    @property
    def rounding(self) -> float:
        """The last digit of a score of 1, as the model computes."""
        outputs = _check.outputs_of(self.question.apply_fn, self.question.params, self.question.x)
        is_float = jnp.issubdtype(outputs.dtype, jnp.floating)
        return float(jnp.finfo(outputs.dtype if is_float else jnp.float32).eps)

    def scores(
        self, order: Order, fractions: np.ndarray, *, inserted: bool = False, noise: Any = None
    ) -> Array:
        """The scores `[batch, fractions]`, at least float32; NaN where values are not finite.

        Args:
            order: in which features are taken.
            fractions: how many of them, from 0 to 1.
            inserted: whether those are all that is seen, and not all that is missing.
            noise: `[fractions, ...]` to add to what takes their place, or None.
        """
        x, points = self.question.x, (fractions.astype(np.float32), noise)
        found = []
        for each in given_baselines(self.baseline, x):
            fill = each if callable(each) else None
            other = () if callable(each) else one_baseline(each, x)
            static = fill, self.channel_axis, inserted
            rows = other, order
            scores = answer(_at, self.question, *static, rows=rows, points=points, kind="stack")
            found.append(at_least_float32(scores))
        scores = mean_of(found)
        return finite_only(scores, self.features)


def removal(
    name: str,
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target,
    *,
    score: Score,
    baseline: Baseline | Fill,
    feature_mask: FeatureMask,
    channel_axis: int,
    may_fill: bool = True,
    values_of: ValuesOf | None = None,
) -> Removal:
    """What a metric takes away, checked; the arguments are those of `deletion`.

    `may_fill` says whether the baseline may be a function; `values_of` is that of `features_of`.
    """
    question = with_predictions(ask(apply_fn, params, x, target, score, differentiable=False))
    _check.one_target(question.target)
    params, x, target = automatic((question.params, question.x, question.target))
    question = question._replace(params=params, x=x, target=target)
    for each in filter(callable, given_baselines(baseline, x)):
        if not may_fill:
            raise TypeError(
                f"`baseline` is a function ({_functions.name_of(each)}), which `{name}` cannot "
                "take; expected a number, one example, or one for each."
            )
        _functions.warn_if_made_anew("baseline", each)
    if score in (probability, log_probability) and _num_outputs(question) == 1:
        raise ValueError(
            f"`score` is the {score.__name__}, which is the same for any input where there is a "
            f"single output; `{name}` has nothing to see. Use score=jinterp.logit."
        )
    features = features_of(name, values, question.x, feature_mask, channel_axis, values_of)
    return Removal(name, question, features, baseline, channel_axis)


def _num_outputs(question: Question) -> int | None:
    """Of outputs `[batch, outputs]`."""
    outputs = _check.outputs_of(question.apply_fn, question.params, question.x)
    return outputs.shape[1] if outputs.ndim == 2 else None


def curve(removed: Removal, num_steps: int, *, inserted: bool, ascending: bool) -> RemovalCurve:
    """The scores at equal steps, at most one a feature."""
    _check.at_least_one("num_steps", num_steps, 64)
    num = min(num_steps, removed.features.groups.num)
    fractions = np.arange(num + 1) / num
    order = ordered(removed.name, removed.features, ascending=ascending)
    return RemovalCurve(fractions, removed.scores(order, fractions, inserted=inserted))


def num_taken(fractions: Array, num: Array) -> Array:
    """How many of some features a fraction is, the nearest even one at a half."""
    return jnp.round(fractions * num.astype(fractions.dtype)).astype(jnp.int32)


def _at(static: Any, params: Params, rows: Any, point: Any) -> Array:
    """The score with a fraction of the features taken away, or with no others."""
    apply_fn, score, fill, channel_axis, inserted = static
    x, target, (baseline, (ranks, num)) = rows
    fraction, noise = point
    count = num_taken(fraction, num)

    def kept_of(own: Array) -> Array:
        is_first = own < count.reshape(-1, *[1] * (own.ndim - 1))
        return is_first if inserted else ~is_first

    kept = jax.tree.map(kept_of, ranks)
    other = fill(x, kept, channel_axis) if fill is not None else baseline
    if noise is not None:
        other = jax.tree.map(lambda a, b: a + b[None].astype(a.dtype), other, noise)
    return score(apply_fn(params, jax.tree.map(jnp.where, kept, x, other)), target)
