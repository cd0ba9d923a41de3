"""What of the columns makes their importance hard to read: constant, duplicated, missing cells."""

from typing import Any, NamedTuple

import numpy as np

from jinterp._trace import held_here, warn
from jinterp.tabular._columns import listed
from jinterp.tabular.table import Table, table

_FIRST_ROWS = 128  # by which columns that are no duplicates are told apart


class Remarks(NamedTuple):
    """Columns to know of before reading a table's answers.

    Attributes:
        constant: names of the columns with one value.
        duplicated: names of columns that order the rows alike, or in reverse (|Spearman's ρ| = 1).
        missing: how many cells are missing, of the columns where some are.
    """

    constant: tuple[str, ...]
    duplicated: tuple[tuple[str, ...], ...]
    missing: dict[str, int]


def remarks(ds: Any) -> Remarks:
    """Which columns are constant, duplicated, or have missing cells.

    Args:
        ds: anything that `table` takes.

    >>> import numpy as np
    >>> x = np.array([[1.0, 2.0, 7.0], [2.0, 4.0, 7.0], [3.0, np.nan, 7.0]])
    >>> remarks(x)
    Remarks(constant=('x2',), duplicated=(), missing={'x1': 1})
    """
    ds = table(ds)
    x, names = held_here(ds.x), ds.column_names
    constant = [n for n in range(x.shape[1]) if _is_constant(x[:, n])]
    others = [n for n in range(x.shape[1]) if n not in constant]
    alike = _alike(x[:_FIRST_ROWS], others)
    if len(x) > _FIRST_ROWS:
        alike = [part for some in alike for part in _alike(x, some)]
    return Remarks(
        tuple(names[n] for n in constant),
        tuple(tuple(names[n] for n in some) for some in alike),
        missing_cells(ds),
    )


def _is_constant(column: np.ndarray) -> bool:
    return bool((column == column[0]).all() or np.isnan(column).all())


def _alike(x: np.ndarray, columns: list[int]) -> list[list[int]]:
    """The columns in groups of those that order the rows alike, groups of one left out."""
    found: dict[bytes, list[int]] = {}
    for column in columns:
        found.setdefault(_order(x[:, column]), []).append(column)
    return [group for group in found.values() if len(group) > 1]


def _order(column: np.ndarray) -> bytes:
    """The same for columns that order the rows alike or in reverse, with the same ties."""
    missing = np.isnan(column)
    ranks = np.unique(column[~missing], return_inverse=True)[1].astype(np.int32)
    found = min(ranks.tobytes(), (ranks.max(initial=0) - ranks).tobytes())
    return missing.tobytes() + found


def warn_of_columns(found: Remarks) -> None:
    """One warning with the columns whose importance would be misread."""
    parts = []
    if found.duplicated:
        pairs = "; ".join(listed(group) for group in found.duplicated)
        parts.append(
            f"{pairs} order the rows alike, so that a model reads one in place of the other and "
            "the importance of each is too low. Permute them together: "
            "groups=jinterp.correlated_columns(ds)."
        )
    if found.constant:
        parts.append(f"{listed(found.constant)} have one value, and so no importance.")
    if parts:
        warn("columns: " + " ".join(parts))


def missing_cells(ds: Table) -> dict[str, int]:
    """How many cells are missing, of the columns where some are."""
    num_missing = np.isnan(held_here(ds.x)).sum(axis=0)
    return {ds.column_names[n]: int(num_missing[n]) for n in np.flatnonzero(num_missing)}
