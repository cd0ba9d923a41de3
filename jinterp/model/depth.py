"""In which order a program reads the leaves of its parameters: the depth at which each acts."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.extend.core as jex

from jinterp._types import ApplyFn, BatchLossFn, Inputs, Params
from jinterp.model.layers import names
from jinterp.model.leaves import names_of_all, numbers_of_trained
from jinterp.model.opened import HoldsLayers
from jinterp.model.program import Program, Scopes, flatten

_PARTS = {"slice", "squeeze"}


def reading_order(loss_fn: BatchLossFn, params: Params, batch: Any) -> list[int]:
    """The positions in `trained_leaves(params)`, first read first; those never read at the end."""
    reads = _reads(_program(loss_fn, params, batch, []))
    order = {leaf: place for place, leaf in enumerate(dict.fromkeys(leaf for leaf, _ in reads))}
    numbers = numbers_of_trained(params)
    return sorted(range(len(numbers)), key=lambda n: order.get(numbers[n], len(order)))


def leaves_by_layer(apply_fn: ApplyFn, params: Params, x: Inputs) -> dict[str, list[int]]:
    """The numbers of the leaves that each layer reads, in the order of their first reads.

    A leaf belongs to the innermost layer that reads it first, so that a kernel, its bias and the
    statistics beside it go together. What is read outside of all layers is a layer of its own, of
    the name of the leaf. Leaves that are never read are left out.

    Raises:
        TypeError: the model was exported, and what it reads cannot be seen.
    """
    if isinstance(apply_fn, HoldsLayers):
        raise TypeError(
            "`apply_fn` is an exported model, whose order of layers cannot be seen; expected the "
            "model that was exported."
        )
    program = _program(apply_fn, params, x, None)
    called, known = names(program), names_of_all(params)
    first: dict[int, str] = {}
    for leaf, scopes in _reads(program):
        first.setdefault(leaf, called[scopes] or known[leaf])
    layers: dict[str, list[int]] = {}
    for leaf, layer in first.items():
        layers.setdefault(layer, []).append(leaf)
    return layers


def _program(
    fn: Callable[..., Any], params: Params, x: Any, wanted: Sequence[Scopes] | None
) -> Program:
    jaxpr = jax.jit(fn).trace(params, x).jaxpr  # which JAX keeps, other than make_jaxpr's
    return flatten(jaxpr, len(jax.tree.leaves(params)), wanted)


def _reads(program: Program) -> Iterator[tuple[int, Scopes]]:
    """The number of the leaf and the scopes, for each time that a parameter is read.

    To recast it, as mixed precision does with all at the start, or to take a part of it, as the
    steps of a scan do, is not to read it.
    """
    held = {variable: piece.path[0] for variable, piece in program.params.items()}
    for step in program.steps:
        given = [None if isinstance(v, jex.Literal) else held.get(v) for v in step.eqn.invars]
        if step.eqn.primitive.name in _PARTS and given[0] is not None:
            held[step.eqn.outvars[0]] = given[0]
        if all(variable in held for variable in step.eqn.outvars):
            continue
        for leaf in (given[n] for n in _order(step.eqn)):
            if leaf is not None:
                yield leaf, step.scopes


def _order(eqn: Any) -> Iterator[int]:
    """The numbers of an equation's inputs in the order in which it reads them."""
    body = _body(eqn)
    if body is None:
        yield from range(len(eqn.invars))
    else:
        yield from (number for number, _ in _reads(flatten(body, len(eqn.invars), [])))


def _body(eqn: Any) -> jex.ClosedJaxpr | None:
    """What a loop or a rematerialised call runs, where its inputs are those of the equation."""
    body = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    if isinstance(body, jex.Jaxpr):
        body = jex.ClosedJaxpr(body, ())
    is_aligned = isinstance(body, jex.ClosedJaxpr) and len(body.in_avals) == len(eqn.invars)
    return body if is_aligned else None
