"""Gradients that pass a ReLU by another rule than its derivative."""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array

from jinterp.model.program import jaxprs_in
from jinterp.rules._reading import Node
from jinterp.rules.graph import Graph, Rule, Values, no_rule, pulled

Passing = Literal["guided", "deconvolution"]
"""What passes a ReLU backward: positive gradients, and only where it was on, or anywhere."""


def rectifier_rule(graph: Graph, values: Values, passing: Passing) -> Rule:
    """Derivatives for every node but a ReLU."""
    return functools.partial(_through, graph, values, passing)


def has_rectifier(graph: Graph) -> bool:
    return any(node.is_rectifier for node in graph.nodes)


def _through(
    graph: Graph, values: Values, passing: Passing, node: Node, given: list[Any]
) -> Sequence[Any]:
    if node.kind == "detached":
        return [None]
    if node.kind == "unknown" and any(True for _ in jaxprs_in(node.step.eqn)):
        raise no_rule(node, passing)  # there may be a ReLU inside
    if not node.is_rectifier:
        return pulled(graph, node, values, given)
    (gradient,) = given
    positive: Array = jnp.maximum(gradient, jnp.zeros((), gradient.dtype))
    return pulled(graph, node, values, [positive]) if passing == "guided" else [positive]
