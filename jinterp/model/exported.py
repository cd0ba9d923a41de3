"""A model that `jax.export` wrote, run without the code that it was made of."""

import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import Exported
from jaxtyping import Array

from jinterp import _check
from jinterp._trace import abstract
from jinterp._types import AnyArray, Inputs, Params
from jinterp.model.adapt import Model
from jinterp.model.batchable import padded, transformable
from jinterp.model.layers import Layer
from jinterp.model.opened import HoldsLayers, Opened

FORMAT = 1
CONTENTS = "jinterp.json"


def from_exported(
    exported: bytes | bytearray | str | os.PathLike[str] | Exported, params: Params = ()
) -> Model:
    """A model that was exported, as a `Model`: its program runs, its code is not needed.

    Every function of the library takes it. `layers` lists the layers that were exported with it,
    which can be read, moved and explained. Equal bytes give equal functions, so that loading them
    again compiles nothing again. Gradients are of first order, in reverse mode.

    Args:
        exported: what `export_model` returned, or the path of a file with it; or a
            `jax.export.Exported` of your own, of `(params, x)`, or of `(x,)` with the parameters
            inside. One that was exported for a single batch size is given parts of that size, the
            last one padded.
        params: the parameters, in any pytree whose leaves have the names that they had, such as a
            dict `{"params/conv/kernel": ...}` of an npz file; none where they are inside.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: `exported` is none of these.
        ValueError: it is corrupt, was exported for another platform or for several devices, or
            `params` have other names, shapes or dtypes.

    >>> import jax, jax.numpy as jnp
    >>> import jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params["kernel"]
    >>> params = {"kernel": jnp.eye(3)}
    >>> model = from_exported(jinterp.export_model(apply_fn, params, jnp.ones((1, 3))), params)
    >>> jinterp.gradient(*model, jnp.ones((2, 3)), 0).tolist()
    [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    params = dict(params) if isinstance(params, np.lib.npyio.NpzFile) else params
    apply_fn = _of_exported(exported) if isinstance(exported, Exported) else _of_blob(exported)
    apply_fn.matched(params)
    return Model(apply_fn, params)


class Program:
    """An exported function of `(x,)` or `(shared, x)`, with gradients and vmap.

    Attributes:
        shared: what it expects of the first argument, abstract; () where it takes none.
        rows: what it expects of the last one, abstract arrays `[batch, ...]`.
    """

    def __init__(self, exported: Exported):
        _check_exported(exported)
        self.exported = exported
        arguments, _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
        self.shared, self.rows = arguments if len(arguments) == 2 else ((), *arguments)
        batch_size = jax.tree.leaves(self.rows)[0].shape[0]
        is_fixed = isinstance(batch_size, int)
        run = padded(self._call, batch_size) if is_fixed else self._call
        self._run = transformable(run, None if exported.has_vjp() else _NO_GRADIENT)

    def __call__(self, shared: Any, rows: Any) -> Any:
        results = self._run(jax.tree.leaves(shared), jax.tree.leaves(rows))
        return jax.tree.unflatten(self.exported.out_tree, results)

    def _call(self, shared: Sequence[AnyArray], rows: Sequence[AnyArray]) -> list[AnyArray]:
        arguments, _ = jax.tree.unflatten(self.exported.in_tree, [*shared, *rows])
        return jax.tree.leaves(self.exported.call(*arguments))


class Layers(NamedTuple):
    """The layers exported with a model.

    Attributes:
        num_params: of each, by name, in order.
        opened: `({"params", "is_replaced"}, {"given", "x"}) -> (logits, outputs)`, in which what is
            given is added to the output of each layer, or takes its place.
        shapes: `x -> zeros` in the shapes of their outputs.
    """

    num_params: Mapping[str, int]
    opened: Program
    shapes: Program


@dataclasses.dataclass(frozen=True)
class ExportedApply(HoldsLayers):
    """`apply_fn(params, x) -> logits` of an exported model.

    Attributes:
        digest: of the bytes; models are equal if theirs are.
    """

    digest: str
    program: Program = dataclasses.field(compare=False, repr=False)
    exported_layers: Layers | None = dataclasses.field(compare=False, repr=False, default=None)
    attentions: Program | None = dataclasses.field(compare=False, repr=False, default=None)

    def __call__(self, params: Params, x: Inputs) -> Array:
        return self.program(self.matched(params), self.inputs(x))

    def matched(self, params: Params) -> Any:
        """The parameters in the structure of the program."""
        return _matched("params", params, self.program.shared)

    def inputs(self, x: Inputs) -> Any:
        """The inputs in the structure of the program."""
        return _matched("x", x, self.program.rows, num_free=1)

    def layers(self, params: Params, x: Inputs) -> list[Layer]:
        if self.exported_layers is None:
            return []
        outputs = [jax.tree.leaves(each) for each in self.shapes(x)]
        return [
            Layer(name, leaves[0].shape, leaves[0].dtype, num_params, len(leaves))
            for (name, num_params), leaves in zip(
                self.exported_layers.num_params.items(), outputs, strict=True
            )
        ]

    def opened(self, params: Params, x: Inputs, names: Sequence[str]) -> Opened:
        return _OpenedExported(self, x, [self.number(name) for name in names])

    def attention(self, params: Params, x: Inputs) -> dict[str, Any]:
        if self.attentions is None:
            raise ValueError(
                "the exported model holds no attention: what was exported computes none, or was "
                "not exported by jinterp.export_model, which adds what it finds."
            )
        return self.attentions(self.matched(params), self.inputs(x))

    def shapes(self, x: Inputs) -> list[Any]:
        """Of the layers' outputs for these inputs."""
        assert self.exported_layers is not None
        return jax.eval_shape(self.exported_layers.shapes, (), self.inputs(x))

    def number(self, name: str) -> int:
        """Which of the exported layers has the name."""
        _check.is_layer_name(name)
        known = list(self.exported_layers.num_params) if self.exported_layers else []
        plain = [each.replace("/", ".") for each in known]
        if name.strip("/").replace("/", ".") in plain:
            return plain.index(name.strip("/").replace("/", "."))
        has = f"has {', '.join(map(repr, known))}" if known else "has none"
        raise ValueError(
            f"there is no layer {name!r} in the exported model, which {has}. Export it where the "
            f"model's code is: jinterp.export_model(apply_fn, params, x, layers=[{name!r}])."
        )


class _OpenedExported(Opened):
    """Some of the layers of an exported model."""

    def __init__(self, model: ExportedApply, x: Inputs, numbers: Sequence[int]):
        self._model, self._numbers, self._all = model, numbers, model.shapes(x)
        self.shapes = tuple(self._all[number] for number in numbers)

    def _run(
        self, given: tuple[AnyArray, ...], params: Params, x: Inputs, *, replace: bool
    ) -> tuple[Any, tuple[AnyArray, ...]]:
        values = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), self._all)
        for number, each in zip(self._numbers, given, strict=True):
            values[number] = each
        flags = [jnp.asarray(replace and n in self._numbers) for n in range(len(values))]
        shared = {"params": self._model.matched(params), "is_replaced": flags}
        rows = {"given": values, "x": self._model.inputs(x)}
        assert self._model.exported_layers is not None
        logits, outputs = self._model.exported_layers.opened(shared, rows)
        return logits, tuple(outputs[number] for number in self._numbers)


def _of_exported(exported: Exported) -> ExportedApply:
    signature = repr((exported.in_tree, exported.in_avals, exported.has_vjp()))
    digest = hashlib.sha256(exported.mlir_module_serialized + signature.encode()).hexdigest()
    return ExportedApply(digest, Program(exported))


def _of_blob(source: bytes | bytearray | str | os.PathLike[str]) -> ExportedApply:
    """A model from what `export_model` returned, or from a file with it."""
    if not isinstance(source, bytes | bytearray | str | os.PathLike):
        raise TypeError(
            f"`exported` is a {type(source).__name__}; expected the bytes that "
            "jinterp.export_model returned, the path of a file with them, or a jax.export.Exported."
        )
    if isinstance(source, str | os.PathLike) and not Path(source).exists():
        raise FileNotFoundError(f"there is no exported model {str(source)!r}.")
    blob = Path(source).read_bytes() if isinstance(source, str | os.PathLike) else bytes(source)
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            contents = json.loads(archive.read(CONTENTS))
            programs = {
                name: jax.export.deserialize(bytearray(archive.read(name)))
                for name in contents["programs"]
            }
    except Exception as error:  # zipfile, json and JAX's reader each have their own
        raise ValueError(
            f"`exported` ({len(blob)} bytes) cannot be read: it is corrupt or truncated, or was "
            "not written by jinterp.export_model. Of what Exported.serialize() returned give "
            f"jax.export.deserialize(...). ({type(error).__name__}: {error})"
        ) from error
    if contents["format"] != FORMAT:
        raise ValueError(
            f"`exported` has the format {contents['format']}; this jinterp reads {FORMAT}. Export "
            "the model with this version, or install the one that wrote it."
        )
    found = None
    if "layers" in programs:
        numbers = dict(contents["layers"])
        found = Layers(numbers, Program(programs["layers"]), Program(programs["shapes"]))
    attention = Program(programs["attention"]) if "attention" in programs else None
    digest = hashlib.sha256(blob).hexdigest()
    return ExportedApply(digest, Program(programs["model"]), found, attention)


def _check_exported(exported: Exported) -> None:
    """It takes what a model takes, here; or a named error."""
    arguments, keywords = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    if len(arguments) not in (1, 2) or keywords:
        given = f"{len(arguments)} arguments and {len(keywords)} keywords"
        raise ValueError(
            f"`exported` ({exported.fun_name}) takes {given}; expected (params, x), or (x,) with "
            "the parameters inside."
        )
    inputs = jax.tree.leaves(arguments[-1])
    if not inputs or not all(leaf.shape for leaf in inputs):
        raise ValueError(
            f"`exported` ({exported.fun_name}) takes {arguments[-1]}; expected inputs [batch, ...] "
            "as its last argument."
        )
    if exported.nr_devices > 1:
        raise ValueError(
            f"`exported` was exported for {exported.nr_devices} devices; expected one. What was "
            "exported without shardings runs on any number, cut as its arguments are."
        )
    platform = _platform()
    if platform not in exported.platforms:
        raise ValueError(
            f"`exported` is for {', '.join(exported.platforms)}; this process runs on {platform}. "
            f"Export it for both: jinterp.export_model(..., platforms="
            f"{(*exported.platforms, platform)!r})."
        )


def _platform() -> str:
    """Where JAX computes what it is not told to compute elsewhere, as jax.export calls it."""
    with jax.ensure_compile_time_eval():
        device = next(iter(jnp.zeros(()).devices()))
    is_default = device.platform == jax.default_backend()
    return jax.export.default_export_platform() if is_default else device.platform


_NO_GRADIENT = (
    "the exported model has no gradient: it was serialized without. Use "
    "jax.export.export(...)(...).serialize(vjp_order=1), or jinterp.export_model."
)


def named(tree: Any) -> dict[str, Any]:
    """The leaves by the path that leads to them, such as "params/conv/kernel".

    Boxes around arrays, as nnx.Variable and nn.Partitioned, add nothing to a path.
    """
    found: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        while path and isinstance(path[-1], jax.tree_util.GetAttrKey) and path[-1].name in _BOXES:
            path = path[:-1]
        found[jax.tree_util.keystr(path, simple=True, separator="/")] = leaf
    return found


_BOXES = ("value", "raw_value")


def _matched(what: str, tree: Any, expected: Any, num_free: int = 0) -> Any:
    """The leaves in the structure of those expected, by their names, or a named error.

    Their first `num_free` axes may have any size.
    """
    leaves, wanted = named(tree), named(expected)
    missing, unknown = sorted(wanted.keys() - leaves.keys()), sorted(leaves.keys() - wanted.keys())
    if missing or unknown:
        raise ValueError(
            f"`{what}` has {_listed(unknown or list(leaves))}; the exported model expects "
            f"{_listed(missing or list(wanted))}. Give `{what}` the structure that was exported."
        )
    for name, aval in wanted.items():
        _check_leaf(f"{what}[{name!r}]" if name else what, leaves[name], aval, num_free)
    return jax.tree.unflatten(jax.tree.structure(expected), [leaves[name] for name in wanted])


def _check_leaf(what: str, leaf: Any, aval: Any, num_free: int) -> None:
    """A constant size is that one, a symbolic one any."""
    (_, (found,)) = abstract(leaf)
    shape, dtype = found.shape, found.dtype
    sizes = zip(shape[num_free:], aval.shape[num_free:], strict=False)
    fits = all(size == wanted or not isinstance(wanted, int) for size, wanted in sizes)
    if len(shape) != len(aval.shape) or not fits or dtype != aval.dtype:
        raise ValueError(
            f"`{what}` is {dtype}{list(shape)}; the model was exported for "
            f"{aval.dtype}[{', '.join(map(str, aval.shape))}]."
        )


def _listed(names: list[str]) -> str:
    if not names:
        return "no arrays"
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(map(repr, names[:4])) + more
