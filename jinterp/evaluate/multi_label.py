"""`evaluate_multi_label`: where a model of several labels an example fails, by one pass."""

import functools
import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from jinterp import _check, _functions
from jinterp._text import text_table
from jinterp._types import AnyArray, ApplyFn, Batch, LossFn, Params
from jinterp.evaluate.losses import per_example, sigmoid_cross_entropy
from jinterp.evaluate.predictions import finite_inputs, warn_about_inputs
from jinterp.evaluate.ratio import ratio
from jinterp.evaluate.top_losses import order_of_losses
from jinterp.stream.fold import fold
from jinterp.stream.reduce import Collect, Reducer, collect, total


class LabelSets(NamedTuple):
    """What one pass says of every example, in order of dataset index.

    Attributes:
        indices: `[n]`, the dataset index.
        targets: `[n, labels]` bool, the labels that it has.
        predictions: `[n, labels]` bool, those whose logit is positive; all False where one is NaN.
        losses: `[n]`.
        valid: `[n]`, whether no logit is NaN.
        finite_inputs: `[n]`, whether every number of the input is finite.
    """

    indices: AnyArray
    targets: AnyArray
    predictions: AnyArray
    losses: AnyArray
    valid: AnyArray
    finite_inputs: AnyArray

    def rows(self, which: AnyArray) -> "LabelSets":
        """The examples at these positions, or where this mask is true."""
        return LabelSets(*(column[which] for column in self))


class MultiLabelEvaluation(NamedTuple):
    """Where a model of several labels an example fails on a dataset.

    Examples with a NaN logit stand in `examples` and in the top losses, and count as wrong in
    every label.

    Attributes:
        num_examples: how many examples there were.
        num_unpredicted: how many have a NaN logit.
        num_non_finite_inputs: how many inputs have a NaN or Inf.
        label_names: `[labels]`.
        confusion_matrices: `[labels, 2, 2]` counts, rows actual (without the label, with it),
            columns predicted; without the examples that have a NaN logit.
        precision: `[labels]`; NaN for a label that is never predicted.
        recall: `[labels]`; NaN for a label that never occurs.
        f1: `[labels]`; NaN for a label that neither occurs nor is predicted.
        support: `[labels]`, how many examples have the label.
        subset_accuracy: the share of the examples whose labels are all right.
        hamming_loss: the share of wrong labels.
        mean_loss: the mean loss, NaN if one is.
        top_losses: the examples most wrong, NaN before all.
        examples: what the model said of every example.
    """

    num_examples: int
    num_unpredicted: int
    num_non_finite_inputs: int
    label_names: list[str]
    confusion_matrices: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    subset_accuracy: float
    hamming_loss: float
    mean_loss: float
    top_losses: LabelSets
    examples: LabelSets

    def __repr__(self) -> str:
        return (
            f"MultiLabelEvaluation of {self.num_examples} examples, {len(self.label_names)} "
            f"labels: all right {self.subset_accuracy:.4f}, wrong labels {self.hamming_loss:.4f}, "
            f"mean loss {self.mean_loss:.4f}"
        )

    def __str__(self) -> str:
        """The labels as a table, the least F1 first."""
        order = np.argsort(self.f1, kind="stable")
        return text_table(
            ["", "precision", "recall", "f1", "support", "missed", "invented"],
            [
                [
                    self.label_names[n],
                    *(f"{each[n]:.4f}" for each in (self.precision, self.recall, self.f1)),
                    str(self.support[n]),
                    *(str(self.confusion_matrices[n][cell]) for cell in ((1, 0), (0, 1))),
                ]
                for n in order
            ],
        )


def evaluate_multi_label(
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    *,
    k: int = 9,
    loss_fn: LossFn = sigmoid_cross_entropy,
    label_names: Sequence[str] | None = None,
    mesh: Mesh | None = None,
    progress: bool | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 100,
) -> MultiLabelEvaluation:
    """Where a model of several labels an example fails, in one pass over a dataset.

    A label is predicted where its logit is positive, its probability over one half; for another
    threshold p subtract log(p / (1 − p)) from the logits.

    Args:
        apply_fn: `apply_fn(params, x) -> logits [batch, labels]`.
        params: its parameters.
        ds: anything that `batches` takes, with rows `[labels]` of 0 and 1, integers or bools.
        k: how many top losses; all, where the dataset has fewer.
        loss_fn: `loss_fn(logits, targets) -> [batch]`.
        label_names: names of the labels; None numbers them.
        mesh: the devices to cut batches over.
        progress: show a progress bar; None shows one for a long pass in a terminal.
        checkpoint_dir: a folder where the pass is saved as it goes; the same call after a stop
            goes on from there.
        checkpoint_every: after how many batches each time.

    Returns:
        A `MultiLabelEvaluation`. It holds 2 bytes a label and example, and no inputs.

    Raises:
        TypeError: the targets are floats.
        ValueError: the targets are no rows of 0 and 1, one for each logit.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> ds = (np.array([[2.0, -1.0], [1.0, 3.0]], np.float32), np.array([[1, 0], [0, 1]]))
    >>> found = evaluate_multi_label(apply_fn, jnp.eye(2), ds)
    >>> found.subset_accuracy, found.hamming_loss, found.confusion_matrices[0].tolist()
    (0.5, 0.25, [[0, 1], [0, 1]])
    """
    _check.at_least_one("k", k)
    _functions.warn_if_made_anew("loss_fn", loss_fn)
    reducers: dict[str, Reducer | Collect] = {
        "cells": _label_counts(),
        "rows": _label_sets(loss_fn),
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
    names = _check.class_names_match(label_names, len(found["cells"]))
    return _summary(found["cells"], found["rows"], k, names)


@functools.cache
def _label_counts() -> Reducer:
    """`[labels, 2, 2]` counts."""

    def value(batch: Batch, logits: Array) -> Array:
        actual, predicted, valid = _sets(batch, logits)
        cells = 2 * actual.astype(jnp.int32) + predicted.astype(jnp.int32)
        is_in = (cells[..., None] == jnp.arange(4, dtype=jnp.int32)[None, None]) & valid[
            :, None, None
        ]
        return is_in.astype(jnp.uint32).reshape(*cells.shape, 2, 2)

    return total(value)


@functools.cache
def _label_sets(loss_fn: LossFn) -> Collect:
    def rows(batch: Batch, logits: Array) -> LabelSets:
        actual, predicted, valid = _sets(batch, logits)
        losses = per_example(loss_fn, logits, batch.targets)
        inputs = finite_inputs(batch.x, len(batch.mask))
        return LabelSets(batch.indices, actual, predicted, losses, valid, inputs)

    return collect(rows)


def _sets(batch: Batch, logits: Array) -> tuple[Array, Array, Array]:
    if batch.targets.shape != logits.shape or jnp.issubdtype(batch.targets.dtype, jnp.floating):
        raise TypeError(
            f"`targets` are {batch.targets.dtype} of shape {batch.targets.shape} for logits "
            f"{logits.shape}; expected integers or bools, 0 or 1 for each label. For one class an "
            "example use jinterp.evaluate."
        )
    valid = ~jnp.isnan(logits).any(1)
    return batch.targets.astype(bool), (logits > 0) & valid[:, None], valid


def _summary(cells: np.ndarray, rows: LabelSets, k: int, names: list[str]) -> MultiLabelEvaluation:
    num_bad_inputs, num_unpredicted = int((~rows.finite_inputs).sum()), int((~rows.valid).sum())
    warn_about_inputs(num_bad_inputs, "`examples`")
    if num_unpredicted:
        warnings.warn(
            f"{num_unpredicted} of {len(rows.indices)} examples have a NaN logit. They come first "
            "among the top losses, and count as wrong in every label.",
            stacklevel=3,
        )
    found, actual, predicted = cells[:, 1, 1], rows.targets.sum(0), cells[:, :, 1].sum(1)
    wrong = (rows.targets != rows.predictions) | ~rows.valid[:, None]
    order = order_of_losses(rows.losses, rows.indices)[: min(k, len(rows.indices))]
    return MultiLabelEvaluation(
        num_examples=len(rows.indices),
        num_unpredicted=num_unpredicted,
        num_non_finite_inputs=num_bad_inputs,
        label_names=names,
        confusion_matrices=cells,
        precision=ratio(found, predicted),
        recall=ratio(found, actual),
        f1=ratio(2 * found, actual + predicted),
        support=actual,
        subset_accuracy=float((~wrong).all(1).mean()),
        hamming_loss=float(wrong.mean()),
        mean_loss=float(rows.losses.mean(dtype=np.float64)),
        top_losses=rows.rows(order),
        examples=rows,
    )
