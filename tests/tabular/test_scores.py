"""Scores at the edges."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

import jinterp
from jinterp.tabular import (
    accuracy,
    negative_cross_entropy,
    negative_mean_squared_error,
    r2,
    table,
)

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)


def linear(params: Any, x: Any) -> Any:
    return x @ params


def test_targets_that_are_all_alike_have_no_r2() -> None:
    """0.1 has a variance of rounding, which is not 0."""
    y = np.full(60, 0.1, np.float32)
    assert np.isnan(r2(jnp.asarray(X[:, 0]), jnp.asarray(y)))
    weights = jnp.asarray(np.arange(60) < 50, jnp.float32)
    assert np.isnan(r2(jnp.asarray(X[:, 0]), jnp.where(weights > 0, y, 3), weights))
    with pytest.raises(ValueError, match="All targets are"):
        jinterp.permutation_importance(linear, X[0], (X, y), score=r2, key=jax.random.key(0))


def test_small_integers_and_labels_that_are_none() -> None:
    outputs = jnp.asarray(X[:, :2])
    y = (X[:, 0] > 0).astype(np.uint8)
    assert accuracy(outputs, jnp.asarray(y)) == accuracy(outputs, jnp.asarray(y.astype(int)))
    assert np.isnan(negative_cross_entropy(outputs, jnp.full(60, -1)))
    with pytest.raises(ValueError, match="was given one logit a row"):
        accuracy(outputs[:, :1], jnp.asarray(y))


def test_scores_of_several_outputs_are_means_over_them() -> None:
    outputs, y = jnp.asarray(X[:, :2]), jnp.asarray(X[:, 1:3])
    weights = jnp.arange(60, dtype=jnp.float32)
    for given in (None, weights):
        expected = metrics.r2_score(y, outputs, sample_weight=given)
        assert float(r2(outputs, y, given)) == pytest.approx(expected, rel=1e-4)
        error = metrics.mean_squared_error(y, outputs, sample_weight=given)
        assert float(negative_mean_squared_error(outputs, y, given)) == pytest.approx(-error)
    with pytest.raises(ValueError, match="expected as many numbers a row in both"):
        r2(outputs, y[:, 0])


def root(params: Any, x: Any) -> Any:
    """Finite where the second column is larger, as in all rows, and NaN in shuffled ones."""
    return jnp.log(x[:, 1] - x[:, 0]) + params


def test_a_model_that_shuffled_rows_break() -> None:
    x = np.stack([X[:, 0], X[:, 0] + 0.1, X[:, 2]], axis=1)
    with pytest.raises(ValueError, match="with x0 shuffled, outputs of the model or their score"):
        jinterp.permutation_importance(
            root, np.float32(0), (x, X[:, 2]), score=r2, key=jax.random.key(0)
        )


def test_a_boolean_has_one_code_whatever_else_occurs() -> None:
    pandas = pytest.importorskip("pandas")
    found = table((pandas.DataFrame({"a": [True, True]}), np.zeros(2)))
    assert found.x.tolist() == [[1.0], [1.0]]
    assert list(found.categories["a"]) == ["False", "True"]


def test_a_column_in_two_groups() -> None:
    y = X[:, 0]
    for groups in ({"g": ["x1"], "h": ["x0", "x1"]}, {"g": ["x0", "x0"]}):
        with pytest.raises(ValueError, match="expected each column once, in one group at most"):
            jinterp.permutation_importance(
                linear, X[0], (X, y), score=r2, key=jax.random.key(0), groups=groups
            )
