"""DeepLIFT's reveal-cancel rule: what pushes a unit up and what pushes it down count apart.

The multipliers of a unit are two, for the contributions to it that are above 0 and for those below:
two inputs that cancel in a unit do not both look useless then. A change Δ is the sum of what is
above 0 and what is below, and their difference is its spread, so that the two are (Δ ± spread) / 2.
A linear operation with the weights W takes Δ to W Δ, which is known, and the spread to |W| spread:
one product more, and not one for each sign of either.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp.model.program import Atom, variables
from jinterp.rules._reading import Node
from jinterp.rules.differences import difference_rule, ratio, rounding, slope
from jinterp.rules.graph import Graph, Rule, Values, change, pulled

_OF_SOFTMAX = {"exp", "exp2"}  # whose parts alone grow beyond all bounds


class Multipliers(NamedTuple):
    """The multipliers of contributions above 0, mean + half, and below, mean − half.

    Attributes:
        mean: of the two.
        half: their difference, halved.
    """

    mean: Array
    half: Array

    def of(self, change: Array) -> Array:
        """The multiplier of a change that comes as one, above 0 or below."""
        return jnp.where(change >= 0, self.mean + self.half, self.mean - self.half)


def one(multiplier: Array) -> Multipliers:
    """The same multiplier for both."""
    return Multipliers(multiplier, jnp.zeros_like(multiplier))


def added(a: Multipliers, b: Multipliers) -> Multipliers:
    return Multipliers(a.mean + b.mean, a.half + b.half)


def reveal_cancel_rule(graph: Graph, values: Values, reference: Values) -> Rule:
    """The rule for every node, of cotangents that are `Multipliers`."""
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
            parts = [
                pulled(self.graph, node, self.values, [each and each[n] for each in given])
                for n in range(2)
            ]
            return list(map(Multipliers, *parts))
        if node.kind == "curve" and node.name not in _OF_SOFTMAX:
            return [self.through_curve(node, given[0].of(self.change(node.outputs[0])))]
        single = [
            None if each is None else each.of(self.change(v))
            for v, each in zip(node.outputs, given, strict=True)
        ]
        found = difference_rule(self.graph, self.values, self.reference)(node, single)
        return [None if each is None else one(each) for each in found]

    def change(self, value: Atom) -> Array:
        return change(self.values, self.reference, value)

    def through_linear(self, node: Node, multipliers: Multipliers) -> list[Multipliers]:
        means = pulled(self.graph, node, self.values, [multipliers.mean])
        absolute = _absolute(self.graph, node, self.values)
        halves = jax.linear_transpose(absolute, *(self.values[v] for v in node.inputs))(
            multipliers.half
        )
        found = list(map(Multipliers, means, halves))
        if node.is_by_element:
            return found
        return [one(each.of(self.change(v))) for v, each in zip(node.inputs, found, strict=True)]

    def through_curve(self, node: Node, multiplier: Array) -> Multipliers:
        """Slopes of what each part changes, in the mean of the two orders in which they come."""
        (source,), (result,) = node.inputs, node.outputs
        start, before, after = (self.reference[source], self.reference[result], self.values[result])
        net, spread = self.change(source), self.spread(source)
        rise, fall = jnp.maximum((net + spread) / 2, 0), jnp.minimum((net - spread) / 2, 0)
        curve = self.graph.function(node, self.reference)
        (raised,), (lowered,) = curve(start + rise), curve(start + fall)
        up = (raised - before + after - lowered) / 2
        down = (lowered - before + after - raised) / 2
        # What parts alone would reach may lie where the function is not defined.
        is_defined = jnp.isfinite(up) & jnp.isfinite(down)
        otherwise = slope(self.graph, node, self.values, self.reference)
        least = jnp.maximum(rounding(self.values[source], start), rounding(spread, spread))
        of_up, of_down = (
            jnp.where(is_defined, ratio(a, b, least, otherwise), otherwise)
            for a, b in ((up, rise), (down, fall))
        )
        return Multipliers(multiplier * (of_up + of_down) / 2, multiplier * (of_up - of_down) / 2)

    def spread(self, value: Atom) -> Array:
        """How far the contributions to a value above 0 and below lie apart, of its summands."""
        node = self.makers.get(value)
        if node is not None and node.kind == "movement" and not node.selects:
            given = [self.spread(v) for v in node.inputs]
            at = [self.values[v] for v in node.inputs]
            moved = jax.jvp(self.graph.function(node, self.values), at, given)[1]
            return moved[node.outputs.index(value)]
        if node is None or node.kind not in ("linear", "product"):
            return jnp.abs(self.change(value))
        given = [
            self.spread(v) if node.is_by_element else jnp.abs(self.change(v)) for v in node.inputs
        ]
        return _absolute(self.graph, node, self.values)(*given)


def _absolute(graph: Graph, node: Node, values: Values) -> Callable[..., Array]:
    """A linear operation with the absolute values of its factors."""
    if node.product is not None:
        weights, _ = node.product.folded(values)
        return node.product.by(jnp.abs(weights))

    constants = [v for v in variables(node.step.eqn.invars) if v not in node.inputs]
    held = {v: jnp.abs(values[v]) for v in constants if jnp.issubdtype(v.aval.dtype, jnp.floating)}

    def linear(*given: Array) -> Array:
        at = [values[v] for v in node.inputs]
        return jax.jvp(graph.function(node, {**values, **held}), at, list(given))[1][0]

    if node.name in ("mul", "div"):
        factor = jnp.abs(linear(jnp.ones_like(values[node.inputs[0]])))
        return lambda given: given * factor
    if node.name in ("neg", "sub"):
        shape = values[node.outputs[0]].shape
        return lambda *given: jnp.broadcast_to(sum(given[1:], given[0]), shape)
    return linear
