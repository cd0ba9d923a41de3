"""A model that returns its layers' outputs as well: what watches layers in a pass is given."""

import contextlib
import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from jinterp._types import AnyArray, ApplyFn, Inputs, Params
from jinterp.model.layers import doubled, layers
from jinterp.model.nonlinearity import Nonlinearity
from jinterp.model.tap import open_layers


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["values"],
    meta_fields=["name", "shape", "positions", "nonlinearity"],
)
@dataclasses.dataclass(frozen=True)
class Reading:
    """The output of a layer for a batch.

    Attributes:
        values: `[batch, positions, channels]`.
        name: of the layer.
        shape: of one example's output, as the layer has it.
        positions: the shape of the map that each channel is.
        nonlinearity: the activation function that cuts it, as far as one is known.
    """

    values: AnyArray
    name: str
    shape: tuple[int, ...]
    positions: tuple[int, ...]
    nonlinearity: Nonlinearity | None


class NoLayers(ValueError):
    """A model has nothing to observe."""


@dataclasses.dataclass(frozen=True)
class Observed:
    """`apply_fn` with an output of some layers, or of all: the first that has the batch.

    Called with (params, x) it returns what the model does, and a `Reading` of each layer.
    """

    apply_fn: ApplyFn
    layers: tuple[str, ...] | None
    channel_axis: int

    def __call__(self, params: Params, x: Inputs) -> tuple[Any, tuple[Reading, ...]]:
        names = self.layers
        if names is None:
            names = tuple(layer.name for layer in layers(self.apply_fn, params, x))
        opened = open_layers(self.apply_fn, params, x, names)  # or the error that names the others
        larger = opened.shapes
        with contextlib.suppress(Exception):  # a model for one batch size only
            larger = open_layers(self.apply_fn, params, doubled(x), names).shapes
        outputs, values = opened.read(params, x)
        cuts, batch_size = opened.nonlinearities(), len(jax.tree.leaves(x)[0])
        readings = []
        for number, name in enumerate(names):
            place = self.place(name, opened.shapes[number], larger[number], batch_size)
            if place is not None:
                value, cut = _parts(values[number])[place], cuts[number][place]
                readings.append(self.reading(name, value, cut))
        if not readings:
            raise NoLayers(
                "`apply_fn` enters no named scopes with numbers for each example. Build it with "
                'jinterp.from_linen or jinterp.from_nnx, or put `with jax.named_scope("name"):` '
                "around parts of it."
            )
        return outputs, tuple(readings)

    def place(self, name: str, shapes: Any, of_more: Any, batch_size: int) -> int | None:
        """Which output of a layer is the first with floats for every example; None if none is."""
        pairs = zip(_parts(shapes), _parts(of_more), strict=True)
        problems = [_problem(*pair, batch_size=batch_size) for pair in pairs]
        if None in problems:
            return problems.index(None)
        if self.layers is not None:
            raise ValueError(f"the layer {name!r} {problems[0]}. Leave it out.")
        return None

    def reading(self, name: str, values: jax.Array, nonlinearity: Nonlinearity | None) -> Reading:
        shape = values.shape[1:]
        if values.ndim == 1:
            values = values[:, None]
        if not -values.ndim < self.channel_axis < values.ndim or self.channel_axis == 0:
            raise ValueError(
                f"`channel_axis` is {self.channel_axis}; the layer {name!r} has the axes "
                f"{values.shape}. Try -1."
            )
        values = jnp.moveaxis(values, self.channel_axis, -1)
        positions = values.shape[1:-1]
        flat = values.reshape(len(values), math.prod(positions), values.shape[-1])
        return Reading(flat, name, shape, positions, nonlinearity)


def first_of(output: Any) -> Any:
    """A layer's only output, or the first of several."""
    return output[0] if isinstance(output, tuple) else output


def _parts(output: Any) -> tuple[Any, ...]:
    return output if isinstance(output, tuple) else (output,)


def _problem(
    shape: jax.ShapeDtypeStruct, of_more: jax.ShapeDtypeStruct, *, batch_size: int
) -> str | None:
    """Why an output has nothing to observe, from its shapes for a batch and for one twice as large.

    They are one for a model that takes a single batch size.
    """
    if not jnp.issubdtype(shape.dtype, jnp.floating):
        return f"returns {shape.dtype}; expected floating point"
    grows = of_more is shape or of_more.shape[:1] == (2 * batch_size,)
    if shape.shape[:1] != (batch_size,) or not grows:
        return f"returns the shape {shape.shape}, which has no axis of the batch"
    if 0 in shape.shape:
        return f"returns the shape {shape.shape}, which has no values"
    return None
