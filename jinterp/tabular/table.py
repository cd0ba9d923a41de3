"""Rows and named columns, as every function of tables reads them."""

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinterp.tabular import _columns
from jinterp.tabular._columns import Columns, listed


class Table(NamedTuple):
    """Rows, their targets, and what the columns are called.

    Attributes:
        x: `[rows, columns]` floats, NaN where a cell is missing; of a categorical column the codes.
        targets: `[rows, ...]`, None where none were given.
        column_names: one for each column.
        categories: of the categorical columns, what the codes 0, 1, ... stand for.
    """

    x: Any
    targets: Any
    column_names: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]


def table(
    ds: Any, *, column_names: Sequence[str] | None = None, like: Table | None = None
) -> Table:
    """A dataset as rows of numbers with named columns.

    Every function of tables that takes a dataset calls this on it; call it yourself to name the
    columns of an array, or to train on the codes that the model will be asked with.

    Columns of categories, strings and booleans become codes 0 to k − 1: categories of pandas and
    enumerations of polars in their own order, everything else sorted, of the values that occur in
    these rows. For other rows of the same kind, such as a held-out part, give the table that the
    model was trained on as `like`, so that a code means the same. A missing cell is NaN, in a
    categorical column as in one of numbers.

    Args:
        ds: `(features, targets)`, or features alone where no target is needed, or a `Table`. The
            features are a data frame (of pandas, polars, pyarrow), a structured array, or an
            array `[rows, columns]`.
        column_names: of the columns of an array; None calls them x0, x1, ...
        like: a table whose columns, in their order, and codes this one gets, too.

    Returns:
        A `Table`, whose `x` is float32, or float64 where JAX is set to it.

    Raises:
        ValueError: a name repeats, there are no rows, or lengths disagree; or columns or categories
            are others than those of `like`.
        TypeError: a column is of no known kind.

    >>> import numpy as np
    >>> rows = np.array([(1.5, "red"), (2.5, "blue")], [("size", float), ("colour", "U4")])
    >>> found = table((rows, np.array([0, 1])))
    >>> found.x.tolist(), found.categories
    ([[1.5, 1.0], [2.5, 0.0]], {'colour': ('blue', 'red')})
    >>> table(rows[:1], like=found).x.tolist()  # red is 1 here, too
    [[1.5, 1.0]]
    """
    if isinstance(ds, Table):
        found = ds if column_names is None else _renamed(ds, column_names)
        return found if like is None else _like(found, like)
    features, targets = ds if isinstance(ds, tuple) and len(ds) == 2 else (ds, None)
    columns = _read(features, column_names)
    if columns.x.ndim != 2 or 0 in columns.x.shape:
        raise ValueError(
            f"the features have the shape {columns.x.shape}; expected [rows, columns], at least "
            "one of each."
        )
    found = Table(columns.x, _targets(targets, len(columns.x)), columns.names, columns.categories)
    if like is None:
        return found
    is_named = column_names is not None or _has_names(features)
    if not is_named and len(columns.names) == len(like.column_names):
        found = found._replace(column_names=like.column_names)
    return _like(found, like)


def _has_names(features: Any) -> bool:
    return _is_structured(features) or _columns.is_frame(features)


def _is_structured(features: Any) -> bool:
    return isinstance(features, np.ndarray) and features.dtype.names is not None


def _renamed(ds: Table, column_names: Sequence[str]) -> Table:
    names = _names(column_names, ds.x.shape[1])
    of_old = dict(zip(ds.column_names, names, strict=True))
    return ds._replace(
        column_names=names, categories={of_old[old]: each for old, each in ds.categories.items()}
    )


def _like(ds: Table, like: Table) -> Table:
    """The same rows with the columns and the codes of another table."""
    missing = [name for name in like.column_names if name not in ds.column_names]
    others = [name for name in ds.column_names if name not in like.column_names]
    if missing or others:
        what = f"lacks the columns {listed(missing)}" if missing else f"has {listed(others)}, too"
        raise ValueError(
            f"the table {what}; expected the {len(like.column_names)} columns of `like`: "
            f"{listed(like.column_names)}."
        )
    for name in ds.categories.keys() - like.categories.keys():
        raise ValueError(f"the column {name!r} is categorical; expected numbers, as in `like`.")
    x = ds.x[:, np.array([ds.column_names.index(name) for name in like.column_names])]
    if like.categories:
        x = np.array(x)
    for name, categories in like.categories.items():
        number = like.column_names.index(name)
        x[:, number] = _codes_like(name, x[:, number], ds.categories.get(name), categories)
    return Table(x, ds.targets, like.column_names, like.categories)


def _codes_like(
    name: str, codes: np.ndarray, own: tuple[str, ...] | None, categories: tuple[str, ...]
) -> np.ndarray:
    """Codes of some categories as codes of others; NaN stays."""
    present = np.unique(codes[~np.isnan(codes)])
    if own is None:
        unknown = [str(code) for code in present if code not in range(len(categories))]
    else:
        unknown = [own[int(code)] for code in present if own[int(code)] not in categories]
    if unknown:
        raise ValueError(
            f"the column {name!r} has {listed(unknown)}; expected the categories of `like`: "
            f"{listed(categories)}. Leave these rows out, or make their cells missing."
        )
    if own is None:
        return codes
    found = np.full(len(codes), np.nan, codes.dtype)
    for code in present:
        found[codes == code] = categories.index(own[int(code)])
    return found


def _read(features: Any, column_names: Sequence[str] | None) -> Columns:
    dtype = jax.dtypes.canonicalize_dtype(np.float64)
    if _has_names(features):
        if column_names is not None:
            raise ValueError(
                "`column_names` are given, and the features have names of their own; expected "
                "one of the two. Rename the columns there, or leave column_names out."
            )
        read = _columns.of_structured if _is_structured(features) else _columns.of_frame
        return read(features, dtype)
    x = _array(features, dtype)
    if x.ndim != 2:
        return Columns(x, (), {})
    names = [f"x{n}" for n in range(x.shape[1])] if column_names is None else column_names
    return Columns(x, _names(names, x.shape[1]), {})


def _array(features: Any, dtype: Any) -> Any:
    if isinstance(features, jax.Array):
        return features if jnp.issubdtype(features.dtype, jnp.floating) else features.astype(dtype)
    if isinstance(features, np.ma.MaskedArray):
        features = np.ma.filled(features.astype(dtype), np.nan)
    try:
        found = np.asarray(features)
    except ValueError:  # lists of unequal lengths
        found = np.asarray(None)
    if found.dtype.kind not in "biuf":
        raise TypeError(
            f"the features are a {type(features).__name__} of {found.dtype}; expected a data frame "
            "(collect a lazy one first), a structured array, or an array of numbers "
            "[rows, columns]."
        )
    return found.astype(dtype, copy=False)


def _names(column_names: Sequence[str], num_columns: int) -> tuple[str, ...]:
    if isinstance(column_names, str) or len(column_names) != num_columns:
        given = (
            repr(column_names) if isinstance(column_names, str) else f"{len(column_names)} names"
        )
        raise ValueError(
            f"`column_names` is {given} for {num_columns} columns; expected one for each column."
        )
    return _columns.unique_names(column_names)


def _targets(targets: Any, num_rows: int) -> Any:
    if targets is None:
        return None
    found = targets if isinstance(targets, jax.Array) else np.asarray(targets)
    if found.dtype == bool:
        found = found.astype(np.int32)
    if not jnp.issubdtype(found.dtype, jnp.number):
        raise TypeError(
            f"the targets are {found.dtype}; expected numbers. For names of classes: "
            "names, targets = numpy.unique(targets, return_inverse=True)."
        )
    if found.shape[:1] != (num_rows,):
        raise ValueError(
            f"the targets have the shape {found.shape} for {num_rows} rows; expected one for each."
        )
    wide = found.dtype in (np.float64, np.int64) and not isinstance(found, jax.Array)
    return found.astype(jax.dtypes.canonicalize_dtype(found.dtype)) if wide else found


def targets_of(ds: Table) -> Any:
    """The targets, or a named error where there are none."""
    if ds.targets is None:
        raise ValueError(
            "`ds` has no targets, and the score needs them; expected (features, targets)."
        )
    return ds.targets


def column_number(ds: Table, name: str | int) -> int:
    """The place of a column, by its name or number, or a named error."""
    num_columns = len(ds.column_names)
    if isinstance(name, str) and name in ds.column_names:
        return ds.column_names.index(name)
    if isinstance(name, int | np.integer) and -num_columns <= name < num_columns:
        return int(name) % num_columns
    near = difflib.get_close_matches(str(name), ds.column_names, 1)
    advice = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"there is no column {name!r}; expected one of {listed(ds.column_names)}, or a number from "
        f"0 to {num_columns - 1}.{advice}"
    )
