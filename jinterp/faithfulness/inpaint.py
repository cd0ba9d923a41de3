"""Pixels that are missing, from their neighbours."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp import _check
from jinterp._types import Inputs
from jinterp.model.score import at_least_float32

_MOST_STEPS = 1000


def inpaint(x: Inputs, kept: Any, channel_axis: int = -1) -> Array:
    """Images in which each missing pixel is the mean of its eight neighbours, missing ones too.

    Those at the sides weigh 1/6, those at the corners 1/12; at the edge of the image what is there
    counts. One linear system for each image and channel, solved by conjugate gradients.

    Args:
        x: images `[batch, height, width, channels]`, floating point.
        kept: `[batch, height, width, 1]` bool, True where a pixel is known.
        channel_axis: of both; 1 for channels first.

    Returns:
        As `x`, to which known pixels are equal; an image of which nothing is known is 0.

    Raises:
        TypeError: `x` is not one array of floats.
        ValueError: `x` has other than two axes in space.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([1.0, 9.0, 3.0]).reshape(1, 1, 3, 1)
    >>> print(inpaint(x, x < 5)[0, 0, :, 0])
    [1. 2. 3.]

    Source: Rong et al. 2022, section 4.2, without its noise.
    """
    _check.one_array(x)
    _check.can_be_mixed(x)
    if x.ndim != 4:
        raise ValueError(
            f"`x` has the shape {x.shape}; expected [batch, height, width, channels]. Give another "
            "`baseline` than jinterp.inpaint, such as 0.0."
        )
    axis = _check.axis_of_channels(channel_axis, x.ndim)
    images, known = jnp.moveaxis(x, axis, 1), jnp.moveaxis(kept, axis, 1)
    known = jnp.broadcast_to(known, images.shape)
    given = jnp.where(known, at_least_float32(images), 0)
    missing = _solved(given, known).astype(images.dtype)
    return jnp.moveaxis(jnp.where(known, images, missing), 1, axis)


@jax.custom_batching.custom_vmap
def _solved(given: Array, known: Array) -> Array:
    """Σₙ wₙ (u − uₙ) = 0 at every missing pixel of `[..., height, width]`, 0 at the others.

    Conjugate gradients, of all images side by side: each stands still once it is solved, so that
    none depends on the others.
    """
    total = _of_neighbours(jnp.ones_like(given))

    def equations(missing: Array) -> Array:
        return jnp.where(known, 0, total * missing - _of_neighbours(missing))

    right = jnp.where(known, 0, _of_neighbours(given))
    tolerance = float(jnp.finfo(given.dtype).eps) ** 0.7  # 1e-5, in float64 1e-11
    enough = tolerance**2 * _squares(right)

    def is_open(state: Any) -> Array:
        return (state[3] > enough).any() & (state[4] < _MOST_STEPS)

    def step(state: Any) -> Any:
        found, left, along, square, num = state
        changed = equations(along)
        curvature = (along * changed).sum(axis=(-2, -1), keepdims=True)
        length = jnp.where(square > enough, square / jnp.where(curvature > 0, curvature, 1), 0)
        found, left = found + length * along, left - length * changed
        next_square = _squares(left)
        ratio = next_square / jnp.where(square > 0, square, 1)
        return found, left, left + ratio * along, next_square, num + 1

    start = jnp.zeros_like(right), right, right, _squares(right), jnp.int32(0)
    return jax.lax.while_loop(is_open, step, start)[0]


@_solved.def_vmap
def _solved_side_by_side(
    num: int, is_batched: list[bool], given: Array, known: Array
) -> tuple[Array, bool]:
    """All at once, where a loop for each would be kept in step by copies of everything."""
    pair = [
        each if batched else jnp.broadcast_to(each[None], (num, *each.shape))
        for each, batched in zip((given, known), is_batched, strict=True)
    ]
    return _solved(*pair), True


def _squares(images: Array) -> Array:
    return jnp.square(images).sum(axis=(-2, -1), keepdims=True)


def _of_neighbours(images: Array) -> Array:
    """Σₙ wₙ uₙ over those within the image: 1, 2, 1 along both axes, less the pixel itself."""
    return (_along(_along(images, -2), -1) - 4 * images) / 12


def _along(images: Array, axis: int) -> Array:
    """Twice each pixel, and its neighbours along an axis."""
    length = images.shape[axis]
    edge = [(0, 0)] * images.ndim
    edge[axis] = (1, 1)
    padded = jnp.pad(images, edge)
    before, after = (
        jax.lax.slice_in_dim(padded, start, start + length, axis=axis) for start in (0, 2)
    )
    return before + 2 * images + after
