"""Statistics of a layer's values, channel by channel, in memory that does not grow with the data.

A state holds the number of examples so far, the mean, squared deviations and extremes of the values
at all their positions, how many are near zero, and of some positions of each example a histogram
and the covariance of the channels, which would cost more than the model's own pass.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinterp._types import AnyArray
from jinterp.model.nonlinearity import Nonlinearity
from jinterp.stream.reduce import Pair, add_counts, counts_of, two_sum

LEAST, LARGEST = -16, 16
"""The histogram's edges go from 2⁻¹⁶ to 2¹⁶ on both sides of 0, two in each octave."""

_PER_SIDE = 2 * (LARGEST - LEAST)
NUM_BINS = 2 * _PER_SIDE + 1
_NOT_FINITE = NUM_BINS

NEAR_ZERO = 3 / 64
"""|a| below it is near zero: an edge of the histogram, close to fastai's 0.05."""

POSITIONS_COUNTED, POSITIONS_COMPARED = 64, 16
"""Of an example, those that the histogram and the covariance are of, at most."""

MOST_CHANNELS = 512
"""Of more, the covariance would take more memory than the model."""

SATURATED_SLOPE = 0.05


Sum = Any
"""A `Pair` on the device; on the host one array of float64 or int64."""


class State(NamedTuple):
    """What is known of the values of one layer.

    Attributes:
        num: examples.
        mean: `[channels]`, a pair as all sums here.
        squares: `[channels]`, summed squares of the deviations from the mean, for one position.
        minimum: `[channels]`.
        maximum: `[channels]`.
        near_zero: `[channels]` counts.
        cells: `[bins + 1, channels]` counts, the last of what is not finite.
        saturated: `[channels]` counts; None of a layer without flat parts on both sides.
        seen_mean: `[channels]` of the positions that the covariance is of; None of many channels.
        covariance: `[channels, channels]`, summed, for one position; None of many channels.
    """

    num: Any
    mean: Sum
    squares: Sum
    minimum: AnyArray
    maximum: AnyArray
    near_zero: Sum
    cells: Sum
    saturated: Sum
    seen_mean: Sum
    covariance: Sum


def empty(num_channels: int, dtype: Any, nonlinearity: Nonlinearity | None) -> State:
    """Of no examples, as NumPy arrays."""
    is_compared = num_channels <= MOST_CHANNELS

    def pair(*shape: int, dtype: Any = dtype) -> Pair:
        return np.zeros(shape, dtype), np.zeros(shape, dtype)

    return State(
        num=np.zeros((), np.uint32),
        mean=pair(num_channels),
        squares=pair(num_channels),
        minimum=np.full(num_channels, np.inf, dtype),
        maximum=np.full(num_channels, -np.inf, dtype),
        near_zero=pair(num_channels, dtype=np.uint32),
        cells=pair(NUM_BINS + 1, num_channels, dtype=np.uint32),
        saturated=pair(num_channels, dtype=np.uint32) if saturates(nonlinearity) else None,
        seen_mean=pair(num_channels) if is_compared else None,
        covariance=pair(num_channels, num_channels) if is_compared else None,
    )


def of_batch(values: jax.Array, mask: jax.Array, nonlinearity: Nonlinearity | None) -> State:
    """The state of one batch of values `[batch, positions, channels]`.

    What each example has is summed up before padding is taken out: masks within the sums would
    cost XLA:CPU twice the time.
    """
    dtype, num_positions = values.dtype, values.shape[1]
    num = mask.sum(dtype=jnp.uint32)
    num_values = jnp.maximum(num.astype(dtype) * num_positions, jnp.ones((), dtype))
    infinity = jnp.array(jnp.inf, dtype)

    def valid(of_examples: jax.Array, neutral: Any = 0) -> jax.Array:
        return jnp.where(mask[:, None], of_examples, jnp.asarray(neutral, of_examples.dtype))

    mean = valid(values.sum(1)).sum(0) / num_values
    squares = valid(((values - mean[None, None]) ** 2).sum(1)).sum(0) / num_positions
    is_flat = _is_flat(values, nonlinearity)
    of_some = _covariance(_some(values, POSITIONS_COMPARED), mask)
    return State(
        num,
        _alone(mean),
        _alone(squares),
        valid(values.min(1), infinity).min(0),
        valid(values.max(1), -infinity).max(0),
        _low(valid(_num_near_zero(values)).sum(0, dtype=jnp.uint32)),
        _low(_counted(_some(values, POSITIONS_COUNTED), mask)),
        None
        if is_flat is None
        else _low(valid(is_flat.sum(1, dtype=jnp.uint32)).sum(0, dtype=jnp.uint32)),
        *((None, None) if of_some is None else map(_alone, of_some)),
    )


def merge(a: State, b: State) -> State:
    """The state of both parts, by Chan's update of means and squared deviations."""
    dtype = a.mean[0].dtype
    total = a.num + b.num
    weight = a.num.astype(dtype)
    share = b.num.astype(dtype) / jnp.maximum(total, jnp.uint32(1)).astype(dtype)
    apart = _apart(a.mean, b.mean)
    between = apart**2 * weight * share
    seen_mean = covariance = saturated = None
    if a.saturated is not None:
        saturated = add_counts(a.saturated, b.saturated)
    if a.covariance is not None:
        seen_apart = _apart(a.seen_mean, b.seen_mean)
        seen_between = seen_apart[:, None] * seen_apart[None] * weight * share
        seen_mean = two_sum(a.seen_mean, seen_apart * share)
        covariance = _sum(a.covariance, b.covariance, seen_between)
    return State(
        total,
        two_sum(a.mean, apart * share),
        _sum(a.squares, b.squares, between),
        jnp.minimum(a.minimum, b.minimum),
        jnp.maximum(a.maximum, b.maximum),
        add_counts(a.near_zero, b.near_zero),
        add_counts(a.cells, b.cells),
        saturated,
        seen_mean,
        covariance,
    )


def finalize(state: State) -> State:
    """On the host: sums in float64, counts in int64."""
    return State(
        num=int(state.num),
        mean=_together(state.mean),
        squares=_together(state.squares),
        minimum=state.minimum,
        maximum=state.maximum,
        near_zero=counts_of(state.near_zero),
        cells=counts_of(state.cells),
        saturated=None if state.saturated is None else counts_of(state.saturated),
        seen_mean=None if state.seen_mean is None else _together(state.seen_mean),
        covariance=None if state.covariance is None else _together(state.covariance),
    )


def positions(num_positions: int, most: int) -> np.ndarray:
    """All, or so many at equal steps."""
    num = min(num_positions, most)
    return (np.arange(num) * num_positions + num_positions // 2) // num


def is_dead(state: State, nonlinearity: Nonlinearity | None) -> AnyArray:
    """`[channels]`, on the device or the host: whether nothing of the unit ever gets through."""
    is_zero = (state.minimum == 0) & (state.maximum == 0)
    is_rectified = nonlinearity is not None and nonlinearity.name == "relu"
    return is_zero | (state.maximum <= 0) if is_rectified else is_zero


def saturates(nonlinearity: Nonlinearity | None) -> bool:
    """Whether it is flat on both sides."""
    return nonlinearity is not None and nonlinearity.name in ("tanh", "sigmoid")


def edges() -> np.ndarray:
    """Of the histogram, `[bins + 1]`: ±2ᵏ and ±1.5·2ᵏ; values around 0 have a bin of their own."""
    octaves = 2.0 ** np.arange(LEAST, LARGEST)
    side = np.stack([octaves, 1.5 * octaves], 1).ravel()
    side = np.append(side, np.inf)
    return np.concatenate([-side[::-1], side])


def _is_flat(values: jax.Array, nonlinearity: Nonlinearity | None) -> jax.Array | None:
    """Where the function's slope is below 5 % of its largest, that at 0."""
    if nonlinearity is None or not saturates(nonlinearity):
        return None
    name, is_inside = nonlinearity
    # σ(z) = (1 + tanh(z / 2)) / 2, so that both are told by one number t with the slope 1 − t².
    if is_inside:
        t = values if name == "tanh" else 2 * values - 1
    else:
        t = jnp.tanh(values if name == "tanh" else values / 2)
    return 1 - t**2 < jnp.asarray(SATURATED_SLOPE, values.dtype)


def _some(values: jax.Array, most: int) -> jax.Array:
    return values[:, positions(values.shape[1], most)]


def _num_near_zero(values: jax.Array) -> jax.Array:
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


def _counted(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Counts `[bins + 1, channels]`: the bin is read off the exponent and the first bit after."""
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


def _covariance(values: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array] | None:
    """The mean, and the summed products of the deviations from it."""
    _, num_positions, num_channels = values.shape
    if num_channels > MOST_CHANNELS:
        return None
    zero, is_valid = jnp.zeros((), values.dtype), mask[:, None, None]
    num = mask.sum(dtype=jnp.uint32).astype(values.dtype) * num_positions
    mean = jnp.where(is_valid, values, zero).sum((0, 1)) / jnp.maximum(num, jnp.ones_like(num))
    rows = jnp.where(is_valid, values - mean[None, None], zero).reshape(-1, num_channels)
    return mean, jnp.matmul(rows.T, rows, precision="highest") / num_positions


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
