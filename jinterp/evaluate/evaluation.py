"""`evaluate`: every question about where a model fails, answered by one pass."""

import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jinterp import _check, _functions
from jinterp._types import ApplyFn, LossFn, Params
from jinterp.evaluate.calibration import Calibration, calibration_of
from jinterp.evaluate.confusion import (
    ConfusedPair,
    confusion_cells,
    most_confused,
    split_cells,
)
from jinterp.evaluate.losses import cross_entropy
from jinterp.evaluate.predictions import (
    ErrorAnalysis,
    Predictions,
    RiskCoverage,
    error_analysis,
    prediction_rows,
    risk_coverage,
    warn_about_inputs,
)
from jinterp.evaluate.report import ClassificationReport, classification_report
from jinterp.evaluate.top_losses import TopLosses, top_of
from jinterp.stream.fold import fold
from jinterp.stream.reduce import Collect, Reducer


class Evaluation(NamedTuple):
    """Where a model fails on a dataset.

    Attributes:
        num_examples: how many examples there were.
        num_unpredicted: how many have NaN, +inf or only −inf logits, and no prediction; they stand
            in `predictions`, and in nothing that needs a probability.
        num_non_finite_inputs: how many inputs have a NaN or Inf.
        accuracy: the share of right predictions; no prediction is not right.
        mean_loss: the mean loss, NaN if one is.
        class_names: `[classes]`.
        confusion_matrix: `[classes, classes]` counts, rows actual.
        report: precision, recall, F1 and support of every class.
        most_confused: pairs of classes, the most often confused first.
        top_losses: the examples most wrong.
        calibration: how far confidence is from accuracy; None if nothing was predicted.
        risk_coverage: the error rate among the most confident; None if nothing was predicted.
        error_analysis: the errors in three kinds.
        predictions: what the model said of every example.
    """

    num_examples: int
    num_unpredicted: int
    num_non_finite_inputs: int
    accuracy: float
    mean_loss: float
    class_names: list[str]
    confusion_matrix: np.ndarray
    report: ClassificationReport
    most_confused: list[ConfusedPair]
    top_losses: TopLosses
    calibration: Calibration | None
    risk_coverage: RiskCoverage | None
    error_analysis: ErrorAnalysis
    predictions: Predictions

    def __repr__(self) -> str:
        return (
            f"Evaluation of {self.num_examples} examples, {len(self.class_names)} classes: "
            f"accuracy {self.accuracy:.4f}, mean loss {self.mean_loss:.4f}"
        )

    def __str__(self) -> str:
        """The classification report as a table."""
        return str(self.report)


def evaluate(
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    *,
    k: int = 9,
    num_bins: int = 15,
    loss_fn: LossFn = cross_entropy,
    class_names: Sequence[str] | None = None,
    mesh: Mesh | None = None,
    progress: bool | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 100,
) -> Evaluation:
    """Where the model fails, in one pass over a dataset.

    Args:
        apply_fn: `apply_fn(params, x) -> logits [batch, classes]`.
        params: its parameters.
        ds: anything that `batches` takes, with integer classes or soft labels.
        k: how many top losses; all, where the dataset has fewer.
        num_bins: bins of the reliability diagram.
        loss_fn: `loss_fn(logits, targets) -> [batch]`.
        class_names: names of the classes; None numbers them.
        mesh: the devices to cut batches over.
        progress: show a progress bar; None shows one for a long pass in a terminal.
        checkpoint_dir: a folder where the pass is saved as it goes; the same call after a stop
            goes on from there.
        checkpoint_every: after how many batches each time.

    Returns:
        An `Evaluation`. It holds about 30 bytes an example and no inputs.

    Raises:
        ValueError: the dataset is empty, a target is out of range, or `class_names` has another
            length than the logits.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> ds = (np.array([[5.0, 0.0], [0.0, 5.0], [1.0, 0.0]], np.float32), np.array([0, 0, 0]))
    >>> evaluate(apply_fn, jnp.eye(2), ds, k=1).top_losses.indices.tolist()
    [1]
    """
    _check.at_least_one("k", k)
    _check.at_least_one("num_bins", num_bins)
    _functions.warn_if_made_anew("loss_fn", loss_fn)
    num_names = None if class_names is None else len(_check.names(class_names))
    reducers: dict[str, Reducer | Collect] = {
        "cells": confusion_cells(num_names=num_names),
        "rows": prediction_rows(loss_fn),
    }
    found = fold(
        reducers,
        apply_fn,
        params,
        ds,
        mesh=mesh,
        progress=progress,
        checkpoint_dir=checkpoint_dir,
        checkpoint_every=checkpoint_every,
    )
    return summarize(found["cells"], found["rows"], k=k, num_bins=num_bins, class_names=class_names)


def summarize(
    cells: np.ndarray,
    rows: Predictions,
    *,
    k: int,
    num_bins: int,
    class_names: Sequence[str] | None,
) -> Evaluation:
    """An `Evaluation` from what the pass kept."""
    matrix, num_unpredicted = split_cells(cells)
    names = _check.class_names_match(class_names, len(matrix))
    num_bad_inputs = int((~rows.finite_inputs).sum())
    warn_about_inputs(num_bad_inputs, "`predictions`")
    if num_unpredicted:
        warnings.warn(
            f"{num_unpredicted} of {len(rows.indices)} examples have NaN or infinite logits and no "
            "prediction. They are kept in `predictions`, with a prediction of -1.",
            stacklevel=3,
        )
    valid = rows.rows(rows.valid)
    num_without_loss = int(np.isnan(valid.losses).sum())
    if num_without_loss:
        warnings.warn(
            f"{num_without_loss} of {len(rows.indices)} examples have finite logits and a loss of "
            "NaN, as soft labels give that do not sum to 1. For several labels an example use "
            "jinterp.evaluate_multi_label, for numbers jinterp.evaluate_regression.",
            stacklevel=3,
        )
    some = len(valid.indices) > 0
    return Evaluation(
        num_examples=len(rows.indices),
        num_unpredicted=num_unpredicted,
        num_non_finite_inputs=num_bad_inputs,
        accuracy=float(rows.correct.mean()),
        mean_loss=float(rows.losses.mean(dtype=np.float64)),
        class_names=names,
        confusion_matrix=matrix,
        report=classification_report(matrix, class_names=names),
        most_confused=most_confused(matrix, class_names=names),
        top_losses=top_of(rows, min(k, len(rows.indices))),
        calibration=calibration_of(
            valid.prediction_probabilities, valid.correct, valid.brier_scores, num_bins
        )
        if some
        else None,
        risk_coverage=risk_coverage(valid.prediction_probabilities, valid.correct)
        if some
        else None,
        error_analysis=error_analysis(rows, len(matrix)),
        predictions=rows,
    )
