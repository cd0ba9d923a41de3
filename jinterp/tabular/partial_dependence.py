"""What the model says on average, with a column set to each of its values."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp._question import Question
from jinterp._types import ApplyFn, Params, Score, Target
from jinterp.tabular._grids import Column, column_of, grid_of, is_grid
from jinterp.tabular._passes import are_finite, asked_of_number, at_points, in_parts, number_at
from jinterp.tabular.table import Table, table

BAND = (0.05, 0.95)


class PartialDependence(NamedTuple):
    """The mean of a model's output at values of one column, or of two.

    Attributes:
        column_names: of the one or two columns.
        grids: the values of each, `[points]`.
        categories: for each column what the codes stand for, None for numbers.
        mean: `[points]`, or `[points, points]` of two columns; in the unit of the output.
        standard_error: of the mean over the rows, in the same shape.
        lower: 5 % of the rows lie below it, in the same shape.
        upper: 5 % of the rows lie above it.
        deciles: of each column's values `[9]`, none of a categorical one.
        num_missing: rows of each column whose cell is missing; the grid does not know of them.
    """

    column_names: tuple[str, ...]
    grids: tuple[np.ndarray, ...]
    categories: tuple[tuple[str, ...] | None, ...]
    mean: np.ndarray
    standard_error: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    deciles: tuple[np.ndarray, ...]
    num_missing: tuple[int, ...]


def partial_dependence(
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    columns: str | int | Sequence[str | int],
    *,
    target: Target = None,
    score: Score | None = None,
    num_points: int = 100,
    percentiles: tuple[float, float] = (0.05, 0.95),
) -> PartialDependence:
    """The mean output with a column set to a value, in every row: 1/n Σ_i f(v, x_i without it).

    The rows keep their other columns, so with correlated columns the model is asked of rows that
    do not occur; `ale` is not.

    Args:
        apply_fn: `apply_fn(params, x) -> outputs`: `[rows]` or `[rows, 1]` of a regression, which
            are read as they are, or logits `[rows, classes]`.
        params: its parameters.
        ds: anything that `table` takes; targets are not needed.
        columns: the name or number of one column, or two for a map.
        target: the class to look at; None is class 1 of two.
        score: in which number of it; None is the probability of a class, and the output itself
            where the targets are floats, as in a regression.
        num_points: of the grid, in equal steps. A column with fewer values has these, a
            categorical one its categories.
        percentiles: where the grid begins and ends, as shares.

    Returns:
        A `PartialDependence`. The standard error is that of the mean over the rows given: it tells
        nothing of how another training would have turned out.

    Raises:
        ValueError: a column is unknown, there are three classes or more and no target, or the
            outputs are not finite.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 4.0]], np.float32)
    >>> found = partial_dependence(apply_fn, jnp.array([3.0, 1.0]), x, 0)
    >>> found.grids[0].tolist(), found.mean.tolist()
    ([0.0, 1.0, 2.0], [2.0, 5.0, 8.0])

    Source: Friedman (2001), Greedy function approximation, section 8.2. The grid is scikit-learn's.
    """
    ds = table(ds)
    is_grid(num_points, percentiles)
    chosen = columns_of(ds, columns)
    question = asked_of_number(apply_fn, params, ds, target, score)
    grids = tuple(grid_of(column, num_points, percentiles) for column in chosen)
    parts = [_summary(values) for values in numbers_on_grid(question, ds, chosen, grids)]
    shape = tuple(map(len, grids))
    mean, error, lower, upper = (
        np.concatenate(each).reshape(shape) for each in zip(*parts, strict=True)
    )
    return PartialDependence(
        tuple(column.name for column in chosen),
        grids,
        tuple(column.categories for column in chosen),
        mean,
        error,
        lower,
        upper,
        tuple(column.deciles for column in chosen),
        tuple(column.num_missing for column in chosen),
    )


def columns_of(ds: Table, columns: Any) -> list[Column]:
    """One column or two, or a named error."""
    names: list[Any] = [columns] if np.ndim(columns) == 0 else list(columns)
    if len(names) not in (1, 2):
        raise ValueError(f"`columns` are {names}; expected one column, or two for a map.")
    found = [column_of(ds, name) for name in names]
    if len({column.number for column in found}) < len(found):
        raise ValueError(f"`columns` are {names}, the same twice; expected two columns.")
    return found


def numbers_on_grid(
    question: Question, ds: Table, columns: Sequence[Column], grids: Sequence[np.ndarray]
) -> Iterator[np.ndarray]:
    """The output of every row with the columns set to the points of the grid, `[rows, points]`.

    In parts of the points that fit the memory budget.
    """
    values = np.stack([each.ravel() for each in np.meshgrid(*grids, indexing="ij")], axis=1)
    numbers = [column.number for column in columns]
    wide = np.zeros((len(values), ds.x.shape[1]), ds.x.dtype)
    wide[:, numbers] = values
    mask = np.isin(np.arange(ds.x.shape[1]), numbers)
    left = len(values)
    for part in in_parts(len(values), 8 * question.num_examples):
        found = numbers_at(question, ds, np.broadcast_to(mask, wide.shape)[part], wide[part])
        yield found[:, :left]
        left -= len(part)


def numbers_at(question: Question, ds: Table, masks: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The output of every row with the columns of each mask set to values, `[rows, points]`."""
    apply_fn, score, params, x, target = question
    points = (jnp.asarray(masks), jnp.asarray(values))
    found: Array = at_points(number_at, (apply_fn, score), params, (x, target), points)
    are_finite(found, ds)
    return np.asarray(found, np.float64)


def _summary(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard error, and the band over the rows."""
    num_rows = len(values)
    ddof = 1 if num_rows > 1 else 0
    error = values.std(axis=0, ddof=ddof) / np.sqrt(num_rows)
    lower, upper = np.quantile(values, BAND, axis=0)
    return values.mean(axis=0), error, lower, upper
