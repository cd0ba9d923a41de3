"""A traced model as one flat list of equations, each with the named scopes it was made in.

The names are those that `jax.named_scope` gives: Linen and Haiku enter one for every call of a
module, `from_nnx` makes NNX modules do so. JAX makes a new object each time a scope is entered, so
two calls of one module are told apart by identity.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax.extend import source_info_util

_CALLS = {"jit", "pjit", "closed_call", "core_call", "eval_jaxpr"}
_REMATERIALISED = {"checkpoint", "remat", "remat2"}
_WITH_RULES = {"custom_jvp_call", "custom_vjp_call", "custom_vmap_call"}
_PACKAGE = str(Path(__file__).parents[1])

Atom = Any
"""A variable or a literal of a jaxpr."""


class Scope(NamedTuple):
    """One entry into a named scope.

    Attributes:
        name: its name.
        key: differs for two entries into scopes of one name.
    """

    name: str
    key: tuple[int, ...]


Scopes = tuple[Scope, ...]


class Piece(NamedTuple):
    """A leaf of `params`, or a slice of one.

    Attributes:
        path: the number of the leaf, then that of each slice.
        size: its elements.
    """

    path: tuple[int, ...]
    size: int


class Step(NamedTuple):
    """An equation of the flat program, in the program's own variables.

    Attributes:
        eqn: the equation.
        scopes: it was made in.
        call: the equation in the user's code that made it, itself or the call of a library.
    """

    eqn: jex.JaxprEqn
    scopes: Scopes
    call: jex.JaxprEqn


@dataclasses.dataclass
class Program:
    """What `apply_fn(params, x)` computes.

    Attributes:
        inputs: the variables of the leaves of (params, x).
        outputs: those of the leaves of the result.
        constants: arrays that the function closes over.
        steps: the equations in order.
        params: what each variable that holds parameters, as they are or recast, holds of them.
        hidden: scopes inside loops and branches, which cannot be opened, and in what they are.
        vmapped: whether a part was made by `jax.vmap`, which puts the batch on any axis.
        debug_info: the name of the function, for JAX's own messages.
    """

    inputs: list[Atom]
    outputs: list[Atom]
    constants: dict[Atom, Any]
    steps: list[Step]
    params: dict[Atom, Piece]
    hidden: dict[tuple[str, ...], str]
    vmapped: bool
    debug_info: Any


def flatten(
    jaxpr: jex.ClosedJaxpr,
    num_params: int,
    wanted: Sequence[Scopes] | None,
    *,
    to_primitives: bool = False,
) -> Program:
    """The flat program of a traced model.

    Args:
        jaxpr: of `apply_fn(params, x)`, jitted or not.
        num_params: how many of its inputs are leaves of `params`.
        wanted: layers that must be reached: what holds them is taken apart, also a rematerialised
            call (whose saving of memory is lost) and a scan (step by step). None reaches all.
        to_primitives: take apart every such call and scan, and functions with derivatives or a vmap
            of their own, which are lost.
    """
    debug_info = jaxpr.jaxpr.debug_info._replace(arg_names=None, result_paths=None)
    program = Program([], [], {}, [], {}, {}, False, debug_info)
    program.inputs = [jex.Var(variable.aval) for variable in jaxpr.jaxpr.invars]
    for number, variable in enumerate(program.inputs[:num_params]):
        program.params[variable] = Piece((number,), math.prod(variable.aval.shape))
    builder = _Builder(program, wanted, to_primitives)
    program.outputs = builder.inline(jaxpr, program.inputs, (), ())
    program.steps = _alive(program)
    return program


def assembled(
    program: Program, inputs: Sequence[Atom], outputs: Sequence[Atom], equations: Sequence[Any]
) -> Callable[..., list[Any]]:
    """A function of the leaves of (params, x) and further inputs, made of these equations."""
    return part(program, [*program.inputs, *inputs], outputs, equations, program.constants)


def part(
    program: Program,
    inputs: Sequence[Atom],
    outputs: Sequence[Atom],
    equations: Sequence[Any],
    constants: Mapping[Atom, Any] | None = None,
) -> Callable[..., list[Any]]:
    """A function of the values of some variables, made of some equations."""
    constants = constants or {}
    effects = frozenset().union(*(equation.effects for equation in equations))
    debug_info = program.debug_info
    jaxpr = jex.Jaxpr(list(constants), inputs, outputs, equations, effects, debug_info)
    return jex.jaxpr_as_fun(jex.ClosedJaxpr(jaxpr, list(constants.values())))


def line_of(step: Step) -> str:
    """The innermost line that made an equation and is of no installed package."""
    traceback = step.call.source_info.traceback
    frames: Sequence[Any] = traceback.frames if traceback else ()
    for frame in frames:
        if not _is_installed(frame.file_name):
            return f"line {frame.line_num} of {frame.file_name}"
    return source_info_util.summarize(step.call.source_info)


def _is_installed(file_name: str | None) -> bool:
    return file_name is None or "site-packages" in file_name or file_name.startswith(_PACKAGE)


def _alive(program: Program) -> list[Step]:
    """The steps that the outputs depend on: Flax's scan leaves parts of a step around it."""
    read, alive = set(variables(program.outputs)), []
    for step in reversed(program.steps):
        if step.eqn.effects or not read.isdisjoint(step.eqn.outvars):
            read.update(variables(step.eqn.invars))
            alive.append(step)
    return alive[::-1]


def variables(atoms: Sequence[Atom]) -> list[Atom]:
    """Those that are no literals."""
    return [atom for atom in atoms if not isinstance(atom, jex.Literal)]


class _Builder:
    """Copies equations into one list, each under new variables."""

    def __init__(self, program: Program, wanted: Sequence[Scopes] | None, to_primitives: bool):
        self.program, self.wanted, self.to_primitives = program, wanted, to_primitives

    def inline(
        self,
        jaxpr: Any,
        arguments: Sequence[Atom],
        scopes: Scopes,
        call: tuple[int, ...],
        caller: Any = None,
    ) -> list[Atom]:
        """Copy a jaxpr called within `scopes`; `call` tells this call from others.

        JAX keeps the jaxprs of a library's functions with the lines of whoever called them first;
        `caller` is the equation that calls one here.
        """
        jaxpr, constants = _opened(jaxpr)
        renamed: dict[Any, Atom] = dict(zip(jaxpr.invars, arguments, strict=True))
        for variable, value in zip(jaxpr.constvars, constants, strict=True):
            renamed[variable] = jex.Var(variable.aval)
            self.program.constants[renamed[variable]] = value

        def read(atom: Atom) -> Atom:
            return atom if isinstance(atom, jex.Literal) else renamed[atom]

        for number, eqn in enumerate(jaxpr.eqns):
            inside = scopes + _scopes_of(eqn, call)
            self.program.vmapped |= _is_vmapped(eqn)
            given, made_by = list(map(read, eqn.invars)), eqn if caller is None else caller
            results = self.equation(eqn, given, inside, (*call, number), made_by)
            renamed.update(zip(eqn.outvars, results, strict=True))
        return list(map(read, jaxpr.outvars))

    def equation(
        self, eqn: Any, arguments: list[Atom], scopes: Scopes, call: tuple[int, ...], made_by: Any
    ) -> list[Atom]:
        name = eqn.primitive.name
        is_of_library = made_by is not eqn or _is_of_library(eqn)
        caller = made_by if is_of_library else None
        if name in _CALLS or (self.to_primitives and name in _WITH_RULES):
            return self.inline(_body(eqn), arguments, scopes, call, caller)
        if name in _REMATERIALISED and self.must_open(eqn, scopes, call):
            return self.inline(_body(eqn), arguments, scopes, call, caller)
        if name == "scan" and eqn.params["length"] and self.must_open(eqn, scopes, call):
            return self.scan(eqn, arguments, scopes, call, caller)
        names = tuple(scope.name for scope in scopes)
        self.program.hidden |= {(*names, *inner): name for inner in _names_inside(eqn)}
        outputs = [jex.Var(variable.aval) for variable in eqn.outvars]
        copied = eqn.replace(invars=arguments, outvars=outputs)
        self.program.steps.append(Step(copied, scopes, made_by))
        self.recast(arguments, outputs)
        return outputs

    def recast(self, arguments: list[Atom], outputs: list[Atom]) -> None:
        """What is made of one parameter alone, element by element, still is that parameter."""
        if len(arguments) != 1 or len(outputs) != 1 or isinstance(arguments[0], jex.Literal):
            return
        piece = self.program.params.get(arguments[0])
        if piece and piece.size == math.prod(outputs[0].aval.shape):
            self.program.params[outputs[0]] = piece

    def must_open(self, eqn: Any, scopes: Scopes, call: tuple[int, ...]) -> bool:
        """Whether a layer wanted begins inside."""
        if self.to_primitives:
            return True
        if self.wanted is None:
            return bool(_names_inside(eqn))
        is_scan = eqn.primitive.name == "scan"
        calls = [(*call, n) for n in range(eqn.params["length"])] if is_scan else [call]
        for each in calls:
            for number, inner in enumerate(body_of(eqn).eqns):
                inside = scopes + _scopes_of(inner, each)
                if any(
                    len(layer) > len(scopes) and inside[: len(layer)] == layer
                    for layer in self.wanted
                ):
                    return True
                opens = inner.primitive.name in _CALLS | _REMATERIALISED | {"scan"}
                if opens and self.must_open(inner, inside, (*each, number)):
                    return True
        return False

    def scan(
        self, eqn: Any, arguments: list[Atom], scopes: Scopes, call: tuple[int, ...], caller: Any
    ) -> list[Atom]:
        """A scan step by step, each a call of its own."""
        num_consts, num_carry = _scan_sizes(eqn)
        length, body = eqn.params["length"], eqn.params["jaxpr"]
        constants, carry = arguments[:num_consts], arguments[num_consts : num_consts + num_carry]
        scanned = arguments[num_consts + num_carry :]
        rows: list[list[Atom]] = [[] for _ in range(length)]
        order = reversed(range(length)) if eqn.params["reverse"] else range(length)
        for number in order:
            slices = [self.slice(each, number, scopes, (*call, number)) for each in scanned]
            given = [*constants, *carry, *slices]
            results = self.inline(body, given, scopes, (*call, number), caller)
            carry, rows[number] = results[:num_carry], results[num_carry:]
        stacked = [
            self.emit(lambda *parts: jnp.stack(parts), column, scopes, call)
            for column in zip(*rows, strict=True)
        ]
        return [*carry, *stacked]

    def slice(self, atom: Atom, number: int, scopes: Scopes, call: tuple[int, ...]) -> Atom:
        part = self.emit(
            lambda array: jax.lax.index_in_dim(array, number, keepdims=False), [atom], scopes, call
        )
        whole = None if isinstance(atom, jex.Literal) else self.program.params.get(atom)
        if whole:
            self.program.params[part] = Piece((*whole.path, number), math.prod(part.aval.shape))
        return part

    def emit(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Atom],
        scopes: Scopes,
        call: tuple[int, ...],
    ) -> Atom:
        """Add the equations of `function(*arguments)`."""
        shapes = [jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype) for a in arguments]
        return self.inline(jax.make_jaxpr(function)(*shapes), arguments, scopes, call)[0]


def _scopes_of(eqn: Any, call: tuple[int, ...]) -> Scopes:
    """The named scopes around an equation.

    Transforms such as vmap are no scopes, and those that `jnp.einsum` enters are no layers.
    """
    stack = eqn.source_info.name_stack.stack
    # The objects stay alive as long as the jaxpr, so identities are not used twice.
    return tuple(
        Scope(entry.name, (*call, id(entry)))
        for entry in stack
        if type(entry).__name__ == "Scope" and entry.name and "->" not in entry.name
    )


def _is_vmapped(eqn: Any) -> bool:
    stack = eqn.source_info.name_stack.stack
    return any(type(entry).__name__ == "Transform" and entry.name == "vmap" for entry in stack)


def _scan_sizes(eqn: Any) -> tuple[int, int]:
    """How many constants and carried values a scan has, as JAX before 0.12 says it and since."""
    if "num_consts" in eqn.params:
        return eqn.params["num_consts"], eqn.params["num_carry"]
    constants, carried, _ = map(len, eqn.params["ft_in"].unpack())
    return constants, carried


def _body(eqn: Any) -> Any:
    return next(eqn.params[name] for name in ("jaxpr", "call_jaxpr", "call") if name in eqn.params)


def _is_of_library(eqn: Any) -> bool:
    """Whether an equation calls a function of an installed package, or one without a place."""
    bodies = list(jaxprs_in(eqn))
    return bool(bodies) and _is_installed(bodies[0].debug_info.func_filename)


def body_of(eqn: Any) -> jex.Jaxpr:
    """The jaxpr that a call-like equation calls."""
    return _opened(_body(eqn))[0]


def _opened(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    if isinstance(jaxpr, jex.ClosedJaxpr):
        return jaxpr.jaxpr, jaxpr.consts
    return jaxpr, ()


def jaxprs_in(eqn: Any) -> Any:
    """Every jaxpr among the parameters of an equation."""
    for value in eqn.params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, jex.ClosedJaxpr | jex.Jaxpr):
                yield _opened(each)[0]


def _names_inside(eqn: Any) -> set[tuple[str, ...]]:
    """The scopes in the jaxprs that an equation holds, from the outermost on."""
    found = set()
    for jaxpr in jaxprs_in(eqn):
        for inner in jaxpr.eqns:
            names = tuple(scope.name for scope in _scopes_of(inner, ()))
            found |= set(itertools.accumulate(((name,) for name in names), tuple.__add__))
            found |= {(*names, *rest) for rest in _names_inside(inner)}
    return found
