"""What a model says of every pixel of a few images."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._types import ApplyFn, Inputs, LossFn, Params
from jinterp.evaluate.losses import cross_entropy
from jinterp.evaluate.pixels import pixels_of
from jinterp.stream.rows import map_rows
from jinterp.stream.task import Segmentation


class PixelMaps(NamedTuple):
    """What a model says of every pixel: arrays `[n, *space]`.

    Attributes:
        targets: the label maps as they were given.
        valid: False where the label is ignored.
        predictions: the predicted class, −1 where the logits are not finite.
        confidences: the probability of the predicted class.
        losses: the loss; NaN where ignored.
    """

    targets: np.ndarray
    valid: np.ndarray
    predictions: np.ndarray
    confidences: np.ndarray
    losses: np.ndarray


def pixel_maps(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    targets: Any,
    *,
    ignore_index: int | None = None,
    loss_fn: LossFn = cross_entropy,
) -> PixelMaps:
    """The prediction, its confidence and the loss at every pixel of some images.

    Args:
        apply_fn: `apply_fn(params, x) -> logits [batch, *space, classes]`.
        params: its parameters.
        x: the images, `[n, ...]`.
        targets: their label maps, `[n, *space]` integers.
        ignore_index: the label that counts for nothing; None if every pixel has a class.
        loss_fn: `loss_fn(logits, targets) -> [batch, *space]`.

    Returns:
        `PixelMaps`, as NumPy arrays.

    Raises:
        ValueError: as `evaluate_segmentation` does.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return jnp.stack([-x, x], axis=-1) * params
    >>> pixel_maps(apply_fn, 5.0, np.array([[[-1.0, 1.0]]]), np.array([[[0, 0]]])).predictions
    array([[[0, 1]]], dtype=int32)
    """
    x, targets = jax.tree.map(jnp.asarray, x), np.asarray(targets)
    task = Segmentation(ignore_index)
    logits, num = _check.outputs_of(apply_fn, params, x), _check.num_examples(x)
    task.check_outputs(logits, num)
    if targets.shape[:1] != (num,):
        raise ValueError(
            f"`targets` have the shape {targets.shape} for {num} images; expected a label map for "
            "each."
        )
    task.check_targets(targets, logits)
    task.check_values(targets, logits, 0, 1)
    static = (apply_fn, ignore_index, loss_fn)
    found = map_rows(_maps, static, params, (x, jnp.asarray(targets)))
    return PixelMaps(targets, *jax.device_get(found))


def _maps(static: Any, params: Params, rows: Any, point: None) -> tuple[Array, ...]:
    apply_fn, ignore_index, loss_fn = static
    x, targets = rows
    pixels = pixels_of(targets, apply_fn(params, x), ignore_index, loss_fn)
    missing = jnp.array(jnp.nan, pixels.losses.dtype)
    losses = jnp.where(pixels.valid, pixels.losses, missing)
    return pixels.valid, pixels.predicted, pixels.confidences, losses
