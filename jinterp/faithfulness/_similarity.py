"""How alike two explanations of the same inputs are."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp import _check
from jinterp._types import Inputs
from jinterp.model.score import at_least_float32
from jinterp.stream.cut import automatic
from jinterp.stream.rows import map_rows

_WINDOW = 7
_DARK, _FLAT = 0.01**2, 0.03**2  # the paper's constants, for a range of 1


class Similarities(NamedTuple):
    """How alike explanations are, arrays `[batch]` from −1 to 1.

    NaN where one of the two is the same everywhere, or not finite.

    Attributes:
        rank_correlations: Spearman's, of all values.
        absolute_rank_correlations: of their sizes.
        ssims: the structural similarity of values with two axes in space; NaN of others.
    """

    rank_correlations: Array
    absolute_rank_correlations: Array
    ssims: Array


class Prepared(NamedTuple):
    """What is compared of an explanation.

    Attributes:
        ranks: `[batch, elements]`, about their mean and of norm 1; NaN where all are equal.
        absolute_ranks: the same of the sizes.
        maps: `[batch, height, width]` from 0 to 1; None of values without two axes in space.
    """

    ranks: Array
    absolute_ranks: Array
    maps: Array | None


def prepared(values: Any, x: Inputs, channel_axis: int) -> Prepared:
    """An explanation of `x` as it is compared.

    Args:
        values: arrays `[batch, ...]`.
        x: the inputs: what has their shape has their channels.
        channel_axis: of values with two axes in space and channels, which are added.
    """
    return map_rows(_prepared_at, (_axis(values, x, channel_axis),), None, automatic(values))


def similarities(one: Prepared, other: Prepared) -> Similarities:
    """How alike each example's two explanations are."""
    return map_rows(_similar_at, (), None, (one, other))


def _axis(values: Any, x: Inputs, channel_axis: int) -> int | None:
    """The axis of the channels of maps; 0 of maps without, None of what are no maps."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(values)]
    if len(shapes) == 1 and len(shapes[0]) == 4:
        return _check.axis_of_channels(channel_axis, 4)
    is_map = len(shapes) == 1 and len(shapes[0]) == 3 and shapes != [jnp.shape(x)]
    return 0 if is_map else None


def _prepared_at(static: Any, params: None, values: Any, point: None) -> Prepared:
    (axis,) = static
    leaves = [at_least_float32(leaf) for leaf in jax.tree.leaves(values)]
    dtype = jnp.result_type(*(leaf.dtype for leaf in leaves))
    flat = jnp.concatenate([leaf.reshape(len(leaf), -1).astype(dtype) for leaf in leaves], axis=1)
    maps = None if axis is None else _maps(leaves[0], axis)
    return Prepared(_unit_ranks(flat), _unit_ranks(jnp.abs(flat)), maps)


def _similar_at(static: Any, params: None, rows: Any, point: None) -> Similarities:
    one, other = rows
    of_maps = jnp.full(len(one.ranks), jnp.nan, one.ranks.dtype)
    if one.maps is not None:
        of_maps = structural_similarity(one.maps, other.maps)
    return Similarities(
        (one.ranks * other.ranks).sum(axis=1),
        (one.absolute_ranks * other.absolute_ranks).sum(axis=1),
        of_maps,
    )


def _unit_ranks(flat: Array) -> Array:
    """The ranks of each row about their mean, over their norm; NaN where there are none."""
    centred = mean_ranks(flat) - jnp.asarray((flat.shape[1] - 1) / 2, flat.dtype)
    norm = jnp.sqrt(jnp.square(centred).sum(axis=1, keepdims=True))
    is_finite = jnp.isfinite(flat).all(axis=1, keepdims=True)
    return jnp.where(is_finite, centred / norm, jnp.nan)


def mean_ranks(flat: Array) -> Array:
    """The rank of each element in its row, from 0; equal ones share the mean of theirs."""
    num = flat.shape[1]
    places = jnp.broadcast_to(jnp.arange(num, dtype=jnp.int32)[None], flat.shape)
    ordered, order = jax.lax.sort((flat, places), num_keys=1)
    is_new = ordered[:, 1:] != ordered[:, :-1]
    first = jnp.where(jnp.pad(is_new, ((0, 0), (1, 0))), places, 0)
    last = jnp.where(jnp.pad(is_new, ((0, 0), (0, 1))), places, num - 1)
    both = jax.lax.cummax(first, axis=1) + jax.lax.cummin(last, axis=1, reverse=True)
    ranks = both.astype(flat.dtype) / 2

    def put(order: Array, ranks: Array) -> Array:
        return jnp.zeros_like(ranks).at[order].set(ranks, unique_indices=True)

    return jax.vmap(put)(order, ranks)


def _maps(values: Array, axis: int) -> Array | None:
    """Each map from 0 to 1, NaN where it is the same everywhere; None of less than a window."""
    maps = values.sum(axis=axis) if axis else values
    if min(maps.shape[1:]) < 3:
        return None
    low, high = (fn(maps, axis=(1, 2), keepdims=True) for fn in (jnp.min, jnp.max))
    return (maps - low) / (high - low)


def structural_similarity(one: Array, other: Array) -> Array:
    """Of maps `[batch, height, width]` from 0 to 1, over windows of 7×7, or as large as fit.

    Wang et al. 2004, equation 13, with sample covariances, as in scikit-image.
    """
    size = min(_WINDOW, (min(one.shape[1:]) - 1) // 2 * 2 + 1)

    def mean(maps: Array) -> Array:
        return _window_sums(maps, size) / size**2

    a, b = mean(one), mean(other)
    unbiased = size**2 / (size**2 - 1)
    both = unbiased * (mean(one * other) - a * b)
    own = unbiased * (mean(one**2) - a**2 + mean(other**2) - b**2)
    light = (2 * a * b + _DARK) / (a**2 + b**2 + _DARK)
    return (light * (2 * both + _FLAT) / (own + _FLAT)).mean(axis=(1, 2))


def _window_sums(maps: Array, size: int) -> Array:
    """One axis after the other: 2·size additions a place, and not size²."""
    zero = jnp.zeros((), maps.dtype)
    rows = jax.lax.reduce_window(maps, zero, jax.lax.add, (1, size, 1), (1, 1, 1), "VALID")
    return jax.lax.reduce_window(rows, zero, jax.lax.add, (1, 1, size), (1, 1, 1), "VALID")
