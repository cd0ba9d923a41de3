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
from jinterp.model.score import at_least_float32
from jinterp.model.tap import open_layers


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["values"],
    meta_fields=["name", "shape", "nonlinearity"],
)
@dataclasses.dataclass(frozen=True)
class Reading:
    """The output of a layer for a batch.

    Attributes:
        values: `[batch, positions, channels]`, float32 at least.
        name: of the layer.
        shape: of one example's output, as the layer has it.
        nonlinearity: the activation function that cuts it, as far as one is known.
    """

    values: AnyArray
    name: str
    shape: tuple[int, ...]
    nonlinearity: Nonlinearity | None


@dataclasses.dataclass(frozen=True)
class Observed:
    """`apply_fn` with an output of some layers, or of all: the first that has the batch.

    Called with (params, x) it returns what the model does, and a `Reading` of each layer.
    """

    apply_fn: ApplyFn
    layers: tuple[str, ...] | None
    channel_axis: int

    def __call__(self, params: Params, x: Inputs) -> tuple[Any, tuple[Reading, ...]]:
        places = self.places(params, x)
        names = tuple(places)
        opened = open_layers(self.apply_fn, params, x, names)
        outputs, values = opened.read(params, x)
        chosen = list(places.values())
        first = [_parts(value)[place] for value, place in zip(values, chosen, strict=True)]
        known = zip(opened.nonlinearities(), chosen, strict=True)
        # What cuts a layer's values is known of its first output.
        cuts = [nonlinearity if place == 0 else None for nonlinearity, place in known]
        return outputs, tuple(map(self.reading, names, first, cuts))

    def places(self, params: Params, x: Inputs) -> dict[str, int]:
        """The layers, and which output of each is the first with floats for every example."""
        of_all = {layer.name: layer for layer in layers(self.apply_fn, params, x)}
        names = tuple(of_all) if self.layers is None else self.layers
        opened = open_layers(self.apply_fn, params, x, names)  # or the error that names the others
        larger = opened.shapes
        with contextlib.suppress(Exception):  # a model for one batch size only
            larger = open_layers(self.apply_fn, params, doubled(x), names).shapes
        batch_size = len(jax.tree.leaves(x)[0])
        found: dict[str, int] = {}
        for name, shapes, more in zip(names, opened.shapes, larger, strict=True):
            pairs = zip(_parts(shapes), _parts(more), strict=True)
            problems = [_problem(*pair, batch_size=batch_size) for pair in pairs]
            if None in problems:
                found[name] = problems.index(None)
            elif self.layers is not None:
                raise ValueError(f"the layer {name!r} {problems[0]}. Leave it out.")
        if not found:
            raise ValueError(
                "`apply_fn` enters no named scopes with numbers for each example. Build it with "
                'jinterp.from_linen or jinterp.from_nnx, or put `with jax.named_scope("name"):` '
                "around parts of it."
            )
        return found

    def reading(self, name: str, values: jax.Array, nonlinearity: Nonlinearity | None) -> Reading:
        shape = values.shape[1:]
        if values.ndim == 1:
            values = values[:, None]
        if not -values.ndim < self.channel_axis < values.ndim or self.channel_axis == 0:
            raise ValueError(
                f"`channel_axis` is {self.channel_axis}; the layer {name!r} has the axes "
                f"{values.shape}. Try -1."
            )
        values = at_least_float32(jnp.moveaxis(values, self.channel_axis, -1))
        num_positions = math.prod(values.shape[1:-1])
        flat = values.reshape(len(values), num_positions, values.shape[-1])
        return Reading(flat, name, shape, nonlinearity)


def first_of(output: Any) -> Any:
    """A layer's only output, or the first of several."""
    return output[0] if isinstance(output, tuple) else output


def _parts(output: Any) -> tuple[Any, ...]:
    return output if isinstance(output, tuple) else (output,)


def _problem(
    shape: jax.ShapeDtypeStruct, of_more: jax.ShapeDtypeStruct, *, batch_size: int
) -> str | None:
    """Why a layer has nothing to observe."""
    if not jnp.issubdtype(shape.dtype, jnp.floating):
        return f"returns {shape.dtype}; expected floating point"
    grows = of_more is shape or of_more.shape[:1] == (2 * batch_size,)
    if shape.shape[:1] != (batch_size,) or not grows:
        return f"returns the shape {shape.shape}, which has no axis of the batch"
    if 0 in shape.shape:
        return f"returns the shape {shape.shape}, which has no values"
    return None
