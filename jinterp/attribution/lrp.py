"""Layer-wise relevance propagation."""

from typing import Any

import jax
import jax.numpy as jnp

from jinterp._question import answer, as_inputs, ask, report_blank
from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.model import logit
from jinterp.rules.graph import Graph, backward
from jinterp.rules.lrp_rules import EPSILON, Composite, LrpRule, composite
from jinterp.rules.relevance import Relevance, added, relevance_rule


def lrp(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
    rules: Composite | LrpRule = EPSILON,
) -> Any:
    """Layer-wise relevance propagation: the score is handed back, layer by layer, in shares.

    It begins with R_k = z_k ∂s/∂z_k at the logits z, which for `logit` is the logit itself. Each
    dense layer and convolution shares the relevance of its units out by a rule; the rules are data,
    in `jinterp.rules`. They act on the operations of the traced model: functional, reused and
    inlined activations make no difference. BatchNorm behind a layer is folded into it. What passes
    through the rest:

    - an activation function hands all it gets to its argument, unless that is exactly 0,
    - sums, means and residual connections share in proportion to what is added (ε = 0),
    - the largest value of a pooling window gets all,
    - of a product of two values a gate (a sigmoid, attention's softmax, the 1/deviation of a layer
      normalisation) only weighs the other and gets nothing; two that look alike get a half each.

    What biases take is lost on the way, and what ε takes: Σ R is the score less these shares.
    Where terms nearly cancel, what they add up to is shared out in large parts of both signs: a
    larger ε, or another rule such as z⁺, keeps them small.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: the class to explain, as in `gradient`.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        rules: a `jinterp.rules.Composite`, such as `jinterp.rules.EPSILON_PLUS_FLAT`, or one rule
            for all layers. The default is ε = 1e-6 for all.

    Returns:
        As `x` in shape and dtype, signed, in units of the score.

    Raises:
        TypeError: `x` is not floating point, or `rules` are none.
        ValueError: as `gradient` does, or a rule is given for a layer that does not exist.
        NotImplementedError: on the way there is an operation without a rule, which is named.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return jax.nn.relu(x @ params) @ params
    >>> x = jnp.array([[1.0, 2.0]])
    >>> print(lrp(apply_fn, jnp.array([[1.0, -1.0], [1.0, 0.5]]), x, 0).round(2))
    [[1. 2.]]

    Source: Bach et al. 2015; the rules: Montavon et al. 2019; attention and layer normalisation:
    Ali et al. 2022.
    """
    question = ask(apply_fn, params, x, target, score)
    values = as_inputs(answer(_relevance_at, question, composite(rules)), question.x)
    report_blank(values, "lrp", "no relevance reaches these inputs.")
    return values


def _relevance_at(static: Any, params: Params, rows: Any, point: None) -> Any:
    apply_fn, score, rules = static
    x, target, _ = rows
    graph = Graph(apply_fn, params, x)
    rules.check_names([node.layer for node in graph.nodes if node.product])
    values = graph.values(params, x)
    logits = values[graph.outputs[0]]
    slopes = jax.grad(lambda z: score(z, target).sum())(logits)
    found = backward(graph, [Relevance(slopes)], relevance_rule(graph, values, rules), added)
    leaves, treedef = jax.tree.flatten(x)
    return jax.tree.unflatten(treedef, map(_total, leaves, found))


def _total(leaf: Any, relevance: Relevance | None) -> Any:
    if relevance is None:
        return jnp.zeros_like(leaf)
    values = leaf * relevance.multiplier
    return values if relevance.fixed is None else values + relevance.fixed
