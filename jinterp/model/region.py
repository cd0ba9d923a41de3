"""Scores of outputs in space: a region, the pixels of a class, one pixel."""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jinterp._trace import under_transform
from jinterp._types import MapLogits, Target
from jinterp.model.score import at_least_float32, logit


@dataclasses.dataclass(frozen=True)
class Region:
    """A score of a part of `[batch, *space, classes]`: what `region` and `pixel` return.

    Explainers take it as a model of the part, whose logits are `[batch, classes]`; what it holds
    is data there, and another mask or place compiles nothing again.

    Attributes:
        reduce: `reduce(logits, rows) -> [batch, classes]`.
        where: what tells the part: a mask, a place, or None.
    """

    reduce: Callable[[Array, Any], Array]
    where: Any

    def __call__(self, logits: MapLogits, target: Target = None) -> Float[Array, " batch"]:
        return logit(self.reduce(logits, self.rows(logits)), target)

    def rows(self, logits: Any) -> Any:
        """What tells the part of each example, `[batch, ...]`, for logits of this shape."""
        if len(logits.shape) < 3:
            raise ValueError(
                f"the logits have the shape {logits.shape}; expected [batch, *space, classes], of "
                "which jinterp.region and jinterp.pixel are a part. Use jinterp.logit."
            )
        if self.where is None:
            return None
        if self.reduce is _at_place:
            return _places(self.where, logits.shape)
        return _masks(self.where, logits.shape)


def region(mask: Any = None) -> Region:
    """A score of a region: the mean over it of a class's logits, Σ_p m_p z_pc / Σ_p m_p.

    With it every explainer explains a model that labels every pixel: `score=region(mask)`, with
    `target` the class. Seg-Grad-CAM is `grad_cam` with it.

    Args:
        mask: `[*space]` for all examples or `[batch, *space]`, bool or weights that are not
            negative; None is, for each class, the pixels predicted as it, and then `target` says
            which class.

    Raises:
        ValueError: when an explainer is called, if the mask has another shape than the logits, or
            is empty, or has integers other than 0 and 1.

    >>> import jax.numpy as jnp
    >>> logits = jnp.array([[[1.0, 3.0], [2.0, 0.0], [4.0, 5.0]]])
    >>> region(jnp.array([True, True, False]))(logits, 0).tolist()
    [1.5]
    >>> region()(logits, 1).tolist()
    [4.0]

    Source: Vinogradova et al. 2020, equation 1 (a sum there; the mean differs by a factor).
    """
    return Region(_over_predicted, None) if mask is None else Region(_over_mask, mask)


def pixel(*place: int) -> Region:
    """A score of one pixel: a class's logit there.

    Args:
        *place: the pixel in space: `pixel(row, column)`.

    Raises:
        TypeError: a place is no integer.
        ValueError: when an explainer is called, if there is no such pixel.

    >>> import jax.numpy as jnp
    >>> pixel(1)(jnp.array([[[1.0, 3.0], [2.0, 0.0]]]), 0).tolist()
    [2.0]
    """
    try:
        return Region(_at_place, tuple(map(operator.index, place)))
    except TypeError:
        raise TypeError(
            f"`place` is {place!r}; expected integers, one for each axis: jinterp.pixel(row, "
            "column)."
        ) from None


def _masks(mask: Any, shape: tuple[int, ...]) -> Array:
    """`[batch, *space]` weights that sum to one."""
    mask, (batch_size, *space, _) = jnp.asarray(mask), shape
    if mask.shape not in (tuple(space), (batch_size, *space)):
        raise ValueError(
            f"`mask` has the shape {mask.shape} for logits {shape}; expected {tuple(space)}, or "
            f"{(batch_size, *space)} with one for each example."
        )
    weights = jnp.broadcast_to(mask.astype(jnp.float32), (batch_size, *space))
    total = weights.reshape(batch_size, -1).sum(1)
    if not under_transform(mask) and (np.asarray(weights) < 0).any():
        raise ValueError("`mask` has negative weights; expected bools, or weights from 0 on.")
    is_integer = jnp.issubdtype(mask.dtype, jnp.integer)
    if is_integer and not under_transform(mask) and (np.asarray(weights) > 1).any():
        raise ValueError(
            f"`mask` has integers up to {int(np.asarray(weights).max())}, such as a label map has; "
            "expected bools. Use labels == 3 for the pixels of class 3, or floats as weights."
        )
    if not under_transform(mask) and not (np.asarray(total) > 0).all():
        raise ValueError(
            f"`mask` is empty for example {int(np.argmin(np.asarray(total) > 0))}; expected at "
            "least one pixel. A class that is not predicted has no region."
        )
    return weights / total.reshape(-1, *[1] * len(space))


def _places(place: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """`[batch, axes]`."""
    space = shape[1:-1]
    inside = [-size <= at < size for at, size in zip(place, space, strict=False)]
    if len(place) != len(space) or not all(inside):
        raise ValueError(f"`place` is {place}; expected a pixel of {space}.")
    from_start = [at % size for at, size in zip(place, space, strict=True)]
    return jnp.broadcast_to(jnp.array(from_start, jnp.int32), (shape[0], len(space)))


def _over_mask(logits: Array, weights: Array) -> Array:
    logits = at_least_float32(logits)
    weighted = logits * weights[..., None].astype(logits.dtype)
    return weighted.sum(tuple(range(1, logits.ndim - 1)))


def _over_predicted(logits: Array, rows: None) -> Array:
    logits, space = at_least_float32(logits), tuple(range(1, logits.ndim - 1))
    classes = jnp.arange(logits.shape[-1]).reshape(*[1] * (logits.ndim - 1), -1)
    chosen = (logits.argmax(-1)[..., None] == classes).astype(logits.dtype)
    number = jnp.maximum(chosen.sum(space), jnp.ones((), logits.dtype))
    return (logits * chosen).sum(space) / number


def _at_place(logits: Array, places: Array) -> Array:
    rows = jnp.arange(len(logits))
    return logits[rows, *places.T]
