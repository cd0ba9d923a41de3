"""Reading and perturbing a layer of any model, by its name, without touching the model."""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jaxtyping import Array

from jinterp._types import AnyArray, ApplyFn, Inputs, Params
from jinterp.model.layers import Place, batch_axes, batch_first, doubled, find, places
from jinterp.model.nonlinearity import Nonlinearity, nonlinearities
from jinterp.model.opened import HoldsLayers, Opened
from jinterp.model.program import Atom, Program, Scopes, assembled, flatten


@dataclasses.dataclass(frozen=True)
class Tapped:
    """A model with an open layer: what `tap` returns. Equal ones compile once."""

    apply_fn: ApplyFn
    layer: str

    def __call__(self, delta: AnyArray, params: Params, x: Inputs) -> tuple[Array, AnyArray]:
        opened = open_layers(self.apply_fn, params, x, (self.layer,))
        logits, (activation,) = opened((delta,), params, x)
        return logits, activation


def tap(apply_fn: ApplyFn, layer: str) -> Tapped:
    """A model whose layer can be read, and moved by a delta added to its output.

    Works on a model of any library whose modules enter named scopes, jitted, rematerialised and
    opaque ones too: the traced program is rewritten, and the model, its classes and its caches
    stay as they are. A layer inside `scan` is addressed by its step (`block#2/conv` is the second
    one); it is then taken apart, as is a rematerialised call, which gives up its saving of memory.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        layer: a name that `layers` lists; "." and "/" are taken alike.

    Returns:
        `tapped(delta, params, x) -> (logits, activation)`. `delta` has the shape of the
        activation and is added to it, so that the gradient by `delta` at zero is the gradient by
        the activation. A layer with several outputs has a tuple of them, and of deltas.

    Raises:
        ValueError: when called, if there is no such layer, it was called several times and the
            name does not say which one, or it is inside a loop or a branch.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         x = jnp.tanh(x @ params)
    ...     return x @ params
    >>> tapped = tap(apply_fn, "hidden")
    >>> logits, hidden = tapped(jnp.zeros((1, 2)), jnp.eye(2), jnp.ones((1, 2)))
    >>> hidden.round(3).tolist()
    [[0.7620000243186951, 0.7620000243186951]]
    """
    return Tapped(apply_fn, layer)


def activations(
    apply_fn: ApplyFn, params: Params, x: Inputs, layers: str | Sequence[str]
) -> dict[str, AnyArray]:
    """The outputs of layers, several in one forward pass.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]`.
        layers: names that `layers` lists.

    Returns:
        The activation of each layer under the name given, `[batch, ...]`; a tuple where a layer
        has several outputs.

    Raises:
        ValueError: as `tap` does.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         x = x @ params
    ...     return x.sum(axis=1, keepdims=True)
    >>> activations(apply_fn, jnp.eye(2), jnp.ones((1, 2)), "hidden")["hidden"].tolist()
    [[1.0, 1.0]]
    """
    names = (layers,) if isinstance(layers, str) else tuple(layers)
    return dict(zip(names, _activations(apply_fn, names, params, x), strict=True))


@functools.partial(jax.jit, static_argnames=("apply_fn", "names"))
def _activations(
    apply_fn: ApplyFn, names: tuple[str, ...], params: Params, x: Inputs
) -> tuple[AnyArray, ...]:
    return open_layers(apply_fn, params, x, names).read(params, x)[1]


def open_layers(apply_fn: ApplyFn, params: Params, x: Inputs, names: Sequence[str]) -> Opened:
    """A model with the layers of these names open, for inputs of these shapes."""
    if isinstance(apply_fn, HoldsLayers):
        return apply_fn.opened(params, x, names)
    return Traced(apply_fn, params, x, names)


class Traced(Opened):
    """A model whose layers are found in its trace."""

    def __init__(self, apply_fn: ApplyFn, params: Params, x: Inputs, names: Sequence[str]):
        self._program, self._places, self._treedef = _open(apply_fn, params, x, names)
        others = self._places
        if self._program.vmapped:
            with contextlib.suppress(Exception):  # a model for one batch size only
                _, others, _ = _open(apply_fn, params, doubled(x), names)
        self._axes = [batch_axes(*pair) for pair in zip(self._places, others, strict=True)]
        self.shapes = tuple(
            _as_one([batch_first(v, axis) for v, axis in zip(place.outputs, axes, strict=True)])
            for place, axes in zip(self._places, self._axes, strict=True)
        )

    def _run(
        self, given: tuple[AnyArray, ...], params: Params, x: Inputs, *, replace: bool
    ) -> tuple[Any, tuple[AnyArray, ...]]:
        run = _perturbed(self._program, self._places, "replace" if replace else "add")
        return self._computed(run, self._in_place(given), params, x)

    def read(self, params: Params, x: Inputs) -> tuple[Any, tuple[AnyArray, ...]]:
        outputs = [output for place in self._places for output in place.outputs]
        equations = [step.eqn for step in self._program.steps]
        run = assembled(self._program, [], [*self._program.outputs, *outputs], equations)
        return self._computed(run, (), params, x)

    def nonlinearities(self) -> list[list[Nonlinearity | None]]:
        return nonlinearities(self._program, [place.outputs for place in self._places])

    def either(
        self, is_replaced: Sequence[AnyArray], given: Sequence[AnyArray], params: Params, x: Inputs
    ) -> tuple[Any, tuple[AnyArray, ...]]:
        """As called, but a layer whose flag is set is replaced; flags are data, for one program."""
        run = _perturbed(self._program, self._places, "either")
        each = zip(is_replaced, self._places, strict=True)
        flags = [flag for flag, place in each for _ in place.outputs]
        return self._computed(run, [*flags, *self._in_place(tuple(given))], params, x)

    def _in_place(self, given: tuple[AnyArray, ...]) -> list[AnyArray]:
        """What is given, with the batch on the axis on which the program has it."""
        axes = itertools.chain(*self._axes)
        return list(map(jnp.moveaxis, jax.tree.leaves(given), itertools.repeat(0), axes))

    def _computed(
        self, run: Callable[..., list[Any]], given: Sequence[AnyArray], params: Params, x: Inputs
    ) -> tuple[Any, tuple[AnyArray, ...]]:
        values = run(*jax.tree.leaves((params, x)), *given)
        num_outputs = len(self._program.outputs)
        axes = itertools.chain(*self._axes)
        read = map(jnp.moveaxis, values[num_outputs:], axes, itertools.repeat(0))
        logits = jax.tree.unflatten(self._treedef, values[:num_outputs])
        return logits, jax.tree.unflatten(jax.tree.structure(self.shapes), read)


def _open(
    apply_fn: ApplyFn, params: Params, x: Inputs, names: Sequence[str]
) -> tuple[Program, list[Place], Any]:
    """The program with the layers within reach, the layers, and the structure of the result."""
    jaxpr, result = jax.make_jaxpr(apply_fn, return_shape=True)(params, x)
    num_params = len(jax.tree.leaves(params))
    whole = flatten(jaxpr, num_params, None)
    wanted = [find(whole, name) for name in names]
    program = flatten(jaxpr, num_params, wanted)
    known = places(program)
    found = [known[scopes] for scopes in wanted]
    for name, place in zip(names, found, strict=True):
        if not place.outputs:
            raise ValueError(
                f"the layer {name!r} has no output: nothing after it reads what it makes. "
                "jinterp.layers(apply_fn, params, x) lists those that have one."
            )
    return program, found, jax.tree.structure(result)


Kind = Literal["add", "replace", "either"]


class _Delta(NamedTuple):
    """A change to a value as it leaves a layer; the flag says whether it takes its place."""

    layer: Scopes
    flag: Atom
    delta: Atom
    result: Atom


def _perturbed(program: Program, places: Sequence[Place], kind: Kind) -> Callable[..., list[Any]]:
    """The program with an input for each output of the layers.

    It is added as the output leaves the layer, or takes its place, or a flag for each, given
    before them, decides.
    """
    is_flag = jax.core.ShapedArray((), jnp.bool_)
    deltas: list[_Delta] = []
    leaving: dict[Atom, list[_Delta]] = {}
    for place in places:
        for output in place.outputs:
            delta, result = jex.Var(output.aval), jex.Var(output.aval)
            deltas.append(_Delta(place.scopes, jex.Var(is_flag), delta, result))
            leaving.setdefault(output, []).append(deltas[-1])
    for each in leaving.values():
        each.sort(key=lambda delta: -len(delta.layer))  # the innermost layer is left first

    def read(atom: Atom, scopes: Scopes) -> Atom:
        """A value as it is seen in these scopes: a layer's own parts see it without the delta."""
        for each in [] if isinstance(atom, jex.Literal) else leaving.get(atom, []):
            if scopes[: len(each.layer)] == each.layer:
                break
            atom = each.result
        return atom

    equations = []
    for step in program.steps:
        arguments = [read(atom, step.scopes) for atom in step.eqn.invars]
        equations.append(step.eqn.replace(invars=arguments))
        for current in step.eqn.outvars:
            for change in leaving.get(current, []):
                equations += _change(kind, current, change)
                current = change.result
    inputs = [each.result if kind == "replace" else each.delta for each in deltas]
    inputs = [*(each.flag for each in deltas if kind == "either"), *inputs]
    outputs = [*(read(atom, ()) for atom in program.outputs), *(each.result for each in deltas)]
    return assembled(program, inputs, outputs, equations)


def _change(kind: Kind, value: Atom, change: _Delta) -> list[Any]:
    """The equations that make the result of a change to a value."""
    _, flag, delta, result = change
    if kind == "replace":
        return []
    if kind == "add":
        return [_equation(jax.lax.add, [value, delta], result)]
    total = jex.Var(result.aval)
    return [
        _equation(jax.lax.add, [value, delta], total),
        _equation(jax.lax.select_n, [flag, total, delta], result),
    ]


def _equation(function: Callable[..., Any], arguments: list[Atom], result: Atom) -> Any:
    shapes = [jax.ShapeDtypeStruct(each.aval.shape, each.aval.dtype) for each in arguments]
    (equation,) = jax.make_jaxpr(function)(*shapes).jaxpr.eqns
    return equation.replace(invars=arguments, outvars=[result])


def _as_one(values: Sequence[Any]) -> Any:
    """A layer's only output, or the tuple of them."""
    return values[0] if len(values) == 1 else tuple(values)
