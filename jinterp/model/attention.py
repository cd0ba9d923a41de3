"""The attention probabilities of a model, wherever its library computes them."""

from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp

from jinterp._types import ApplyFn, Inputs, Params
from jinterp.model.layers import doubled, names
from jinterp.model.opened import HoldsLayers
from jinterp.model.program import Atom, Program, assembled, flatten, variables

_REARRANGE = {
    "broadcast_in_dim",
    "convert_element_type",
    "copy",
    "mul",
    "reshape",
    "select_n",
    "squeeze",
    "transpose",
}


def attention_probabilities(apply_fn: ApplyFn, params: Params, x: Inputs) -> dict[str, Any]:
    """By layer `[batch, heads, queries, keys]`: each softmax that a matrix product then reads."""
    if isinstance(apply_fn, HoldsLayers):
        return apply_fn.attention(params, x)
    program, found = _found(apply_fn, params, x)
    if not found:
        raise ValueError(
            "`apply_fn` computes no attention probabilities [batch, heads, queries, keys]: it has "
            "no attention, or one whose fused kernel never holds them. Use the XLA implementation."
        )
    _, larger = _found(apply_fn, params, doubled(x))
    outputs = [variable for variable, _ in found]
    run = assembled(program, [], outputs, [step.eqn for step in program.steps])
    values = run(*jax.tree.leaves((params, x)))
    batch = jax.tree.leaves(x)[0].shape[0]
    return {
        name: _batch_first(value, other.aval.shape, batch, name)
        for (_, name), value, (other, _) in zip(found, values, larger, strict=True)
    }


def _found(apply_fn: ApplyFn, params: Params, x: Inputs) -> tuple[Program, list[tuple[Atom, str]]]:
    jaxpr = jax.make_jaxpr(apply_fn)(params, x)
    program = flatten(jaxpr, len(jax.tree.leaves(params)), None)
    return program, _softmaxes(program)


def _batch_first(value: Any, larger: Any, batch: Any, name: str) -> Any:
    """`[batch, heads, queries, keys]`; the axis of the batch is the one that grows with it.

    The size of the batch may be symbolic.
    """
    axis = next(
        n for n, pair in enumerate(zip(value.shape, larger, strict=True)) if len(set(pair)) > 1
    )
    if value.shape[axis] != batch:
        raise ValueError(
            f"the attention {name!r} has the shape {value.shape} for {batch} examples: it attends "
            "in windows, and not among all tokens of an example."
        )
    return jnp.moveaxis(value, axis, 0).reshape(batch, -1, *value.shape[-2:])


def _softmaxes(program: Program) -> list[tuple[Atom, str]]:
    """exp(a) / Σ exp(a) over the last axis, and the name of the layer around it."""
    made = {variable: step.eqn for step in program.steps for variable in step.eqn.outvars}
    called = names(program)
    found: dict[str, list[Atom]] = {}
    for step in program.steps:
        if step.eqn.primitive.name != "div":
            continue
        above, below = step.eqn.invars
        result: Atom = step.eqn.outvars[0]
        total = _origin(below, made)
        is_softmax = (
            total is not None
            and total.primitive.name == "reduce_sum"
            and tuple(total.params["axes"]) == (len(total.invars[0].aval.shape) - 1,)
            and _is_exponential(_origin(above, made))
            and len(result.aval.shape) >= 4
            and _origin(total.invars[0], made) is _origin(above, made)
            and _is_multiplied(result, program)
        )
        if is_softmax:
            name = called.get(step.scopes, "") or "attention"
            found.setdefault(name, []).append(result)
    return [
        (variable, name if len(each) == 1 else f"{name}:{number}")
        for name, each in found.items()
        for number, variable in enumerate(each, start=1)
    ]


def _origin(atom: Atom, made: dict[Atom, Any]) -> Any:
    """The equation that a value comes from, before it was rearranged."""
    while not isinstance(atom, jex.Literal) and atom in made:
        eqn = made[atom]
        if eqn.primitive.name not in _REARRANGE:
            return eqn
        atom = eqn.invars[-1] if eqn.primitive.name == "select_n" else eqn.invars[0]
    return None


def _is_exponential(eqn: Any) -> bool:
    return eqn is not None and eqn.primitive.name == "exp"


def _is_multiplied(variable: Atom, program: Program) -> bool:
    """Whether a matrix product reads it, rearranged perhaps."""
    same = {variable}
    for step in program.steps:
        if same.isdisjoint(variables(step.eqn.invars)):
            continue
        if step.eqn.primitive.name == "dot_general":
            return True
        if step.eqn.primitive.name in _REARRANGE:
            same |= set(step.eqn.outvars)
    return False
