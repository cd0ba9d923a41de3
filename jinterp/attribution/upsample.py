"""A map at the resolution of the input."""

import jax
import numpy as np
from jaxtyping import Array

from jinterp._types import EitherArray


def upsample(
    maps: EitherArray, like: EitherArray, *, method: str = "linear", channel_axis: int = -1
) -> Array:
    """Maps resized to the axes in space of an input.

    Args:
        maps: `[batch, *space]`, or `[batch, targets, *space]`.
        like: inputs `[batch, *space, channels]`, of which only the shape is read.
        method: as `jax.image.resize` takes it: "linear" (bilinear for images) keeps the signs,
            "nearest" the values; "cubic" can overshoot.
        channel_axis: of `like`; 1 for channels first.

    Returns:
        The maps with the axes in space of `like`.

    Raises:
        ValueError: there are more axes in space than `maps` has.

    >>> import jax.numpy as jnp
    >>> upsample(jnp.array([[0.0, 1.0]]), jnp.ones((1, 4, 3))).tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    """
    space = tuple(np.delete(like.shape, channel_axis)[1:].tolist())
    if maps.ndim <= len(space):
        raise ValueError(
            f"`maps` has the shape {maps.shape}; expected [batch, *space] for inputs of shape "
            f"{like.shape}, with {len(space)} axes in space."
        )
    shape = (*maps.shape[: maps.ndim - len(space)], *space)
    return jax.image.resize(jax.numpy.asarray(maps), shape, method, antialias=False)
