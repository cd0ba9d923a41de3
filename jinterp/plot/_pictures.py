"""An input as a picture, whatever its layout and its range."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from jinterp.plot._figures import BLACK, GREY, LIGHT_GREY, LINE_COLORS

NOT_FINITE = (0.835, 0.369, 0.0)  # vermillion, which no grey image has
_DARKEST = 0.35
_MOST_CHANNELS, _LONGER = 16, 8  # of a signal: channels, and its length in channels


def draw(ax: Axes, image: Any, *, grey: bool = False) -> None:
    """Draw an image, a signal as lines, or say that there is no picture.

    uint8 is taken from 0 to 255. Other numbers are taken from 0 to 1 if all are in it, and scaled
    to their own range otherwise. Pixels that are NaN or infinite are orange. `grey` leaves the
    colours to what is drawn over it.
    """
    array = np.asarray(image)
    ax.set_xticks([])
    ax.set_yticks([])
    channels_last = pixels(array) if is_numeric(array) else None
    if channels_last is not None:
        ax.set_anchor("NW")
        ax.spines[:].set_color(LIGHT_GREY)
        colours = _colours(channels_last)
        ax.imshow(_pale(colours) if grey else colours)
    elif is_numeric(array) and (lines := signal(array)) is not None:
        _draw_signal(ax, lines, grey)
    else:
        ax.spines[:].set_visible(False)
        text = f"no picture,\nshape {array.shape}"
        ax.text(0.5, 0.5, text, ha="center", va="center", color=GREY, fontsize=8)


def is_numeric(array: np.ndarray) -> bool:
    """Whether there are numbers in it, those of JAX included."""
    kinds = (np.bool_, jnp.integer, jnp.floating)
    return array.size > 0 and any(jnp.issubdtype(array.dtype, kind) for kind in kinds)


def pixels(array: np.ndarray) -> np.ndarray | None:
    """`[height, width, 1, 3 or 4]`, or None if it is no image."""
    if array.ndim == 2 and signal(array) is None:
        return array[..., None]
    if array.ndim == 3 and array.shape[-1] in (1, 3):
        return array
    if array.ndim == 3 and array.shape[0] in (1, 3):
        return np.moveaxis(array, 0, -1)
    return array if array.ndim == 3 and array.shape[-1] == 4 else None


def signal(array: np.ndarray) -> np.ndarray | None:
    """`[length, channels]`, or None if it is no signal."""
    if array.ndim not in (1, 2) or array.size < 2:
        return None
    rows = array[:, None] if array.ndim == 1 else array
    rows = rows if rows.shape[0] >= rows.shape[1] else rows.T
    length, channels = rows.shape
    is_long = channels <= _MOST_CHANNELS and length >= _LONGER * channels
    return rows if channels == 1 or is_long else None


def _draw_signal(ax: Axes, lines: np.ndarray, grey: bool) -> None:
    colors = (BLACK,) if grey else LINE_COLORS
    for channel, values in enumerate(lines.T.astype(np.float32)):
        ax.plot(values, color=colors[channel % len(colors)], linewidth=1 if not channel else 0.7)
    ax.spines[:].set_color(LIGHT_GREY)


def _colours(array: np.ndarray) -> np.ndarray:
    """`[height, width, 3 or 4]` from 0 to 1."""
    values = array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1)
    finite = np.isfinite(values)
    values = np.where(finite, values, 0)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0, 0)
    if low < 0 or high > 1:
        values = np.clip((values - low) / max(high - low, np.float32(1e-12)), 0, 1)
    values = np.repeat(values, 3, axis=-1) if values.shape[-1] == 1 else values
    values[~finite.all(-1), :3] = NOT_FINITE
    return values


def _pale(colours: np.ndarray) -> np.ndarray:
    """The same in light greys, on which a dark blue shows as well."""
    grey = colours[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    pale = colours.copy()
    pale[..., :3] = (_DARKEST + (1 - _DARKEST) * grey)[..., None]
    return pale
