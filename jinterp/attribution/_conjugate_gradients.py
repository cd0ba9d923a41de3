"""Conjugate gradients for several right-hand sides, whose products are made all at once."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Solved(NamedTuple):
    """Solutions of A s = b, a row for each b.

    Attributes:
        solutions: `[rows, size]`.
        residuals: `[rows]`, ‖b − A s‖ / ‖b‖, from a product made anew.
        curvatures: `[rows]`, the least d · A d / ‖d‖² of the directions d taken; where one is not
            positive, A is not positive definite, and the row was left there.
        num_products: made of each row.
    """

    solutions: np.ndarray
    residuals: np.ndarray
    curvatures: np.ndarray
    num_products: int


def conjugate_gradients(
    product: Callable[[np.ndarray], np.ndarray],
    right: np.ndarray,
    *,
    tolerance: float,
    num_iterations: int,
) -> Solved:
    """Solve A s = b for each row b, each until ‖b − A s‖ ≤ tolerance · ‖b‖.

    Args:
        product: A d for rows d, `[rows, size]`.
        right: the rows b.
        tolerance: relative to ‖b‖.
        num_iterations: the most products, but for the one that tells the residuals.

    Source: Hestenes and Stiefel 1952.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # the residuals tell
        return _solved(product, right, tolerance, num_iterations)


def _solved(
    product: Callable[[np.ndarray], np.ndarray],
    right: np.ndarray,
    tolerance: float,
    num_iterations: int,
) -> Solved:
    solution, residual, direction = np.zeros_like(right), right.copy(), right.copy()
    squares = _dots(right, right)
    goal = tolerance**2 * squares
    curvatures = np.full(len(right), np.inf)
    num_products = 0
    while num_products < num_iterations:
        is_open = (squares > goal) & (curvatures > 0)
        if not is_open.any():
            break
        image = product(direction)
        num_products += 1
        bend = _dots(direction, image)
        found = bend / _divisor(_dots(direction, direction))
        curvatures = np.where(is_open, np.minimum(curvatures, found), curvatures)
        is_open &= bend > 0
        step = np.where(is_open, squares / _divisor(bend), 0).astype(right.dtype)[:, None]
        solution += step * direction
        residual -= step * image
        following = np.where(is_open, _dots(residual, residual), squares)
        turn = np.where(is_open, following / _divisor(squares), 0).astype(right.dtype)[:, None]
        direction = residual + turn * direction
        squares = following
    missing = right - product(solution)
    norms = np.sqrt(_dots(right, right))
    residuals = np.sqrt(_dots(missing, missing)) / _divisor(norms)
    return Solved(solution, residuals, curvatures, num_products + 1)


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("rs,rs->r", a, b, dtype=np.float64)


def _divisor(values: np.ndarray) -> np.ndarray:
    return np.where(values == 0, 1, values)
