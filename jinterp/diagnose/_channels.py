"""Statistics of layers channel by channel, in memory that does not grow with the data.

The channels of all layers stand one behind the other, so that batches are merged by a few kernels
and not by some for each layer.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinterp._types import AnyArray
from jinterp.diagnose import _values
from jinterp.diagnose._observed import Reading
from jinterp.model.nonlinearity import Nonlinearity
from jinterp.stream.reduce import Pair, add_counts, counts_of, two_sum


class Part(NamedTuple):
    """A layer, and which channels are its own.

    Attributes:
        name: of the layer.
        shape: of its output for one example.
        positions: the shape of the map that each channel is.
        num_channels: how many there are.
        nonlinearity: what cuts its values.
    """

    name: str
    shape: tuple[int, ...]
    positions: tuple[int, ...]
    num_channels: int
    nonlinearity: Nonlinearity | None

    @property
    def seen(self) -> tuple[range, ...]:
        """Along each axis, the positions that what costs more than a sum is told of."""
        return _values.some(self.positions)

    @property
    def num_seen(self) -> int:
        """How many they are."""
        return math.prod(map(len, self.seen))

    @property
    def is_compared(self) -> bool:
        """Whether the covariance of its channels is kept."""
        return _values.is_compared(self.num_channels)


Sum = Any
"""A `Pair` on the device; on the host one array of float64 or int64."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "num",
        "mean",
        "squares",
        "minimum",
        "maximum",
        "near_zero",
        "cells",
        "flat",
        "seen_mean",
        "covariance",
    ],
    meta_fields=["parts"],
)
@dataclasses.dataclass(frozen=True)
class State:
    """What is known of the values of all layers; `[channels]` are those of all of them.

    Attributes:
        num: examples.
        mean: `[channels]`, a pair as all sums here.
        squares: `[channels]`, summed squares of the deviations from the mean, over the positions.
        minimum: `[channels]`.
        maximum: `[channels]`.
        near_zero: `[channels]` counts; these and the following are of some positions.
        cells: `[bins + 1, layers]` counts, the last of what is not finite.
        flat: `[channels]` counts of what a sigmoid or tanh is flat at.
        seen_mean: `[channels]`, of the layers compared.
        covariance: the entries of all their matrices, summed, for one position.
        parts: the layers.
    """

    num: Any
    mean: Sum
    squares: Sum
    minimum: AnyArray
    maximum: AnyArray
    near_zero: Sum
    cells: Sum
    flat: Sum
    seen_mean: Sum
    covariance: Sum
    parts: tuple[Part, ...]


def parts_of(readings: Sequence[Reading]) -> tuple[Part, ...]:
    """What is static of them."""
    found = []
    for each in readings:
        num_channels = each.values.shape[-1]
        found.append(Part(each.name, each.shape, each.positions, num_channels, each.nonlinearity))
    return tuple(found)


def empty(readings: Sequence[Reading]) -> State:
    """Of no examples, as NumPy arrays."""
    parts, dtype = parts_of(readings), _dtype(readings)
    num = sum(part.num_channels for part in parts)
    compared = [part.num_channels for part in parts if part.is_compared]

    def pair(*shape: int, dtype: Any = dtype) -> Pair:
        return np.zeros(shape, dtype), np.zeros(shape, dtype)

    return State(
        num=np.zeros((), np.uint32),
        mean=pair(num),
        squares=pair(num),
        minimum=np.full(num, np.inf, dtype),
        maximum=np.full(num, -np.inf, dtype),
        near_zero=pair(num, dtype=np.uint32),
        cells=pair(_values.NUM_BINS + 1, len(parts), dtype=np.uint32),
        flat=pair(num, dtype=np.uint32),
        seen_mean=pair(max(sum(compared), 1)),
        covariance=pair(max(sum(size**2 for size in compared), 1)),
        parts=parts,
    )


def of_batch(readings: Sequence[Reading], mask: jax.Array) -> State:
    """The state of one batch.

    What each example has is summed up before padding is taken out, since masks within the sums
    would cost XLA:CPU twice the time; and its deviations are those from its own mean, which are
    summed while its values are in the cache, and not from that of the batch.
    """
    parts, dtype = parts_of(readings), _dtype(readings)
    num, values = mask.sum(dtype=jnp.uint32), [each.values.astype(dtype) for each in readings]
    infinity = jnp.array(jnp.inf, dtype)

    def valid(of_layers: Iterator[jax.Array], neutral: Any = 0) -> jax.Array:
        of_examples = jnp.concatenate(list(of_layers), axis=1)
        return jnp.where(mask[:, None], of_examples, jnp.asarray(neutral, of_examples.dtype))

    own_means = [each.mean(1) for each in values]  # of each example
    within = valid(
        ((each - own[:, None]) ** 2).mean(1) for each, own in zip(values, own_means, strict=True)
    )
    means = valid(iter(own_means))
    mean = means.sum(0) / jnp.maximum(num, jnp.uint32(1)).astype(dtype)
    between = jnp.where(mask[:, None], means - mean[None], jnp.zeros((), dtype)) ** 2
    seen = list(map(_seen, values, parts))
    counted = _values.counted(seen, mask)
    flat = valid(map(_values.num_flat, seen, [part.nonlinearity for part in parts]))
    return State(
        num,
        _alone(mean),
        _alone((within + between).sum(0)),
        valid((each.min(1) for each in values), infinity).min(0),
        valid((each.max(1) for each in values), -infinity).max(0),
        _low(jnp.concatenate(counted.near_zero)),
        _low(counted.cells),
        _low(flat.sum(0, dtype=jnp.uint32)),
        _alone(_joined(counted.mean, dtype)),
        _alone(_joined(counted.covariance, dtype)),
        parts,
    )


def merge(a: State, b: State) -> State:
    """The state of both parts, by Chan's update of means and squared deviations."""
    dtype = a.mean[0].dtype
    total = a.num + b.num
    weight = a.num.astype(dtype)
    share = b.num.astype(dtype) / jnp.maximum(total, jnp.uint32(1)).astype(dtype)
    apart, seen_apart = _apart(a.mean, b.mean), _apart(a.seen_mean, b.seen_mean)
    return State(
        total,
        two_sum(a.mean, apart * share),
        _sum(a.squares, b.squares, apart**2 * weight * share),
        jnp.minimum(a.minimum, b.minimum),
        jnp.maximum(a.maximum, b.maximum),
        add_counts(a.near_zero, b.near_zero),
        add_counts(a.cells, b.cells),
        add_counts(a.flat, b.flat),
        two_sum(a.seen_mean, seen_apart * share),
        _sum(a.covariance, b.covariance, _products(seen_apart, a.parts) * weight * share),
        a.parts,
    )


def finalize(state: State) -> list["State"]:
    """The state of each layer alone, on the host: sums in float64, counts in int64."""
    columns = {
        "mean": _together(state.mean),
        "squares": _together(state.squares),
        "minimum": state.minimum,
        "maximum": state.maximum,
        "near_zero": counts_of(state.near_zero),
        "flat": counts_of(state.flat),
    }
    split_columns = {name: split(value, state.parts) for name, value in columns.items()}
    cells = counts_of(state.cells)
    compared = [part for part in state.parts if part.is_compared]
    sizes = [part.num_channels for part in compared]
    seen = iter(np.split(_together(state.seen_mean), np.cumsum(sizes)))
    squared = iter(np.split(_together(state.covariance), np.cumsum(np.square(sizes))))
    found = []
    for number, part in enumerate(state.parts):
        own = {name: of_layers[number] for name, of_layers in split_columns.items()}
        own["seen_mean"] = next(seen) if part.is_compared else None
        own["covariance"] = None
        own["cells"] = cells[:, number]
        if part.is_compared:
            own["covariance"] = next(squared).reshape(part.num_channels, part.num_channels)
        found.append(State(num=int(state.num), parts=(part,), **own))
    return found


def split(values: Any, parts: Sequence[Part]) -> list[Any]:
    """Arrays `[..., channels]` of each layer."""
    ends = list(itertools.accumulate(part.num_channels for part in parts))
    return [
        values[..., end - part.num_channels : end] for end, part in zip(ends, parts, strict=True)
    ]


def is_dead(minimum: AnyArray, maximum: AnyArray, nonlinearity: Nonlinearity | None) -> AnyArray:
    """`[channels]`, on the device or the host: whether nothing of the unit ever gets through."""
    is_zero = (minimum == 0) & (maximum == 0)
    is_rectified = nonlinearity is not None and nonlinearity.name == "relu"
    return is_zero | (maximum <= 0) if is_rectified else is_zero


def _seen(values: jax.Array, part: Part) -> jax.Array:
    """Values `[batch, positions, channels]` at those positions."""
    batch_size, _, num_channels = values.shape
    steps = [slice(each.start, None, each.step) for each in part.seen]
    maps = values.reshape(batch_size, *part.positions, num_channels)[:, *steps]
    return maps.reshape(batch_size, part.num_seen, num_channels)


def _dtype(readings: Sequence[Reading]) -> Any:
    """float64 where a layer has it, else float32."""
    is_double = any(each.values.dtype == jnp.float64 for each in readings)
    return jnp.dtype(jnp.float64 if is_double else jnp.float32)


def _joined(of_layers: Sequence[jax.Array | None], dtype: Any) -> jax.Array:
    """The entries of all arrays, one behind the other."""
    found = [each.ravel() for each in of_layers if each is not None]
    return jnp.concatenate(found) if found else jnp.zeros(1, dtype)


def _products(means: jax.Array, parts: Sequence[Part]) -> jax.Array:
    """The products of the means of each layer compared, as its covariance has them."""
    compared = [part for part in parts if part.is_compared]
    if not compared:
        return jnp.zeros_like(means)
    products = [jnp.outer(each, each).ravel() for each in split(means, compared)]
    return jnp.concatenate(products)


def _alone(high: jax.Array) -> Pair:
    return high, jnp.zeros_like(high)


def _low(low: jax.Array) -> Pair:
    return jnp.zeros_like(low), low


def _apart(a: Pair, b: Pair) -> jax.Array:
    return (b[0] - a[0]) + (b[1] - a[1])


def _sum(a: Pair, b: Pair, between: jax.Array) -> Pair:
    return two_sum(two_sum(a, b[0] + b[1]), between)


def _together(pair: Pair) -> np.ndarray:
    return pair[0].astype(np.float64) + pair[1].astype(np.float64)
