"""What the model says of single rows, with a column set to each of its values."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._types import ApplyFn, Params, Score, Target
from jinterp.tabular._grids import column_of, grid_of, is_grid
from jinterp.tabular._passes import asked_of_number
from jinterp.tabular.partial_dependence import numbers_on_grid
from jinterp.tabular.table import table


class Ice(NamedTuple):
    """The output of single rows at values of a column.

    Attributes:
        column_name: of the column.
        grid: its values `[points]`.
        categories: what the codes stand for, None for numbers.
        curves: `[rows, points]`, in the unit of the output; centred ones begin with 0.
        rows: which rows they are `[rows]`.
        centred: whether each curve has its first value taken away.
        deciles: of the column's values `[9]`, none of a categorical one.
        num_missing: rows whose cell is missing; the grid does not know of them.
    """

    column_name: str
    grid: np.ndarray
    categories: tuple[str, ...] | None
    curves: np.ndarray
    rows: np.ndarray
    centred: bool
    deciles: np.ndarray
    num_missing: int


def ice(
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    column: str | int,
    *,
    target: Target = None,
    score: Score | None = None,
    num_curves: int | None = None,
    centred: bool = False,
    num_points: int = 100,
    percentiles: tuple[float, float] = (0.05, 0.95),
    key: Array | None = None,
) -> Ice:
    """The output of each row with a column set to a value: f(v, x_i without it).

    Their mean is the partial dependence. Where curves cross, the column acts together with others;
    centring shows it.

    Args:
        apply_fn: `apply_fn(params, x) -> outputs`, as `partial_dependence` takes it.
        params: its parameters.
        ds: anything that `table` takes; targets are not needed.
        column: the name or number of the column.
        target: the class to look at; None is class 1 of two.
        score: in which number of it; None is the probability of a class, and the output itself
            where the targets are floats, as in a regression.
        num_curves: how many rows to draw by `key`; None takes all.
        centred: take away each curve's first value.
        num_points: of the grid, as in `partial_dependence`.
        percentiles: where the grid begins and ends, as shares.
        key: for `num_curves`.

    Returns:
        An `Ice`.

    Raises:
        ValueError: as `partial_dependence`; or `num_curves` is not from 1 to the rows there are.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return x[:, 0] * x[:, 1]
    >>> x = np.array([[0.0, 1.0], [1.0, 3.0]], np.float32)
    >>> ice(apply_fn, None, x, 0).curves.tolist()
    [[0.0, 1.0], [0.0, 3.0]]

    Source: Goldstein et al. (2015), Peeking inside the black box.
    """
    ds = table(ds)
    is_grid(num_points, percentiles)
    rows = _rows(len(ds.x), num_curves, key)
    of_column = column_of(ds, column)
    some = ds._replace(x=ds.x[rows])
    question = asked_of_number(apply_fn, params, some, target, score)
    grid = grid_of(of_column, num_points, percentiles)
    curves = np.concatenate(list(numbers_on_grid(question, some, [of_column], [grid])), axis=1)
    return Ice(
        of_column.name,
        grid,
        of_column.categories,
        curves - curves[:, :1] if centred else curves,
        rows,
        centred,
        of_column.deciles,
        of_column.num_missing,
    )


def _rows(num_rows: int, num_curves: int | None, key: Array | None) -> np.ndarray:
    if num_curves is None:
        return np.arange(num_rows)
    _check.at_least_one("num_curves", num_curves, 50)
    _check.within("num_curves", num_curves, 1, num_rows)
    _check.is_key(key)
    order = jax.random.permutation(jnp.asarray(key), num_rows)
    return np.sort(np.asarray(order)[:num_curves])
