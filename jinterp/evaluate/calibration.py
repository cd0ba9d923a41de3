"""How far the model's confidence can be trusted."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jinterp._types import AnyArray, EitherArray


class ReliabilityBins(NamedTuple):
    """Examples grouped by confidence: arrays `[bins]`, NaN where a bin is empty.

    Attributes:
        lower: the least confidence that belongs to the bin (adaptive bins: that is in it).
        upper: the largest.
        confidences: the mean confidence in it.
        accuracies: the share of right predictions in it.
        counts: how many examples are in it.
    """

    lower: Array
    upper: Array
    confidences: Array
    accuracies: Array
    counts: Array


class Calibration(NamedTuple):
    """How far confidence is from accuracy.

    Attributes:
        expected_calibration_error: Σ_b n_b/n |accuracy_b − confidence_b| over bins of equal width,
            from 0 to 1.
        maximum_calibration_error: the largest |accuracy_b − confidence_b| over those bins.
        adaptive_calibration_error: the expected error over bins of equally many examples.
        brier_score: the mean of Σ_c (p_c − y_c)², from 0 to 2.
        bins: the bins of equal width.
        adaptive_bins: the bins of equally many examples.
    """

    expected_calibration_error: Array
    maximum_calibration_error: Array
    adaptive_calibration_error: Array
    brier_score: Array
    bins: ReliabilityBins
    adaptive_bins: ReliabilityBins


def calibration(
    probabilities: Float[EitherArray, "n classes"],
    targets: Int[EitherArray, " n"],
    *,
    num_bins: int = 15,
) -> Calibration:
    """Calibration of the predicted class's probability (its confidence).

    Args:
        probabilities: `[n, classes]`, each row summing to 1.
        targets: `[n]` integer classes.
        num_bins: bins of each kind.

    Returns:
        Expected, maximum and adaptive calibration error, the Brier score, and the bins that a
        reliability diagram shows. A bin of equal width takes confidences in (lower, upper].

    Raises:
        ValueError: there are no examples or bins, or the lengths differ.

    Source: Guo et al. (2017), equations 3 and 5; Nguyen and O'Connor (2015) for adaptive bins;
    Brier (1950).

    >>> import jax.numpy as jnp
    >>> result = calibration(jnp.array([[0.8, 0.2], [0.4, 0.6]]), jnp.array([0, 0]), num_bins=5)
    >>> print(result.expected_calibration_error.round(3), result.brier_score.round(3))
    0.4 0.4
    """
    probabilities, targets = jnp.asarray(probabilities), jnp.asarray(targets)
    if probabilities.ndim != 2 or targets.shape != probabilities.shape[:1]:
        raise ValueError(
            f"`probabilities` has the shape {probabilities.shape} and `targets` {targets.shape}; "
            "expected [n, classes] and [n]."
        )
    one_hot = jax.nn.one_hot(targets, probabilities.shape[1], dtype=probabilities.dtype)
    brier = ((probabilities - one_hot) ** 2).sum(1)
    correct = probabilities.argmax(1) == targets
    return calibration_of(probabilities.max(1), correct, brier, num_bins)


def calibration_of(
    confidences: AnyArray, correct: AnyArray, brier_scores: AnyArray, num_bins: int
) -> Calibration:
    """`calibration` from what a pass keeps of each example."""
    if num_bins < 1:
        raise ValueError(f"`num_bins` is {num_bins}; expected at least 1. Try 15.")
    if len(confidences) == 0:
        raise ValueError("there are no examples with finite logits; calibration needs one.")
    return _calibration(confidences, correct, brier_scores, num_bins)


@functools.partial(jax.jit, static_argnames="num_bins")
def _calibration(confidences: Array, correct: Array, brier: Array, num_bins: int) -> Calibration:
    num = len(confidences)
    edges = jnp.linspace(0, 1, num_bins + 1, dtype=confidences.dtype)
    by_width = jnp.clip(jnp.searchsorted(edges, confidences, side="left") - 1, 0, num_bins - 1)
    bins = _bins(confidences, correct, by_width, num_bins)._replace(
        lower=edges[:-1], upper=edges[1:]
    )
    rank = jnp.argsort(jnp.argsort(confidences, stable=True))
    # As numpy.array_split cuts: the first n mod bins bins have one more.
    starts = jnp.array([-(-bin_ * num // num_bins) for bin_ in range(num_bins)])
    adaptive = _bins(
        confidences, correct, jnp.searchsorted(starts, rank, side="right") - 1, num_bins
    )
    return Calibration(
        _expected_error(bins),
        jnp.nanmax(jnp.abs(bins.accuracies - bins.confidences)),
        _expected_error(adaptive),
        brier.mean(),
        bins,
        adaptive,
    )


def _bins(confidences: Array, correct: Array, which: Array, num_bins: int) -> ReliabilityBins:
    def total(values: Array) -> Array:
        return jax.ops.segment_sum(values, which, num_segments=num_bins)

    counts = total(jnp.ones(len(which), jnp.int32))
    weights = jnp.where(counts > 0, counts.astype(confidences.dtype), jnp.nan)
    return ReliabilityBins(
        jax.ops.segment_min(confidences, which, num_segments=num_bins),
        jax.ops.segment_max(confidences, which, num_segments=num_bins),
        total(confidences) / weights,
        total(correct.astype(confidences.dtype)) / weights,
        counts,
    )


def _expected_error(bins: ReliabilityBins) -> Array:
    gaps = jnp.abs(bins.accuracies - bins.confidences)
    weights = bins.counts.astype(gaps.dtype) / bins.counts.sum().astype(gaps.dtype)
    return jnp.where(bins.counts > 0, weights * gaps, jnp.zeros_like(gaps)).sum()
