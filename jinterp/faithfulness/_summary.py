"""Means, intervals and ranks of numbers `[explainers, metrics, examples]`."""

import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import numpy as np
import scipy.stats

from jinterp._trace import warn

Direction = Literal["low", "high", "neither"]

_ENOUGH = 0.5  # of the examples, of which what is ranked has more


class Summary(NamedTuple):
    """Arrays `[explainers, metrics]`, as `Comparison` has them."""

    means: np.ndarray
    low: np.ndarray
    high: np.ndarray
    num_counted: np.ndarray
    ranks: np.ndarray


def summary(
    values: np.ndarray,
    directions: Sequence[Direction],
    key: jax.Array,
    num_resamples: int,
    level: float,
) -> Summary:
    """Over the same examples for all that are ranked.

    Args:
        values: `[explainers, metrics, examples]`, NaN or infinite where there is no number.
        directions: of the metrics, which end is good.
        key: for the intervals.
        num_resamples: as `compare` takes it.
        level: as `compare` takes it.
    """
    has = np.isfinite(values)
    is_ranked = has.mean(axis=2) > _ENOUGH
    in_common = (has | ~is_ranked[..., None]).all(axis=0)
    counted = has & (in_common | ~is_ranked[..., None])
    if num := int((is_ranked.any(axis=0) & ~in_common.any(axis=1)).sum()):
        warn(
            f"`compare`: {num} of {len(directions)} metrics have no example with a number from "
            "every explainer, and no means. Leave out explainers with few numbers."
        )
    means = _mean(values, counted)
    low, high = _intervals(values, counted, key, num_resamples, level)
    ranks = np.full(means.shape, np.nan)
    for number, direction in enumerate(directions):
        if direction != "neither":
            column = means[:, number] if direction == "low" else -means[:, number]
            rounded = [float(f"{mean:.5g}") for mean in column]
            of_ranked = np.where(is_ranked[:, number], rounded, np.nan)
            ranks[:, number] = scipy.stats.rankdata(of_ranked, nan_policy="omit")
    return Summary(means, low, high, counted.sum(axis=2), ranks)


def _mean(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Over the examples that count; NaN where none does."""
    num = counted.sum(axis=-1)
    total = np.where(counted, values, 0).sum(axis=-1)
    return np.where(num > 0, total / np.maximum(num, 1), np.nan)


def _intervals(
    values: np.ndarray, counted: np.ndarray, key: jax.Array, num_resamples: int, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles of the means over resampled examples, the same for all."""
    num = values.shape[2]
    drawn = []
    for own in jax.random.split(key, num_resamples):
        rows = np.asarray(jax.random.randint(own, (num,), 0, num, np.int32))
        drawn.append(_mean(values[..., rows], counted[..., rows]))
    ends = (1 - level) / 2, (1 + level) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a metric without any number
        low, high = np.nanquantile(drawn, ends, axis=0)
    return low, high
