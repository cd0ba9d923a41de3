"""Partial dependence, ICE and ALE: closed forms, scikit-learn, PyALE, and what goes wrong."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.inspection import partial_dependence as of_sklearn

import jinterp
from jinterp.tabular import Table, table
from tests.problems import count_compiles
from tests.tabular.models import estimator, independent, linear, product, trained, two_classes

KEY = jax.random.key(0)


def additive(params, x):
    return jnp.sin(x[:, 0]) + x[:, 1] ** 2 + x[:, 2]


@pytest.mark.parametrize(
    ("name", "target"), [("breast_cancer", 1), ("wine", 2), ("diabetes", None)]
)
def test_partial_dependence_is_that_of_scikit_learn(name: str, target: int | None) -> None:
    model, ds = trained(name)
    peer = estimator(model, ds)
    sexes = [ds.column_names.index("sex")] if name == "diabetes" else []
    for column in [0, 3, *sexes]:
        found = jinterp.partial_dependence(*model, ds, column, target=target)
        theirs = of_sklearn(peer, ds.x, [column], method="brute", kind="both")
        np.testing.assert_allclose(found.grids[0], theirs["grid_values"][0], rtol=1e-6)
        of_class = 0 if target in (None, 1) else target
        np.testing.assert_allclose(found.mean, theirs["average"][of_class], atol=2e-6)
        curves = theirs["individual"][of_class]
        error = curves.std(axis=0, ddof=1) / np.sqrt(len(curves))
        np.testing.assert_allclose(found.standard_error, error, atol=2e-6)
        np.testing.assert_allclose(found.lower, np.quantile(curves, 0.05, axis=0), atol=2e-6)
        np.testing.assert_allclose(found.upper, np.quantile(curves, 0.95, axis=0), atol=2e-6)


def test_a_map_is_that_of_scikit_learn() -> None:
    model, ds = trained("diabetes")
    pair = ["bmi", "sex"]
    found = jinterp.partial_dependence(*model, ds, pair, num_points=7)
    numbers = [ds.column_names.index(name) for name in pair]
    theirs = of_sklearn(estimator(model, ds), ds.x, numbers, method="brute", grid_resolution=7)
    assert found.mean.shape == (7, 2)
    np.testing.assert_allclose(found.mean, theirs["average"][0], atol=2e-6)


def test_partial_dependence_of_a_product_has_the_slope_of_the_mean() -> None:
    """Case 22."""
    x = np.random.default_rng(0).random((500, 2), np.float32)
    found = jinterp.partial_dependence(product, None, x, 0)
    slope = np.polyfit(found.grids[0], found.mean, 1)[0]
    assert slope == pytest.approx(x[:, 1].mean(), abs=1e-5)


def test_ale_of_a_product_of_equal_columns() -> None:
    """Case 22: x²/2 − 1/6, where the partial dependence is a line."""
    rng = np.random.default_rng(0)
    a = rng.random(20_000)
    x = np.c_[a, a + 1e-4 * rng.normal(size=len(a))].astype(np.float32)
    found = jinterp.ale(product, None, x, 0, num_bins=50)
    (edges,) = found.edges
    np.testing.assert_allclose(found.effect, edges**2 / 2 - 1 / 6, atol=0.005)


# PyALE 1.2.0, which follows R's ALEPlot, on the table and model below, grid_size 8 and 4.
PYALE_A = [
    *(-0.9136285004, -0.6642022012, -0.33130251, -0.0936175637, 0.1380065206),
    *(0.2796712523, 0.4147955935, 0.4706781293, 0.4855700591),
]
PYALE_C = [-1.8788598943, -1.2914432903, 0.3009044638, 2.7095559989]
PYALE_AB = [
    [0.0447629512, -0.0035851584, -0.123057114, -0.3039557024, -0.4984994648],
    [-0.0038051264, 0.0261845395, -0.0149720269, -0.1175552261, -0.2438630646],
    [-0.1196694582, -0.0150305374, 0.0184408189, -0.0159064564, -0.0739783709],
    [-0.2992876397, -0.1199994642, -0.0164982109, 0.0131862401, 0.0063803898],
    [-0.4923786208, -0.2430605483, -0.0695293982, 0.0056271776, 0.0352279183],
]


def of_pyale(params, x):
    a, b, c = x.T
    return a * b + jnp.sin(2 * a) + c**2 * b


def table_of_pyale() -> Table:
    rng = np.random.default_rng(0)
    a = rng.random(200)
    b = np.clip(a + 0.1 * rng.normal(size=200), 0, 1)
    c = rng.integers(0, 4, 200).astype(float)
    kinds = pd.Categorical.from_codes(c.astype(int), ["k0", "k1", "k2", "k3"])
    return table(pd.DataFrame({"a": a, "b": b, "c": kinds}))


def test_ale_is_that_of_a_published_implementation() -> None:
    with jax.enable_x64(True):
        ds = table_of_pyale()
        of_a = jinterp.ale(of_pyale, None, ds, "a", num_bins=8)
        of_c = jinterp.ale(of_pyale, None, ds, "c")
        of_pair = jinterp.ale(of_pyale, None, ds, ["a", "b"], num_bins=4)
    np.testing.assert_allclose(of_a.effect, PYALE_A, atol=1e-9)
    np.testing.assert_allclose(of_c.effect, PYALE_C, atol=1e-9)
    np.testing.assert_allclose(of_pair.effect, PYALE_AB, atol=1e-9)
    assert of_a.counts.tolist() == [25] * 8
    assert of_c.categories == (("k0", "k1", "k2", "k3"),)
    assert (of_pair.counts == 0).any()  # so that empty cells are tried


def test_ale_and_its_error_are_those_of_loops() -> None:
    """Every step written out in float64, the standard errors by the bins' own weights."""
    ds = table_of_pyale()
    x = np.float64(ds.x)
    found = jinterp.ale(of_pyale, None, ds, "a", num_bins=5)
    (edges,) = found.edges
    deltas = [[] for _ in range(5)]
    for row in x:
        k = next(k for k in range(5) if row[0] <= edges[k + 1])
        low, high = row.copy(), row.copy()
        low[0], high[0] = edges[k], edges[k + 1]
        deltas[k].append(float(of_pyale(None, high[None])[0] - of_pyale(None, low[None])[0]))
    means = np.array([np.mean(each) for each in deltas])
    sums = np.r_[0, means.cumsum()]
    share = np.array([len(each) for each in deltas]) / len(x)
    np.testing.assert_allclose(
        found.effect, sums - (share * (sums[1:] + sums[:-1]) / 2).sum(), atol=1e-5
    )
    of_mean = np.array([np.var(each, ddof=1) / len(each) for each in deltas])
    for edge in range(6):
        weights = [
            (k < edge) - sum(share[j] * ((k < j) + (k < j + 1)) / 2 for j in range(5))
            for k in range(5)
        ]
        expected = np.sqrt((np.square(weights) * of_mean).sum())
        assert found.standard_error[edge] == pytest.approx(expected, rel=1e-3)


@settings(max_examples=5)
@given(seed=st.integers(0, 99))
def test_of_an_additive_model_all_curves_are_one(seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(60, 3)).astype(np.float32)
    x[:, 1] = 0.5 * x[:, 0] + x[:, 1]
    pdp = jinterp.partial_dependence(additive, None, x, 0, num_points=30, percentiles=(0.0, 1.0))
    ale = jinterp.ale(additive, None, x, 0, num_bins=59)
    at_edges = np.interp(ale.edges[0], pdp.grids[0], pdp.mean)
    difference = at_edges - ale.effect
    assert np.ptp(difference) < 0.02  # of a straight line between points of the grid
    curves = jinterp.ice(additive, None, x, 0, centred=True, num_points=30)
    np.testing.assert_allclose(curves.curves, curves.curves[:1].repeat(60, 0), atol=1e-5)
    pair = jinterp.ale(additive, None, x, [0, 1], num_bins=4)
    np.testing.assert_allclose(pair.effect, 0, atol=1e-5)


def test_ice_has_the_partial_dependence_as_its_mean() -> None:
    model, ds = trained("wine")
    curves = jinterp.ice(*model, ds, "alcohol", target=0, num_points=9)
    mean = jinterp.partial_dependence(*model, ds, "alcohol", target=0, num_points=9)
    np.testing.assert_allclose(curves.curves.mean(0), mean.mean, atol=1e-6)
    np.testing.assert_array_equal(curves.grid, mean.grids[0])
    some = jinterp.ice(*model, ds, "alcohol", target=0, num_points=9, num_curves=12, key=KEY)
    assert some.curves.shape == (12, 9)
    np.testing.assert_allclose(some.curves, curves.curves[some.rows], atol=1e-6)
    assert len(set(some.rows.tolist())) == 12
    centred = jinterp.ice(*model, ds, "alcohol", target=0, num_points=9, centred=True)
    np.testing.assert_allclose(centred.curves, curves.curves - curves.curves[:, :1], atol=1e-6)


def test_a_small_memory_budget_changes_nothing() -> None:
    model, ds = trained("wine")
    for ask in (jinterp.partial_dependence, jinterp.ale, jinterp.ice):
        whole = ask(*model, ds, "alcohol", target=0)
        with jinterp.memory_budget(num_bytes=30_000):
            cut = ask(*model, ds, "alcohol", target=0)
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(cut), strict=True):
            if isinstance(a, np.ndarray):
                np.testing.assert_allclose(a, b, atol=1e-6)


def test_another_column_compiles_nothing_again() -> None:
    model, ds = trained("wine")
    for ask in (jinterp.partial_dependence, jinterp.ale):
        ask(*model, ds, "alcohol", target=0)
        with count_compiles() as counter:
            ask(*model, ds, "malic_acid", target=0)
        assert counter.compiled == 0


def takes_missing(params, x):
    return linear(params, jnp.where(jnp.isnan(x), jnp.full((), 7, x.dtype), x))


def test_missing_cells_are_left_out_of_grids_and_counted() -> None:
    x, weights = independent(50, 2), np.float32([2, 1])
    x[:5, 0] = np.nan
    pdp = jinterp.partial_dependence(takes_missing, weights, x, 0, num_points=9)
    assert pdp.num_missing == (5,)
    assert np.isfinite(pdp.grids[0]).all()
    np.testing.assert_allclose(pdp.mean, 2 * pdp.grids[0] + x[:, 1].mean(), atol=1e-5)
    ale = jinterp.ale(takes_missing, weights, x, 0, num_bins=9)
    assert ale.num_missing == 5
    assert ale.counts.sum() == 45
    other = jinterp.partial_dependence(takes_missing, weights, x, 1, num_points=9)
    assert other.num_missing == (0,)
    with pytest.raises(
        ValueError, match=r"45 rows|5 of 50 rows, and cells are missing in 'x0' \(5"
    ):
        jinterp.partial_dependence(linear, weights, x, 1)


def test_categories_are_the_grid() -> None:
    frame = pd.DataFrame({"kind": ["b", "a", "c", "a"], "size": [1.0, 2.0, 3.0, 4.0]})
    found = jinterp.partial_dependence(linear, np.float32([1, 0]), frame, "kind", num_points=2)
    assert found.grids[0].tolist() == [0, 1, 2]
    assert found.categories == (("a", "b", "c"),)
    assert found.mean.tolist() == [0, 1, 2]
    assert found.deciles[0].size == 0


X = independent(30, 3)
ONES = np.ones(3, np.float32)


def three_classes(params, x):
    return x * params[None]


@pytest.mark.parametrize(
    ("apply_fn", "columns", "change", "message"),
    [
        (linear, "size", {}, "no column 'size'; expected one of 'x0', 'x1', 'x2', or a number"),
        (linear, [0, 1, 2], {}, r"`columns` are \[0, 1, 2\]; expected one column, or two"),
        (linear, [0, "x0"], {}, "the same twice; expected two columns"),
        (linear, 0, {"target": 1}, "`target` is 1, and the model has one output a row"),
        (three_classes, 0, {}, "`target` is None, and the model has 3 outputs a row; expected the"),
        (two_classes, 0, {"target": 5}, "class 5 for the example 0; expected 0 to 1"),
    ],
)
@pytest.mark.parametrize("ask", [jinterp.partial_dependence, jinterp.ale])
def test_bad_questions_get_a_named_error(ask, apply_fn, columns, change, message) -> None:
    with pytest.raises(ValueError, match=message):
        ask(apply_fn, ONES, X, columns, **change)


def test_bad_grids_get_a_named_error() -> None:
    with pytest.raises(ValueError, match="`num_points` is 1; expected at least 2"):
        jinterp.partial_dependence(linear, ONES, X, 0, num_points=1)
    with pytest.raises(ValueError, match=r"`percentiles` is \(0.5, 0.5\); expected two shares"):
        jinterp.partial_dependence(linear, ONES, X, 0, percentiles=(0.5, 0.5))
    with pytest.raises(ValueError, match="`num_bins` is 0; expected at least 1"):
        jinterp.ale(linear, ONES, X, 0, num_bins=0)
    with pytest.raises(ValueError, match="`num_curves` is 31; expected 1 to 30"):
        jinterp.ice(linear, ONES, X, 0, num_curves=31, key=KEY)
    with pytest.raises(TypeError, match="`key` is None; expected a random key"):
        jinterp.ice(linear, ONES, X, 0, num_curves=3)


def with_column(values) -> np.ndarray:
    x = X.copy()
    x[:, 0] = values
    return x


def test_columns_without_a_course_get_a_named_error() -> None:
    flat = with_column(2.0)
    with pytest.raises(ValueError, match=r"column 'x0' has the one value 2; expected at least two"):
        jinterp.ale(linear, ONES, flat, 0)
    with pytest.raises(ValueError, match=r"column 'x0' has the one value 2"):
        jinterp.ale(linear, ONES, flat, [0, 1])
    assert jinterp.partial_dependence(linear, ONES, flat, 0).grids[0].tolist() == [2]
    with pytest.raises(ValueError, match="column 'x0' has no value in 30 rows"):
        jinterp.partial_dependence(linear, ONES, with_column(np.nan), 0)
    with pytest.raises(ValueError, match="column 'x0' has infinite cells"):
        jinterp.partial_dependence(linear, ONES, with_column(np.inf), 0)
    mostly = with_column(np.where(np.arange(30) < 28, 1.0, np.arange(30)))
    with pytest.raises(ValueError, match=r"of the column 'x0' are both 1; expected two values"):
        jinterp.partial_dependence(linear, ONES, mostly, 0, num_points=3, percentiles=(0.1, 0.5))
    frame = pd.DataFrame({"kind": list("ab") * 15, "size": X[:, 0]})
    with pytest.raises(ValueError, match="column 'kind' is categorical; expected two columns of"):
        jinterp.ale(linear, ONES[:2], frame, ["kind", "size"])


def two_numbers(params: Any, x: Any) -> Any:
    return jnp.stack([x[:, 0], 10 * x[:, 1]], axis=-1)


def test_the_outputs_of_a_regression_are_no_probabilities() -> None:
    x = independent(200, 2)
    y = np.asarray(two_numbers(None, x))
    with pytest.raises(ValueError, match="2 outputs a row; expected the output to look at, 0 to 1"):
        jinterp.partial_dependence(two_numbers, None, (x, y), 1)
    found = jinterp.partial_dependence(two_numbers, None, (x, y), 1, target=1)
    np.testing.assert_allclose(found.mean, 10 * found.grids[0], rtol=1e-5)
    local = jinterp.ale(two_numbers, None, (x, y), 0, target=0)
    np.testing.assert_allclose(np.diff(local.effect), np.diff(local.edges[0]), rtol=1e-4)
    as_class = jinterp.partial_dependence(two_numbers, None, x, 1)
    assert 0 <= as_class.mean.min() <= as_class.mean.max() <= 1
