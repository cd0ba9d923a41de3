"""Reading and perturbing a layer of any model, by its name, without touching the model."""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jaxtyping import Array

from jinterp._types import AnyArray, ApplyFn, Inputs, Params
from jinterp.model.layers import Place, batch_axes, batch_first, doubled, find, places
from jinterp.model.program import Atom, Program, Scopes, assembled, flatten


@dataclasses.dataclass(frozen=True)
class Tapped:
    """A model with an open layer: what `tap` returns. Equal ones compile once."""

    apply_fn: ApplyFn
    layer: str

    def __call__(self, delta: AnyArray, params: Params, x: Inputs) -> tuple[Array, AnyArray]:
        program = Opened(self.apply_fn, params, x, (self.layer,))
        logits, (activation,) = program((delta,), params, x)
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
    program = Opened(apply_fn, params, x, names)
    return program(program.zeros(), params, x)[1]


class Opened:
    """A traced model with some layers open.

    Attributes:
        shapes: of the layers' outputs, `jax.ShapeDtypeStruct`s, in the order of the names.
    """

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

    def zeros(self) -> tuple[AnyArray, ...]:
        """A delta for each layer that changes nothing."""
        return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), self.shapes)

    def __call__(
        self, deltas: tuple[AnyArray, ...], params: Params, x: Inputs
    ) -> tuple[Any, tuple[AnyArray, ...]]:
        """The logits, and each layer's output after its delta was added."""
        return self._run(deltas, params, x, replace=False)

    def replaced(self, values: tuple[AnyArray, ...], params: Params, x: Inputs) -> Any:
        """The logits with these values in place of the layers' outputs."""
        return self._run(values, params, x, replace=True)[0]

    def _run(
        self, given: tuple[AnyArray, ...], params: Params, x: Inputs, *, replace: bool
    ) -> tuple[Any, tuple[AnyArray, ...]]:
        for each, shape in zip(given, self.shapes, strict=True):
            _check(each, shape)
        axes = list(itertools.chain(*self._axes))
        leaves = [
            jnp.moveaxis(jnp.asarray(each).astype(shape.dtype), 0, axis)
            for each, shape, axis in zip(
                jax.tree.leaves(given), jax.tree.leaves(self.shapes), axes, strict=True
            )
        ]
        run = _perturbed(self._program, self._places, replace)
        values = run(*jax.tree.leaves((params, x)), *leaves)
        num_outputs = len(self._program.outputs)
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


class _Delta(NamedTuple):
    """An addition to a value as it leaves a layer."""

    layer: Scopes
    delta: Atom
    result: Atom


def _perturbed(
    program: Program, places: Sequence[Place], replace: bool
) -> Callable[..., list[Any]]:
    """The program with an input for each output of the layers.

    It is added as the output leaves the layer, or takes its place.
    """
    deltas: list[_Delta] = []
    leaving: dict[Atom, list[_Delta]] = {}
    for place in places:
        for output in place.outputs:
            deltas.append(_Delta(place.scopes, jex.Var(output.aval), jex.Var(output.aval)))
            leaving.setdefault(output, []).append(deltas[-1])
    for each in leaving.values():
        each.sort(key=lambda delta: -len(delta.layer))  # the innermost layer is left first

    def read(atom: Atom, scopes: Scopes) -> Atom:
        """A value as it is seen in these scopes: a layer's own parts see it without the delta."""
        for layer, _, result in [] if isinstance(atom, jex.Literal) else leaving.get(atom, []):
            if scopes[: len(layer)] == layer:
                break
            atom = result
        return atom

    equations = []
    for step in program.steps:
        arguments = [read(atom, step.scopes) for atom in step.eqn.invars]
        equations.append(step.eqn.replace(invars=arguments))
        for current in step.eqn.outvars:
            for _, delta, result in leaving.get(current, []):
                if not replace:
                    equations.append(_addition(current, delta, result))
                current = result
    inputs = [each.result if replace else each.delta for each in deltas]
    outputs = [*(read(atom, ()) for atom in program.outputs), *(each.result for each in deltas)]
    return assembled(program, inputs, outputs, equations)


def _addition(a: Atom, b: Atom, result: Atom) -> Any:
    shape = jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype)
    (equation,) = jax.make_jaxpr(jax.lax.add)(shape, shape).jaxpr.eqns
    return equation.replace(invars=[a, b], outvars=[result])


def _as_one(values: Sequence[Any]) -> Any:
    """A layer's only output, or the tuple of them."""
    return values[0] if len(values) == 1 else tuple(values)


def _check(delta: Any, shape: Any) -> None:
    found, expected = jax.tree.map(jnp.shape, delta), jax.tree.map(lambda s: s.shape, shape)
    if found != expected:
        raise ValueError(
            f"`delta` has the shape {found}; the layer's output has {expected}. "
            "Use jnp.zeros of that shape to read the layer unchanged."
        )
    for each, output in zip(jax.tree.leaves(delta), jax.tree.leaves(shape), strict=True):
        dtype = jnp.result_type(each)
        if jnp.issubdtype(dtype, jnp.inexact) > jnp.issubdtype(output.dtype, jnp.inexact):
            raise ValueError(
                f"`delta` is {dtype}; the layer's output is {output.dtype}. "
                "Give integers: a layer of integers has no gradient."
            )
