"""Columns of a data frame or a structured array as numbers, categories as codes."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np

_MOST_SHOWN = 5


class Columns(NamedTuple):
    """Named columns as numbers.

    Attributes:
        x: `[rows, columns]`, NaN where a cell is missing.
        names: of the columns.
        categories: of those columns that hold codes, the names of the codes.
    """

    x: np.ndarray
    names: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]


def is_frame(data: Any) -> bool:
    """Whether this is a data frame that narwhals knows: of pandas, polars, pyarrow, ..."""
    try:
        native = nw.from_native(data, eager_only=True, pass_through=True)
    except (TypeError, nw.exceptions.NarwhalsError):
        return hasattr(data, "columns")
    return isinstance(native, nw.DataFrame)


def of_frame(data: Any, dtype: Any) -> Columns:
    """The columns of a data frame."""
    try:
        frame = nw.from_native(data, eager_only=True)
        names = frame.columns
    except nw.exceptions.DuplicateError:
        names = list(data.columns)
    unique_names(names)
    return _joined(names, (_of_series(frame[name]) for name in names), dtype)


def of_structured(data: np.ndarray, dtype: Any) -> Columns:
    """The fields of a structured array."""
    assert data.dtype.names is not None
    return _joined(data.dtype.names, (_of_array(n, data[n]) for n in data.dtype.names), dtype)


def unique_names(names: Iterable[Any]) -> tuple[str, ...]:
    """The names as strings, or a named error where one repeats."""
    found = tuple(map(str, names))
    repeated = sorted({name for name in found if found.count(name) > 1})
    if repeated:
        raise ValueError(
            f"the column names {listed(repeated)} repeat; expected each once. Rename the columns, "
            "or pass column_names= with an array."
        )
    return found


def listed(names: Sequence[Any]) -> str:
    """Names for an error: the first few, and how many more there are."""
    shown = ", ".join(repr(str(name)) for name in names[:_MOST_SHOWN])
    more = len(names) - _MOST_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _joined(names: Iterable[Any], columns: Iterable[Any], dtype: Any) -> Columns:
    names = tuple(map(str, names))
    values, categories = zip(*columns, strict=True) if names else ((), ())
    known = {n: each for n, each in zip(names, categories, strict=True) if each is not None}
    x = np.stack([np.asarray(each, dtype) for each in values], axis=1) if names else np.empty((0,))
    return Columns(x, names, known)


def _of_series(series: Any) -> tuple[np.ndarray, tuple[str, ...] | None]:
    kind = series.dtype
    if kind.is_numeric():
        return series.cast(nw.Float64).to_numpy(), None
    if isinstance(kind, nw.Enum) or (
        isinstance(kind, nw.Categorical) and series.implementation.is_pandas_like()
    ):
        return _codes(series.to_list(), series.cat.get_categories().to_list())
    if isinstance(kind, nw.String | nw.Boolean | nw.Categorical | nw.Object):
        return _of_objects(series.name, series.to_list())
    raise TypeError(
        f"the column {series.name!r} is {kind}; expected numbers, strings, booleans or categories. "
        "Turn it into a number first, such as days since a date."
    )


def _of_array(name: str, values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...] | None]:
    if values.dtype.kind in "iuf" and values.ndim == 1:
        return values, None
    if values.dtype.kind in "bUSO" and values.ndim == 1:
        return _of_objects(name, values.tolist())
    raise TypeError(
        f"the field {name!r} is {values.dtype} of shape {values.shape}; expected one number, "
        "string or boolean a row."
    )


def _of_objects(name: str, values: list[Any]) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Codes of strings and booleans; numbers in a column of objects as they are."""
    present = [value for value in values if not _is_missing(value)]
    if present and all(isinstance(v, int | float) and not isinstance(v, bool) for v in present):
        return np.array([np.nan if _is_missing(v) else v for v in values], float), None
    kinds = {type(value) for value in present}
    if len(kinds) > 1:
        raise TypeError(
            f"the column {name!r} mixes {', '.join(sorted(kind.__name__ for kind in kinds))}; "
            "expected values of one kind. Turn all of them into strings or into numbers."
        )
    return _codes(values, [False, True] if kinds == {bool} else sorted(set(present)))


def _codes(values: list[Any], categories: list[Any]) -> tuple[np.ndarray, tuple[str, ...]]:
    numbers = {category: number for number, category in enumerate(categories)}
    codes = [np.nan if _is_missing(value) else numbers[value] for value in values]
    names = (each.decode() if isinstance(each, bytes) else str(each) for each in categories)
    return np.array(codes, float), tuple(names)


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value
