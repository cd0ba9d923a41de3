"""Write a model as a file that runs without the code that it was made of."""

import contextlib
import dataclasses
import functools
import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jinterp import _check
from jinterp._types import ApplyFn, Inputs, Params
from jinterp.model.attention import attention_probabilities
from jinterp.model.exported import CONTENTS, FORMAT, named
from jinterp.model.layers import Layer, doubled
from jinterp.model.layers import layers as layers_of
from jinterp.model.opened import HoldsLayers
from jinterp.model.tap import Traced, open_layers


def export_model(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    *,
    layers: Sequence[str] = (),
    batch_size: int | None = None,
    platforms: Sequence[str] | None = None,
) -> bytes:
    """A model as bytes for a file, which `from_exported` loads where its code is not.

    They hold the program of the model with its gradient, that of the layers named, and that of its
    attention where it has some. They do not hold the parameters, which a checkpoint keeps. Custom
    kernels that `jax.export` knows no stable form of cannot be written.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters, or `jax.ShapeDtypeStruct`s of them; only names, shapes and dtypes
            count.
        x: inputs `[batch, ...]`, or `jax.ShapeDtypeStruct`s of them, likewise.
        layers: names that `jinterp.layers` lists, which can be read and explained later.
        batch_size: the only number of examples that the program takes, for a model that cannot be
            traced for any; None takes any.
        platforms: where it is to run, of "cpu", "cuda", "rocm" and "tpu"; None is the present one.

    Returns:
        The bytes of a zip archive of programs that `jax.export` serialized. JAX runs them for at
        least half a year of later versions.

    Raises:
        ValueError: there is no such layer, a layer has no row an example, or the model cannot be
            traced for any number of examples.

    >>> import jax.numpy as jnp
    >>> import jinterp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         x = jnp.tanh(x @ params)
    ...     return x @ params
    >>> exported = export_model(apply_fn, jnp.eye(3), jnp.ones((1, 3)), layers=["hidden"])
    >>> model = jinterp.from_exported(exported, jnp.eye(3))
    >>> [(layer.name, layer.shape) for layer in jinterp.layers(*model, jnp.ones((2, 3)))]
    [('hidden', (2, 3))]
    """
    if isinstance(apply_fn, HoldsLayers):
        raise ValueError(
            "`apply_fn` was exported already; expected the model itself. Copy the file that "
            "jinterp.from_exported read."
        )
    params, x = jax.eval_shape(lambda both: both, (params, x))
    num_examples = _check.num_examples(x)
    _check.has_batch_axis(_check.outputs_of(apply_fn, params, x), num_examples)
    found = _found(apply_fn, params, x, (layers,) if isinstance(layers, str) else layers)
    size = batch_size or jax.export.symbolic_shape("batch")[0]
    parts = _Parts(apply_fn, params, x, tuple(layer.name for layer in found))
    try:
        programs = parts.exported(size, platforms)
    except Exception as error:
        if batch_size:
            raise
        raise ValueError(
            f"`apply_fn` cannot be traced for any number of examples ({type(error).__name__}: "
            f"{str(error).strip().splitlines()[0][:200]}). Write x.shape[0] for len(x) and -1 for "
            "a size that follows from the others, or give export_model a `batch_size`."
        ) from error
    return _archive(programs, found)


def _found(apply_fn: ApplyFn, params: Params, x: Inputs, names: Sequence[str]) -> list[Layer]:
    """The layers of these names, as they are listed."""
    known = {each.name.replace("/", "."): each for each in layers_of(apply_fn, params, x)}
    found = []
    for name in dict.fromkeys(names):
        shapes = [open_layers(apply_fn, params, x, (name,)).shapes]
        sizes = [_check.num_examples(x)]
        with contextlib.suppress(Exception):  # a model for one batch size only
            shapes.append(open_layers(apply_fn, params, doubled(x), (name,)).shapes)
            sizes.append(2 * sizes[0])
        for each, size in zip(shapes, sizes, strict=False):
            if any(leaf.shape[:1] != (size,) for leaf in jax.tree.leaves(each)):
                raise ValueError(
                    f"the layer {name!r} has an output of shape {jax.tree.leaves(each)[0].shape} "
                    f"for {size} examples; expected one row an example. Export a layer after it."
                )
        found.append(known[name.strip("/").replace("/", ".")])
    return found


@dataclasses.dataclass(frozen=True)
class _Parts:
    """The programs of a model, of its parameters and inputs by their names.

    Attributes:
        apply_fn: the model.
        params: abstract.
        x: abstract.
        names: of the layers.
    """

    apply_fn: ApplyFn
    params: Params
    x: Inputs
    names: tuple[str, ...]

    def exported(self, size: Any, platforms: Sequence[str] | None) -> dict[str, bytes]:
        """Each program, serialized, for batches of this size."""
        params, x = named(self.params), named(_with_batch(self.x, size))
        programs: dict[str, tuple[Any, ...]] = {"model": (self.model, params, x)}
        if self.names:
            shapes = self.opened(x).shapes
            flags = [jax.ShapeDtypeStruct((), jnp.bool_) for _ in shapes]
            shared, rows = (
                {"params": params, "is_replaced": flags},
                {"given": list(shapes), "x": x},
            )
            programs["layers"] = (self.layers, shared, rows)
            programs["shapes"] = (self.shapes, x)
        if self.has_attention:
            programs["attention"] = (self.attention, params, x)
        return {
            name: bytes(
                jax.export.export(jax.jit(fn), platforms=platforms)(*arguments).serialize(
                    vjp_order=1 if name in _WITH_GRADIENT else 0
                )
            )
            for name, (fn, *arguments) in programs.items()
        }

    def model(self, params: Any, x: Any) -> Any:
        return self.apply_fn(_restored(self.params, params), _restored(self.x, x))

    def layers(self, shared: Any, rows: Any) -> Any:
        params, x = _restored(self.params, shared["params"]), _restored(self.x, rows["x"])
        traced = Traced(self.apply_fn, params, x, self.names)
        logits, outputs = traced.either(shared["is_replaced"], rows["given"], params, x)
        return logits, list(outputs)

    def shapes(self, x: Any) -> Any:
        """Zeros in the shapes of the layers' outputs, which follow the size of the batch."""
        return list(self.opened(x).zeros())

    def attention(self, params: Any, x: Any) -> Any:
        restored = _restored(self.params, params), _restored(self.x, x)
        return attention_probabilities(self.apply_fn, *restored)

    def opened(self, x: Any) -> Traced:
        return Traced(self.apply_fn, self.params, _restored(self.x, x), self.names)

    @property
    def has_attention(self) -> bool:
        try:
            find = functools.partial(attention_probabilities, self.apply_fn)
            jax.eval_shape(find, self.params, self.x)
        except ValueError:  # none, or in windows
            return False
        return True


_WITH_GRADIENT = ("model", "layers")


def _with_batch(x: Inputs, size: Any) -> Inputs:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype), x)


def _restored(like: Any, by_name: dict[str, Any]) -> Any:
    """The leaves in the structure in which the model takes them."""
    return jax.tree.unflatten(jax.tree.structure(like), [by_name[name] for name in named(like)])


def _archive(programs: dict[str, bytes], layers: Sequence[Layer]) -> bytes:
    contents = {
        "format": FORMAT,
        "programs": list(programs),
        "layers": [(layer.name, layer.num_params) for layer in layers],
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {CONTENTS: json.dumps(contents).encode(), **programs}.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
