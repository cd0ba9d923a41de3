"""`evaluate_segmentation`: where a model that labels every pixel fails, by one pass."""

import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Num

from jinterp import _check, _functions
from jinterp._text import text_table
from jinterp._types import ApplyFn, EitherArray, LossFn, Params
from jinterp.evaluate.calibration import Calibration, calibration_of_counts
from jinterp.evaluate.confusion import ConfusedPair, most_confused
from jinterp.evaluate.losses import cross_entropy
from jinterp.evaluate.pixels import (
    ImageScores,
    bin_centres,
    boundary_counts,
    confidence_counts,
    confidence_sums,
    confusion_counts,
    image_scores,
    pixels_of_batch,
)
from jinterp.evaluate.predictions import non_finite_inputs, warn_about_inputs
from jinterp.evaluate.ratio import ratio
from jinterp.evaluate.top_losses import order_of_losses
from jinterp.stream.fold import fold
from jinterp.stream.reduce import Collect, Reducer
from jinterp.stream.task import Segmentation

Matrix = Num[EitherArray, "classes classes"]
OfClasses = Float[np.ndarray, " classes"]


class SegmentationEvaluation(NamedTuple):
    """Where a model that labels every pixel fails on a dataset.

    Numbers of classes are of all pixels of the dataset together, and NaN for classes that occur
    neither in the labels nor in the predictions; their means leave these out.

    Attributes:
        num_examples: how many images there were.
        num_pixels: how many pixels are labelled, and not ignored.
        num_unpredicted: how many of them have NaN, +inf or only −inf logits, and no prediction;
            they are not right.
        num_unlabelled: how many images have no labelled pixel; they stand in no top losses.
        num_non_finite_inputs: how many images have a NaN or Inf.
        pixel_accuracy: the share of right pixels.
        mean_iou: the mean of `ious`.
        frequency_weighted_iou: the mean of `ious`, weighted with the labelled pixels of the class.
        mean_dice: the mean of `dices`.
        mean_boundary_f1: the mean of `boundary_f1`.
        mean_loss: the mean over all labelled pixels, NaN if one is.
        class_names: `[classes]`.
        confusion_matrix: `[classes, classes]` pixels, rows actual, without those that have no
            prediction; the numbers below count them as wrong.
        per_class_accuracy: `[classes]`, the share of a class's pixels that is right.
        ious: `[classes]`, intersection over union.
        dices: `[classes]`, twice the intersection over the sum.
        boundary_f1: `[classes]`, the F1 of the pixels on the boundary of a class, right if the
            other boundary is within `boundary_width`.
        boundary_width: in pixels.
        ignore_index: the label that counts for nothing; None if there is none.
        most_confused: pairs of classes, by pixels, the most often confused first.
        calibration: how far confidence is from accuracy, by pixel; None if nothing was predicted.
        top_losses: the images most wrong.
        images: what the model said of every image.
    """

    num_examples: int
    num_pixels: int
    num_unpredicted: int
    num_unlabelled: int
    num_non_finite_inputs: int
    pixel_accuracy: float
    mean_iou: float
    frequency_weighted_iou: float
    mean_dice: float
    mean_boundary_f1: float
    mean_loss: float
    class_names: list[str]
    confusion_matrix: np.ndarray
    per_class_accuracy: np.ndarray
    ious: np.ndarray
    dices: np.ndarray
    boundary_f1: np.ndarray
    boundary_width: int | float
    ignore_index: int | None
    most_confused: list[ConfusedPair]
    calibration: Calibration | None
    top_losses: ImageScores
    images: ImageScores

    def __repr__(self) -> str:
        return (
            f"SegmentationEvaluation of {self.num_examples} images, {len(self.class_names)} "
            f"classes: pixel accuracy {self.pixel_accuracy:.4f}, mean IoU {self.mean_iou:.4f}, "
            f"mean loss {self.mean_loss:.4f}"
        )

    def __str__(self) -> str:
        """The classes as a table."""
        columns = (self.ious, self.dices, self.per_class_accuracy, self.boundary_f1)
        means = (self.mean_iou, self.mean_dice, _mean(self.per_class_accuracy))
        pixels = self.confusion_matrix.sum(1)
        rows = [
            *zip(self.class_names, *columns, pixels, strict=True),
            ("mean", *means, self.mean_boundary_f1, pixels.sum()),
        ]
        lines = [
            [name, *(f"{each:.4f}" for each in found), f"{num:,}"] for name, *found, num in rows
        ]
        header = ["", "IoU", "Dice", "accuracy", "boundary F1", "pixels"]
        return text_table(header, [[], *lines[:-1], [], lines[-1]])


def evaluate_segmentation(
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    *,
    class_names: Sequence[str] | None = None,
    ignore_index: int | None = None,
    k: int = 9,
    num_bins: int = 15,
    boundary_width: int | float = 2,
    loss_fn: LossFn = cross_entropy,
    mesh: Mesh | None = None,
    progress: bool | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 100,
) -> SegmentationEvaluation:
    """Where a model that labels every pixel fails, in one pass that keeps no pixel.

    Args:
        apply_fn: `apply_fn(params, x) -> logits [batch, *space, classes]`.
        params: its parameters.
        ds: anything that `batches` takes, with label maps `[*space]` of integers, as large as the
            logits.
        class_names: names of the classes; None numbers them.
        ignore_index: the label of pixels that count for nothing, such as 255; None if every pixel
            has a class. If it is a class itself, such as the background, its scores are NaN.
        k: how many top losses; all, where the dataset has fewer.
        num_bins: bins of the reliability diagram.
        boundary_width: how far in pixels a predicted boundary may be from the labels' to be right.
        loss_fn: `loss_fn(logits, targets) -> [batch, *space]`; pixels that are ignored come with
            the class 0, and their loss counts for nothing.
        mesh: the devices to cut batches over.
        progress: show a progress bar; None shows one for a long pass in a terminal.
        checkpoint_dir: a folder where the pass is saved as it goes; the same call after a stop
            goes on from there.
        checkpoint_every: after how many batches each time.

    Returns:
        A `SegmentationEvaluation`. It holds some 25 bytes an image, and no pixel.

    Raises:
        ValueError: label maps have another size than the logits, or labels that are no class and
            not ignored; every pixel is ignored; `class_names` has another length than the logits.

    Source: Long et al. (2015) for accuracies and IoU; Csurka et al. (2013) for the boundary F1,
    which is here that of all pixels of the dataset, and not a mean over images.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return jnp.stack([-x, x], axis=-1) * params
    >>> x = np.array([[[-1.0, 1.0], [1.0, 1.0]]], np.float32)
    >>> labels = np.array([[[0, 1], [0, 255]]])
    >>> found = evaluate_segmentation(apply_fn, 5.0, (x, labels), ignore_index=255)
    >>> found.ious.tolist(), found.num_pixels
    ([0.5, 0.5], 3)
    """
    _check.at_least_one("k", k)
    _check.at_least_one("num_bins", num_bins, 15)
    if not 0 <= boundary_width < np.inf:
        raise ValueError(f"`boundary_width` is {boundary_width}; expected pixels, such as 2.")
    _functions.warn_if_made_anew("loss_fn", loss_fn)
    task = Segmentation(ignore_index)
    num_names = None if class_names is None else len(_check.names(class_names))
    reducers: dict[str, Reducer | Collect] = {
        "cells": confusion_counts(),
        "boundaries": boundary_counts(boundary_width),
        "bins": confidence_counts(num_bins),
        "sums": confidence_sums(num_bins),
        "rows": image_scores(ignore_index),
        "inputs": non_finite_inputs(),
    }
    found = fold(
        reducers,
        apply_fn,
        params,
        ds,
        task=task,
        prepare=pixels_of_batch(loss_fn, ignore_index, num_names),
        mesh=mesh,
        progress=progress,
        checkpoint_dir=checkpoint_dir,
        checkpoint_every=checkpoint_every,
    )
    return _summary(found, k, boundary_width, ignore_index, class_names)


def _summary(
    found: dict[str, Any],
    k: int,
    boundary_width: int | float,
    ignore_index: int | None,
    class_names: Sequence[str] | None,
) -> SegmentationEvaluation:
    """A `SegmentationEvaluation` from what the pass kept."""
    cells, images = found["cells"], found["rows"]
    matrix, actual, predicted = cells[:, :-1], cells.sum(1), cells[:, :-1].sum(0)
    right, num_pixels = np.diagonal(matrix), int(cells.sum())
    if num_pixels == 0:
        raise ValueError(
            f"every pixel of the {len(images.indices)} images is ignored (ignore_index="
            f"{ignore_index}); expected at least one with a class."
        )
    names = _check.class_names_match(class_names, len(matrix))
    num_unpredicted, num_bad_inputs = int(cells[:, -1].sum()), int(found["inputs"][0])
    warn_about_inputs(num_bad_inputs, "`images`")
    _warn(num_unpredicted, num_pixels, images)
    is_ignored = np.arange(len(matrix)) == ignore_index
    ious, dices, boundary_f1 = (
        np.where(is_ignored, np.nan, scores)
        for scores in (
            _ious(right, actual, predicted),
            _dices(right, actual, predicted),
            _boundary_f1(found["boundaries"]),
        )
    )
    labelled = images.rows(images.num_pixels > 0)
    return SegmentationEvaluation(
        num_examples=len(images.indices),
        num_pixels=num_pixels,
        num_unpredicted=num_unpredicted,
        num_unlabelled=len(images.indices) - len(labelled.indices),
        num_non_finite_inputs=num_bad_inputs,
        pixel_accuracy=float(right.sum() / num_pixels),
        mean_iou=_mean(ious),
        frequency_weighted_iou=float(np.nansum(ious * actual) / num_pixels),
        mean_dice=_mean(dices),
        mean_boundary_f1=_mean(boundary_f1),
        mean_loss=float(np.average(labelled.losses.astype(float), weights=labelled.num_pixels)),
        class_names=names,
        confusion_matrix=matrix,
        per_class_accuracy=ratio(right, actual),
        ious=ious,
        dices=dices,
        boundary_f1=boundary_f1,
        boundary_width=boundary_width,
        ignore_index=ignore_index,
        most_confused=most_confused(matrix, class_names=names),
        calibration=_calibration(found["bins"], found["sums"] * len(images.indices)),
        top_losses=top_images(images, min(k, len(labelled.indices))),
        images=images,
    )


def per_class_accuracy(matrix: Matrix) -> OfClasses:
    """The share of each class's pixels (or examples) that is right, M_cc / Σ_j M_cj.

    Args:
        matrix: `[classes, classes]` counts, rows actual.

    Returns:
        `[classes]` from 0 to 1, NaN for a class without labels.

    >>> import numpy as np
    >>> per_class_accuracy(np.array([[3, 1], [0, 2]])).tolist()
    [0.75, 1.0]
    """
    right, actual, _ = _totals(matrix)
    return ratio(right, actual)


def intersection_over_union(matrix: Matrix) -> OfClasses:
    """The intersection over union of each class, M_cc / (Σ_j M_cj + Σ_i M_ic − M_cc).

    Args:
        matrix: `[classes, classes]` counts of pixels, rows actual.

    Returns:
        `[classes]` from 0 to 1, NaN for a class that occurs neither in rows nor in columns.

    >>> import numpy as np
    >>> intersection_over_union(np.array([[3, 1], [0, 2]])).round(3).tolist()
    [0.75, 0.667]
    """
    return _ious(*_totals(matrix))


def dice(matrix: Matrix) -> OfClasses:
    """The Dice coefficient of each class, which is its F1: 2 M_cc / (Σ_j M_cj + Σ_i M_ic).

    Args:
        matrix: `[classes, classes]` counts of pixels, rows actual.

    Returns:
        `[classes]` from 0 to 1, NaN for a class that occurs neither in rows nor in columns.

    >>> import numpy as np
    >>> dice(np.array([[3, 1], [0, 2]])).round(3).tolist()
    [0.857, 0.8]
    """
    return _dices(*_totals(matrix))


def top_images(images: ImageScores, k: int, *, largest: bool = True) -> ImageScores:
    """The k images with the largest (or smallest) mean losses, NaN before all."""
    labelled = images.rows(images.num_pixels > 0)
    _check.at_most_dataset(k, len(labelled.indices))
    order = order_of_losses(labelled.losses, labelled.indices, largest=largest)
    return labelled.rows(order[:k])


def _warn(num_unpredicted: int, num_pixels: int, images: ImageScores) -> None:
    if num_unpredicted:
        warnings.warn(
            f"{num_unpredicted} of {num_pixels} pixels have NaN or infinite logits and no "
            "prediction; they count as wrong.",
            stacklevel=4,
        )
    if num := int((images.num_pixels == 0).sum()):
        first = images.indices[images.num_pixels == 0][0]
        warnings.warn(
            f"{num} of {len(images.indices)} images, the first at index {first}, have no pixel "
            "that is not ignored. They stand in `images` with a loss of NaN, and in no top losses.",
            stacklevel=4,
        )


def _calibration(bins: np.ndarray, sums: np.ndarray) -> Calibration | None:
    counts = bins.sum(1)
    if counts.sum() == 0:
        return None
    confidences = sums[:-1] + counts * bin_centres(len(counts))
    return calibration_of_counts(counts, confidences, bins[:, 1], sums[-1])


def _boundary_f1(counts: np.ndarray) -> np.ndarray:
    """2PR / (P + R) of each class, from the pixels on its boundaries."""
    recall, precision = (ratio(side[:, 1], side.sum(1)) for side in counts)
    both = np.nan_to_num(precision) + np.nan_to_num(recall)
    f1 = 2 * np.nan_to_num(precision * recall) / np.where(both > 0, both, 1)
    return np.where(np.isnan(precision) & np.isnan(recall), np.nan, f1)


def _mean(values: np.ndarray) -> float:
    """Over the classes that have a value; NaN if none has, as where no image has a boundary."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _ious(right: np.ndarray, actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return ratio(right, actual + predicted - right)


def _dices(right: np.ndarray, actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return ratio(2 * right, actual + predicted)


def _totals(matrix: Matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each class what is right, what occurs and what is predicted."""
    matrix = np.asarray(jax.device_get(matrix))
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"`matrix` has the shape {matrix.shape}; expected a confusion matrix [classes, "
            "classes]."
        )
    return np.diagonal(matrix), matrix.sum(1), matrix.sum(0)
