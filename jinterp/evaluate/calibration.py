"""How far the model's confidence can be trusted."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

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

    lower: np.ndarray
    upper: np.ndarray
    confidences: np.ndarray
    accuracies: np.ndarray
    counts: np.ndarray


class Calibration(NamedTuple):
    """How far confidence is from accuracy.

    Attributes:
        expected_calibration_error: Σ_b n_b/n |accuracy_b − confidence_b| over bins of equal width,
            from 0 to 1.
        maximum_calibration_error: the largest |accuracy_b − confidence_b| over those bins.
        adaptive_calibration_error: the expected error over bins of equally many examples; None
            for pixels, which are counted as they come and not kept.
        brier_score: the mean of Σ_c (p_c − y_c)², from 0 to 2.
        bins: the bins of equal width.
        adaptive_bins: the bins of equally many examples, or None.
    """

    expected_calibration_error: float
    maximum_calibration_error: float
    adaptive_calibration_error: float | None
    brier_score: float
    bins: ReliabilityBins
    adaptive_bins: ReliabilityBins | None


def calibration(
    probabilities: Float[EitherArray, "n classes"],
    targets: Int[EitherArray, " n"],
    *,
    num_bins: int = 15,
) -> Calibration:
    """Calibration of the predicted class's probability (its confidence).

    The sums are made on the host in float64: in float32, summed one by one, a million examples of
    confidence 0.97 come out 0.017 too high. Equally confident examples count with their common
    accuracy, so that the order of the data changes nothing.

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

    >>> import numpy as np
    >>> result = calibration(np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([0, 0]), num_bins=5)
    >>> print(round(result.expected_calibration_error, 3), round(result.brier_score, 3))
    0.4 0.4
    """
    probabilities, targets = np.asarray(probabilities), np.asarray(targets)
    if probabilities.ndim != 2 or targets.shape != probabilities.shape[:1]:
        raise ValueError(
            f"`probabilities` has the shape {probabilities.shape} and `targets` {targets.shape}; "
            "expected [n, classes] and [n]."
        )
    one_hot = targets[:, None] == np.arange(probabilities.shape[1])
    brier = ((probabilities.astype(np.float64) - one_hot) ** 2).sum(1)
    correct = probabilities.argmax(1) == targets
    return calibration_of(probabilities.max(1, initial=0), correct, brier, num_bins)


def calibration_of(
    confidences: AnyArray, correct: AnyArray, brier_scores: AnyArray, num_bins: int
) -> Calibration:
    """`calibration` from what a pass keeps of each example."""
    if num_bins < 1:
        raise ValueError(f"`num_bins` is {num_bins}; expected at least 1. Try 15.")
    confidences, correct = np.asarray(confidences), np.asarray(correct)
    if len(confidences) == 0:
        raise ValueError("there are no examples with finite logits; calibration needs one.")
    edges = np.linspace(0, 1, num_bins + 1).astype(confidences.dtype)
    bin_above = np.asarray(np.searchsorted(edges, confidences, side="left"))
    by_width = np.clip(bin_above - 1, 0, num_bins - 1)
    bins = _bins(confidences, correct, by_width, num_bins)._replace(
        lower=edges[:-1], upper=edges[1:]
    )
    order = np.argsort(confidences, kind="stable")
    # As numpy.array_split cuts: the first n mod bins bins have one more.
    sizes = [len(part) for part in np.array_split(order, num_bins)]
    by_rank = np.repeat(np.arange(num_bins), sizes)
    sure = confidences[order]
    adaptive = _bins(sure, tied_means(sure, correct[order]), by_rank, num_bins)
    return Calibration(
        _expected_error(bins),
        _maximum_error(bins),
        _expected_error(adaptive),
        float(np.mean(brier_scores, dtype=np.float64)),
        bins,
        adaptive,
    )


def calibration_of_counts(
    counts: np.ndarray, confidences: np.ndarray, correct: np.ndarray, brier: float
) -> Calibration:
    """`Calibration` from sums over what fell in each bin of equal width, `[bins]`."""
    edges = np.linspace(0, 1, len(counts) + 1)
    num = np.where(counts > 0, counts, np.nan)
    bins = ReliabilityBins(edges[:-1], edges[1:], confidences / num, correct / num, counts)
    return Calibration(
        _expected_error(bins),
        _maximum_error(bins),
        None,
        float(brier / counts.sum()),
        bins,
        None,
    )


def tied_means(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Each value as the mean over the examples of equal score; `ordered` is sorted."""
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    tie = np.cumsum(first) - 1
    return (np.bincount(tie, values) / np.bincount(tie))[tie]


def _bins(
    confidences: np.ndarray, correct: np.ndarray, which: np.ndarray, num_bins: int
) -> ReliabilityBins:
    counts = np.bincount(which, minlength=num_bins)
    weights = np.where(counts > 0, counts, np.nan)
    lower, upper = np.full(num_bins, np.inf), np.full(num_bins, -np.inf)
    np.minimum.at(lower, which, confidences)
    np.maximum.at(upper, which, confidences)
    return ReliabilityBins(
        np.where(counts > 0, lower, np.nan),
        np.where(counts > 0, upper, np.nan),
        np.bincount(which, confidences, minlength=num_bins) / weights,
        np.bincount(which, correct, minlength=num_bins) / weights,
        counts,
    )


def _maximum_error(bins: ReliabilityBins) -> float:
    return float(np.nanmax(np.abs(bins.accuracies - bins.confidences)))


def _expected_error(bins: ReliabilityBins) -> float:
    gaps = np.abs(bins.accuracies - bins.confidences)
    return float(np.nansum(bins.counts * gaps) / bins.counts.sum())
