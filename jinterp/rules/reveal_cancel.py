"""DeepLIFT's reveal-cancel rule: what pushes a unit up and what pushes it down count apart.

The multipliers of a unit are two, for the contributions to it that are above 0 and for those below:
two inputs that cancel in a unit do not both look useless then.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp.model.program import Atom
from jinterp.rules._reading import Node
from jinterp.rules.differences import difference_rule, ratio, rounding, slope
from jinterp.rules.graph import Graph, Rule, Values, change, pulled

_OF_SOFTMAX = {"exp", "exp2"}  # whose parts alone grow beyond all bounds


class Parts(NamedTuple):
    """What is made of contributions to a value, or their multipliers.

    Attributes:
        up: of those above 0.
        down: of those below.
    """

    up: Array
    down: Array


def split(change: Array) -> Parts:
    """A change as what is above 0, and what is below."""
    return Parts(jnp.maximum(change, 0), jnp.minimum(change, 0))


def added(a: Parts, b: Parts) -> Parts:
    return Parts(a.up + b.up, a.down + b.down)


def reveal_cancel_rule(graph: Graph, values: Values, reference: Values) -> Rule:
    """The rule for every node, of cotangents that are `Parts`."""
    makers = {output: node for node in graph.nodes for output in node.outputs}
    return _RevealCancel(graph, values, reference, makers).through


class _RevealCancel(NamedTuple):
    """The rule between two inputs.

    Attributes:
        graph: of the program.
        values: of the inputs.
        reference: of the baseline.
        makers: the node that makes each value.
    """

    graph: Graph
    values: Values
    reference: Values
    makers: dict[Atom, Node]

    def through(self, node: Node, given: list[Any]) -> Sequence[Any]:
        if node.kind in ("linear", "product"):
            return self.through_linear(node, given[0])
        if node.kind == "movement" and not node.selects:
            return self.moved(node, given)
        if node.kind == "curve" and node.name not in _OF_SOFTMAX:
            return [self.through_curve(node, self.merged(node.outputs[0], given[0]))]
        single = [
            None if each is None else self.merged(v, each)
            for v, each in zip(node.outputs, given, strict=True)
        ]
        found = difference_rule(self.graph, self.values, self.reference)(node, single)
        return [None if each is None else Parts(each, each) for each in found]

    def change(self, value: Atom) -> Array:
        return change(self.values, self.reference, value)

    def merged(self, value: Atom, multiplier: Parts) -> Array:
        """The multiplier of a change as one, which is above 0 or below."""
        return jnp.where(self.change(value) >= 0, multiplier.up, multiplier.down)

    def through_linear(self, node: Node, multiplier: Parts) -> list[Parts]:
        given = [split(self.change(v)) for v in node.inputs]
        linear = functools.partial(_by_sign, self.graph, node, self.values)
        (found,) = jax.vjp(linear, given)[1](multiplier)
        if node.is_by_element:
            return found
        merged = [self.merged(v, each) for v, each in zip(node.inputs, found, strict=True)]
        return [Parts(each, each) for each in merged]

    def moved(self, node: Node, given: list[Any]) -> list[Parts]:
        parts = [
            pulled(self.graph, node, self.values, [each and each[n] for each in given])
            for n in range(2)
        ]
        return list(map(Parts, *parts))

    def through_curve(self, node: Node, multiplier: Array) -> Parts:
        """Slopes of what each part changes, in the mean of the two orders in which they come."""
        (source,), (result,) = node.inputs, node.outputs
        start, before, after = (self.reference[source], self.reference[result], self.values[result])
        given, least = self.parts(source), rounding(self.values[source], start)
        curve = self.graph.function(node, self.reference)
        (raised,), (lowered,) = curve(start + given.up), curve(start + given.down)
        up = (raised - before + after - lowered) / 2
        down = (lowered - before + after - raised) / 2
        # What parts alone would reach may lie where the function is not defined.
        is_defined = jnp.isfinite(up) & jnp.isfinite(down)
        otherwise = slope(self.graph, node, self.values, self.reference)
        slopes = (ratio(a, b, least, otherwise) for a, b in ((up, given.up), (down, given.down)))
        return Parts(*(multiplier * jnp.where(is_defined, each, otherwise) for each in slopes))

    def parts(self, value: Atom) -> Parts:
        """The contributions to a value, above 0 and below, of what it is a sum of."""
        node = self.makers.get(value)
        if node is not None and node.kind == "movement" and not node.selects:
            given = [self.parts(v) for v in node.inputs]
            at = [self.values[v] for v in node.inputs]
            function, number = self.graph.function(node, self.values), node.outputs.index(value)
            ups, downs = (jax.jvp(function, at, list(each))[1] for each in zip(*given, strict=True))
            return Parts(ups[number], downs[number])
        if node is None or node.kind not in ("linear", "product"):
            return split(self.change(value))
        if node.is_by_element:
            given = [self.parts(v) for v in node.inputs]
        else:
            given = [split(self.change(v)) for v in node.inputs]
        return _by_sign(self.graph, node, self.values, given)


def _by_sign(graph: Graph, node: Node, values: Values, given: Sequence[Parts]) -> Parts:
    """What is multiplied by less than 0 goes from one part into the other."""
    rising, falling = _signed(graph, node, values)
    ups, downs = [part.up for part in given], [part.down for part in given]
    return Parts(rising(ups) + falling(downs), rising(downs) + falling(ups))


Linear = Callable[[list[Array]], Array]


def _signed(graph: Graph, node: Node, values: Values) -> tuple[Linear, Linear]:
    """A linear operation as the sum of two: its positive factors alone, and its negative ones."""
    if node.product is not None:
        weights, _ = node.product.folded(values)
        positive, negative = (
            node.product.by(each) for each in (jnp.maximum(weights, 0), jnp.minimum(weights, 0))
        )
        return lambda given: positive(*given), lambda given: negative(*given)

    def linear(given: list[Array]) -> Array:
        at = [values[v] for v in node.inputs]
        return jax.jvp(graph.function(node, values), at, given)[1][0]

    def nothing(given: list[Array]) -> Array:
        return jnp.zeros_like(values[node.outputs[0]])

    if node.name == "neg":
        return nothing, linear
    if node.name == "sub" and len(node.inputs) == 2:
        zero = [jnp.zeros_like(values[v]) for v in node.inputs]
        return lambda given: linear([given[0], zero[1]]), lambda given: linear([zero[0], given[1]])
    if node.name == "sub" and node.step.eqn.invars[0] is not node.inputs[0]:
        return nothing, linear
    if node.name in ("div", "mul"):
        factor = linear([jnp.ones_like(values[node.inputs[0]])])
        return (
            lambda given: given[0] * jnp.maximum(factor, 0),
            lambda given: given[0] * jnp.minimum(factor, 0),
        )
    return linear, nothing
