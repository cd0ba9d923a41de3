"""Precision, recall and F1 of every class, from the confusion matrix."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jinterp import _check


class Averages(NamedTuple):
    """Means over the classes.

    Attributes:
        precision: mean precision.
        recall: mean recall.
        f1: mean F1.
    """

    precision: float
    recall: float
    f1: float


class ClassificationReport(NamedTuple):
    """Precision, recall, F1 and support of each class; `str` gives it as a table.

    Attributes:
        class_names: `[classes]`.
        precision: `[classes]`, the share of the predictions of a class that are right; 0 where it
            is never predicted.
        recall: `[classes]`, the share of a class that is found; 0 where it never occurs.
        f1: `[classes]`, their harmonic mean; 0 where both are 0.
        support: `[classes]`, how many examples each class has.
        accuracy: the share of right predictions.
        macro: the means over classes, each counted alike.
        weighted: the means over classes, each counted by its support.
        never_predicted: names of the classes that occur and are never predicted.
        never_occurring: names of the classes without an example.
    """

    class_names: list[str]
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    accuracy: float
    macro: Averages
    weighted: Averages
    never_predicted: list[str]
    never_occurring: list[str]

    def __str__(self) -> str:
        width = max(12, *(len(name) for name in self.class_names))
        header = f"{'':{width}}  precision    recall        f1   support"
        columns = zip(
            self.class_names, self.precision, self.recall, self.f1, self.support, strict=True
        )
        total = int(self.support.sum())
        averages = [("macro avg", *self.macro, total), ("weighted avg", *self.weighted, total)]
        lines = [header, ""]
        lines += [_line(width, name, p, r, f, int(n)) for name, p, r, f, n in columns]
        lines += ["", f"{'accuracy':{width}}  {'':9}  {'':8}  {self.accuracy:8.4f}  {total:8d}"]
        lines += [_line(width, *row) for row in averages]
        if self.never_predicted:
            lines += ["", f"never predicted: {', '.join(self.never_predicted)}"]
        if self.never_occurring:
            lines += ["", f"never occurring: {', '.join(self.never_occurring)}"]
        return "\n".join(lines)


def classification_report(
    matrix: Any, *, class_names: Sequence[str] | None = None
) -> ClassificationReport:
    """Precision, recall, F1 and support of every class, and their means.

    Args:
        matrix: `[classes, classes]` counts, rows actual, as `confusion_matrix` returns.
        class_names: names of the classes; None numbers them.

    Returns:
        The numbers; `print` shows them as a table. Ratios of nothing are 0, as in scikit-learn,
        and the classes concerned are named.

    Raises:
        ValueError: the matrix is not square, or `class_names` has another length.

    >>> import numpy as np
    >>> report = classification_report(np.array([[3, 1], [2, 4]]))
    >>> report.precision.tolist(), report.recall.round(3).tolist()
    ([0.6, 0.8], [0.75, 0.667])
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"`matrix` has the shape {matrix.shape}; expected [classes, classes].")
    names = _check.class_names_match(class_names, len(matrix))
    hits, support, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    precision, recall = _ratio(hits, predicted), _ratio(hits, support)
    f1 = _ratio(2 * hits, support + predicted)
    total = support.sum()
    return ClassificationReport(
        names,
        precision,
        recall,
        f1,
        support,
        float(_ratio(hits.sum(), total)),
        Averages(*(float(x.mean()) for x in (precision, recall, f1))),
        Averages(*(float(_ratio(x @ support, total)) for x in (precision, recall, f1))),
        [names[c] for c in np.flatnonzero((predicted == 0) & (support > 0))],
        [names[c] for c in np.flatnonzero(support == 0)],
    )


def _ratio(part: Any, whole: Any) -> np.ndarray:
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)


def _line(width: int, name: str, precision: float, recall: float, f1: float, support: int) -> str:
    return f"{name:{width}}  {precision:9.4f}  {recall:8.4f}  {f1:8.4f}  {support:8d}"
