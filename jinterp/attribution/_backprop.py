"""Gradients with another rule for a ReLU."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jinterp._question import Question, answer, report_blank
from jinterp._trace import abstract, warn
from jinterp._types import ApplyFn, Params
from jinterp.rules.graph import Graph, backward
from jinterp.rules.rectifiers import Passing, has_rectifier, rectifier_rule


def backprop(question: Question, passing: Passing, name: str) -> Any:
    """The gradient of the score, as ReLUs let it pass."""
    if not _has_rectifier(question.apply_fn, *abstract((question.params, question.x))):
        warn(f"`{name}`: the model has no ReLU, so these are its plain gradients.")
    values = answer(_at, question, passing)
    report_blank(values, name, "no ReLU lets anything pass.")
    return values


@functools.lru_cache(maxsize=64)
def _has_rectifier(apply_fn: ApplyFn, treedef: Any, leaves: tuple[Any, ...]) -> bool:
    params, x = jax.tree.unflatten(treedef, leaves)
    return has_rectifier(Graph(apply_fn, params, x))


def _at(static: Any, params: Params, rows: Any, point: None) -> Any:
    apply_fn, score, passing = static
    x, target, _ = rows
    graph = Graph(lambda params, x: score(apply_fn(params, x), target), params, x)
    values = graph.values(params, x)
    seeds = [jnp.ones_like(values[output]) for output in graph.outputs]
    found = backward(graph, seeds, rectifier_rule(graph, values, passing), jnp.add)
    leaves, treedef = jax.tree.flatten(x)
    filled = [
        jnp.zeros_like(leaf) if each is None else each
        for leaf, each in zip(leaves, found, strict=True)
    ]
    return jax.tree.unflatten(treedef, filled)
