"""DeepLIFT."""

from typing import Any

import jax
import jax.numpy as jnp

from jinterp._question import answer, as_inputs, ask, report_blank, with_predictions
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._paths import baselines_of, mean_of
from jinterp.model import logit
from jinterp.model.score import at_least_float32
from jinterp.rules.differences import difference_rule
from jinterp.rules.graph import Graph, backward


def deep_lift(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
    baseline: Baseline = 0.0,
) -> Any:
    """DeepLIFT with the rescale rule: (x − b) ⊙ m, with m made of the slopes Δout / Δin.

    As the gradient is the product of the derivatives of all operations, m is that of their slopes
    between the baseline and the input, so that the sum is s(x) − s(b) without any steps. It goes
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

    Returns:
        As `x` in shape and dtype, signed, in units of the score; `completeness_gap` says what is
        missing from the sum.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: as `gradient` does, or a baseline has another shape.
        NotImplementedError: on the way there is an operation without a rule, which is named.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return jax.nn.relu(x - params).sum(axis=1, keepdims=True)
    >>> print(deep_lift(apply_fn, jnp.array([[0.0, 1.0]]), jnp.array([[1.0, 4.0]]), 0))
    [[1. 3.]]

    Source: Shrikumar, Greenside and Kundaje 2017, sections 3.2 to 3.5.1.
    """
    question = with_predictions(ask(apply_fn, params, x, target, score))
    values = mean_of(
        [answer(_at, question, rows=each) for each in baselines_of(baseline, question.x)]
    )
    values = as_inputs(values, question.x)
    report_blank(values, "deep_lift", "the score is that of the baseline, whatever they are.")
    return values


def _at(static: Any, params: Params, rows: Any, point: None) -> Any:
    apply_fn, score = static
    x, target, baseline = rows
    return contributions(apply_fn, score, params, x, target, baseline)


def contributions(
    apply_fn: ApplyFn, score: Score, params: Params, x: Inputs, target: Any, baseline: Inputs
) -> Any:
    """(x − b) ⊙ m, at least float32."""

    def scored(params: Params, inputs: Inputs) -> Any:
        return score(apply_fn(params, inputs), target)

    graph = Graph(scored, params, x)
    values, reference = graph.values(params, x), graph.values(params, baseline)
    seeds = [jnp.ones_like(values[output]) for output in graph.outputs]
    found = backward(graph, seeds, difference_rule(graph, values, reference), jnp.add)

    def one(a: Any, b: Any, multiplier: Any) -> Any:
        difference = at_least_float32(a - b)
        nothing = multiplier is None
        return (
            jnp.zeros_like(difference)
            if nothing
            else difference * multiplier.astype(difference.dtype)
        )

    leaves, treedef = jax.tree.flatten(x)
    return jax.tree.unflatten(treedef, map(one, leaves, jax.tree.leaves(baseline), found))
