"""Which classes the model takes for which."""

import functools
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int

from jinterp import _check
from jinterp._types import AnyArray, ApplyFn, Batch, EitherArray, Params
from jinterp.evaluate.losses import classes_of
from jinterp.evaluate.predictions import non_finite_inputs, predicted_classes, warn_about_inputs
from jinterp.stream.fold import fold
from jinterp.stream.reduce import Reducer, counts

_MOST_CLASSES = 46_340  # the cells are counted by an int32


class ConfusedPair(NamedTuple):
    """A class taken for another.

    Attributes:
        actual: the class, or its name.
        predicted: what it was taken for.
        num_examples: how often.
    """

    actual: int | str
    predicted: int | str
    num_examples: int


def confusion_matrix(
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    *,
    num_classes: int | None = None,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> Int[np.ndarray, "classes classes"]:
    """How often each actual class (row) was predicted as each class (column).

    Args:
        apply_fn: `apply_fn(params, x) -> logits [batch, classes]`.
        params: its parameters.
        ds: anything that `batches` takes, with integer classes or soft labels (their likeliest).
        num_classes: rows and columns; None takes the number of logits, and it cannot be less.
        mesh: the devices to cut batches over.
        progress: show a progress bar; None shows one for a long pass in a terminal.

    Returns:
        `[classes, classes]` int64, counted by segment_sum on the device. Examples whose logits are
        NaN, +inf or only −inf stand in no cell, and a warning says how many there are.

    Raises:
        ValueError: `num_classes` is less than the logits have, or a target is out of range.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> ds = (np.array([[5.0, 0.0], [0.0, 5.0]], np.float32), np.array([0, 0]))
    >>> confusion_matrix(apply_fn, jnp.eye(2), ds).tolist()
    [[1, 1], [0, 0]]
    """
    reducers = {"cells": confusion_cells(num_classes), "inputs": non_finite_inputs()}
    found = fold(reducers, apply_fn, params, ds, mesh=mesh, progress=progress)
    matrix, num_unpredicted = split_cells(found["cells"])
    warn_about_inputs(int(found["inputs"][0]))
    if num_unpredicted:
        warnings.warn(
            f"{num_unpredicted} examples have NaN or infinite logits and stand in no cell of the "
            "confusion matrix. jinterp.predictions says which: their prediction is -1.",
            stacklevel=2,
        )
    return matrix


@functools.cache
def confusion_cells(num_classes: int | None = None, num_names: int | None = None) -> Reducer:
    """Counts of the cells target · classes + prediction, and last those of no prediction."""

    def num_cells(logits: AnyArray) -> int:
        classes = _classes(logits)
        return classes**2 + 1

    def _classes(logits: AnyArray) -> int:
        classes = logits.shape[1] if num_classes is None else num_classes
        if num_names is not None:
            _check.num_names_match(num_names, classes)
        if classes < logits.shape[1]:
            raise ValueError(
                f"`num_classes` is {classes}; the model has {logits.shape[1]} logits. Use "
                f"num_classes={logits.shape[1]} or more."
            )
        if classes > _MOST_CLASSES:
            raise ValueError(
                f"`num_classes` is {classes}; a confusion matrix is counted for {_MOST_CLASSES} "
                "at most. Group the classes first."
            )
        return classes

    def cell(batch: Batch, logits: Array) -> Array:
        classes = _classes(logits)
        predicted = predicted_classes(logits)
        cells = classes_of(batch.targets) * classes + predicted
        return jnp.where(predicted < 0, jnp.int32(classes**2), cells)

    return counts(cell, num_cells)


def split_cells(cells: np.ndarray) -> tuple[Int[np.ndarray, "classes classes"], int]:
    """The matrix, and how many examples have no prediction."""
    classes = int(np.sqrt(len(cells) - 1))
    return cells[:-1].reshape(classes, classes), int(cells[-1])


def most_confused(
    matrix: Int[EitherArray, "classes classes"],
    *,
    class_names: Sequence[str] | None = None,
    min_count: int = 1,
) -> list[ConfusedPair]:
    """The pairs of classes most often confused: the cells off the diagonal, largest first.

    Args:
        matrix: `[classes, classes]` counts, rows actual.
        class_names: names to give in place of numbers.
        min_count: leave out pairs confused less often.

    Returns:
        `(actual, predicted, num_examples)` of each, ties by actual and predicted class.

    Raises:
        ValueError: `class_names` has another length than the matrix.

    >>> import numpy as np
    >>> most_confused(np.array([[3, 1], [2, 4]]), class_names=["cat", "dog"])[0]
    ConfusedPair(actual='dog', predicted='cat', num_examples=2)
    """
    matrix = np.asarray(jax.device_get(matrix))
    names: Sequence[int | str] = range(len(matrix))
    if class_names is not None:
        names = _check.class_names_match(class_names, len(matrix))
    off_diagonal = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
    actual, predicted = np.nonzero(off_diagonal >= max(min_count, 1))
    order = np.argsort(-off_diagonal[actual, predicted], kind="stable")
    return [
        ConfusedPair(names[a], names[p], int(matrix[a, p]))
        for a, p in zip(actual[order], predicted[order], strict=True)
    ]
