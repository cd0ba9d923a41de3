"""What a pass over label maps counts, by pixel; it keeps no pixel."""

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._types import AnyArray, Batch, FloatMaps, LabelMaps, LossFn, Masks, Params
from jinterp.evaluate.losses import cross_entropy, exponential_sums, logit_of_target
from jinterp.evaluate.predictions import finite_inputs, predicted_classes
from jinterp.model.score import at_least_float32
from jinterp.stream.reduce import Collect, Reducer, collect, mean, total

_WORD = 32  # classes that one integer holds as bits


class ImageScores(NamedTuple):
    """What one pass says of every image: arrays `[n]`, in order of dataset index.

    Attributes:
        indices: the dataset index.
        losses: the mean loss over its labelled pixels; NaN where it has none.
        num_pixels: how many pixels are labelled, and not ignored.
        pixel_accuracies: the share of them that is right; NaN where there are none.
        mean_ious: the mean intersection over union of the classes that occur in it, in the labels
            or the prediction; NaN where there are none.
        finite_inputs: whether every number of the input is finite.
    """

    indices: AnyArray
    losses: AnyArray
    num_pixels: AnyArray
    pixel_accuracies: AnyArray
    mean_ious: AnyArray
    finite_inputs: AnyArray

    def rows(self, which: AnyArray) -> "ImageScores":
        """The images at these positions, or where this mask is true."""
        return ImageScores(*(column[which] for column in self))


class Pixels(NamedTuple):
    """The pixels of a batch, as everything that counts them takes them.

    Attributes:
        targets: `[batch, *space]` classes; 0 where ignored.
        valid: `[batch, *space]`, False where ignored.
        predicted: `[batch, *space]`, −1 where the logits are not finite.
        confidences: `[batch, *space]`, the probability of the predicted class.
        losses: `[batch, *space]`.
        brier_scores: `[batch, *space]`, Σ_c (p_c − y_c)².
        confusion: `[batch, classes, classes + 1]` pixels, rows actual; the last column counts
            those without a prediction.
    """

    targets: LabelMaps
    valid: Masks
    predicted: LabelMaps
    confidences: FloatMaps
    losses: FloatMaps
    brier_scores: FloatMaps
    confusion: Array


@functools.cache
def pixels_of_batch(loss_fn: LossFn, ignore_index: int | None, num_names: int | None) -> Any:
    """A `prepare` that gives `Pixels`: what is dear is computed once for all that counts."""

    def prepare(params: Params, batch: Batch, logits: Array) -> Pixels:
        if num_names is not None:
            _check.num_names_match(num_names, logits.shape[-1])
        return pixels_of(batch.targets, logits, ignore_index, loss_fn)

    return prepare


def pixels_of(targets: Array, logits: Array, ignore_index: int | None, loss_fn: LossFn) -> Pixels:
    """The pixels, with a class at each that counts."""
    targets, logits = targets.astype(jnp.int32), at_least_float32(logits)
    valid = jnp.ones(targets.shape, bool)
    if ignore_index is not None:
        valid = targets != ignore_index
    targets = jnp.where(valid, targets, jnp.int32(0))
    predicted = predicted_classes(logits)
    sums = exponential_sums(logits)
    of_target = logit_of_target(logits, targets)
    if loss_fn is cross_entropy:  # by these sums, since XLA:CPU would not share its own
        losses = sums.cross_entropy(of_target)
    else:
        losses = _losses(loss_fn, logits, targets)
    probabilities = jnp.exp(of_target - sums.largest) / sums.total
    classes = logits.shape[-1]
    column = jnp.where(predicted < 0, jnp.int32(classes), predicted)
    confusion = _by_image(targets * (classes + 1) + column, valid, classes * (classes + 1))
    return Pixels(
        targets,
        valid,
        predicted,
        1 / sums.total,
        losses,
        sums.squares / sums.total**2 - 2 * probabilities + 1,
        confusion.reshape(-1, classes, classes + 1),
    )


def _losses(loss_fn: LossFn, logits: Array, targets: Array) -> FloatMaps:
    """Any loss as one number a pixel."""
    losses = _check.losses_of(loss_fn, logits, targets)
    if losses.shape != targets.shape:
        raise ValueError(
            f"`loss_fn` returned the shape {losses.shape} for label maps {targets.shape}; expected "
            "one loss for each pixel, since the mean is taken over those that are not ignored. "
            "Leave out the mean."
        )
    return at_least_float32(loss_fn(logits, targets))


@functools.cache
def confusion_counts() -> Reducer:
    """`[classes, classes + 1]` pixels; the last column counts those without a prediction."""
    return total(lambda batch, pixels: pixels.confusion)


@functools.cache
def image_scores(ignore_index: int | None) -> Collect:
    """What is kept of each image; a class that is ignored counts in no mean."""

    def rows(batch: Batch, pixels: Pixels) -> ImageScores:
        counted, losses = pixels.confusion, pixels.losses
        dtype = losses.dtype
        zero = jnp.zeros((), dtype)
        actual = counted.sum(2, dtype=jnp.uint32)
        predicted = counted[:, :, :-1].sum(1, dtype=jnp.uint32)
        num = actual.sum(1, dtype=jnp.uint32).astype(jnp.int32)
        right = jnp.diagonal(counted[:, :, :-1], axis1=1, axis2=2)
        union = actual + predicted - right
        ious = right.astype(dtype) / jnp.maximum(union, jnp.uint32(1)).astype(dtype)
        occurs = union > 0
        if ignore_index is not None:
            occurs &= (jnp.arange(union.shape[1], dtype=jnp.int32) != ignore_index)[None]
        return ImageScores(
            batch.indices,
            _over_space(jnp.where(pixels.valid, losses, zero)) / num.astype(dtype),
            num,
            right.sum(1).astype(dtype) / num.astype(dtype),
            ious.sum(1) / occurs.sum(1).astype(dtype),
            finite_inputs(batch.x, len(batch.mask)),
        )

    return collect(rows)


@functools.cache
def confidence_counts(num_bins: int) -> Reducer:
    """`[bins, 2]` pixels by confidence, those wrong and those right."""

    def value(batch: Batch, pixels: Pixels) -> Array:
        right = (pixels.predicted == pixels.targets).astype(jnp.int32)
        which = 2 * _bins(pixels.confidences, num_bins) + right
        counted = _by_image(which, pixels.valid & (pixels.predicted >= 0), 2 * num_bins)
        return counted.reshape(-1, num_bins, 2)

    return total(value)


@functools.cache
def confidence_sums(num_bins: int) -> Reducer:
    """The mean over the images of `[bins + 1]` sums over pixels.

    First Σ (confidence − the centre of its bin), small numbers, added up by rows of the image so
    that float32 holds their sum; last Σ_c (p_c − y_c)².
    """

    def value(batch: Batch, pixels: Pixels) -> Array:
        valid = pixels.valid & (pixels.predicted >= 0)
        confidences = pixels.confidences
        which = _bins(confidences, num_bins)
        centres = (which.astype(confidences.dtype) + 0.5) / num_bins
        zero = jnp.zeros((), confidences.dtype)
        shifts = jnp.where(valid, confidences - centres, zero)
        rows = (-1, *which.shape[2:]) if which.ndim > 2 else which.shape
        sums = _by_image(which.reshape(rows), valid.reshape(rows), num_bins, shifts.reshape(rows))
        sums = sums.reshape(len(which), -1, num_bins).sum(1)
        brier = _over_space(jnp.where(valid, pixels.brier_scores, zero))
        return jnp.concatenate([sums, brier[:, None]], axis=1)

    return mean(value)


@functools.cache
def boundary_counts(width: int | float) -> Reducer:
    """`[2, classes, 2]` pixels on a boundary: of the labels and of the prediction, those further
    than `width` pixels from a boundary of the class in the other, and those within it.
    """

    def value(batch: Batch, pixels: Pixels) -> Array:
        classes = pixels.confusion.shape[1]
        of_labels = _on_boundary(pixels.targets, pixels.valid)
        of_prediction = _on_boundary(pixels.predicted, pixels.valid & (pixels.predicted >= 0))
        counted = [
            _matched(pixels.targets, of_labels, pixels.predicted, of_prediction, classes, width),
            _matched(pixels.predicted, of_prediction, pixels.targets, of_labels, classes, width),
        ]
        return jnp.stack(counted, axis=1)

    return total(value)


def bin_centres(num_bins: int) -> np.ndarray:
    """`[bins]`."""
    return (np.arange(num_bins) + 0.5) / num_bins


def _over_space(values: Array) -> Array:
    return values.sum(tuple(range(1, values.ndim)))


def _by_image(which: Array, valid: Array, num: int, values: Array | None = None) -> Array:
    """`[batch, num]`: how many pixels of each image fall in each cell, or the sum of values.

    The segment_sum of each image: indices of two axes, since what XLA:CPU fuses into flat ones it
    computes four times slower.
    """
    image = jnp.arange(len(which)).reshape(-1, *[1] * (which.ndim - 1))
    cells = jnp.where(valid, which, jnp.int32(num))
    added = jnp.uint32(1) if values is None else values
    sums = jnp.zeros((len(which), num), added.dtype)
    return sums.at[jnp.broadcast_to(image, which.shape), cells].add(added, mode="drop")


def _bins(confidences: Array, num_bins: int) -> Array:
    """The bin (lower, upper] of each."""
    which = jnp.ceil(confidences * num_bins).astype(jnp.int32) - 1
    return jnp.clip(which, 0, num_bins - 1)


def _on_boundary(classes: Array, valid: Array) -> Array:
    """Where a neighbour along an axis has another class; neither pixel is ignored."""
    found = jnp.zeros(classes.shape, bool)
    for axis in range(1, classes.ndim):
        after = [slice(None)] * classes.ndim
        before = [slice(None)] * classes.ndim
        after[axis], before[axis] = slice(1, None), slice(None, -1)
        differs = classes[tuple(after)] != classes[tuple(before)]
        differs &= valid[tuple(after)] & valid[tuple(before)]
        for side in ((1, 0), (0, 1)):
            padding = [(0, 0)] * classes.ndim
            padding[axis] = side
            found |= jnp.pad(differs, padding)
    return found


def _matched(
    classes: Array,
    edge: Array,
    others: Array,
    other_edge: Array,
    num_classes: int,
    width: int | float,
) -> Array:
    """`[batch, classes, 2]` pixels of an edge, without and with the other's within `width`.

    The classes whose edge is near a pixel are held as the bits of a few integers, and so cost a
    few operations however many there are.
    """
    near = [
        _dilated(_as_bits(others - start, other_edge), width)
        for start in range(0, num_classes, _WORD)
    ]
    of_own = functools.reduce(
        jnp.bitwise_or,
        [bits & _as_bits(classes - _WORD * number, edge) for number, bits in enumerate(near)],
    )
    counted = _by_image(2 * classes + (of_own > 0).astype(jnp.int32), edge, 2 * num_classes)
    return counted.reshape(-1, num_classes, 2)


def _as_bits(classes: Array, where: Array) -> Array:
    """The bit of each class from 0 to 31."""
    held = where & (classes >= 0) & (classes < _WORD)
    shift = jnp.where(held, classes, jnp.int32(0)).astype(jnp.uint32)
    return jnp.where(held, jnp.uint32(1) << shift, jnp.uint32(0))


def _dilated(bits: Array, width: int | float) -> Array:
    """The bits of all pixels at most `width` away, in Euclidean distance."""
    reach = int(width)
    *axes, last = range(1, bits.ndim)
    lines = [bits]
    for step in range(1, reach + 1):
        lines.append(lines[-1] | _shifted(bits, {last: step}) | _shifted(bits, {last: -step}))
    found = jnp.zeros_like(bits)
    for offset in itertools.product(range(-reach, reach + 1), repeat=len(axes)):
        left = width**2 - sum(step**2 for step in offset)
        if left >= 0:
            line = lines[math.isqrt(int(left))]
            found |= _shifted(line, dict(zip(axes, offset, strict=True)))
    return found


def _shifted(bits: Array, steps: dict[int, int]) -> Array:
    """Each pixel's bits moved by so many pixels along axes, with nothing where none were."""
    for axis, step in steps.items():
        step = max(min(step, bits.shape[axis]), -bits.shape[axis])
        padding = [(0, 0)] * bits.ndim
        padding[axis] = (max(step, 0), max(-step, 0))
        size = bits.shape[axis]
        bits = jax.lax.slice_in_dim(
            jnp.pad(bits, padding), max(-step, 0), max(-step, 0) + size, axis=axis
        )
    return bits
