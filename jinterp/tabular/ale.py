"""How the model changes with a column, among rows that occur: accumulated local effects."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._question import Question
from jinterp._types import ApplyFn, Params, Score, Target
from jinterp.tabular._accumulate import accumulated, accumulated_pairs, with_errors
from jinterp.tabular._grids import Column, bins_of
from jinterp.tabular._passes import are_finite, asked_of_number, at_points
from jinterp.tabular.partial_dependence import columns_of
from jinterp.tabular.table import Table, table


class Ale(NamedTuple):
    """The accumulated local effects of one column, or of two together.

    Attributes:
        column_names: of the one or two columns.
        edges: of the bins of each `[bins + 1]`; the codes of a categorical column.
        categories: for each column what the codes stand for, None for numbers.
        effect: at the edges `[bins + 1]`, or `[bins + 1, bins + 1]` of two columns; in the unit of
            the output, its mean over the rows 0.
        standard_error: in the same shape, from the spread of the differences within the bins.
        counts: rows in each bin `[bins]`, or `[bins, bins]`; of each category `[categories]`.
        deciles: of each column's values `[9]`, none of a categorical one.
        num_missing: rows left out since a cell of the columns is missing.
    """

    column_names: tuple[str, ...]
    edges: tuple[np.ndarray, ...]
    categories: tuple[tuple[str, ...] | None, ...]
    effect: np.ndarray
    standard_error: np.ndarray
    counts: np.ndarray
    deciles: tuple[np.ndarray, ...]
    num_missing: int


def ale(
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    columns: str | int | Sequence[str | int],
    *,
    target: Target = None,
    score: Score | None = None,
    num_bins: int | None = None,
) -> Ale:
    """How the output changes from bin to bin of a column, added up and centred.

    Δ_k = mean over the rows in bin k of f(right edge, x_i) − f(left edge, x_i); the effect at an
    edge is the sum of the Δ below it, less its mean over the rows. Rows move only within their
    bin, so the model is not asked of rows that do not occur, as by `partial_dependence`.

    Of two columns it is what they do together: the second difference over each cell, added up both
    ways, less both main effects. It is 0 where their effects add.

    A categorical column moves from each category to the next in the order of its codes, of the
    rows in either.

    Args:
        apply_fn: `apply_fn(params, x) -> outputs`, as `partial_dependence` takes it.
        params: its parameters.
        ds: anything that `table` takes; targets are not needed.
        columns: the name or number of one column, or two of numbers.
        target: the class to look at; None is class 1 of two.
        score: in which number of it; None is the probability of a class, and the output itself
            where the targets are floats, as in a regression.
        num_bins: bins of about equally many rows; fewer where values repeat. None is 40 for one
            column, and 10 for each of two.

    Returns:
        An `Ale`. A bin with a single row takes the mean variance of the others. A cell of two
        columns without rows takes its nearest cell's difference; `counts` is 0 there.

    Raises:
        ValueError: a column is unknown or has one value, one of two is categorical, there are
            three classes or more and no target, or the outputs are not finite.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = np.arange(5, dtype=np.float32)[:, None]
    >>> print(ale(apply_fn, jnp.array([2.0]), x, 0, num_bins=2).effect)
    [-3.6  0.4  4.4]

    Source: Apley and Zhu (2020), Visualizing the effects of predictor variables in black box
    supervised learning models; edges, centring and empty cells as their R package ALEPlot has them.
    There the categories are sorted by likeness first.
    """
    ds = table(ds)
    chosen = columns_of(ds, columns)
    num_bins = (40 if len(chosen) == 1 else 10) if num_bins is None else num_bins
    _check.at_least_one("num_bins", num_bins, 40)
    present = ~np.isnan(np.stack([column.values for column in chosen])).any(axis=0)
    chosen = [column._replace(values=column.values[present]) for column in chosen]
    some = ds if present.all() else ds._replace(x=ds.x[present])
    question = asked_of_number(apply_fn, params, some, target, score)
    if len(chosen) == 2:
        edges, effect, error, counts = _of_two(question, some, chosen, num_bins)
    elif chosen[0].categories:
        edges, effect, error, counts = _of_categories(question, some, chosen[0])
    else:
        edges, effect, error, counts = _of_one(question, some, chosen[0], num_bins)
    return Ale(
        tuple(column.name for column in chosen),
        edges,
        tuple(column.categories for column in chosen),
        effect,
        error,
        counts,
        tuple(column.deciles for column in chosen),
        int((~present).sum()),
    )


Effects = tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray, np.ndarray]


def _of_one(question: Question, ds: Table, column: Column, num_bins: int) -> Effects:
    edges = bins_of(column, num_bins)
    cells = _bin(column, edges)
    found = _differences(question, ds, [column], [edges[cells]], [edges[cells + 1]])
    counts = np.bincount(cells, minlength=len(edges) - 1)
    weights = (np.r_[counts, 0] + np.r_[0, counts]) / 2
    effect, error = with_errors(lambda steps: accumulated(steps, weights), found, cells, counts)
    return (edges,), effect, error, counts


def _of_categories(question: Question, ds: Table, column: Column) -> Effects:
    codes, rank, counts = np.unique(column.values, return_inverse=True, return_counts=True)
    if len(codes) < 2:
        bins_of(column, 1)  # says that there is one value
    last = len(codes) - 1
    up, down = np.minimum(rank + 1, last), np.maximum(rank - 1, 0)
    above = _differences(question, ds, [column], [codes[rank]], [codes[up]])
    below = _differences(question, ds, [column], [codes[down]], [codes[rank]])
    found = np.concatenate([above[rank < last], below[rank > 0]])
    steps = np.concatenate([rank[rank < last], down[rank > 0]])
    num_steps = np.bincount(steps, minlength=last)
    effect, error = with_errors(lambda each: accumulated(each, counts), found, steps, num_steps)
    return (codes,), effect, error, counts


def _of_two(question: Question, ds: Table, columns: list[Column], num_bins: int) -> Effects:
    for column in columns:
        if column.categories:
            raise ValueError(
                f"the column {column.name!r} is categorical; expected two columns of numbers. Use "
                "partial_dependence for a map of categories."
            )
    edges = tuple(bins_of(column, num_bins) for column in columns)
    a, b = (_bin(column, each) for column, each in zip(columns, edges, strict=True))
    left, right = edges[0][a], edges[0][a + 1]
    low, high = edges[1][b], edges[1][b + 1]
    found = _differences(question, ds, columns, [left, high], [right, high])
    found = found - _differences(question, ds, columns, [left, low], [right, low])
    shape = len(edges[0]) - 1, len(edges[1]) - 1
    cells = a * shape[1] + b
    counts = np.bincount(cells, minlength=shape[0] * shape[1])
    effect, error = with_errors(
        lambda steps: accumulated_pairs(steps, counts.reshape(shape), edges), found, cells, counts
    )
    return edges, effect, error, counts.reshape(shape)


def _bin(column: Column, edges: np.ndarray) -> np.ndarray:
    """The bin of each row: those on an edge are in the one below it."""
    return np.clip(np.searchsorted(edges, column.values, side="left") - 1, 0, len(edges) - 2)


def _differences(
    question: Question,
    ds: Table,
    columns: Sequence[Column],
    before: Sequence[np.ndarray],
    after: Sequence[np.ndarray],
) -> np.ndarray:
    """The output of each row with its cells of the columns set to `after`, less with `before`."""
    apply_fn, score, params, x, target = question
    numbers = jnp.array([[column.number for column in columns]], jnp.int32)
    found = []
    for cells in (before, after):
        rows = (x, np.stack(cells, axis=1).astype(ds.x.dtype), target)
        number = at_points(_number_with, (apply_fn, score), params, rows, numbers)[:, 0]
        are_finite(number, ds)
        found.append(np.asarray(number, np.float64))
    return found[1] - found[0]


def _number_with(static: Any, params: Params, rows: Any, numbers: Array) -> Array:
    """The number asked for with other cells in the columns of these numbers."""
    apply_fn, score = static
    x, cells, target = rows
    return score(apply_fn(params, x.at[:, numbers].set(cells)), target)
