"""Layer-wise relevance propagation: how the relevance of a value is shared among those it is of.

Relevance is held as a multiplier c of its value, R = a c, which passes through what only moves,
adds or scales values as a gradient does, without a division; and, behind rules that share it out
whatever the values are, as R itself.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp.rules._product import Product
from jinterp.rules._reading import Node
from jinterp.rules.graph import Graph, Rule, Values, no_rule, pulled
from jinterp.rules.lrp_rules import AlphaBeta, Composite, Epsilon, Gamma, WSquare, ZBox

_STABILIZER = 1e-6


class Relevance(NamedTuple):
    """That of a value.

    Attributes:
        multiplier: c in a c.
        fixed: what is added to that; None is nothing.
    """

    multiplier: Array
    fixed: Array | None = None


def added(a: Relevance, b: Relevance) -> Relevance:
    if a.fixed is None or b.fixed is None:
        return Relevance(a.multiplier + b.multiplier, b.fixed if a.fixed is None else a.fixed)
    return Relevance(a.multiplier + b.multiplier, a.fixed + b.fixed)


def relevance_rule(graph: Graph, values: Values, rules: Composite) -> Rule:
    """The rule for every node."""
    return functools.partial(_through, graph, values, rules)


def _through(
    graph: Graph, values: Values, rules: Composite, node: Node, given: list[Any]
) -> Sequence[Relevance | None]:
    pull = functools.partial(pulled, graph, node, values)
    if node.kind == "unknown":
        raise no_rule(node, "lrp")
    if node.kind == "detached":
        return [None]
    if node.kind in ("movement", "maximum"):
        return _moved(pull, given)
    (relevance,) = given
    value, result = (values[atoms[0]] for atoms in (node.inputs, node.outputs))
    if node.product is not None:
        rule = rules.rule_for(node.product.kind, node.layer, is_first=node.is_first)
        return [_through_product(rule, node.product, pull, values, value, result, relevance)]
    fixed = None if relevance.fixed is None else relevance.fixed.astype(value.dtype)
    if node.kind == "curve":
        return [Relevance(relevance.multiplier * _divided(result, value), fixed)]
    if node.kind == "linear" and node.is_by_element:
        return [Relevance(pull([relevance.multiplier])[0], fixed)]
    shares = pull([_multiplier(relevance, result)])
    if node.kind == "linear":
        return [Relevance(share) for share in shares]
    if node.gate is None:
        return [Relevance(share / 2) for share in shares]
    return [None if n == node.gate else Relevance(share) for n, share in enumerate(shares)]


def _moved(pull: Callable[..., Any], given: list[Any]) -> list[Relevance]:
    multipliers = pull([each and each.multiplier for each in given])
    if all(each is None or each.fixed is None for each in given):
        return [Relevance(each) for each in multipliers]
    fixed = pull([each and each.fixed for each in given])
    return [Relevance(*each) for each in zip(multipliers, fixed, strict=True)]


def _through_product(
    rule: Any,
    product: Product,
    pull: Callable[..., Any],
    values: Values,
    value: Array,
    result: Array,
    relevance: Relevance,
) -> Relevance:
    total = result * relevance.multiplier
    total = total if relevance.fixed is None else total + relevance.fixed
    if isinstance(rule, Epsilon):
        return Relevance(pull([_divided(total, _stabilized(result, rule.epsilon))])[0])
    weights, bias = product.folded(values)
    signed = _Signed(product, value, weights, bias)
    if isinstance(rule, Gamma):
        return Relevance(_gamma(rule.gamma, signed, result, total))
    if isinstance(rule, AlphaBeta):
        return Relevance(_alpha_beta(rule, signed, total))
    nothing = jnp.zeros_like(value)
    if isinstance(rule, ZBox):
        return Relevance(nothing, _z_box(rule, product, value, weights, total))
    weights = jnp.square(weights) if isinstance(rule, WSquare) else jnp.ones_like(weights)
    ones = jnp.ones_like(value)
    return Relevance(
        nothing, _back(product, weights, value, _divided(total, product.by(weights)(ones)))
    )


class _Signed(NamedTuple):
    """A product whose contributions a_i w_ij are told apart by their sign."""

    product: Product
    value: Array
    weights: Array
    bias: Array

    def sums(self, sign: int) -> Array:
        """Σ_i of the contributions of one sign, and of the bias if it has that sign."""
        positive, negative = self._weights(sign)
        if self.product.is_nonnegative:
            found = self.product.by(positive)(self.value)
        else:
            found = self.product.by(positive)(jnp.maximum(self.value, 0)) + self.product.by(
                negative
            )(jnp.minimum(self.value, 0))
        return found + _part(self.bias, sign)

    def back(self, sign: int, shares: Array, gain: Any = None) -> Array:
        """Σ_j of the weights of the contributions of one sign times shares.

        Args:
            sign: 1 or −1.
            shares: `[batch, ...]` as the result is.
            gain: takes all weights, and those of the sign so many times more.
        """
        above, below = self._weights(sign)
        if gain is not None:
            above, below = self.weights + gain * above, self.weights + gain * below
        found = _back(self.product, above, self.value, shares)
        if self.product.is_nonnegative:
            return found
        return jnp.where(self.value >= 0, found, _back(self.product, below, self.value, shares))

    def _weights(self, sign: int) -> tuple[Array, Array]:
        """Those that make contributions of a sign with values above 0, and below."""
        return _part(self.weights, sign), _part(self.weights, -sign)


def _part(array: Array, sign: int) -> Array:
    zero = jnp.zeros((), array.dtype)
    return jnp.maximum(array, zero) if sign > 0 else jnp.minimum(array, zero)


def _gamma(gamma: int | float, signed: _Signed, result: Array, total: Array) -> Array:
    gain = jnp.asarray(gamma, result.dtype)
    positive = signed.sums(1)
    above = _divided(total, result + gain * positive)
    below = _divided(total, result + gain * (result - positive))
    nothing = jnp.zeros((), total.dtype)
    return signed.back(1, jnp.where(result >= 0, above, nothing), gain) + signed.back(
        -1, jnp.where(result < 0, below, nothing), gain
    )


def _alpha_beta(rule: AlphaBeta, signed: _Signed, total: Array) -> Array:
    alpha, beta = (jnp.asarray(each, total.dtype) for each in (rule.alpha, rule.beta))
    found = signed.back(1, alpha * _divided(total, signed.sums(1)))
    if rule.beta == 0:
        return found
    return found - signed.back(-1, beta * _divided(total, signed.sums(-1)))


def _z_box(rule: ZBox, product: Product, value: Array, weights: Array, total: Array) -> Array:
    parts = [
        (value, weights),
        (-_full(rule.low, value), _part(weights, 1)),
        (-_full(rule.high, value), _part(weights, -1)),
    ]
    shares = _divided(total, _sum([product.by(w)(each) for each, w in parts]))
    return _sum([each * _back(product, w, value, shares) for each, w in parts])


def _sum(arrays: Sequence[Array]) -> Array:
    return functools.reduce(jnp.add, arrays)


def _full(number: Any, value: Array) -> Array:
    return jnp.broadcast_to(jnp.asarray(number, value.dtype), value.shape)


def _back(product: Product, weights: Array, value: Array, shares: Array) -> Array:
    """Σ_j w_ij s_j."""
    shares = shares.astype(product.eqn.outvars[0].aval.dtype)
    return jax.linear_transpose(product.by(weights), value)(shares)[0]


def _multiplier(relevance: Relevance, result: Array) -> Array:
    """C with R = z c, of relevance that is no multiple of z yet as nearly as z is not 0."""
    if relevance.fixed is None:
        return relevance.multiplier
    return relevance.multiplier + relevance.fixed / _stabilized(result, _STABILIZER)


def _stabilized(result: Array, epsilon: int | float) -> Array:
    """Z + ε sign z."""
    shift = jnp.asarray(epsilon, result.dtype)
    return jnp.where(result < 0, result - shift, result + shift)


def _divided(a: Array, b: Array) -> Array:
    """A / b, and 0 where b is 0: where nothing is there to share among."""
    one, zero = jnp.ones((), b.dtype), jnp.zeros((), a.dtype)
    return jnp.where(b == 0, zero, a / jnp.where(b == 0, one, b))
