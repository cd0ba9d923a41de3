"""From values at every element to one a group."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jinterp._types import Inputs
from jinterp.attribution._groups import FeatureMask, host_ids


def group_values(
    values: Inputs, feature_mask: FeatureMask, x: Inputs
) -> Float[Array, "*batch groups"]:
    """The value of each group, which all of its elements carry.

    Args:
        values: attributions in the shape of `x`, or with targets after the batch; those of one
            group are equal, as `feature_ablation` and the Shapley values give them.
        feature_mask: the groups, as the explainer took them; None makes each element one.
        x: the inputs that were explained, of which only the shapes are read.

    Returns:
        `[batch, groups]`, or `[batch, targets, groups]`: the value of the first element of each
        group; 0 where an example has none of a group.

    Raises:
        TypeError: `feature_mask` is traced, or no integers.
        ValueError: `values` or `feature_mask` have another shape than `x`.

    >>> import jax.numpy as jnp
    >>> values = jnp.array([[7.0, 7.0, 4.0]])
    >>> group_values(values, jnp.array([0, 0, 1]), values).tolist()
    [[7.0, 4.0]]
    """
    ids, num = host_ids(feature_mask, x)
    leaves, own = jax.tree.leaves(x), jax.tree.leaves(values)
    _match(own, leaves)
    firsts, present = _first_elements(ids, num)
    batch = len(leaves[0])
    firsts, present = (np.broadcast_to(each, (batch, num)) for each in (firsts, present))
    return _picked(own, firsts, present, tuple(one.shape[1:] for one in ids))


def _match(values: Sequence[Any], leaves: Sequence[Any]) -> None:
    num_more = values[0].ndim - leaves[0].ndim if values else -1
    expected = [(*leaf.shape[:1], *leaf.shape[1:]) for leaf in leaves]
    found = [(value.shape[0], *value.shape[1 + num_more :]) for value in values]
    if num_more not in (0, 1) or found != expected:
        raise ValueError(
            f"`values` have the shapes {[value.shape for value in values]}; expected "
            f"{[leaf.shape for leaf in leaves]}, those of `x`, or with targets after the batch."
        )


def _first_elements(ids: Sequence[np.ndarray], num: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each group begins, `[1 or batch, groups]`, through all arrays; and whether it does."""
    num_rows = max(len(own) for own in ids)
    flat = [np.broadcast_to(own, (num_rows, *own.shape[1:])).reshape(num_rows, -1) for own in ids]
    firsts, present = np.zeros((num_rows, num), np.int32), np.zeros((num_rows, num), bool)
    for row, numbers in enumerate(np.concatenate(flat, axis=1)):
        found, places = np.unique(numbers, return_index=True)
        firsts[row, found], present[row, found] = places, True
    return firsts, present


@functools.partial(jax.jit, static_argnames="shapes")
def _picked(
    values: Sequence[Array], firsts: Array, present: Array, shapes: tuple[tuple[int, ...], ...]
) -> Array:
    """The values at some elements, of arrays cut to the shapes of the groups."""

    def of_one(values: Sequence[Array], firsts: Array, present: Array) -> Array:
        flat = [_cut(value, shape) for value, shape in zip(values, shapes, strict=True)]
        found = jnp.concatenate(flat, axis=-1)[..., firsts]
        return jnp.where(present, found, jnp.zeros((), found.dtype))

    return jax.vmap(of_one)(values, firsts, present)


def _cut(value: Array, shape: tuple[int, ...]) -> Array:
    """`[..., elements]`: the first along each axis where the groups have length 1."""
    num_more = value.ndim - len(shape)
    whole = value[(..., *(slice(length) for length in shape))]
    return whole.reshape(*value.shape[:num_more], -1)
