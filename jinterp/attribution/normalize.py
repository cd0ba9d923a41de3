"""A map from 0 to 1."""

import jax.numpy as jnp
from jaxtyping import Array

from jinterp._types import EitherArray


def normalize(maps: EitherArray) -> Array:
    """Each example's values scaled to 0..1: (v − min) / (max − min).

    A constant map becomes 0 everywhere. Values of different examples cannot be compared any more.

    Args:
        maps: `[batch, ...]`, floating point.

    Returns:
        As `maps` in shape and dtype, from 0 to 1.

    >>> import jax.numpy as jnp
    >>> normalize(jnp.array([[1.0, 3.0], [2.0, 2.0]])).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    maps = jnp.asarray(maps)
    axes = tuple(range(1, maps.ndim))
    low = maps.min(axis=axes, keepdims=True)
    spread = maps.max(axis=axes, keepdims=True) - low
    is_constant = spread == 0
    return jnp.where(is_constant, 0, (maps - low) / jnp.where(is_constant, 1, spread))
