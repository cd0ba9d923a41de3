"""What is told of a layer's values `[batch, positions, channels]`, one kernel or two for each."""

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

_POSITIONS_COUNTED, _POSITIONS_COMPARED = 64, 16

_SATURATED_SLOPE = 0.05


def positions(num_positions: int, most: int) -> slice:
    """All, or so many at most, at equal steps."""
    step = -(-num_positions // most)
    return slice(step // 2, None, step)


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


def num_near_zero(values: jax.Array) -> jax.Array:
    """`[batch, channels]`: as integers the magnitudes compare alike, and XLA:CPU sums them faster.

    The sign of the difference is −1 or 0.
    """
    limit = jnp.int32(np.float32(NEAR_ZERO).view(np.int32))
    signs = (_magnitude(values) - limit) >> 31
    return (-signs.sum(1, dtype=jnp.int32)).astype(jnp.uint32)


def _magnitude(values: jax.Array) -> jax.Array:
    """The bits of |a| as float32, which are in the order of |a|; NaN comes last."""
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.int32)
    return bits & jnp.int32(0x7FFFFFFF)


def counted(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Counts `[bins + 1, channels]` of some positions, the last of what is not finite.

    The bin is read off the exponent and the first bit after it.
    """
    values = values[:, positions(values.shape[1], _POSITIONS_COUNTED)]
    bits = _magnitude(values)
    first = jnp.int32((127 + LEAST) << 1)
    size = jnp.clip((bits >> 22) - first + 1, 0, _PER_SIDE)
    cells = _PER_SIDE + jnp.where(values < 0, -size, size)
    cells = jnp.where(bits >= jnp.int32(0x7F800000), jnp.int32(_NOT_FINITE), cells)
    cells = jnp.where(mask[:, None, None], cells, jnp.int32(NUM_BINS + 1))
    num_channels = values.shape[-1]
    zeros = jnp.zeros((NUM_BINS + 1, num_channels), jnp.uint32)
    channels = jnp.arange(num_channels, dtype=jnp.int32)
    cells = cells.reshape(-1, num_channels)
    return zeros.at[cells, channels[None]].add(jnp.uint32(1), mode="drop")


def covariance(values: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of some positions the mean, and the summed products of deviations from it, for one."""
    values = values[:, positions(values.shape[1], _POSITIONS_COMPARED)]
    _, num_positions, num_channels = values.shape
    zero, is_valid = jnp.zeros((), values.dtype), mask[:, None, None]
    num = mask.sum(dtype=jnp.uint32).astype(values.dtype) * num_positions
    mean = jnp.where(is_valid, values, zero).sum((0, 1)) / jnp.maximum(num, jnp.ones_like(num))
    rows = jnp.where(is_valid, values - mean[None, None], zero).reshape(-1, num_channels)
    return mean, jnp.matmul(rows.T, rows, precision="highest") / num_positions
