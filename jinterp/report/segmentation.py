"""The report on label maps: numbers, tables and pictures in one page."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jinterp.evaluate import SegmentationEvaluation
from jinterp.report.page import write_page

_NUM_PAIRS = 10


def write_segmentation_report(
    evaluation: SegmentationEvaluation,
    out: str | os.PathLike[str],
    *,
    figures: Mapping[str, Any],
    title: str = "Where does the model fail?",
    notes: Sequence[str] = (),
) -> Path:
    """Write `report.html` and its pictures.

    Args:
        evaluation: what `evaluate_segmentation` returned.
        out: the folder to write to; it is made if need be.
        figures: some of "top_losses", "class_scores", "confusion_matrix" and "reliability".
        title: the heading.
        notes: sentences to show below it.

    Returns:
        The path of `report.html`.

    Raises:
        OSError: the folder cannot be written to.
    """
    return write_page(
        out,
        "segmentation.html.jinja",
        figures.items(),
        title=title,
        notes=notes,
        e=evaluation,
        top=_top_rows(evaluation),
        classes=_class_rows(evaluation),
        pairs=evaluation.most_confused[:_NUM_PAIRS],
    )


def _top_rows(evaluation: SegmentationEvaluation) -> list[dict[str, Any]]:
    top = evaluation.top_losses
    columns = (top.indices, top.losses, top.pixel_accuracies, top.mean_ious, top.num_pixels)
    names = ("index", "loss", "accuracy", "iou", "num_pixels")
    return [
        dict(zip(names, row, strict=True))
        for row in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _class_rows(evaluation: SegmentationEvaluation) -> list[dict[str, Any]]:
    columns = (
        evaluation.ious,
        evaluation.dices,
        evaluation.per_class_accuracy,
        evaluation.boundary_f1,
    )
    pixels = evaluation.confusion_matrix.sum(1) / evaluation.num_pixels
    return [
        {
            "name": name,
            "scores": [None if np.isnan(column[c]) else float(column[c]) for column in columns],
            "share": float(pixels[c]),
        }
        for c, name in enumerate(evaluation.class_names)
    ]
