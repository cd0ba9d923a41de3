"""The power law that the largest eigenvalues follow."""

from typing import NamedTuple

import numpy as np

_FEWEST = 10  # eigenvalues, as WeightWatcher asks for
_LEAST_SPREAD = 1e-9  # mean ln(λ / x_min), below which eigenvalues differ by rounding


class PowerLaw(NamedTuple):
    """p(λ) ∝ λ^−α for λ ≥ x_min; NaN and 0 where there is none."""

    alpha: float
    alpha_error: float
    x_min: float
    ks_distance: float
    num_tail: int


NO_POWER_LAW = PowerLaw(np.nan, np.nan, np.nan, np.nan, 0)


def power_law(eigenvalues: np.ndarray) -> PowerLaw:
    """The fit from the eigenvalue on that brings it closest to those above it."""
    ordered = np.sort(eigenvalues)
    if len(ordered) < _FEWEST:
        return NO_POWER_LAW
    logs = np.log(ordered)
    fits = [_from(logs[first:]) for first in range(len(logs) - 1)]
    first = int(np.argmin([distance for _, distance in fits]))
    alpha, distance = fits[first]
    if not np.isfinite(distance):
        return NO_POWER_LAW
    num_tail = len(ordered) - first
    error = (alpha - 1) / np.sqrt(num_tail)
    return PowerLaw(alpha, float(error), float(ordered[first]), distance, num_tail)


def _from(logs: np.ndarray) -> tuple[float, float]:
    """α of a sorted tail, and the largest distance of its distribution from the steps of theirs."""
    ratios = logs - logs[0]
    spread = ratios.mean()
    if spread < _LEAST_SPREAD:
        return np.nan, np.inf
    below = -np.expm1(-ratios / spread)
    steps = np.arange(len(logs) + 1) / len(logs)
    distance = max((below - steps[:-1]).max(), (steps[1:] - below).max())
    return float(1 + 1 / spread), float(distance)
