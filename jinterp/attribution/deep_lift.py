"""DeepLIFT."""

from typing import Any

import jax
import jax.numpy as jnp

from jinterp._question import Question, answer, as_inputs, ask, report_blank, with_predictions
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._paths import given_baselines, mean_of, one_baseline, shared_example
from jinterp.model import logit
from jinterp.model.score import at_least_float32
from jinterp.rules.differences import difference_rule
from jinterp.rules.graph import Graph, Values, backward
from jinterp.rules.reveal_cancel import Multipliers, added, one, reveal_cancel_rule
from jinterp.stream.cut import automatic
from jinterp.stream.with_rows import rows_of, weights_of, with_rows


def deep_lift(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
    baseline: Baseline = 0.0,
    rule: str = "rescale",
) -> Any:
    """DeepLIFT: (x − b) ⊙ m, with m made of the slopes Δout / Δin of all operations.

    As the gradient is the product of the derivatives, m is that of the slopes between the baseline
    and the input, so that the sum is s(x) − s(b) without any steps. With `rule="reveal_cancel"`
    what raises a unit and what lowers it have slopes of their own, each the mean of the two orders
    in which they can come: inputs that cancel in a unit do not look useless then. It goes
    through the operations of the traced model: functional, reused and inlined activations make no
    difference. A product of two values gives each the mean of the other as its slope; the largest
    of several hands what it gains to the value that is largest now, and what it loses to the one
    that was largest for the baseline.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        baseline: b, as in `integrated_gradients`; a list averages over several.
        rule: of activation functions, "rescale" or "reveal_cancel".

    Returns:
        As `x` in shape and dtype, signed, in units of the score; `completeness_gap` says what is
        missing from the sum.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: as `gradient` does, a baseline has another shape, or there is no such rule.
        NotImplementedError: on the way there is an operation without a rule, or a choice that
            depends on the input, which is named.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return jax.nn.relu(x - params).sum(axis=1, keepdims=True)
    >>> print(deep_lift(apply_fn, jnp.array([[0.0, 1.0]]), jnp.array([[1.0, 4.0]]), 0))
    [[1. 3.]]

    Source: Shrikumar, Greenside and Kundaje 2017, sections 3.2 to 3.5. As in the authors' code the
    parts of a unit are the contributions to it of the net changes below. They use reveal-cancel for
    dense layers and rescale for convolutions; here one rule holds for all, but the exponentials of
    a softmax are always rescaled.
    """
    check_rule(rule)
    question = with_predictions(ask(apply_fn, params, x, target, score))
    values = mean_of(
        [_from(question, rule, each) for each in given_baselines(baseline, question.x)]
    )
    values = as_inputs(values, question.x)
    report_blank(values, "deep_lift", "the score is that of the baseline, whatever they are.")
    return values


def check_rule(rule: str) -> None:
    if rule not in _RULES:
        known = ", ".join(map(repr, _RULES))
        raise ValueError(f"`rule` is {rule!r}; expected one of {known}.")


def _from(question: Question, rule: str, baseline: Baseline) -> Any:
    """The contributions from one baseline on."""
    own = one_baseline(baseline, question.x)
    shared = shared_example(baseline, question.x)
    if shared is None:
        return answer(_at_own, question, rule, rows=own)
    return from_shared(question, rule, jax.tree.map(lambda leaf: leaf[None], shared))


def from_shared(question: Question, rule: str, baselines: Inputs) -> Any:
    """The sum of the contributions from some baselines `[baselines, ...]` of all examples on."""
    params, x, target = automatic((question.params, question.x, question.target))
    question = question._replace(params=params, x=x, target=target)
    return answer(_at_shared, question, rule, points=baselines)


def _at_own(static: Any, params: Params, rows: Any, point: None) -> Any:
    apply_fn, score, rule = static
    x, target, baseline = rows
    return _contributions(rule, apply_fn, score, params, x, target, baseline)


def _at_shared(static: Any, params: Params, rows: Any, baseline: Inputs) -> Any:
    """The contributions from a baseline of all examples on.

    Example by example, so that vmap sees that the baseline's values depend on none of them, and
    computes them once.
    """
    apply_fn, score, rule = static
    x, target, _ = rows

    def of_one(own: Any, x: Inputs, target: Any) -> Any:
        own, x, target, start = jax.tree.map(lambda leaf: leaf[None], (own, x, target, baseline))
        told = with_rows(params, own, weights_of(params))
        found = _contributions(rule, apply_fn, score, told, x, target, start)
        return jax.tree.map(lambda leaf: leaf[0], found)

    return jax.vmap(of_one)(rows_of(params), x, target)


def _contributions(
    rule: str,
    apply_fn: ApplyFn,
    score: Score,
    params: Params,
    x: Inputs,
    target: Any,
    baseline: Inputs,
) -> Any:
    """(x − b) ⊙ m, at least float32."""

    def scored(params: Params, inputs: Inputs) -> Any:
        return score(apply_fn(params, inputs), target)

    graph = Graph(scored, params, x)
    values, reference = graph.values(params, x), graph.values(params, baseline)
    leaves, treedef = jax.tree.flatten(x)
    starts = jax.tree.leaves(baseline)
    changes = [at_least_float32(a - b) for a, b in zip(leaves, starts, strict=True)]
    found = _RULES[rule](graph, values, reference, changes)
    return jax.tree.unflatten(treedef, found)


def _rescaled(graph: Graph, values: Values, reference: Values, changes: list[Any]) -> list[Any]:
    seeds = [jnp.ones_like(values[output]) for output in graph.outputs]
    found = backward(graph, seeds, difference_rule(graph, values, reference), jnp.add)
    return [
        jnp.zeros_like(change) if each is None else change * each.astype(change.dtype)
        for change, each in zip(changes, found, strict=True)
    ]


def _revealed(graph: Graph, values: Values, reference: Values, changes: list[Any]) -> list[Any]:
    seeds = [one(jnp.ones_like(values[output])) for output in graph.outputs]
    found = backward(graph, seeds, reveal_cancel_rule(graph, values, reference), added)
    return [
        jnp.zeros_like(change) if each is None else _taken(change, each)
        for change, each in zip(changes, found, strict=True)
    ]


def _taken(change: Any, multipliers: Multipliers) -> Any:
    return change * multipliers.of(change).astype(change.dtype)


_RULES = {"rescale": _rescaled, "reveal_cancel": _revealed}
