"""What each layer of a model has to read and to compute, from its traced program."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jinterp._types import ApplyFn, Inputs, Params
from jinterp.model.layers import Place, names, num_elements, places
from jinterp.model.opened import HoldsLayers
from jinterp.model.program import Atom, Piece, Program, Step, flatten, jaxprs_in, part, variables


class Cost(NamedTuple):
    """Of one forward pass over a batch, through a layer or the whole model.

    Attributes:
        multiply_adds: those of its matrix products and convolutions, padding counted as it is by
            hand; a product in a `while` loop counts once, of the branches of a `cond` the largest.
        flops: floating-point operations of all kinds, as XLA's cost analysis counts them before
            it optimises; a multiplication and an addition are two, and products with padding none.
        bytes_accessed: as XLA estimates them before it fuses operations.
        parameters: the leaves of `params` that it reads, or slices of them.
        output_bytes: of what leaves it.
    """

    multiply_adds: int
    flops: float
    bytes_accessed: float
    parameters: frozenset[Piece]
    output_bytes: int


class Costs(NamedTuple):
    """What the layers cost, and the whole.

    Attributes:
        layers: by name, in the order in which they are entered.
        whole: of the model.
        activation_bytes: of the outputs of all layers, each value once.
    """

    layers: dict[str, Cost]
    whole: Cost
    activation_bytes: int


def costs(apply_fn: ApplyFn, params: Params, x: Inputs) -> Costs:
    """Trace a model, and count what each layer does with inputs of these shapes.

    Args:
        apply_fn: `apply_fn(params, x)`.
        params: its parameters.
        x: inputs `[batch, ...]`, or `jax.ShapeDtypeStruct`s of them.

    Raises:
        TypeError: the model was exported, and its operations cannot be seen.
    """
    if isinstance(apply_fn, HoldsLayers):
        raise TypeError(
            "`apply_fn` is an exported model, whose operations cannot be counted; expected the "
            "model that was exported. jinterp.layers lists its layers."
        )
    num_params = len(jax.tree.leaves(params))
    program = flatten(jax.make_jaxpr(apply_fn)(params, x), num_params, None)
    called = names(program)
    known = {
        called[place.scopes]: place
        for place in places(program).values()
        if called[place.scopes] and place.outputs
    }
    found = {name: _of_layer(program, place) for name, place in known.items()}
    values = {output for place in known.values() for output in place.outputs}
    outputs = variables(program.outputs)
    given = [v for step in program.steps for v in variables(step.eqn.invars)]
    read = frozenset(program.params[v] for v in given if v in program.params)
    whole = _cost(program, program.steps, outputs, read)
    return Costs(found, whole, sum(map(_num_bytes, values)))


def _of_layer(program: Program, place: Place) -> Cost:
    depth = len(place.scopes)
    steps = [step for step in program.steps if step.scopes[:depth] == place.scopes]
    return _cost(program, steps, place.outputs, place.params)


def _cost(
    program: Program, steps: Sequence[Step], outputs: Sequence[Atom], params: frozenset[Piece]
) -> Cost:
    analysis = _analysis(program, steps, outputs)
    return Cost(
        sum(_multiply_adds(step.eqn) for step in steps),
        analysis.get("flops", math.nan),
        analysis.get("bytes accessed", math.nan),
        params,
        sum(map(_num_bytes, outputs)),
    )


def _analysis(program: Program, steps: Sequence[Step], outputs: Sequence[Atom]) -> dict[str, float]:
    """XLA's own, of a program made of these equations alone."""
    made = {v for step in steps for v in step.eqn.outvars}
    read = dict.fromkeys(v for step in steps for v in variables(step.eqn.invars))
    inputs = [v for v in read if v not in made]
    equations = [step.eqn for step in steps]
    shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in inputs]
    lowered = jax.jit(part(program, inputs, list(outputs), equations)).lower(*shapes)
    analysis: Any = lowered.cost_analysis()
    return analysis if isinstance(analysis, dict) else {}


def _multiply_adds(eqn: Any) -> int:
    name, parameters = eqn.primitive.name, eqn.params
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        shape = eqn.invars[0].aval.shape
        return _size(eqn.outvars[0]) * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        # An output is the sum over the kernel's input channels, those of its own group alone; a
        # transposed convolution puts zeros between its inputs, which are not multiplied.
        kernel, numbers = eqn.invars[1].aval.shape, parameters["dimension_numbers"]
        num_outputs, dilation = kernel[numbers.rhs_spec[0]], math.prod(parameters["lhs_dilation"])
        return _size(eqn.outvars[0]) * math.prod(kernel) // (num_outputs * dilation)
    inside = [sum(map(_multiply_adds, jaxpr.eqns)) for jaxpr in jaxprs_in(eqn)]
    if name == "cond":
        return max(inside, default=0)
    return sum(inside) * (parameters["length"] if name == "scan" else 1)


def _size(variable: Atom) -> int:
    return math.prod(variable.aval.shape)


def _num_bytes(variable: Atom) -> int:
    return _size(variable) * np.dtype(variable.aval.dtype).itemsize


def num_read(cost: Cost, leaf: int) -> int:
    """How many elements of a leaf a layer reads."""
    return num_elements([piece for piece in cost.parameters if piece.path[0] == leaf])
