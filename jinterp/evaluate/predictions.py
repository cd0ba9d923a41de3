"""What the model said of every example, and what its confidence is worth."""

import functools
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from jinterp import _functions
from jinterp._types import (
    AnyArray,
    ApplyFn,
    Batch,
    EitherArray,
    LabelMaps,
    LossFn,
    MapLogits,
    Params,
)
from jinterp.evaluate.calibration import tied_means
from jinterp.evaluate.losses import brier_score, classes_of, cross_entropy, per_example
from jinterp.model.score import probability
from jinterp.stream.fold import fold
from jinterp.stream.reduce import Collect, Reducer, collect, counts

_IMPLAUSIBLE = 0.1  # of chance


class Predictions(NamedTuple):
    """What one pass says of every example: arrays `[n]`, in order of dataset index.

    Attributes:
        indices: the dataset index.
        targets: the actual class; for soft labels, the likeliest.
        predictions: the predicted class, −1 where NaN, +inf or only −inf say nothing.
        losses: the loss.
        target_probabilities: the probability that the model gives to the actual class.
        prediction_probabilities: the probability that it gives to the predicted class.
        brier_scores: Σ_c (p_c − y_c)², from 0 to 2.
        finite_inputs: whether every number of the input is finite.
    """

    indices: AnyArray
    targets: AnyArray
    predictions: AnyArray
    losses: AnyArray
    target_probabilities: AnyArray
    prediction_probabilities: AnyArray
    brier_scores: AnyArray
    finite_inputs: AnyArray

    @property
    def correct(self) -> AnyArray:
        """`[n]` bool: the predicted class is the actual one."""
        return self.predictions == self.targets

    @property
    def valid(self) -> AnyArray:
        """`[n]` bool: the model predicted a class."""
        return self.predictions >= 0

    def rows(self, which: AnyArray) -> "Predictions":
        """The examples at these positions, or where this mask is true."""
        return Predictions(*(column[which] for column in self))


class RiskCoverage(NamedTuple):
    """The error rate among the most confident examples, as a function of how many one keeps.

    Attributes:
        coverage: `[n]`, the share of the examples kept, increasing to 1.
        risk: `[n]`, the error rate among them.
        area: the mean of `risk`, the area under the curve; less is better, and a model whose
            confidence says nothing has its error rate.
    """

    coverage: np.ndarray
    risk: np.ndarray
    area: float


class ErrorAnalysis(NamedTuple):
    """The errors in three kinds, as dataset indices, the most confident first.

    With y the actual class, k the predicted one, and t_k the mean p_k over the examples labelled
    k (how sure the model is of a typical k), an error is

    Attributes:
        likely_label_errors: p_k ≥ t_k and p_y < 1/(10 classes). The model is as sure of k as it
            is of a typical k, and gives the label less than a tenth of chance: look at the label.
        confident_errors: p_k ≥ t_k otherwise. The model is sure, and the label is possible.
        uncertain: p_k < t_k, or no example is labelled k. The model doubts, too.
        thresholds: `[classes]`, t_k; NaN where no example is labelled k.
    """

    likely_label_errors: np.ndarray
    confident_errors: np.ndarray
    uncertain: np.ndarray
    thresholds: np.ndarray


class ScoreDistributions(NamedTuple):
    """How the probability of the actual class is spread, class by class.

    Attributes:
        counts: `[classes, bins]`, examples of each actual class.
        edges: `[bins + 1]`, from 0 to 1.
    """

    counts: np.ndarray
    edges: np.ndarray


def predictions(
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    *,
    loss_fn: LossFn = cross_entropy,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> Predictions:
    """What the model says of every example of a dataset, in one pass.

    It holds about 30 bytes an example, on the host.

    Args:
        apply_fn: `apply_fn(params, x) -> logits [batch, classes]`.
        params: its parameters.
        ds: anything that `batches` takes, with integer classes or soft labels.
        loss_fn: `loss_fn(logits, targets) -> [batch]`.
        mesh: the devices to cut batches over.
        progress: show a progress bar; None shows one for a long pass in a terminal.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> ds = (np.array([[5.0, 0.0], [0.0, 5.0]], np.float32), np.array([0, 0]))
    >>> predictions(apply_fn, jnp.eye(2), ds).correct.tolist()
    [True, False]
    """
    _functions.warn_if_made_anew("loss_fn", loss_fn)
    rows = {"rows": prediction_rows(loss_fn)}
    return fold(rows, apply_fn, params, ds, mesh=mesh, progress=progress)["rows"]


@functools.cache
def prediction_rows(loss_fn: LossFn) -> Collect:
    """What `predictions` keeps of each example."""

    def rows(batch: Batch, logits: Array) -> Predictions:
        targets = classes_of(batch.targets)
        predicted = predicted_classes(logits)
        return Predictions(
            batch.indices,
            targets,
            predicted,
            per_example(loss_fn, logits, batch.targets),
            probability(logits, targets),
            probability(logits, predicted),
            brier_score(logits, batch.targets),
            finite_inputs(batch.x, len(batch.mask)),
        )

    return collect(rows)


def predicted_classes(logits: MapLogits) -> LabelMaps:
    """The likeliest class, −1 where NaN, +inf or only −inf leave no probabilities."""
    usable = jnp.isfinite(logits.max(-1))
    return jnp.where(usable, logits.argmax(-1).astype(jnp.int32), jnp.int32(-1))


@functools.cache
def non_finite_inputs() -> Reducer:
    """How many examples have a NaN or Inf in their input."""

    def cell(batch: Batch, logits: Any) -> Array:
        return finite_inputs(batch.x, len(batch.mask)).astype(jnp.int32)

    return counts(cell, 1)


def warn_about_inputs(num: int, where: str = "jinterp.predictions") -> None:
    """Announce inputs with NaN or Inf; the model may well give finite logits for them."""
    if num:
        warnings.warn(
            f"{num} examples have NaN or infinite inputs; whatever the model says of them counts "
            f"like the rest. {where} says which: `finite_inputs` is False.",
            stacklevel=3,
        )


def finite_inputs(x: Any, num: int) -> Bool[Array, " batch"]:
    leaves = [leaf for leaf in jax.tree.leaves(x) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    finite = [jnp.isfinite(leaf).reshape(num, -1).all(1) for leaf in leaves]
    return functools.reduce(jnp.logical_and, finite, jnp.ones(num, bool))


def risk_coverage(
    confidences: Float[EitherArray, " n"], correct: Bool[EitherArray, " n"]
) -> RiskCoverage:
    """The risk-coverage curve: keep the examples from the most confident on, and count errors.

    Equally confident examples count with their common error rate, which is what a random order
    among them gives on average, so that the order of the data changes nothing.

    Args:
        confidences: `[n]`, any score that is larger where the model is surer.
        correct: `[n]`, whether the prediction was right.

    Source: El-Yaniv and Wiener (2010); Geifman and El-Yaniv (2017).

    >>> import numpy as np
    >>> curve = risk_coverage(np.array([0.9, 0.6, 0.8]), np.array([True, False, True]))
    >>> print(curve.risk.round(3), f"{curve.area:.3f}")
    [0.    0.    0.333] 0.111
    """
    confidences, correct = np.asarray(confidences), np.asarray(correct)
    order = np.argsort(-confidences, kind="stable")
    num_kept = np.arange(1, len(order) + 1)
    risk = np.cumsum(tied_means(confidences[order], ~correct[order])) / num_kept
    return RiskCoverage(num_kept / len(order), risk, float(risk.mean()))


def error_analysis(predictions: Predictions, num_classes: int) -> ErrorAnalysis:
    """The errors as likely label errors, confident errors and uncertain ones.

    Probabilities of examples that the model was trained on flatter it: use held-out data, or
    out-of-sample probabilities.

    Args:
        predictions: what `predictions` or `evaluate` returned.
        num_classes: how many classes the logits have.

    Returns:
        The rule stands in `ErrorAnalysis`.

    Source: the thresholds t_k of confident learning, Northcutt et al. (2021), equation 2, with a
    cut at a tenth of chance in place of its pruning by noise rate. On the CIFAR-10 test set, with
    out-of-sample probabilities, 28 of 54 confirmed label errors are among 120 likely ones, 20
    among 124 confident errors, 6 among 462 uncertain ones.
    """
    rows = predictions.rows(predictions.valid)
    thresholds = _mean_by_class(rows.target_probabilities, rows.targets, num_classes)
    errors = rows.rows(~rows.correct)
    errors = errors.rows(np.argsort(-errors.prediction_probabilities, kind="stable"))
    # An empty class has the threshold NaN, which no probability reaches.
    sure = errors.prediction_probabilities >= thresholds[errors.predictions]
    implausible = errors.target_probabilities < _IMPLAUSIBLE / num_classes
    return ErrorAnalysis(
        errors.indices[sure & implausible],
        errors.indices[sure & ~implausible],
        errors.indices[~sure],
        thresholds,
    )


def score_distributions(
    predictions: Predictions, num_classes: int, *, num_bins: int = 20
) -> ScoreDistributions:
    """How the probability of the actual class is spread, class by class.

    Args:
        predictions: what `predictions` or `evaluate` returned.
        num_classes: how many classes the logits have.
        num_bins: bins of equal width from 0 to 1.
    """
    rows = predictions.rows(predictions.valid)
    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.clip(np.searchsorted(edges, rows.target_probabilities, "right") - 1, 0, num_bins - 1)
    cells = np.bincount(rows.targets * num_bins + bins, minlength=num_classes * num_bins)
    return ScoreDistributions(cells.reshape(num_classes, num_bins), edges)


def _mean_by_class(values: np.ndarray, classes: np.ndarray, num_classes: int) -> np.ndarray:
    sums = np.bincount(classes, values, minlength=num_classes)
    num = np.bincount(classes, minlength=num_classes)
    return np.divide(sums, num, out=np.full(num_classes, np.nan), where=num > 0)
