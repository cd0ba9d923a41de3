"""A Gaussian blur."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._types import Inputs


def blur(x: Inputs, sigma: float, *, channel_axis: int = -1) -> Any:
    """Inputs blurred by a Gaussian, edges mirrored: what they show without detail.

    As a baseline it leaves colours and no edges, `baseline=blur(x, 5.0)`. It is the heat equation
    on the grid, solved by a cosine transform, so that the mean of each channel is kept.

    Args:
        x: images, signals or volumes `[batch, *space, channels]`, or a pytree of them, floating
            point.
        sigma: the deviation, in pixels; 0 gives `x`.
        channel_axis: the axis that is not blurred.

    Returns:
        As `x`.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: `x` has no axis in space, or `sigma` is negative.

    >>> import jax.numpy as jnp
    >>> print(blur(jnp.array([[[0.0], [3.0], [0.0]]]), 9.0).round(2)[0, :, 0])
    [1. 1. 1.]
    """
    _check.within("sigma", sigma, 0, float("inf"))
    x = jax.tree.map(jnp.asarray, x)
    _check.can_be_mixed(x)
    for leaf in jax.tree.leaves(x):
        _check.has_space(leaf, "x")
        _check.axis_of_channels(channel_axis, leaf.ndim)
    return _blurred(x, jnp.float32(sigma), channel_axis)


@functools.partial(jax.jit, static_argnames="channel_axis")
def _blurred(x: Inputs, sigma: Array, channel_axis: int) -> Inputs:
    return jax.tree.map(lambda leaf: blurred_leaf(leaf, sigma, channel_axis), x)


def blurred_leaf(x: Array, sigma: Array, channel_axis: int) -> Array:
    """One array, `sigma` possibly traced."""
    for axis in range(1, x.ndim):
        if axis != channel_axis % x.ndim:
            basis = jnp.asarray(_cosines(x.shape[axis])).astype(x.dtype)
            frequencies = jnp.arange(x.shape[axis]).astype(x.dtype) * (np.pi / x.shape[axis])
            damping = jnp.exp(-jnp.square(frequencies * sigma.astype(x.dtype)) / 2)
            smooth = basis.T @ (damping[:, None] * basis)
            x = jnp.moveaxis(jnp.tensordot(x, smooth, axes=(axis, 0)), -1, axis)
    return x


def _cosines(length: int) -> np.ndarray:
    """The orthonormal cosine transform (type II), a row a frequency."""
    frequencies, places = np.arange(length)[:, None], np.arange(length)[None, :]
    rows = np.cos(np.pi * frequencies * (places + 0.5) / length) * np.sqrt(2 / length)
    rows[0] /= np.sqrt(2)
    return rows
