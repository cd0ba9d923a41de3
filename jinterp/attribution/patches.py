"""A grid of squares, as groups."""

import numpy as np
from jaxtyping import Int

from jinterp import _check
from jinterp._types import EitherArray


def patches(x: EitherArray, size: int, *, channel_axis: int = -1) -> Int[np.ndarray, "..."]:
    """A `feature_mask` of squares: places whose coordinates agree in ⌊place / size⌋.

    Those at the far edges are smaller where the size does not divide the axis.

    Args:
        x: images, signals or volumes `[batch, *space, channels]`, of which only the shape is read.
        size: the side of a square, in pixels.
        channel_axis: of `x`; all channels of a place are in one group.

    Returns:
        `[*space, 1]` int32 on the host, from 0 in rows.

    Raises:
        ValueError: `x` has no axis in space, or `size` is 0.

    >>> import jax.numpy as jnp
    >>> print(patches(jnp.zeros((1, 2, 5, 3)), 2)[..., 0])
    [[0 0 1 1 2]
     [0 0 1 1 2]]
    """
    _check.at_least_one("size", size, 8)
    _check.has_space(x, "x")
    axis = _check.axis_of_channels(channel_axis, x.ndim)
    space = tuple(np.delete(x.shape, axis)[1:].tolist())
    corners = np.indices(space) // size
    numbers = np.ravel_multi_index(tuple(corners), tuple(-(-length // size) for length in space))
    return np.expand_dims(numbers, axis - 1).astype(np.int32)
