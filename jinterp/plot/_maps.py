"""Attributions as a map over a picture or along a signal, whatever their layout."""

from typing import Any, NamedTuple

import numpy as np

from jinterp.plot._pictures import is_numeric, pixels, signal


class Map(NamedTuple):
    """Attributions without channels: `[height, width]`, or `[1, length]` along a signal."""

    values: np.ndarray
    num_summed: int  # channels that were added up; 1 if there was nothing to add
    is_signal: bool


def map_of(values: Any, image: Any = None) -> Map:
    """The map of one example; its image, if given, tells its layout."""
    values, image = np.asarray(values), None if image is None else np.asarray(image)
    if not is_numeric(values):
        raise TypeError(
            f"the attributions are {values.dtype} of shape {values.shape}; expected the numbers of "
            "one example. Give the array that the method returned, such as values[0]."
        )
    values = values.astype(np.float64)
    if _is_of_signal(values, image):
        return _along_signal(values)
    axis = _channel_axis(values, image)
    found = values if axis is None else _sum(values, axis)
    _not_transposed(found, image)
    return Map(found, 1 if axis is None else values.shape[axis], is_signal=False)


def _is_of_signal(values: np.ndarray, image: np.ndarray | None) -> bool:
    if image is None:
        return signal(values) is not None
    found = is_numeric(image) and signal(image) is not None
    if not found and (not is_numeric(image) or pixels(image) is None):
        raise ValueError(
            f"`image` is {image.dtype} of shape {image.shape}; expected a picture [height, width], "
            "with 1, 3 or 4 channels, or a signal [length]. Use None to draw the values alone."
        )
    if found and values.ndim not in (1, 2):
        raise _wrong(values, image, "[length] or [length, channels]")
    if not found and values.ndim == 1:
        raise _wrong(values, image, "[height, width]")
    return found


def _along_signal(values: np.ndarray) -> Map:
    """The longer axis is the length."""
    rows = values[None] if values.ndim == 1 else values
    rows = rows if rows.shape[0] <= rows.shape[1] else rows.T
    return Map(_sum(rows, 0)[None], len(rows), is_signal=True)


def _channel_axis(values: np.ndarray, image: np.ndarray | None) -> int | None:
    if values.ndim == 2:
        return None
    first = image is not None and image.ndim == 3 and image.shape[-1] not in (1, 3, 4)
    for axis in (0, -1) if first else (-1, 0):
        if values.ndim == 3 and values.shape[axis] in (1, 3, 4):
            return axis
    raise _wrong(values, image, "[height, width], or with 1, 3 or 4 channels last or first")


def _sum(values: np.ndarray, axis: int) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # inf − inf is NaN, which the picture counts
        return values.sum(axis)


def _not_transposed(values: np.ndarray, image: np.ndarray | None) -> None:
    picture = None if image is None else pixels(image)
    if picture is None or picture.shape[0] == picture.shape[1]:
        return
    if values.shape == picture.shape[1::-1]:
        raise _wrong(values, image, f"[height, width], here {picture.shape[:2]}", "values.T")


def _wrong(
    values: np.ndarray, image: np.ndarray | None, expected: str, advice: str = ""
) -> ValueError:
    beside = "" if image is None else f" for an image of shape {image.shape}"
    advice = advice or ("values[0]" if values.ndim > 3 else "")
    advice = f"Use {advice}." if advice else "Sum or reshape them to that."
    return ValueError(
        f"the attributions have the shape {values.shape}{beside}; expected those of one example, "
        f"{expected}. {advice}"
    )
