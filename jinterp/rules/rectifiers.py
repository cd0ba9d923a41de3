"""Gradients that pass a ReLU by another rule than its derivative."""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp.rules._reading import Node
from jinterp.rules.graph import Graph, Rule, Values, pulled

Passing = Literal["guided", "deconvolution"]
"""What passes a ReLU backward: positive gradients, and only where it was on, or anywhere."""


def rectifier_rule(graph: Graph, values: Values, passing: Passing) -> Rule:
    """Derivatives for every node but a ReLU."""
    return functools.partial(_through, graph, values, passing)


def has_rectifier(graph: Graph) -> bool:
    return any(map(_is_rectifier, graph.nodes))


def _through(
    graph: Graph, values: Values, passing: Passing, node: Node, given: list[Any]
) -> Sequence[Any]:
    if node.kind == "detached":
        return [None]
    if not _is_rectifier(node):
        return pulled(graph, node, values, given)
    (gradient,) = given
    positive: Array = jnp.maximum(gradient, jnp.zeros((), gradient.dtype))
    if passing == "guided":
        positive = jnp.where(values[node.inputs[0]] > 0, positive, jnp.zeros_like(positive))
    return [positive]


def _is_rectifier(node: Node) -> bool:
    """Whether it is max(v, 0)."""
    literals = [v for v in node.step.eqn.invars if isinstance(v, jex.Literal)]
    is_cut_at_zero = any(bool(np.all(np.asarray(v.val) == 0)) for v in literals)
    return node.kind == "curve" and node.name == "max" and is_cut_at_zero
