"""The activation functions of a traced model: which one cuts the output of a layer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.extend.core as jex
import numpy as np

from jinterp.model.program import Atom, Program, body_of, variables

_CUTS = {"tanh": "tanh", "logistic": "sigmoid"}
_WRAPPERS = {"custom_jvp_call", "jit", "pjit"}
_SAME_VALUES = {
    "reshape",
    "transpose",
    "squeeze",
    "broadcast_in_dim",
    "convert_element_type",
    "copy",
    "optimization_barrier",
}


class Nonlinearity(NamedTuple):
    """An activation function with flat parts.

    Attributes:
        name: "relu", "tanh" or "sigmoid".
        is_inside: whether the values are its results; else they are what it is given.
    """

    name: str
    is_inside: bool


def nonlinearities(
    program: Program, layers: Sequence[Sequence[Atom]]
) -> list[list[Nonlinearity | None]]:
    """For each output the function that made it, or that all of its readers are; None elsewhere."""
    makers = {made: step.eqn for step in program.steps for made in step.eqn.outvars}
    readers: dict[Atom, list[Any]] = {atom: [None] for atom in variables(program.outputs)}
    for step in program.steps:
        for atom in variables(step.eqn.invars):
            readers.setdefault(atom, []).append(step.eqn)
    return [[_nonlinearity(value, makers, readers) for value in outputs] for outputs in layers]


def _nonlinearity(
    value: Atom, makers: dict[Atom, Any], readers: dict[Atom, list[Any]]
) -> Nonlinearity | None:
    made_by = _kind(makers.get(_origin(value, makers)))
    if made_by:
        return Nonlinearity(made_by, True)
    kinds = _kinds_of_readers(value, readers)
    (kind,) = kinds if len(kinds) == 1 else (None,)
    return Nonlinearity(kind, False) if kind else None


def _origin(value: Atom, makers: dict[Atom, Any]) -> Atom:
    """The value as it was computed, before it was moved about."""
    while (eqn := makers.get(value)) and eqn.primitive.name in _SAME_VALUES:
        (value,) = variables(eqn.invars) or (None,)
    return value


def _kinds_of_readers(value: Atom, readers: dict[Atom, list[Any]]) -> set[str | None]:
    kinds: set[str | None] = set()
    for eqn in readers.get(value, []):
        if eqn is not None and eqn.primitive.name in _SAME_VALUES:
            kinds |= _kinds_of_readers(eqn.outvars[0], readers)
        else:
            kinds.add(_kind(eqn))
    return kinds


def _kind(eqn: Any) -> str | None:
    if eqn is None:
        return None
    name = eqn.primitive.name
    if name == "max":
        return "relu" if any(map(_is_zero, eqn.invars)) else None
    if name in _WRAPPERS:
        return _kind_of_body(body_of(eqn).eqns)
    return _CUTS.get(name)


def _kind_of_body(equations: Sequence[Any]) -> str | None:
    """That of the first equation, such as `max(x, 0)`, which `relu6` cuts once more."""
    names = [eqn.primitive.name for eqn in equations[1:]]
    return _kind(equations[0]) if equations and set(names) <= {"min"} else None


def _is_zero(atom: Atom) -> bool:
    return isinstance(atom, jex.Literal) and bool(np.all(np.asarray(atom.val) == 0))
