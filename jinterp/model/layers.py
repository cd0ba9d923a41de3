"""The layers of a model: their names, output shapes and parameters."""

import contextlib
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jinterp import _check
from jinterp._types import ApplyFn, Inputs, Params
from jinterp.model.opened import HoldsLayers
from jinterp.model.program import Atom, Piece, Program, Scopes, flatten, variables

_NEAR = 5


class Layer(NamedTuple):
    """A layer of a model.

    Attributes:
        name: as `tap` takes it.
        shape: of its output, or of the first of several.
        dtype: of its output.
        num_params: elements of the parameters that it reads, those of its parts included.
        num_outputs: how many arrays it returns.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Any
    num_params: int
    num_outputs: int


def layers(apply_fn: ApplyFn, params: Params, x: Inputs) -> list[Layer]:
    """Every named layer of a model, in the order in which they are entered.

    A name is the path of named scopes, without the model's own: `layer3_2/conv1` in Linen and
    Haiku, `blocks.1/conv` for what `from_nnx` returned, and what `jax.named_scope` says in a plain
    function. Equinox names its modules by their class alone, so that they are told apart by their
    number. A layer that is called several times, or in each step of a `scan`, has its calls
    numbered from 1: `block#2`. Nothing is computed: shapes are enough.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs `[batch, ...]`, or `jax.ShapeDtypeStruct`s of them.

    Returns:
        The layers. Parameters are counted where they are trained: those of the collection
        `"params"` in Linen, `nnx.Param`s in NNX, all arrays elsewhere. A parameter that two layers
        share counts in both.

    >>> import jax, jax.numpy as jnp
    >>> from flax import linen as nn
    >>> import jinterp
    >>> module = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(3)])
    >>> x = jnp.ones((2, 5))
    >>> model = jinterp.from_linen(module, module.init(jax.random.key(0), x))
    >>> for layer in layers(*model, x):
    ...     print(layer.name, layer.shape, layer.dtype, layer.num_params)
    layers_0 (2, 4) float32 24
    layers_2 (2, 3) float32 15
    """
    if isinstance(apply_fn, HoldsLayers):
        return apply_fn.layers(params, x)
    program = larger = _whole(apply_fn, params, x)
    if program.vmapped:
        with contextlib.suppress(Exception):  # a model for one batch size only
            larger = _whole(apply_fn, params, doubled(x))
    counted = {number for number, is_trained in enumerate(trained(params)) if is_trained}
    called, listed = names(program), []
    for place, other in zip(places(program).values(), places(larger).values(), strict=False):
        name = called[place.scopes]
        if name and place.outputs:
            struct = batch_first(place.outputs[0], batch_axes(place, other)[0])
            size = num_elements([each for each in place.params if each.path[0] in counted])
            listed.append(Layer(name, struct.shape, struct.dtype, size, len(place.outputs)))
    return listed


def _whole(apply_fn: ApplyFn, params: Params, x: Inputs) -> Program:
    return flatten(jax.make_jaxpr(apply_fn)(params, x), len(jax.tree.leaves(params)), None)


def num_elements(pieces: Sequence[Piece]) -> int:
    """Elements of all, with slices of what is there as a whole counted once."""
    paths = {piece.path for piece in pieces}
    return sum(
        size for path, size in pieces if not any(path[:n] in paths for n in range(1, len(path)))
    )


def are_variables(params: Params) -> bool:
    """Whether these are Linen's, in collections of which "params" is one."""
    return isinstance(params, Mapping) and "params" in params


def trained(params: Params) -> list[bool]:
    """For each leaf whether it is trained, as far as its library says."""
    leaves = jax.tree_util.tree_flatten_with_path(params, is_leaf=_is_variable)[0]
    in_linen = are_variables(params)
    found: list[bool] = []
    for path, leaf in leaves:
        if _is_variable(leaf):
            found += [isinstance(leaf, nnx.Param)] * len(jax.tree.leaves(leaf))
        else:
            found.append(not in_linen or path[0].key == "params")
    return found


def _is_variable(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Variable)


class Place(NamedTuple):
    """Where a layer is in a program.

    Attributes:
        scopes: the entries that lead to it.
        outputs: the variables made inside and used outside; those of numbers with a gradient where
            there are any.
        params: what it reads of the parameters.
    """

    scopes: Scopes
    outputs: tuple[Atom, ...]
    params: frozenset[Piece]


def places(program: Program) -> dict[Scopes, Place]:
    """Every layer, in the order in which they are entered."""
    made = {v: step.scopes for step in program.steps for v in step.eqn.outvars}
    shared: dict[Atom, int] = {}  # of the scopes in which it was made, those of all that read it
    params: dict[Scopes, set[Piece]] = {path: set() for path in _paths(program)}
    outputs: dict[Scopes, list[Atom]] = {path: [] for path in params}
    for step in program.steps:
        for v in variables(step.eqn.invars):
            if v in made:
                shared[v] = min(shared.get(v, len(made[v])), _num_common(made[v], step.scopes))
            if v in program.params:
                for path in _prefixes(step.scopes):
                    params[path].add(program.params[v])
    shared |= dict.fromkeys(variables(program.outputs), 0)
    for v, scopes in made.items():
        for path in _prefixes(scopes)[shared.get(v, len(scopes)) :]:
            outputs[path].append(v)
    return {path: Place(path, _read(outputs[path]), frozenset(params[path])) for path in params}


def _paths(program: Program) -> dict[Scopes, None]:
    """Each path of scopes, in order of its first equation."""
    return {path: None for step in program.steps for path in _prefixes(step.scopes)}


def _prefixes(scopes: Scopes) -> list[Scopes]:
    return [scopes[:n] for n in range(1, len(scopes) + 1)]


def _num_common(a: Scopes, b: Scopes) -> int:
    differing = (n for n, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1])
    return next(differing, min(len(a), len(b)))


def _read(outputs: Sequence[Atom]) -> tuple[Atom, ...]:
    arrays = [v for v in outputs if not jnp.issubdtype(v.aval.dtype, jax.dtypes.extended)]
    floating = [v for v in arrays if jnp.issubdtype(v.aval.dtype, jnp.inexact)]
    return tuple(floating or arrays)


def doubled(x: Inputs) -> Inputs:
    """The shapes of a batch of twice the size."""

    def double(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((2 * leaf.shape[0], *leaf.shape[1:]), leaf.dtype)

    return jax.tree.map(double, jax.eval_shape(lambda each: each, x))


def batch_axes(place: Place, larger: Place) -> list[int]:
    """Which axis of each output is the batch: the one that grows with it, else the first."""
    axes = [0] * len(place.outputs)
    for number, pair in enumerate(zip(place.outputs, larger.outputs, strict=False)):
        sizes = zip(*(variable.aval.shape for variable in pair), strict=False)
        axes[number] = next((axis for axis, (a, b) in enumerate(sizes) if a != b), 0)
    return axes


def batch_first(variable: Atom, axis: int) -> jax.ShapeDtypeStruct:
    """Its shape with an axis moved to the front."""
    shape = variable.aval.shape
    moved = (*shape[axis : axis + 1], *shape[:axis], *shape[axis + 1 :])
    return jax.ShapeDtypeStruct(moved, variable.aval.dtype)


def names(program: Program) -> dict[Scopes, str]:
    """The name of every path of scopes, "" for the model's own.

    A scope entered several times has its calls numbered from 1: `block#2/conv`.
    """
    found = list(_paths(program))
    return _names(found, _root(program, found))


def _root(program: Program, paths: Sequence[Scopes]) -> Scopes:
    """The scope of the model itself, which no user writes: it makes the result, and has parts."""
    top = [path for path in paths if len(path) == 1]
    if len(top) != 1 or len(paths) == 1:
        return ()
    made = {v for step in program.steps if step.scopes[:1] == top[0] for v in step.eqn.outvars}
    return top[0] if all(v in made for v in variables(program.outputs)) else ()


def _names(paths: Sequence[Scopes], root: Scopes) -> dict[Scopes, str]:
    """The name of each path, "" for the root."""
    siblings: dict[tuple[Scopes, str], dict[Scopes, int]] = {}
    for path in paths:
        calls = siblings.setdefault((path[:-1], path[-1].name), {})
        calls[path] = len(calls) + 1
    names: dict[Scopes, str] = {(): "", root: ""}
    for path in paths:
        if path == root:
            continue
        calls = siblings[path[:-1], path[-1].name]
        own = path[-1].name + (f"#{calls[path]}" if len(calls) > 1 else "")
        if root and path[:-1] == root:  # another method of the model itself: `Model.encode`
            own = own.removeprefix(f"{root[-1].name}.")
        names[path] = f"{names[path[:-1]]}/{own}".removeprefix("/")
    return names


def find(program: Program, name: str) -> Scopes:
    """The scopes of the layer of this name, or an error that lists those near it."""
    _check.is_layer_name(name)
    known = {own: path for path, own in names(program).items() if own}
    if name in known:
        return known[name]
    plain = {_plain(each): path for each, path in known.items()}
    if _plain(name) in plain:
        return plain[_plain(name)]
    raise ValueError(f"there is no layer {name!r}. {_advice(name, program, list(known))}")


def _plain(name: str) -> str:
    return name.strip("/").replace("/", ".")


def _advice(name: str, program: Program, known: list[str]) -> str:
    hidden = {
        _plain("/".join(path[-n:])): kind
        for path, kind in program.hidden.items()
        for n in range(1, len(path) + 1)
    }
    inside = hidden.get(_plain(_without_calls(name)))
    if inside:
        return (
            f"It is inside a `{inside}`, whose parts have no value of their own "
            "outside it. Read a layer around it, or write the loop as a `scan`."
        )
    if not known:
        return (
            "`apply_fn` enters no named scopes. Build it with jinterp.from_linen or "
            'jinterp.from_nnx, or put `with jax.named_scope("name"):` around a part of it.'
        )
    calls = [each for each in known if _plain(_without_calls(each)) == _plain(name)]
    if calls:
        return f"It is called {len(calls)} times; name one call: {_listed(calls)}."
    ends = [each for each in known if _plain(each).endswith("." + _plain(name))]
    near = ends or difflib.get_close_matches(name, known, _NEAR, 0.4) or known
    return f"Near it: {_listed(near)}. jinterp.layers(apply_fn, params, x) lists all {len(known)}."


def _without_calls(name: str) -> str:
    return re.sub(r"#\d+", "", name)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NEAR} more" if len(names) > _NEAR else ""
    return ", ".join(map(repr, names[:_NEAR])) + more
