"""What is told of a layer's values `[batch, positions, channels]`, one kernel or two for each."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinterp.model.nonlinearity import Nonlinearity

LEAST, LARGEST = -16, 16
"""The histogram's edges go from 2⁻¹⁶ to 2¹⁶ on both sides of 0, two in each octave."""

_PER_SIDE = 2 * (LARGEST - LEAST)
NUM_BINS = 2 * _PER_SIDE + 1
_NOT_FINITE = NUM_BINS

NEAR_ZERO = 3 / 64
"""|a| below it is near zero: an edge of the histogram, close to fastai's 0.05."""

MOST_POSITIONS = 9
"""Of an example, those that what costs more than a sum is told of, at most."""

MOST_CHANNELS = 512
"""Of a layer with more, the covariance would take more memory than the model."""

_SATURATED_SLOPE = 0.05


@functools.cache
def some(positions: tuple[int, ...]) -> tuple[range, ...]:
    """Those of a map of this shape: all, or a grid over all of its axes.

    Its steps are odd, so that a grid of even maps meets both colours of a checkerboard, which is
    what transposed convolutions leave.
    """
    steps = [1] * len(positions)
    while True:
        grid = tuple(
            range(step // 2, size, step) for size, step in zip(positions, steps, strict=True)
        )
        if math.prod(map(len, grid)) <= MOST_POSITIONS:
            return grid
        longest = max(range(len(grid)), key=lambda axis: len(grid[axis]))
        steps[longest] += 2


def is_compared(num_channels: int) -> bool:
    """Whether the covariance of a layer's channels is kept."""
    return num_channels <= MOST_CHANNELS


def saturates(nonlinearity: Nonlinearity | None) -> bool:
    """Whether it is flat on both sides."""
    return nonlinearity is not None and nonlinearity.name in ("tanh", "sigmoid")


def edges() -> np.ndarray:
    """Of the histogram, `[bins + 1]`: ±2ᵏ and ±1.5·2ᵏ; values around 0 have a bin of their own."""
    octaves = 2.0 ** np.arange(LEAST, LARGEST)
    side = np.stack([octaves, 1.5 * octaves], 1).ravel()
    side = np.append(side, np.inf)
    return np.concatenate([-side[::-1], side])


def num_flat(values: jax.Array, nonlinearity: Nonlinearity | None) -> jax.Array:
    """`[batch, channels]` counts: where the slope is below 5 % of its largest, that at 0."""
    if nonlinearity is None or not saturates(nonlinearity):
        return jnp.zeros((len(values), values.shape[-1]), jnp.uint32)
    name, is_inside = nonlinearity
    # σ(z) = (1 + tanh(z / 2)) / 2, so that both are told by one number t with the slope 1 − t².
    if is_inside:
        t = values if name == "tanh" else 2 * values - 1
    else:
        t = jnp.tanh(values if name == "tanh" else values / 2)
    is_flat = 1 - t**2 < jnp.asarray(_SATURATED_SLOPE, values.dtype)
    return is_flat.sum(1, dtype=jnp.uint32)


class Counted(NamedTuple):
    """Of layers' values at some positions; lists have an entry for each layer.

    Attributes:
        near_zero: counts `[channels]`.
        cells: counts `[bins + 1, layers]`, the last of what is not finite.
        mean: `[channels]`; None of layers with more channels than `MOST_CHANNELS`, as what follows.
        covariance: `[channels, channels]`, the summed products of the deviations from the mean, for
            one position.
    """

    near_zero: list[Any]
    cells: jax.Array
    mean: list[Any]
    covariance: list[Any]


def counted(layers: Sequence[jax.Array], mask: jax.Array) -> Counted:
    """Layers of one shape are taken together, so that a kernel serves all of them."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, values in enumerate(layers):
        groups.setdefault(values.shape, []).append(number)
    cells = jnp.zeros((NUM_BINS + 1, len(layers)), jnp.uint32)
    near_zero, mean, covariance = ([None] * len(layers) for _ in range(3))
    is_valid = mask[None, :, None, None]
    for numbers in groups.values():
        values = jnp.stack([layers[number] for number in numbers])
        own = jnp.array(numbers, jnp.int32)[:, None, None, None]
        cells = cells.at[_cells(values, is_valid), own].add(jnp.uint32(1), mode="drop")
        is_near = (jnp.abs(values) < jnp.asarray(NEAR_ZERO, values.dtype)) & is_valid
        _put(near_zero, numbers, is_near.sum((1, 2), dtype=jnp.uint32))
        if is_compared(values.shape[-1]):
            of_group = _covariance(values, is_valid)
            _put(mean, numbers, of_group[0])
            _put(covariance, numbers, of_group[1])
    return Counted(near_zero, cells, mean, covariance)


def _put(of_layers: list[Any], numbers: Sequence[int], of_group: jax.Array) -> None:
    for number, value in zip(numbers, of_group, strict=True):
        of_layers[number] = value


def _cells(values: jax.Array, is_valid: jax.Array) -> jax.Array:
    """The bin of each value, read off the exponent and the first bit after it.

    What is not finite has the cell behind the last, padding one outside of all.
    """
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.int32)
    bits = bits & jnp.int32(0x7FFFFFFF)  # in the order of |a|
    first = jnp.int32((127 + LEAST) << 1)
    size = jnp.clip((bits >> 22) - first + 1, 0, _PER_SIDE)
    cells = _PER_SIDE + jnp.where(values < 0, -size, size)
    cells = jnp.where(bits >= jnp.int32(0x7F800000), jnp.int32(_NOT_FINITE), cells)
    return jnp.where(is_valid, cells, jnp.int32(NUM_BINS + 1))


def _covariance(values: jax.Array, is_valid: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Means `[layers, channels]`, and the products of the deviations from them."""
    _, _, num_positions, num_channels = values.shape
    zero = jnp.zeros((), values.dtype)
    num = is_valid.sum(dtype=jnp.uint32).astype(values.dtype) * num_positions
    mean = jnp.where(is_valid, values, zero).sum((1, 2)) / jnp.maximum(num, jnp.ones_like(num))
    rows = jnp.where(is_valid, values - mean[:, None, None], zero)
    rows = rows.reshape(len(values), -1, num_channels)
    products = jnp.einsum("lnc,lnd->lcd", rows, rows, precision="highest")
    return mean, products / num_positions
