"""Gradients with another rule for a ReLU."""

from typing import Any

import jax
import jax.numpy as jnp

from jinterp._question import Question, answer, report_blank
from jinterp._trace import warn
from jinterp._types import Params
from jinterp.rules.graph import Graph, backward
from jinterp.rules.rectifiers import Passing, has_rectifier, rectifier_rule


def backprop(question: Question, passing: Passing, name: str) -> Any:
    """The gradient of the score, as ReLUs let it pass."""
    values = answer(_at, question, passing, name)
    report_blank(values, name, "no ReLU lets anything pass.")
    return values


def _at(static: Any, params: Params, rows: Any, point: None) -> Any:
    apply_fn, score, passing, name = static
    x, target, _ = rows
    graph = Graph(lambda params, x: score(apply_fn(params, x), target), params, x)
    values = graph.values(params, x)
    seeds = [jnp.ones_like(values[output]) for output in graph.outputs]
    found = backward(graph, seeds, rectifier_rule(graph, values, passing), jnp.add)
    if not has_rectifier(graph):
        warn(f"`{name}`: the model has no ReLU, so these are its plain gradients.")
    leaves, treedef = jax.tree.flatten(x)
    filled = [
        jnp.zeros_like(leaf) if each is None else each
        for leaf, each in zip(leaves, found, strict=True)
    ]
    return jax.tree.unflatten(treedef, filled)
