"""Pixels that are missing, from their neighbours."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp import _check
from jinterp._types import Inputs
from jinterp.model.score import at_least_float32

_SIDE, _CORNER = 1 / 6, 1 / 12
_WEIGHTS = {
    (down, right): _CORNER if down and right else _SIDE
    for down in (-1, 0, 1)
    for right in (-1, 0, 1)
    if down or right
}


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
    found = jax.vmap(jax.vmap(_solved))(images, known)
    return jnp.moveaxis(found, 1, axis)


def _solved(image: Array, known: Array) -> Array:
    """One channel `[height, width]`: Σₙ wₙ (u − uₙ) = 0 at every missing pixel."""
    given = jnp.where(known, at_least_float32(image), 0)
    total = _of_neighbours(jnp.ones_like(given))

    def equations(missing: Array) -> Array:
        missing = jnp.where(known, 0, missing)
        return jnp.where(known, 0, total * missing - _of_neighbours(missing))

    right = jnp.where(known, 0, _of_neighbours(given))
    tolerance = float(jnp.finfo(given.dtype).eps) * 8
    missing, _ = jax.scipy.sparse.linalg.cg(equations, right, tol=tolerance, maxiter=1000)
    return jnp.where(known, image, missing.astype(image.dtype))


def _of_neighbours(image: Array) -> Array:
    """Σₙ wₙ uₙ over those within the image."""
    height, width = image.shape
    padded = jnp.pad(image, 1)
    parts = [
        weight * padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]
        for (down, right), weight in _WEIGHTS.items()
    ]
    return functools.reduce(jnp.add, parts)
