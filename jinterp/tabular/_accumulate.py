"""Differences over bins, added up and centred; every step is linear in them."""

from collections.abc import Callable

import numpy as np


def with_errors(
    accumulate: Callable[[np.ndarray], np.ndarray],
    differences: np.ndarray,
    cells: np.ndarray,
    counts: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The accumulated means of the cells, and the standard error that their spread gives.

    Args:
        accumulate: linear, `[cells, ...] -> [*edges, ...]`.
        differences: of the rows.
        cells: in which cell each row lies.
        counts: rows in each cell.
    """
    total = np.bincount(cells, differences, minlength=len(counts))
    means = np.divide(total, counts, where=counts > 0, out=np.full(len(counts), np.nan))
    squares = np.bincount(cells, (differences - means[cells]) ** 2, minlength=len(counts))
    several = counts > 1
    variances = np.divide(squares, counts - 1, where=several, out=np.full(len(counts), np.nan))
    usual = variances[several].mean() if several.any() else 0.0
    of_mean = np.where(counts > 0, np.where(several, variances, usual) / np.maximum(counts, 1), 0)
    weights = accumulate(np.eye(len(counts)))
    effect = accumulate(np.where(counts > 0, means, 0)[:, None])[..., 0]
    return effect, np.sqrt(weights**2 @ of_mean)


def accumulated(steps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums of the steps from zero on, less their weighted mean: `[bins, ...] -> [bins + 1, ...]`.

    Args:
        steps: differences over the bins.
        weights: of the edges, `[bins + 1]`.
    """
    sums = np.concatenate([np.zeros_like(steps[:1]), np.cumsum(steps, axis=0)])
    return sums - np.tensordot(weights / weights.sum(), sums, 1)


def accumulated_pairs(
    steps: np.ndarray, counts: np.ndarray, edges: tuple[np.ndarray, ...]
) -> np.ndarray:
    """Second differences added up both ways, less both main effects, and centred.

    Args:
        steps: `[bins · bins, ...]`.
        counts: rows in each cell `[bins, bins]`; a cell without takes the nearest one's step.
        edges: of the bins of both columns.
    """
    steps = steps[_nearest_filled(counts, edges)].reshape(*counts.shape, -1)
    sums = np.zeros((counts.shape[0] + 1, counts.shape[1] + 1, steps.shape[-1]))
    sums[1:, 1:] = steps.cumsum(axis=0).cumsum(axis=1)
    first = _main_effect(np.diff(sums, axis=0), counts)
    second = _main_effect(np.diff(sums, axis=1).swapaxes(0, 1), counts.T)
    together = sums - first[:, None] - second[None]
    corners = together[:-1, :-1] + together[:-1, 1:] + together[1:, :-1] + together[1:, 1:]
    return together - np.tensordot(counts / counts.sum(), corners / 4, 2)


def _main_effect(rises: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """What the sums hold of the first column alone: `[bins, bins + 1, ...] -> [bins + 1, ...]`."""
    shares = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))[..., None]
    mean = (shares * (rises[:, :-1] + rises[:, 1:]) / 2).sum(axis=1)
    return np.concatenate([np.zeros_like(mean[:1]), mean.cumsum(axis=0)])


def _nearest_filled(counts: np.ndarray, edges: tuple[np.ndarray, ...]) -> np.ndarray:
    """The cell whose difference each cell takes `[bins · bins]`: its own, or the nearest."""
    middles = [(each[1:] + each[:-1]) / 2 / (each[-1] - each[0]) for each in edges]
    places = np.stack([each.ravel() for each in np.meshgrid(*middles, indexing="ij")], axis=1)
    filled = np.flatnonzero(counts)
    found = np.arange(counts.size)
    for empty in np.flatnonzero(counts == 0):
        found[empty] = filled[((places[filled] - places[empty]) ** 2).sum(axis=1).argmin()]
    return found
