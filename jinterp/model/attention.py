"""The attention probabilities of a model, wherever its library computes them."""

from typing import Any

import jax
import jax.extend.core as jex

from jinterp._types import ApplyFn, Inputs, Params
from jinterp.model.layers import names
from jinterp.model.program import Atom, Program, assembled, flatten, variables

_REARRANGE = {
    "broadcast_in_dim",
    "convert_element_type",
    "copy",
    "mul",
    "reshape",
    "squeeze",
    "transpose",
}


def attention_probabilities(apply_fn: ApplyFn, params: Params, x: Inputs) -> dict[str, Any]:
    """By layer `[batch, heads, queries, keys]`: each softmax that a matrix product then reads."""
    jaxpr = jax.make_jaxpr(apply_fn)(params, x)
    program = flatten(jaxpr, len(jax.tree.leaves(params)), None)
    found = _softmaxes(program)
    if not found:
        raise ValueError(
            "`apply_fn` computes no attention probabilities [batch, heads, queries, keys]: it has "
            "no attention, or one whose fused kernel never holds them. Use the XLA implementation."
        )
    outputs = [variable for variable, _ in found]
    run = assembled(program, [], outputs, [step.eqn for step in program.steps])
    values = run(*jax.tree.leaves((params, x)))
    batch = len(jax.tree.leaves(x)[0])
    return {
        name: value.reshape(batch, -1, *value.shape[-2:])
        for (_, name), value in zip(found, values, strict=True)
    }


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
        atom = eqn.invars[0]
    return None


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
