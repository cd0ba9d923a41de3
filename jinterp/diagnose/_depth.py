"""In which order a loss reads the leaves of its parameters: the depth at which each acts."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.extend.core as jex

from jinterp._types import BatchLossFn, Params
from jinterp.model.leaves import numbers_of_trained
from jinterp.model.program import Atom, Program, flatten


def reading_order(loss_fn: BatchLossFn, params: Params, batch: Any) -> list[int]:
    """The positions in `trained_leaves(params)`, first read first; those never read at the end.

    To recast a leaf, as mixed precision does with all of them at the start, is not to read it.
    """
    num_leaves = len(jax.tree.leaves(params))
    first: dict[int, int] = {}
    jaxpr = jax.jit(loss_fn).trace(params, batch).jaxpr  # which JAX keeps, other than make_jaxpr's
    for number in _reads(jaxpr, num_leaves):
        first.setdefault(number, len(first))
    numbers = numbers_of_trained(params)
    return sorted(range(len(numbers)), key=lambda n: first.get(numbers[n], num_leaves))


def _reads(jaxpr: jex.ClosedJaxpr, num_params: int) -> Iterator[int]:
    """The number of the leaf, for each time that one of the first `num_params` inputs is read."""
    program = flatten(jaxpr, num_params, [])
    for step in program.steps:
        if all(variable in program.params for variable in step.eqn.outvars):
            continue
        leaves = [_leaf(program, atom) for atom in step.eqn.invars]
        body = _body(step.eqn)
        order = _reads(body, len(leaves)) if body else range(len(leaves))
        yield from (leaf for leaf in (leaves[n] for n in order) if leaf is not None)


def _leaf(program: Program, atom: Atom) -> int | None:
    piece = None if isinstance(atom, jex.Literal) else program.params.get(atom)
    return piece.path[0] if piece else None


def _body(eqn: Any) -> jex.ClosedJaxpr | None:
    """What a loop or a rematerialised call runs, where its inputs are those of the equation."""
    body = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    if isinstance(body, jex.Jaxpr):
        body = jex.ClosedJaxpr(body, ())
    is_aligned = isinstance(body, jex.ClosedJaxpr) and len(body.in_avals) == len(eqn.invars)
    return body if is_aligned else None
