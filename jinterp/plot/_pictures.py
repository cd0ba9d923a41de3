"""An input as a picture, whatever its layout and its range."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from jinterp.plot._figures import BLUE, GREY, LIGHT_GREY

_NOT_FINITE = (0.835, 0.369, 0.0)  # vermillion, which no grey image has


def draw(ax: Axes, image: Any) -> None:
    """Draw an image, a signal as a line, or say that there is no picture.

    uint8 is taken from 0 to 255. Other numbers are taken from 0 to 1 if all are in it, and scaled
    to their own range otherwise. Pixels that are NaN or infinite are orange.
    """
    array = np.asarray(image)
    ax.set_xticks([])
    ax.set_yticks([])
    channels_last = _channels_last(array) if _is_numeric(array) else None
    if channels_last is not None:
        ax.set_anchor("NW")
        ax.spines[:].set_color(LIGHT_GREY)
        ax.imshow(_colours(channels_last))
    elif _is_numeric(array) and array.ndim in (1, 2) and array.size == max(array.shape) > 1:
        ax.plot(array.ravel().astype(np.float32), color=BLUE, linewidth=1)
        ax.spines[:].set_color(LIGHT_GREY)
    else:
        ax.spines[:].set_visible(False)
        text = f"no picture,\nshape {array.shape}"
        ax.text(0.5, 0.5, text, ha="center", va="center", color=GREY, fontsize=8)


def _is_numeric(array: np.ndarray) -> bool:
    kinds = (np.bool_, jnp.integer, jnp.floating)
    return array.size > 0 and any(jnp.issubdtype(array.dtype, kind) for kind in kinds)


def _channels_last(array: np.ndarray) -> np.ndarray | None:
    """`[height, width, 1, 3 or 4]`, or None if it is no image."""
    if array.ndim == 2 and (min(array.shape) > 1 or array.size == 1):
        return array[..., None]
    if array.ndim == 3 and array.shape[-1] in (1, 3):
        return array
    if array.ndim == 3 and array.shape[0] in (1, 3):
        return np.moveaxis(array, 0, -1)
    return array if array.ndim == 3 and array.shape[-1] == 4 else None


def _colours(array: np.ndarray) -> np.ndarray:
    """`[height, width, 3 or 4]` from 0 to 1."""
    values = array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1)
    finite = np.isfinite(values)
    values = np.where(finite, values, 0)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0, 0)
    if low < 0 or high > 1:
        values = np.clip((values - low) / max(high - low, np.float32(1e-12)), 0, 1)
    values = np.repeat(values, 3, axis=-1) if values.shape[-1] == 1 else values
    values[~finite.all(-1), :3] = _NOT_FINITE
    return values
