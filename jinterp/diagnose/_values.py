"""What is told of a layer's values `[batch, positions, channels]`, one kernel or two for each."""

from collections.abc import Sequence
from typing import Any

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

MOST_POSITIONS = 16
"""Of an example, those that what costs more than a sum is told of, at most."""

_SATURATED_SLOPE = 0.05


def some(num_positions: int) -> range:
    """All positions, or some at equal steps."""
    step = -(-num_positions // MOST_POSITIONS)
    return range(step // 2, num_positions, step)


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


def together(layers: Sequence[jax.Array]) -> list[tuple[jax.Array, list[int]]]:
    """Layers with equally many positions as one array, so that one kernel serves them all.

    Returns:
        Values `[batch, positions, channels]`, and of each channel the number of its layer.
    """
    groups: dict[int, list[int]] = {}
    for number, values in enumerate(layers):
        groups.setdefault(values.shape[1], []).append(number)
    return [
        (
            jnp.concatenate([layers[number] for number in numbers], axis=2),
            [number for number in numbers for _ in range(layers[number].shape[2])],
        )
        for numbers in groups.values()
    ]


def near_zero_and_cells(
    layers: Sequence[jax.Array], mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Counts of what is near zero, `[channels]`, and in each bin, `[bins + 1, layers]`."""
    cells = jnp.zeros((NUM_BINS + 1, len(layers)), jnp.uint32)
    near_zero: list[Any] = [None] * len(layers)
    for values, numbers in together(layers):
        found = _cells(values, mask)
        own = jnp.array(numbers, jnp.int32)[None, None]
        cells = cells.at[found, own].add(jnp.uint32(1), mode="drop")
        is_near = (jnp.abs(values) < jnp.asarray(NEAR_ZERO, values.dtype)) & mask[:, None, None]
        num_near = is_near.sum((0, 1), dtype=jnp.uint32)
        start = 0
        for number in dict.fromkeys(numbers):
            end = start + layers[number].shape[2]
            near_zero[number] = num_near[start:end]
            start = end
    return jnp.concatenate(near_zero), cells


def _cells(values: jax.Array, mask: jax.Array) -> jax.Array:
    """The bin of each value, read off the exponent and the first bit after it.

    What is not finite has the cell behind the last, padding one outside of all.
    """
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.int32)
    bits = bits & jnp.int32(0x7FFFFFFF)  # in the order of |a|
    first = jnp.int32((127 + LEAST) << 1)
    size = jnp.clip((bits >> 22) - first + 1, 0, _PER_SIDE)
    cells = _PER_SIDE + jnp.where(values < 0, -size, size)
    cells = jnp.where(bits >= jnp.int32(0x7F800000), jnp.int32(_NOT_FINITE), cells)
    return jnp.where(mask[:, None, None], cells, jnp.int32(NUM_BINS + 1))


def covariance(values: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean, and the summed products of the deviations from it, for one position."""
    _, num_positions, num_channels = values.shape
    zero, is_valid = jnp.zeros((), values.dtype), mask[:, None, None]
    num = mask.sum(dtype=jnp.uint32).astype(values.dtype) * num_positions
    mean = jnp.where(is_valid, values, zero).sum((0, 1)) / jnp.maximum(num, jnp.ones_like(num))
    rows = jnp.where(is_valid, values - mean[None, None], zero).reshape(-1, num_channels)
    return mean, jnp.matmul(rows.T, rows, precision="highest") / num_positions
