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
from jaxtyping import Array

from jinterp._types import AnyArray, Batch

State = Any
ValueFn = Callable[[Batch, Any], Any]


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

    A cell holds up to 2³² − 1, more than a dataset can have examples.
    """

    def init(batch: Batch, logits: AnyArray) -> State:
        return np.zeros(num_cells(logits) if callable(num_cells) else num_cells, np.uint32)

    def update(state: State, batch: Batch, logits: AnyArray) -> State:
        # segment_sum into the state itself, so that a batch costs what it holds, not all cells.
        cells = cell_fn(batch, logits).astype(jnp.int32)
        valid = batch.mask & (cells >= 0)
        cells = jnp.where(valid, cells, jnp.int32(len(state)))
        return state.at[cells].add(jnp.uint32(1), mode="drop")

    def finalize(state: State) -> np.ndarray:
        return state.astype(np.int64)

    return Reducer(init, update, jnp.add, finalize)


@functools.cache
def total(value_fn: ValueFn) -> Reducer:
    """The sum over the examples of an array of counts for each, exact, as int64.

    Args:
        value_fn: `value_fn(batch, logits)` gives `[batch, ...]` integers that are not negative,
            whose sum over a batch is less than 2³²; that over the data may reach 2⁶³.
    """

    def init(batch: Batch, logits: AnyArray) -> State:
        value = jax.eval_shape(value_fn, batch, logits)
        zero = np.zeros(value.shape[1:], np.uint32)
        return zero, zero

    def update(state: State, batch: Batch, logits: AnyArray) -> State:
        values = value_fn(batch, logits).astype(jnp.uint32)
        mask = batch.mask.reshape(-1, *[1] * (values.ndim - 1))
        added = jnp.where(mask, values, jnp.uint32(0)).sum(0, dtype=jnp.uint32)
        return add_counts(state, (jnp.zeros_like(added), added))

    return Reducer(init, update, add_counts, counts_of)


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

    def cells(batch: Batch, logits: AnyArray) -> Array:
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
        value_fn: `value_fn(batch, logits)` gives `[batch, ...]` numbers.

    Source: Chan, Golub and LeVeque (1979), equation 2.1; Knuth's two-sum.
    """
    values_fn = _as_floats(value_fn)

    def init(batch: Batch, logits: AnyArray) -> State:
        value = jax.eval_shape(values_fn, batch, logits)
        zero = np.zeros(value.shape[1:], value.dtype)
        bounds = np.full_like(zero, np.inf), np.full_like(zero, -np.inf)
        return np.zeros((), np.uint32), (zero, zero), (zero, zero), *bounds

    def update(state: State, batch: Batch, logits: AnyArray) -> State:
        values = values_fn(batch, logits)
        mask = batch.mask.reshape(-1, *[1] * (values.ndim - 1))
        num = batch.mask.sum(dtype=jnp.uint32)
        divisor = jnp.maximum(num, jnp.uint32(1)).astype(values.dtype)
        zero, infinity = jnp.zeros((), values.dtype), jnp.array(jnp.inf, values.dtype)
        mean = jnp.where(mask, values, zero).sum(0) / divisor
        squares = jnp.where(mask, (values - mean[None]) ** 2, zero).sum(0)
        low = jnp.zeros_like(mean)
        least = jnp.where(mask, values, infinity).min(0)
        largest = jnp.where(mask, values, -infinity).max(0)
        return merge(state, (num, (mean, low), (squares, low), least, largest))

    def merge(a: State, b: State) -> State:
        dtype = a[1][0].dtype
        total = a[0] + b[0]
        share = b[0].astype(dtype) / jnp.maximum(total, jnp.uint32(1)).astype(dtype)
        delta = (b[1][0] - a[1][0]) + (b[1][1] - a[1][1])
        mean = two_sum(a[1], delta * share)
        squares = two_sum(a[2], b[2][0] + b[2][1])
        squares = two_sum(squares, delta**2 * a[0].astype(dtype) * share)
        return total, mean, squares, jnp.minimum(a[3], b[3]), jnp.maximum(a[4], b[4])

    def finalize(state: State) -> Moments:
        num, mean, squares, minimum, maximum = state
        mean, squares = (np.float64(pair[0]) + np.float64(pair[1]) for pair in (mean, squares))
        if num == 0:
            mean = squares = np.full_like(mean, np.nan)
        return Moments(int(num), mean, squares / max(int(num), 1), minimum, maximum)

    return Reducer(init, update, merge, finalize)


@functools.cache
def mean(value_fn: ValueFn) -> Reducer:
    """The mean over the examples of one array of floats for each, as float64.

    Args:
        value_fn: `value_fn(batch, logits)` gives `[batch, ...]` numbers.
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
    values_fn = _as_floats(value_fn)
    merge = functools.partial(_largest, _at_least_one(k), True)

    def candidates(batch: Batch, logits: AnyArray) -> State:
        payload = payload_fn(batch, logits) if payload_fn else None
        return batch.mask, values_fn(batch, logits), batch.indices, payload

    def init(batch: Batch, logits: AnyArray) -> State:
        row = jax.eval_shape(candidates, batch, logits)
        return jax.tree.map(lambda leaf: np.zeros((k, *leaf.shape[1:]), leaf.dtype), row)

    def update(state: State, batch: Batch, logits: AnyArray) -> State:
        return merge(state, candidates(batch, logits))

    def finalize(state: State) -> TopK:
        mask = state[0]
        return TopK(*jax.tree.map(lambda leaf: leaf[mask], state[1:]))

    return Reducer(init, update, merge, finalize)


@functools.cache
def top_k_each(value_fn: ValueFn, k: int, payload_fn: ValueFn | None = None) -> Reducer:
    """A `TopK` of each of several values of an example: arrays `[values, n]`, NaN after all.

    Where each example is compared with several others, and nothing can be said of a NaN. Ties go
    to the lowest dataset index.

    Args:
        value_fn: `value_fn(batch, logits)` gives `[batch, values]` floats.
        k: how many examples to keep for each.
        payload_fn: `payload_fn(batch, logits)` gives a pytree of `[batch, ...]`.
    """
    values_fn = _as_floats(value_fn)
    largest = functools.partial(_largest, _at_least_one(k), False)

    def candidates(batch: Batch, logits: AnyArray) -> State:
        """All alike for each value but the value itself, `[values, batch]`."""
        payload = payload_fn(batch, logits) if payload_fn else None
        return batch.mask, values_fn(batch, logits).T, batch.indices, payload

    def init(batch: Batch, logits: AnyArray) -> State:
        mask, values, indices, payload = jax.eval_shape(candidates, batch, logits)

        def empty(leaf: AnyArray) -> AnyArray:
            return np.zeros((len(values), k, *leaf.shape[1:]), leaf.dtype)

        row = mask, jax.ShapeDtypeStruct(mask.shape, values.dtype), indices, payload
        return jax.tree.map(empty, row)

    def update(state: State, batch: Batch, logits: AnyArray) -> State:
        return jax.vmap(largest, (0, (None, 0, None, None)))(state, candidates(batch, logits))

    def finalize(state: State) -> TopK:
        mask = state[0][0]  # as many for each
        return TopK(*jax.tree.map(lambda leaf: leaf[:, mask], state[1:]))

    return Reducer(init, update, jax.vmap(largest), finalize)


def _at_least_one(k: int) -> int:
    if k < 1:
        raise ValueError(f"`k` is {k}; expected at least 1. Try 9.")
    return k


def _largest(k: int, nan_first: bool, a: State, b: State) -> State:
    """The k largest of two sets of candidates, each a mask, values, indices and a payload."""
    mask, values, indices, _ = both = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), a, b)
    rank = jnp.where(mask, jnp.where(jnp.isnan(values) == nan_first, 0, 1), 2)
    order = jnp.arange(len(mask))
    *_, order = jax.lax.sort((rank, -values, indices, order), num_keys=3)
    return jax.tree.map(lambda leaf: leaf[order[:k]], both)


Pair = tuple[Any, Any]
"""A number in two parts, high and low, so that nothing of a long sum is lost."""


def add_counts(a: Pair, b: Pair) -> Pair:
    """The sum of two counts of 64 bits, each two of uint32."""
    low = a[1] + b[1]
    carry = (low < a[1]).astype(jnp.uint32)
    return a[0] + b[0] + carry, low


def counts_of(pair: Pair) -> np.ndarray:
    """The counts as int64, on the host."""
    high, low = (part.astype(np.int64) for part in pair)
    return (high << 32) + low


def _as_floats(value_fn: ValueFn) -> ValueFn:
    """Values in float32 at least, booleans and integers too."""

    def values_fn(batch: Batch, logits: AnyArray) -> Array:
        values = value_fn(batch, logits)
        wide = jnp.issubdtype(values.dtype, jnp.floating) and jnp.finfo(values.dtype).bits >= 32
        return values if wide else values.astype(jnp.float32)

    return values_fn


def two_sum(pair: Pair, term: Array) -> Pair:
    """(high, low) + term, with what rounding loses kept in low."""
    high, low = pair
    total = high + term
    back = total - high
    return total, low + ((high - (total - back)) + (term - back))
