"""Reducers: what a pass over a dataset keeps, in memory that does not grow with the data.

A reducer is four pure functions. `value_fn(batch, logits)` says which number of each example it
keeps; masked examples count for nothing. Equal arguments give the same reducer, so a pass made
anew compiles nothing again; `value_fn` must be the same function object each time.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt

from jinterp._types import AnyArray, Batch

State = Any
ValueFn = Callable[[Batch, Array], Any]


class Reducer(NamedTuple):
    """What a pass keeps, on the device, in bounded memory.

    Attributes:
        init: `init(batch, logits) -> state`, from abstract shapes, as NumPy arrays.
        update: `update(state, batch, logits) -> state`, for one padded batch.
        merge: `merge(state, state) -> state`, for two parts of the data, in either order.
        finalize: `finalize(state) -> result`, on the host, from NumPy arrays.
    """

    init: Callable[[Batch, AnyArray], State]
    update: Callable[[State, Batch, Array], State]
    merge: Callable[[State, State], State]
    finalize: Callable[[State], Any]


class Collect(NamedTuple):
    """Rows that leave the device with each batch: a value for every example, in dataset order.

    Attributes:
        value_fn: `value_fn(batch, logits)` gives an array `[batch, ...]`, or a pytree of them.
    """

    value_fn: ValueFn


class TopK(NamedTuple):
    """The examples with the largest values, largest first, NaN before all.

    Attributes:
        values: `[n]`, with n = k, or fewer where the data has fewer.
        indices: `[n]` dataset indices.
        payload: what was kept with each, a pytree of arrays `[n, ...]`.
    """

    values: np.ndarray
    indices: np.ndarray
    payload: Any


class Moments(NamedTuple):
    """Moments over the examples: arrays of one example's shape.

    Attributes:
        num_examples: how many examples there were.
        mean: their mean.
        variance: their variance (ddof 0).
        minimum: the least value.
        maximum: the largest value.
    """

    num_examples: int
    mean: np.ndarray
    variance: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray


class Histogram(NamedTuple):
    """A histogram as NumPy's: every bin is half open but the last.

    Attributes:
        counts: `[bins]` int64.
        edges: `[bins + 1]`.
        num_outside: values below the first edge, above the last, or NaN.
    """

    counts: np.ndarray
    edges: np.ndarray
    num_outside: int


@functools.cache
def collect(value_fn: ValueFn) -> Collect:
    """Every example's value, on the host, in order of dataset index.

    Memory grows with the data: keep scalars, not activations.

    Args:
        value_fn: `value_fn(batch, logits)` gives an array `[batch, ...]`, or a pytree of them.
    """
    return Collect(value_fn)


@functools.cache
def counts(cell_fn: ValueFn, num_cells: int | Callable[[AnyArray], int]) -> Reducer:
    """How many examples fall in each of `num_cells` cells, as int64 `[num_cells]`.

    Args:
        cell_fn: `cell_fn(batch, logits)` gives each example's cell, `[batch]` integers.
        num_cells: how many cells, or a function of the logits that tells. A cell outside them is
            not counted, so give the examples that belong nowhere a cell of their own.

    Counts are kept as two 32-bit words, so they do not overflow after 2³¹ examples.
    """

    def update(state: State, batch: Batch, logits: Array) -> State:
        added = _count(cell_fn(batch, logits), batch.mask, len(state[0]))
        return _add_words(state, (added, jnp.zeros_like(added)))

    def init(batch: Batch, logits: AnyArray) -> State:
        num = num_cells(logits) if callable(num_cells) else num_cells
        return np.zeros(num, np.uint32), np.zeros(num, np.uint32)

    def finalize(state: State) -> np.ndarray:
        low, high = (word.astype(np.int64) for word in state)
        return low + (high << 32)

    return Reducer(init, update, _add_words, finalize)


@functools.cache
def histogram(value_fn: ValueFn, edges: tuple[float, ...]) -> Reducer:
    """A `Histogram` of one value for each example.

    Args:
        value_fn: `value_fn(batch, logits)` gives `[batch]` floats.
        edges: the increasing bin edges, as a tuple, so that the reducer can be hashed.
    """
    num_bins = len(edges) - 1
    if num_bins < 1 or any(a >= b for a, b in itertools.pairwise(edges)):
        raise ValueError(f"`edges` is {edges}; expected at least two, increasing.")

    def cells(batch: Batch, logits: Array) -> Array:
        values = value_fn(batch, logits)
        bounds = jnp.array(edges, values.dtype)
        found = jnp.searchsorted(bounds, values, side="right") - 1
        found = jnp.where(values == bounds[-1], num_bins - 1, found)
        return jnp.where((found < 0) | jnp.isnan(values), num_bins, found)

    counted = counts(cells, num_bins + 1)

    def finalize(state: State) -> Histogram:
        result = counted.finalize(state)
        return Histogram(result[:-1], np.array(edges), int(result[-1]))

    return counted._replace(finalize=finalize)


@functools.cache
def moments(value_fn: ValueFn) -> Reducer:
    """The `Moments` of one array of floats for each example.

    Batches are combined by Chan's update of mean and squared deviations, each held as a sum of
    two float32, so that a billion small steps are not lost in rounding.

    Args:
        value_fn: `value_fn(batch, logits)` gives `[batch, ...]` floats.

    Source: Chan, Golub and LeVeque (1979), equation 2.1; Knuth's two-sum.
    """

    def init(batch: Batch, logits: AnyArray) -> State:
        value = jax.eval_shape(value_fn, batch, logits)
        zero = np.zeros(value.shape[1:], value.dtype)
        none = np.zeros((), np.uint32)
        return (
            (none, none),
            (zero, zero),
            (zero, zero),
            np.full_like(zero, np.inf),
            np.full_like(zero, -np.inf),
        )

    def update(state: State, batch: Batch, logits: Array) -> State:
        values = value_fn(batch, logits)
        mask = batch.mask.reshape(-1, *[1] * (values.ndim - 1))
        num = batch.mask.sum(dtype=jnp.uint32)
        divisor = jnp.maximum(num, jnp.uint32(1)).astype(values.dtype)
        zero = jnp.zeros((), values.dtype)
        mean = jnp.where(mask, values, zero).sum(0) / divisor
        squares = jnp.where(mask, (values - mean[None]) ** 2, zero).sum(0)
        return merge(
            state,
            (
                (num, jnp.zeros_like(num)),
                (mean, jnp.zeros_like(mean)),
                (squares, jnp.zeros_like(mean)),
                jnp.where(mask, values, jnp.array(jnp.inf, values.dtype)).min(0),
                jnp.where(mask, values, jnp.array(-jnp.inf, values.dtype)).max(0),
            ),
        )

    def merge(a: State, b: State) -> State:
        dtype = a[1][0].dtype
        total = _add_words(a[0], b[0])
        share = _as_float(b[0], dtype) / jnp.maximum(_as_float(total, dtype), jnp.ones((), dtype))
        delta = (b[1][0] - a[1][0]) + (b[1][1] - a[1][1])
        mean = _two_sum(a[1], delta * share)
        squares = _two_sum(a[2], b[2][0] + b[2][1])
        squares = _two_sum(squares, delta**2 * _as_float(a[0], dtype) * share)
        return total, mean, squares, jnp.minimum(a[3], b[3]), jnp.maximum(a[4], b[4])

    def finalize(state: State) -> Moments:
        (low, high), mean, squares, minimum, maximum = state
        num = int(low) + (int(high) << 32)
        mean, squares = (np.float64(pair[0]) + np.float64(pair[1]) for pair in (mean, squares))
        if num == 0:
            mean = squares = np.full_like(mean, np.nan)
        return Moments(num, mean, squares / max(num, 1), minimum, maximum)

    return Reducer(init, update, merge, finalize)


@functools.cache
def mean(value_fn: ValueFn) -> Reducer:
    """The mean over the examples of one array of floats for each, as float64.

    Args:
        value_fn: `value_fn(batch, logits)` gives `[batch, ...]` floats.
    """
    whole = moments(value_fn)
    return whole._replace(finalize=lambda state: whole.finalize(state).mean)


@functools.cache
def top_k(value_fn: ValueFn, k: int, payload_fn: ValueFn | None = None) -> Reducer:
    """The `TopK` of one value for each example, with a payload for those kept.

    NaN comes first, since a value that is none is what to look at first; ties go to the lowest
    dataset index, so the answer does not depend on batches, devices or hosts.

    Args:
        value_fn: `value_fn(batch, logits)` gives `[batch]` floats.
        k: how many to keep.
        payload_fn: `payload_fn(batch, logits)` gives a pytree of `[batch, ...]`.
    """
    if k < 1:
        raise ValueError(f"`k` is {k}; expected at least 1. Try 9.")

    def candidates(batch: Batch, logits: Array) -> State:
        payload = payload_fn(batch, logits) if payload_fn else None
        return batch.mask, value_fn(batch, logits), batch.indices, payload

    def init(batch: Batch, logits: AnyArray) -> State:
        row = jax.eval_shape(candidates, batch, logits)
        return jax.tree.map(lambda leaf: np.zeros((k, *leaf.shape[1:]), leaf.dtype), row)

    def update(state: State, batch: Batch, logits: Array) -> State:
        return merge(state, candidates(batch, logits))

    def merge(a: State, b: State) -> State:
        mask, values, indices, _ = both = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), a, b)
        rank = jnp.where(mask, jnp.where(jnp.isnan(values), 0, 1), 2)
        order = jnp.arange(len(mask))
        *_, order = jax.lax.sort((rank, -values, indices, order), num_keys=3)
        return jax.tree.map(lambda leaf: leaf[order[:k]], both)

    def finalize(state: State) -> TopK:
        mask = state[0]
        return TopK(*jax.tree.map(lambda leaf: leaf[mask], state[1:]))

    return Reducer(init, update, merge, finalize)


def _count(cells: Int[Array, " batch"], mask: Array, num_cells: int) -> UInt[Array, " cells"]:
    """Ones summed by cell. Negative cells and masked examples go to one more cell, cut off."""
    valid = mask & (cells >= 0) & (cells < num_cells)
    cells = jnp.where(valid, cells, jnp.array(num_cells, cells.dtype))
    ones = jnp.ones(cells.shape, jnp.uint32)
    return jax.ops.segment_sum(ones, cells, num_segments=num_cells + 1)[:num_cells]


def _add_words(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    """The sum of two 64-bit counts held as (low, high) 32-bit words."""
    low = a[0] + b[0]
    carry = (low < a[0]).astype(jnp.uint32)
    return low, a[1] + b[1] + carry


def _as_float(words: tuple[Array, Array], dtype: Any) -> Array:
    return words[0].astype(dtype) + words[1].astype(dtype) * jnp.array(2.0**32, dtype)


def _two_sum(pair: tuple[Array, Array], term: Array) -> tuple[Array, Array]:
    """(high, low) + term, with what rounding loses kept in low."""
    high, low = pair
    total = high + term
    back = total - high
    return total, low + ((high - (total - back)) + (term - back))
