"""Where the first NaN and the first infinity of a forward pass are made."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinterp._types import ApplyFn, Inputs, Params
from jinterp.model.layers import names
from jinterp.model.program import (
    Atom,
    Program,
    Step,
    assembled,
    flatten,
    line_of,
    variables,
)


class Origin(NamedTuple):
    """Where a number that is none was made, of numbers that were.

    Attributes:
        layer: the innermost layer; "" for what the model computes outside of its layers.
        operation: the primitive, such as "log" or "div".
        line: of the user's code, as far as it is known.
    """

    layer: str
    operation: str
    line: str

    def __str__(self) -> str:
        """The place in words."""
        where = f"the layer {self.layer!r}" if self.layer else "the model outside of its layers"
        return f"`{self.operation}` in {where} ({self.line})"


class Origins(NamedTuple):
    """What made the first NaN and the first infinity.

    Attributes:
        nan: None where no operation made a NaN of inputs without; those of x and of the
            parameters are not made by the model.
        infinite: the same of infinities, made of finite numbers. Masks use them on purpose.
    """

    nan: Origin | None
    infinite: Origin | None


def origins(apply_fn: ApplyFn, params: Params, x: Inputs) -> Origins:
    """Run the model once, and look at the result of every operation.

    Args:
        apply_fn: a model whose program can be traced: no exported one.
        params: its parameters.
        x: inputs, `[batch, ...]`.
    """
    program, watched = _watched(apply_fn, params, x)
    has_nan, has_infinity = map(np.asarray, _flags(apply_fn, params, x))
    of_nan, of_infinity, of_any = (
        dict(zip(watched, flags.tolist(), strict=True))
        for flags in (has_nan, has_infinity, has_nan | has_infinity)
    )
    fixed = _fixed(program)
    return Origins(
        _origin(program, lambda step: _makes(step, of_nan, of_nan, fixed)),
        _origin(program, lambda step: _makes(step, of_infinity, of_any, fixed)),
    )


@functools.partial(jax.jit, static_argnames="apply_fn")
def _flags(apply_fn: ApplyFn, params: Params, x: Inputs) -> tuple[jax.Array, jax.Array]:
    """For each value of floats whether it has a NaN, and whether it has an infinity."""
    program, watched = _watched(apply_fn, params, x)
    run = assembled(program, [], watched, [step.eqn for step in program.steps])
    values = run(*jax.tree.leaves((params, x)))
    has_nan, has_infinity = zip(
        *((jnp.isnan(value).any(), jnp.isinf(value).any()) for value in values), strict=True
    )
    return jnp.stack(has_nan), jnp.stack(has_infinity)


def _watched(apply_fn: ApplyFn, params: Params, x: Inputs) -> tuple[Program, list[Atom]]:
    """The program and all values of floats in it, in one order for one trace."""
    leaves = len(jax.tree.leaves(params))
    program = flatten(jax.make_jaxpr(apply_fn)(params, x), leaves, None)
    made = [variable for step in program.steps for variable in step.eqn.outvars]
    values = [*program.inputs, *program.constants, *made]
    return program, [v for v in values if jnp.issubdtype(v.aval.dtype, jnp.inexact)]


def _fixed(program: Program) -> set[Atom]:
    """What depends on neither inputs nor parameters, as the NaN that `jnp.var` has at hand."""
    fixed = set(program.constants)
    for step in program.steps:
        if all(v in fixed for v in variables(step.eqn.invars)):
            fixed.update(step.eqn.outvars)
    return fixed


def _makes(
    step: Step, of_results: dict[Atom, bool], of_given: dict[Atom, bool], fixed: set[Atom]
) -> bool:
    """Whether an operation gives something of this kind, and was given nothing of that one.

    What is fixed in the program is no result: what chooses it makes it.
    """
    made = any(of_results.get(v, False) and v not in fixed for v in step.eqn.outvars)
    given = [v for v in variables(step.eqn.invars) if v not in fixed]
    return made and not any(of_given.get(v, False) for v in given)


def _origin(program: Program, makes: Callable[[Step], bool]) -> Origin | None:
    for step in program.steps:
        if makes(step):
            eqn = step.eqn
            layer = names(program).get(step.scopes, "")
            return Origin(layer, eqn.primitive.name, line_of(step))
    return None
