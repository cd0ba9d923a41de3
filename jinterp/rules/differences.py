"""DeepLIFT: multipliers Δresult / Δvalue between two inputs, for every operation of a program."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp.rules._reading import Node
from jinterp.rules.graph import Graph, Rule, Values, change, no_rule, pulled


def difference_rule(graph: Graph, values: Values, reference: Values) -> Rule:
    """The rule for every node: Σ multiplier · Δvalue is the same before and behind it.

    Args:
        graph: of the program.
        values: of the inputs.
        reference: of the baseline.
    """
    return functools.partial(_through, graph, values, reference)


def _through(
    graph: Graph, values: Values, reference: Values, node: Node, given: list[Any]
) -> Sequence[Any]:
    if node.kind == "unknown" or (node.kind == "movement" and node.selects):
        raise no_rule(node, "deep_lift")
    if node.kind == "detached":
        return given  # it is constant for gradients only
    if node.kind in ("linear", "movement", "product"):
        return pulled(graph, node, values, given)
    if node.kind == "curve":
        return [given[0] * slope(graph, node, values, reference)]
    if node.kind == "maximum":
        return _of_maximum(graph, node, values, reference, given[0])
    return _of_factors(graph, node, values, reference, given[0])


def slope(graph: Graph, node: Node, values: Values, reference: Values) -> Array:
    """Δf / Δv of a curve, and the derivative where Δv is nothing but rounding."""
    (source,), (result,) = node.inputs, node.outputs
    at, start = values[source], reference[source]
    (derivative,) = pulled(graph, node, values, [jnp.ones_like(values[result])])
    of_value, of_result = (change(values, reference, v) for v in (source, result))
    return ratio(of_result, of_value, rounding(at, start), derivative)


def rounding(a: Array, b: Array) -> Array:
    """What two values that are equal may differ by."""
    dtype = jnp.finfo(a.dtype)
    least = jnp.asarray(dtype.tiny, a.dtype)
    return jnp.asarray(4 * dtype.eps, a.dtype) * jnp.maximum(jnp.abs(a), jnp.abs(b)) + least


def ratio(a: Array, b: Array, least: Array, otherwise: Array) -> Array:
    """A / b, or something else where b is no larger than that."""
    is_nothing = jnp.abs(b) <= least
    return jnp.where(is_nothing, otherwise, a / jnp.where(is_nothing, jnp.ones_like(b), b))


def _of_maximum(
    graph: Graph, node: Node, values: Values, reference: Values, given: Array
) -> Sequence[Any]:
    """What the largest value gains over that of the baseline goes to it, what it loses to that."""
    (result,) = node.outputs
    of_result = change(values, reference, result)
    gain, loss = given * jnp.maximum(of_result, 0), given * jnp.minimum(of_result, 0)
    if "min" in node.name:
        gain, loss = loss, gain
    to_own = pulled(graph, node, values, [gain])
    to_reference = pulled(graph, node, reference, [loss])
    zero = jnp.zeros((), given.dtype)
    return [
        ratio(own + other, change(values, reference, v), zero, zero)
        for v, own, other in zip(node.inputs, to_own, to_reference, strict=True)
    ]


def _of_factors(
    graph: Graph, node: Node, values: Values, reference: Values, given: Array
) -> Sequence[Any]:
    """Δ(a b) = Δa mean(b) + mean(a) Δb, and 1/b is a factor with Δ(1/b) = −Δb / (b b₀)."""
    means = {v: (values[v] + reference[v]) / 2 for v in node.inputs}
    if node.name != "div":
        return pulled(graph, node, {**values, **means}, [given])
    a, b = node.inputs
    inverse, before = 1 / values[b], 1 / reference[b]

    def of_quotient(of_a: Array, of_b: Array) -> Array:
        return of_a * (inverse + before) / 2 - means[a] * of_b * inverse * before

    return jax.linear_transpose(of_quotient, values[a], values[b])(given)
