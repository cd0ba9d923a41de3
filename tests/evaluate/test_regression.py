"""Residuals, against scikit-learn."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

import jinterp

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(50, 4)).astype(np.float32)
W = _RNG.normal(size=(4, 3)).astype(np.float32)
Y = (X @ W + 0.3 * _RNG.normal(size=(50, 3)) + 0.2).astype(np.float32)


def linear(params: Any, x: Any) -> Any:
    return x @ params


def test_errors_are_those_of_scikit_learn() -> None:
    found = jinterp.evaluate_regression(linear, W, (X, Y), output_names=["a", "b", "c"])
    outputs = X @ W
    each = {"multioutput": "raw_values"}
    np.testing.assert_allclose(found.r2, metrics.r2_score(Y, outputs, **each), rtol=1e-5)
    np.testing.assert_allclose(
        found.mean_absolute_errors, metrics.mean_absolute_error(Y, outputs, **each), rtol=1e-5
    )
    np.testing.assert_allclose(
        found.root_mean_squared_errors,
        metrics.root_mean_squared_error(Y, outputs, **each),
        rtol=1e-5,
    )
    np.testing.assert_allclose(found.mean_residuals, (Y - outputs).mean(0), rtol=1e-4)
    np.testing.assert_allclose(found.residuals.residuals, Y - outputs, atol=1e-5)
    losses = ((Y - outputs) ** 2).mean(1)
    np.testing.assert_allclose(found.residuals.losses, losses, rtol=1e-4)
    assert found.mean_loss == pytest.approx(losses.mean(), rel=1e-5)
    np.testing.assert_array_equal(found.top_losses.indices, np.argsort(-losses)[:9])
    assert "a: R² " in repr(found)
    header, *lines = str(found).splitlines()
    assert header.split() == ["R²", "RMSE", "MAE", "mean", "residual"]
    assert [line.split()[:2] for line in lines] == [
        [name, f"{r2:.4f}"] for name, r2 in zip("abc", found.r2, strict=True)
    ]


def column(params: Any, x: Any) -> Any:
    return (x @ params)[:, None]


@pytest.mark.parametrize("apply_fn", [linear, column])
@pytest.mark.parametrize("of_targets", [(), (1,)])
def test_one_number_an_example(apply_fn: Any, of_targets: tuple) -> None:
    found = jinterp.evaluate_regression(apply_fn, W[:, 0], (X, Y[:, 0].reshape(50, *of_targets)))
    assert found.residuals.outputs.shape == (50, 1)
    assert found.r2[0] == pytest.approx(metrics.r2_score(Y[:, 0], X @ W[:, 0]), rel=1e-5)


def test_outputs_that_are_not_finite() -> None:
    x = X.copy()
    x[7] = np.nan
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = jinterp.evaluate_regression(linear, W, (x, Y))
    assert any("1 of 50 examples have an output" in str(each.message) for each in caught)
    assert found.num_unpredicted == found.num_non_finite_inputs == 1
    assert found.top_losses.indices[0] == 7
    assert np.isnan(found.mean_loss)
    kept = np.arange(50) != 7
    expected = metrics.r2_score(Y[kept], (X @ W)[kept], multioutput="raw_values")
    np.testing.assert_allclose(found.r2, expected, rtol=1e-5)


def test_targets_that_are_all_alike_have_no_r2() -> None:
    found = jinterp.evaluate_regression(linear, W[:, 0], (X, np.full(50, 0.1, np.float32)))
    assert np.isnan(found.r2[0])
    assert found.root_mean_squared_errors[0] > 0
    with jax.enable_x64(True):  # whose variance is not quite 0
        ds = (X[:39].astype(float), np.full(39, 0.1))
        found = jinterp.evaluate_regression(linear, W[:, 0].astype(float), ds)
    assert np.isnan(found.r2[0])


@pytest.mark.parametrize("num", [4, 5, 64])
def test_a_loss_of_ones_own_does_not_spread_targets(num: int) -> None:
    """Outputs [batch, 1] less targets [batch] would be [batch, batch]."""

    def absolute(outputs: Any, targets: Any) -> Any:
        return jnp.abs(outputs - targets.astype(outputs.dtype))

    x = np.arange(4.0 * num, dtype=np.float32).reshape(num, 4)
    found = jinterp.evaluate_regression(column, W[:, 0], (x, x @ W[:, 0]), loss_fn=absolute)
    np.testing.assert_allclose(found.residuals.losses, 0, atol=1e-4)


def test_another_loss_and_integer_targets() -> None:
    def absolute(outputs: Any, targets: Any) -> Any:
        return jnp.abs(outputs - targets.astype(outputs.dtype))

    y = Y[:, 0].round().astype(np.int32)
    found = jinterp.evaluate_regression(linear, W[:, 0], (X, y), loss_fn=absolute)
    np.testing.assert_allclose(found.residuals.losses, np.abs(X @ W[:, 0] - y), rtol=1e-4)


@pytest.mark.parametrize(
    ("y", "keywords", "message"),
    [
        (Y[:, :2], {}, r"`targets` have the shape \[batch, 2\] for outputs \[batch, 3\]"),
        (Y[:, 0], {}, r"`targets` have the shape \[batch\] for outputs"),
        (np.where(np.arange(50) == 3, np.nan, Y.T).T, {}, "the target of example 3 is nan"),
        (Y, {"output_names": ["a"]}, "`output_names` has 1 names; expected 3"),
        (Y, {"k": 0}, "`k` is 0"),
    ],
)
def test_bad_input(y: Any, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jinterp.evaluate_regression(linear, W, (X, y), **keywords)


def test_classification_says_where_to_go_with_numbers() -> None:
    with pytest.raises(TypeError, match=r"jinterp\.evaluate_regression for numbers"):
        jinterp.evaluate(linear, W, (X, Y[:, 0]))


def test_in_float64() -> None:
    with jax.enable_x64(True):
        found = jinterp.evaluate_regression(linear, W.astype(float), (X.astype(float), Y))
    expected = metrics.r2_score(Y, X @ W, multioutput="raw_values")
    np.testing.assert_allclose(found.r2, expected, rtol=1e-5)
    assert found.residuals.outputs.dtype == np.float64
