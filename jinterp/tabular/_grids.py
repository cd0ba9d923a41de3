"""Values of a column at which a model is asked."""

from typing import NamedTuple

import numpy as np
from scipy.stats.mstats import mquantiles

from jinterp._trace import held_here
from jinterp.tabular.table import Table, column_number


class Column(NamedTuple):
    """A column of a table, on the host.

    Attributes:
        number: its place.
        name: what it is called.
        values: `[rows]`, NaN where a cell is missing.
        present: those that are not missing, sorted.
        categories: what the codes stand for; None for numbers.
    """

    number: int
    name: str
    values: np.ndarray
    present: np.ndarray
    categories: tuple[str, ...] | None

    @property
    def num_missing(self) -> int:
        return len(self.values) - len(self.present)

    @property
    def deciles(self) -> np.ndarray:
        """`[9]`, 10 % to 90 %; of a categorical column none."""
        return np.quantile(self.present, np.arange(1, 10) / 10) if not self.categories else _NONE


_NONE = np.empty(0)


def column_of(ds: Table, name: str | int) -> Column:
    """A column that has values, or a named error."""
    number = column_number(ds, name)
    name = ds.column_names[number]
    values = held_here(ds.x[:, number])
    present = np.sort(values[~np.isnan(values)])
    if not len(present):
        raise ValueError(
            f"the column {name!r} has no value in {len(values)} rows; expected at least one. Leave "
            "it out."
        )
    if not np.isfinite(present).all():
        raise ValueError(
            f"the column {name!r} has infinite cells, among which no grid lies; expected finite "
            "numbers. Set them to NaN or to a large number."
        )
    return Column(number, name, values, present, ds.categories.get(name))


def grid_of(column: Column, num_points: int, percentiles: tuple[float, float]) -> np.ndarray:
    """The distinct values where there are fewer than points, else equal steps between percentiles.

    As scikit-learn has it.
    """
    distinct = np.unique(column.present)
    if column.categories or len(distinct) < num_points:
        return distinct
    low, high = mquantiles(column.present, prob=percentiles)
    if np.isclose(low, high):
        raise ValueError(
            f"the percentiles {percentiles} of the column {column.name!r} are both {low:g}; "
            "expected two values. Try percentiles=(0, 1)."
        )
    return np.linspace(low, high, num_points).astype(column.values.dtype)


def is_grid(num_points: int, percentiles: tuple[float, float]) -> None:
    """The parts of a grid that a user chooses, or a named error."""
    if num_points < 2:
        raise ValueError(f"`num_points` is {num_points}; expected at least 2. Try 100.")
    if len(percentiles) != 2 or not 0 <= percentiles[0] < percentiles[1] <= 1:
        raise ValueError(
            f"`percentiles` is {percentiles}; expected two shares from 0 to 1, the lower one "
            "first. Try (0.05, 0.95)."
        )


def bins_of(column: Column, num_bins: int) -> np.ndarray:
    """The edges of bins of about equally many rows, fewer where values repeat.

    They are values of the data: the inverse of their distribution function, R's type 1.
    """
    shares = np.linspace(0, 1, num_bins + 1)
    edges = np.unique(np.quantile(column.present, shares, method="inverted_cdf"))
    if len(edges) < 2:
        raise ValueError(
            f"the column {column.name!r} has the one value {edges[0]:g}; expected at least two, "
            "between which the model can change. Leave it out."
        )
    return edges
