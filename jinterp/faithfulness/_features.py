"""What is taken away together, in which order, and what was said of it."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._trace import under_transform, warn
from jinterp._types import Inputs
from jinterp.attribution._groups import FeatureMask, Groups, groups_of, picked_rows
from jinterp.model.score import at_least_float32
from jinterp.stream.cut import automatic

ValuesOf = Literal["groups", "elements"]


class Features(NamedTuple):
    """The features of a batch, and their values.

    Attributes:
        groups: which element belongs to which.
        values: `[batch, features]`, at least float32.
        present: `[batch, features]`, False where an example has no element of a feature.
    """

    groups: Groups
    values: Array
    present: Array


class Order(NamedTuple):
    """In which order features are taken.

    Attributes:
        ranks: in the structure of `x`, of the feature of each element, int32 from 0.
        num: `[batch]` int32, how many features an example has.
    """

    ranks: Any
    num: Array


def features_of(
    name: str,
    values: Inputs,
    x: Inputs,
    feature_mask: FeatureMask,
    channel_axis: int,
    values_of: ValuesOf | None = None,
) -> Features:
    """The features, or a named error; values that are not finite are warned of.

    Args:
        name: of the metric.
        values: attributions, in the shape of `x` or without its channels.
        x: the inputs.
        feature_mask: what was explained together; None is every place with all its channels,
            and every element where there is no axis in space.
        channel_axis: of arrays that have an axis in space.
        values_of: what was explained, for metrics that add values up: "groups", whose value all
            their elements carry, or "elements". None where only the order counts, and the value of
            a group is the mean of its elements.
    """
    if values_of not in (None, *get_args(ValuesOf)):
        raise ValueError(f"`values_of` is {values_of!r}; expected one of {get_args(ValuesOf)}.")
    x, values = automatic((x, values))
    leaves, treedef = jax.tree.flatten(x)
    axes = [_channels(leaf, channel_axis) for leaf in leaves]
    given = jax.tree.leaves(values)
    if len(given) != len(leaves):
        raise ValueError(
            f"`values` has {len(given)} arrays; expected {len(leaves)}, one for each of `x`."
        )
    fitted = [_fitted(*each) for each in zip(given, leaves, axes, strict=True)]
    if feature_mask is None:
        groups = groups_of(jax.tree.unflatten(treedef, _places(leaves, axes)), x)
        fitted = [_summed(*each) for each in zip(fitted, axes, strict=True)]
    else:
        groups = groups_of(feature_mask, x)
    ids = jax.tree.leaves(groups.ids)
    if feature_mask is not None and values_of == "elements":
        fitted = [_spread(*each) for each in zip(fitted, ids, strict=True)]
    found, num_elements = _by_feature(fitted, ids, groups.num)
    if feature_mask is not None and values_of != "elements":  # each counts once
        found = found / jnp.maximum(num_elements, 1).astype(found.dtype)
    features = Features(groups, found, num_elements > 0)
    if num := _number_of(_are_bad, features):
        warn(
            f"`{name}`: {num} of {len(found)} examples have values that are NaN or infinite, and "
            "get NaN. Look at the inputs, and at what explained them."
        )
    if feature_mask is not None and values_of == "groups":
        _tell_if_of_elements(name, fitted, features)
    return features


def _tell_if_of_elements(name: str, values: list[Array], features: Features) -> None:
    num = _number_of(lambda features: _vary_within(values, features), features)
    if num:
        warn(
            f"`{name}`: {num} of {len(features.values)} examples have other values within a group "
            "of `feature_mask`, and their mean is taken for the value of the group. Say "
            '`values_of="elements"` of values that were explained without this mask.'
        )


def ordered(name: str, features: Features, *, ascending: bool) -> Order:
    """From the smallest value on, or from the largest; equal ones in the order of the places.

    Where all are equal the metric of this name warns.
    """
    if num := _number_of(_are_equal, features):
        warn(
            f"`{name}`: {num} of {len(features.values)} examples have the same value everywhere, "
            "which says nothing of an order; theirs is that of the places."
        )
    return Order(*_ordered(features, ascending))


def finite_only(found: Array, features: Features) -> Array:
    """NaN for the examples whose values are not finite, of results `[batch, ...]`."""
    is_finite = jnp.isfinite(features.values).all(axis=1)
    return jnp.where(is_finite.reshape(-1, *[1] * (found.ndim - 1)), found, jnp.nan)


def in_units(rows: Array) -> Array:
    """Each row over its largest size, so that no square overflows or underflows."""
    largest = jnp.abs(rows).max(axis=1, keepdims=True)
    return rows / jnp.where(largest > 0, largest, 1)


def _channels(leaf: Array, channel_axis: int) -> int | None:
    return None if leaf.ndim < 3 else _check.axis_of_channels(channel_axis, leaf.ndim)


def _fitted(values: Any, leaf: Array, axis: int | None) -> Array:
    """Values with the axes of an array of the inputs, at least float32, or a named error."""
    values = at_least_float32(_check.array("values", values))
    given = values.shape
    if given == leaf.shape:
        return values
    if axis is not None:
        if values.ndim == leaf.ndim - 1:
            values = jnp.expand_dims(values, axis)
        if values.shape == (*leaf.shape[:axis], 1, *leaf.shape[axis + 1 :]):
            return values
    raise ValueError(
        f"`values` has the shape {given}; expected {leaf.shape}, that of `x`, or a number for each "
        "of its places. Use jinterp.upsample(values, x) for maps of a layer, jinterp.aggregate "
        "before where they have channels of their own, and one class an example."
    )


def _places(leaves: Sequence[Array], axes: Sequence[int | None]) -> list[np.ndarray]:
    """A number for each place, with all its channels, through all arrays."""
    shapes = [
        tuple(1 if n == axis else size for n, size in enumerate(leaf.shape))[1:]
        for leaf, axis in zip(leaves, axes, strict=True)
    ]
    sizes = [int(np.prod(shape)) for shape in shapes]
    starts = np.cumsum([0, *sizes])
    return [
        np.arange(start, start + size, dtype=np.int32).reshape(shape)
        for start, size, shape in zip(starts, sizes, shapes, strict=False)
    ]


def _summed(values: Array, axis: int | None) -> Array:
    return values if axis is None else values.sum(axis=axis, keepdims=True)


def _spread(values: Array, ids: Array) -> Array:
    """A value for several elements, such as a place with its channels, cut among them."""
    shape = np.broadcast_shapes(values.shape[1:], ids.shape[1:])
    return values / (np.prod(shape) / np.prod(values.shape[1:])).astype(values.dtype)


@functools.partial(jax.jit, static_argnames="num")
def _by_feature(values: list[Array], ids: list[Array], num: int) -> tuple[Array, Array]:
    """The sum over the elements of each feature, and how many it has, `[batch, features]`."""

    def of_one(values: list[Array], ids: list[Array]) -> tuple[Array, Array]:
        pairs = [jnp.broadcast_arrays(*each) for each in zip(values, ids, strict=True)]
        flat, numbers = (jnp.concatenate([each[n].reshape(-1) for each in pairs]) for n in range(2))
        sums = jax.ops.segment_sum(flat, numbers, num)
        return sums, jax.ops.segment_sum(jnp.ones_like(numbers), numbers, num)

    return jax.vmap(of_one)(values, ids)


@functools.partial(jax.jit, static_argnames="ascending")
def _ordered(features: Features, ascending: bool) -> tuple[Any, Array]:
    values = features.values if ascending else -features.values
    last = jnp.asarray(jnp.inf, values.dtype)
    order = jnp.argsort(jnp.where(features.present, values, last), axis=1)
    ranks = jnp.argsort(order, axis=1).astype(jnp.int32)
    by_element = jax.tree.map(lambda own: picked_rows(ranks, own), features.groups.ids)
    return by_element, features.present.sum(axis=1, dtype=jnp.int32)


def _number_of(fn: Callable[[Features], Array], features: Features) -> int:
    """Of how many examples something is true; of none where it cannot be looked at."""
    if under_transform(features.values) or not features.values.is_fully_addressable:
        return 0
    return int(fn(features).sum())


@jax.jit
def _are_bad(features: Features) -> Array:
    return ~jnp.isfinite(features.values).all(axis=1)


@jax.jit
def _vary_within(values: list[Array], features: Features) -> Array:
    """Whether elements of a group differ by more than a thousandth of the largest value."""

    def one(own: Array, ids: Array) -> tuple[Array, Array]:
        off = jnp.abs(own - picked_rows(features.values, ids)).reshape(len(own), -1).max(axis=1)
        return off, jnp.abs(own).reshape(len(own), -1).max(axis=1)

    ids = jax.tree.leaves(features.groups.ids)
    off, size = (
        functools.reduce(jnp.maximum, each) for each in zip(*map(one, values, ids), strict=True)
    )
    return off > size / 1000


@jax.jit
def _are_equal(features: Features) -> Array:
    values, present = features.values, features.present
    infinity = jnp.asarray(jnp.inf, values.dtype)
    highest = jnp.where(present, values, -infinity).max(axis=1)
    lowest = jnp.where(present, values, infinity).min(axis=1)
    return (highest == lowest) & (present.sum(axis=1) > 1)
