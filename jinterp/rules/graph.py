"""A traced program as operations on what depends on its inputs, to go through backward."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jaxtyping import Array

from jinterp._types import Inputs, Params
from jinterp.model.program import Atom, assembled, flatten, line_of, part, variables
from jinterp.rules._reading import Node, Reading

Values = Mapping[Atom, Any]
"""What the variables of a program hold."""

Rule = Callable[[Node, list[Any]], Sequence[Any]]
"""`rule(node, cotangents)`: those of the node's inputs from those of its outputs; None is none."""


class Graph:
    """The operations of `fn(params, x)` on what depends on x.

    Attributes:
        inputs: the variables of the leaves of x.
        outputs: those of the result.
        nodes: in the order in which they are computed.
    """

    def __init__(self, fn: Callable[..., Any], params: Params, x: Inputs):
        num_params = len(jax.tree.leaves(params))
        jaxpr = jax.make_jaxpr(fn)(params, x)
        self._program = flatten(jaxpr, num_params, None, to_primitives=True)
        if any(step.eqn.primitive.name == "call_exported" for step in self._program.steps):
            raise NotImplementedError(
                "`apply_fn` is an exported model, whose operations cannot be seen; expected the "
                "model that was exported. Methods of gradients work with both."
            )
        self.inputs = self._program.inputs[num_params:]
        self.outputs = self._program.outputs
        self.nodes = Reading(self._program, self.inputs).nodes()

    def values(self, params: Params, x: Inputs) -> Values:
        """What every variable holds for these inputs."""
        program = self._program
        made = [v for step in program.steps for v in step.eqn.outvars]
        everything = [*program.inputs, *program.constants, *made]
        run = assembled(program, [], everything, [step.eqn for step in program.steps])
        return dict(zip(everything, run(*jax.tree.leaves((params, x))), strict=True))

    def function(self, node: Node, values: Values) -> Callable[..., list[Array]]:
        """The outputs of a node from its inputs; all else is as these values have it."""
        twins = [jex.Var(v.aval) for v in node.inputs]  # a value given twice is two arguments
        if node.kind == "curve":
            equations = [_with(eqn, dict.fromkeys(node.inputs, twins[0])) for eqn in node.equations]
        else:
            first, *tail = node.equations
            order = iter(twins)
            given = [next(order) if v in node.inputs else v for v in first.invars]
            equations = [first.replace(invars=given), *tail]
        made = {v for eqn in equations for v in eqn.outvars}
        read = dict.fromkeys(v for eqn in equations for v in variables(eqn.invars))
        others = [v for v in read if v not in made and v not in twins]
        run = part(self._program, [*twins, *others], node.outputs, equations)
        held = [values[v] for v in others]
        return lambda *inputs: run(*inputs, *held)


def _with(eqn: Any, renamed: Mapping[Atom, Atom]) -> Any:
    """The equation with other arguments."""
    given = [v if isinstance(v, jex.Literal) else renamed.get(v, v) for v in eqn.invars]
    return eqn.replace(invars=given)


def backward(graph: Graph, seeds: Sequence[Any], rule: Rule, add: Callable[[Any, Any], Any]) -> Any:
    """The cotangents of the inputs, from those of the outputs, by a rule for every node.

    Args:
        graph: of the program.
        seeds: a cotangent for each output.
        rule: what takes cotangents through a node.
        add: adds two cotangents of one value.
    """
    found: dict[Atom, Any] = {}

    def give(atom: Atom, cotangent: Any) -> None:
        if cotangent is not None:
            found[atom] = add(found[atom], cotangent) if atom in found else cotangent

    for atom, seed in zip(graph.outputs, seeds, strict=True):
        give(atom, seed)
    for node in reversed(graph.nodes):
        cotangents = [found.get(v) for v in node.outputs]
        if any(each is not None for each in cotangents):
            for atom, cotangent in zip(node.inputs, rule(node, cotangents), strict=True):
                give(atom, cotangent)
    return [found.get(v) for v in graph.inputs]


def pulled(graph: Graph, node: Node, values: Values, cotangents: Sequence[Any]) -> Sequence[Any]:
    """The cotangents of a node's inputs by its derivative at these values."""
    given = [values[v] for v in node.inputs]
    full = [
        jnp.zeros_like(values[v]) if each is None else each
        for v, each in zip(node.outputs, cotangents, strict=True)
    ]
    return jax.vjp(graph.function(node, values), *given)[1](full)


def change(values: Values, reference: Values, v: Atom) -> Array:
    """Of a value since the reference; none between two infinities that are equal."""
    after, before = values[v], reference[v]
    return jnp.where(after == before, jnp.zeros_like(after), after - before)


def no_rule(node: Node, method: str) -> NotImplementedError:
    """That a method cannot go through an operation, and where it stands."""
    where = f" in the layer {node.layer!r}" if node.layer else ""
    what = " with indices or conditions that depend on the input" if node.selects else ""
    return NotImplementedError(
        f"{method} has no rule for the operation `{node.name}`{what}{where} "
        f"({line_of(node.step)}). "
        "Explain a layer behind it, jinterp.at_layer(explain, layer), or take a method of "
        "gradients, such as integrated_gradients."
    )
