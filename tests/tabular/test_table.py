"""Frames, structured arrays and arrays as named columns of numbers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest

import jinterp
from jinterp.tabular import Table, remarks, table

Y = np.arange(4)
CELLS = {
    "size": [1.5, None, 2.5, 3.0],
    "number": [1, 2, 3, 4],
    "colour": ["red", None, "blue", "red"],
    "known": [True, False, True, True],
}
EXPECTED = np.array(
    [[1.5, 1, 1, 1], [np.nan, 2, np.nan, 0], [2.5, 3, 0, 1], [3, 4, 1, 1]], np.float32
)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_a_frame_becomes_named_columns(frame) -> None:
    found = table((frame(CELLS), Y))
    np.testing.assert_array_equal(found.x, EXPECTED)
    assert found.x.dtype == np.float32
    assert found.column_names == ("size", "number", "colour", "known")
    assert found.categories == {"colour": ("blue", "red"), "known": ("False", "True")}


def test_categories_keep_the_order_they_have() -> None:
    sizes = ["small", "large", "small", None]
    kinds = ["small", "medium", "large"]
    of_pandas = pd.DataFrame({"size": pd.Categorical(sizes, categories=kinds)})
    of_polars = pl.DataFrame({"size": pl.Series(sizes, dtype=pl.Enum(kinds))})
    for frame in (of_pandas, of_polars):
        found = table((frame, Y))
        assert found.categories == {"size": tuple(kinds)}
        np.testing.assert_array_equal(found.x[:, 0], np.float32([0, 2, 0, np.nan]))
    without_order = pl.DataFrame({"size": pl.Series(sizes, dtype=pl.Categorical)})
    assert table((without_order, Y)).categories == {"size": ("large", "small")}


def test_missing_cells_of_pandas_own_types() -> None:
    frame = pd.DataFrame(
        {
            "integers": pd.array([1, None, 3], "Int64"),
            "truths": pd.array([True, None, False], "boolean"),
            "words": pd.array(["b", None, "a"], "string"),
        }
    )
    expected = np.array([[1, 1, 1], [np.nan, np.nan, np.nan], [3, 0, 0]], np.float32)
    np.testing.assert_array_equal(table(frame).x, expected)


def test_a_structured_array_becomes_named_columns() -> None:
    rows = np.array([(1.5, "b", True), (2.5, "a", False)], [("s", float), ("c", "U3"), ("k", bool)])
    found = table((rows, Y[:2]))
    np.testing.assert_array_equal(found.x, np.float32([[1.5, 1, 1], [2.5, 0, 0]]))
    assert found.categories == {"c": ("a", "b"), "k": ("False", "True")}


def test_an_array_is_named_by_number_or_as_asked() -> None:
    assert table((np.ones((4, 2)), Y)).column_names == ("x0", "x1")
    assert table((np.ones((4, 2)), Y), column_names=["a", "b"]).column_names == ("a", "b")
    masked = np.ma.masked_array([[1.0, 2.0]], [[False, True]])
    np.testing.assert_array_equal(table(masked).x, np.float32([[1, np.nan]]))
    on_device = jnp.ones((4, 2))
    assert table((on_device, Y)).x is on_device


def test_a_table_stays_as_it_is_and_takes_names() -> None:
    found = table((pd.DataFrame(CELLS), Y))
    assert table(found) is found
    renamed = table(found, column_names=["a", "b", "c", "d"])
    assert renamed.categories == {"c": ("blue", "red"), "d": ("False", "True")}
    assert jinterp.table is table
    assert isinstance(found, Table)


def test_float64_where_jax_is_set_to_it() -> None:
    with jax.enable_x64(True):
        assert table((pd.DataFrame(CELLS), Y)).x.dtype == np.float64


def test_targets_are_numbers_one_a_row() -> None:
    x = np.ones((4, 2))
    assert table((x, Y > 1)).targets.dtype == np.int32
    assert table((x, pd.Series(Y))).targets.dtype == np.int32
    assert table((x, pl.Series(Y / 2))).targets.dtype == np.float32
    assert table(x).targets is None


@pytest.mark.parametrize(
    ("ds", "message"),
    [
        ((np.ones((4, 2)), Y[:3]), r"targets have the shape \(3,\) for 4 rows; expected one"),
        ((np.ones((4, 2)), ["a"] * 4), "targets are <U1; expected numbers.*return_inverse"),
        (np.ones(4), r"features have the shape \(4,\); expected \[rows, columns\]"),
        (np.ones((0, 4)), r"features have the shape \(0, 4\)"),
        ("table.csv", "features are a str of <U9; expected a data frame"),
        (pl.LazyFrame(CELLS), "LazyFrame.*collect a lazy one first"),
        (np.array([["a", 1.0]], object), "features are a ndarray of object"),
        (
            pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"]),
            "column names 'a' repeat; expected each once",
        ),
        (pd.DataFrame({"a": ["x", 1]}), "column 'a' mixes int, str; expected values of one kind"),
        (pd.DataFrame({"day": pd.to_datetime(["2020-01-01"])}), "column 'day' is Datetime"),
        (np.zeros(3, [("a", float, 2)]), r"field 'a' is float64 of shape \(3, 2\)"),
    ],
)
def test_what_is_no_table_gets_a_named_error(ds, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        table(ds)


def test_column_names_that_do_not_fit() -> None:
    x = np.ones((4, 2))
    with pytest.raises(ValueError, match="`column_names` is 3 names for 2 columns"):
        table(x, column_names=["a", "b", "c"])
    with pytest.raises(ValueError, match="column names 'a' repeat"):
        table(x, column_names=["a", "a"])
    with pytest.raises(ValueError, match="features have names of their own"):
        table(pd.DataFrame(x, columns=["a", "b"]), column_names=["c", "d"])


def test_remarks_name_constant_duplicated_and_missing_columns() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=600)
    late = a.copy()
    late[590] += 100  # equal to `a` in the first rows
    b = rng.normal(size=600)
    b[3] = np.nan
    x = np.c_[a, late, -3 * a, np.full(600, 7.0), b, 2 * b + 1]
    found = remarks(table(x, column_names=["a", "late", "minus", "seven", "b", "b2"]))
    assert found.constant == ("seven",)
    assert found.duplicated == (("a", "minus"), ("b", "b2"))
    assert found.missing == {"b": 1, "b2": 1}


CITIES = pd.DataFrame({"city": ["Bern", "Basel", "Genf"], "age": [1.0, 2.0, 3.0]})


def test_other_rows_get_the_codes_and_columns_of_a_table() -> None:
    known = jinterp.table(CITIES)
    frame = pd.DataFrame({"age": [5.0, 6.0, 7.0], "city": ["Genf", None, "Bern"]})
    assert jinterp.table(frame).categories["city"] == ("Bern", "Genf")
    found = jinterp.table((frame, [0, 1, 0]), like=known)
    assert found.column_names == known.column_names
    assert found.categories == known.categories == {"city": ("Basel", "Bern", "Genf")}
    np.testing.assert_array_equal(found.x, [[2, 5], [np.nan, 6], [1, 7]])
    np.testing.assert_array_equal(found.targets, [0, 1, 0])
    np.testing.assert_array_equal(jinterp.table(jinterp.table(frame), like=known).x, found.x)


def test_an_array_of_codes_gets_the_names_of_a_table() -> None:
    known = jinterp.table(CITIES)
    for array in (np.array([[2.0, 5.0]]), jnp.array([[2.0, 5.0]])):
        found = jinterp.table(array, like=known)
        assert (found.column_names, found.categories) == (known.column_names, known.categories)
        np.testing.assert_array_equal(found.x, [[2, 5]])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (CITIES.replace("Genf", "Chur"), "the column 'city' has 'Chur'; expected the categories"),
        (
            np.array([[3.0, 5.0]]),
            r"the column 'city' has '3\.0'; expected the categories",
        ),
        (CITIES[["age"]], "the table lacks the columns 'city'; expected the 2 columns of `like`"),
        (CITIES.assign(id=1), "the table has 'id', too; expected the 2 columns"),
        (pd.DataFrame({"x0": [1], "x1": [2]}), "the table lacks the columns 'city', 'age'"),
        (np.zeros((2, 3)), "the table lacks the columns 'city', 'age'"),
        (CITIES.assign(age=["a", "b", "c"]), "the column 'age' is categorical; expected numbers"),
    ],
)
def test_rows_that_are_not_like_the_others(features: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jinterp.table(features, like=jinterp.table(CITIES))


def test_a_column_that_is_misspelt() -> None:
    with pytest.raises(ValueError, match=r"no column 'citty'.*Did you mean 'city'\?"):
        jinterp.partial_dependence(lambda params, x: x[:, 1], None, CITIES, "citty")
