"""Importances of models that are trained anew: dropped columns, and a network's random forest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_wine

import jinterp
from jinterp.tabular import Fits, accuracy, negative_mean_squared_error, r2
from tests.problems import count_compiles
from tests.tabular.models import independent, linear, two_classes

KEY = jax.random.key(0)


def least_squares(x, y, key):
    """With a bias, which takes up what a constant column would say; the shortest solution."""
    ones = jnp.ones((len(x), 1), x.dtype)
    return jnp.linalg.lstsq(jnp.concatenate([x, ones], axis=1), y)[0]


def with_bias(params, x):
    return linear(params[:-1], x) + params[-1]


def network(x, y, key):
    """A network of 16 units, trained by gradient descent with momentum."""
    sizes = [(x.shape[1], 16), (16, 3)]
    keys = jax.random.split(key, len(sizes))
    params = [
        (jax.random.normal(each, size) / np.float32(np.sqrt(size[0])), jnp.zeros(size[1]))
        for each, size in zip(keys, sizes, strict=True)
    ]

    def loss(params):
        log_probabilities = jax.nn.log_softmax(of_network(params, x))
        return -jnp.take_along_axis(log_probabilities, y[:, None], axis=1).mean()

    def step(carry, _):
        params, speed = carry
        speed = jax.tree.map(lambda s, g: 0.9 * s - 0.1 * g, speed, jax.grad(loss)(params))
        return (jax.tree.map(jnp.add, params, speed), speed), None

    start = params, jax.tree.map(jnp.zeros_like, params)
    return jax.lax.scan(step, start, None, 60)[0][0]


def of_network(params, x):
    (a, b), (c, d) = params
    return jax.nn.relu(x @ a + b[None]) @ c + d[None]


def wine() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_wine(return_X_y=True)
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32), y


def test_a_dropped_column_has_its_share_of_the_variance() -> None:
    """Case 21: half the permutation importance, and 0 for a duplicated column."""
    x, weights = independent(400, 4), np.float32([3, -2, 1, 0])
    ds = x, x @ weights
    found = jinterp.drop_column_importance(least_squares, with_bias, ds, ds, score=r2, key=KEY)
    np.testing.assert_allclose(found.mean, weights**2 / (weights**2).sum(), atol=1e-5)
    assert found.baseline_score == pytest.approx(1)
    twice = np.c_[x, x[:, 0]]
    ds = twice, x @ weights
    found = jinterp.drop_column_importance(least_squares, with_bias, ds, ds, score=r2, key=KEY)
    np.testing.assert_allclose(found.mean[[0, 4]], 0, atol=1e-5)
    assert found.mean[1] == pytest.approx(4 / 14, abs=1e-5)


def test_groups_are_dropped_together_and_repeats_have_other_keys() -> None:
    x, y = wine()
    found = jinterp.drop_column_importance(
        network,
        of_network,
        (x[::2], y[::2]),
        (x[1::2], y[1::2]),
        score=accuracy,
        groups={"most": list(range(12))},
        num_repeats=2,
        key=KEY,
    )
    assert found.names == ("most", "x12")
    assert found.per_repeat.shape == (2, 2)
    assert found.mean[0] > 0.2
    assert found.baseline_score > 0.9


def test_oob_importance_of_linear_members_is_the_closed_form() -> None:
    x, weights = independent(1000, 3), np.float32([3, -2, 0])
    ds = x, x @ weights
    fits = jinterp.bootstrap(least_squares, ds, num_members=8, key=KEY)
    assert fits.params.shape == (8, 4)
    assert len(np.unique(fits.rows[0])) == pytest.approx(632, abs=40)
    found = jinterp.oob_importance(
        fits, with_bias, ds, score=negative_mean_squared_error, num_repeats=2, key=KEY
    )
    assert found.per_repeat.shape == (3, 8)
    np.testing.assert_allclose(found.mean, 2 * weights**2, rtol=0.1, atol=1e-4)
    assert found.baseline_score == pytest.approx(0, abs=1e-4)


def test_a_member_is_scored_on_rows_that_it_did_not_see() -> None:
    """Members that know their own rows by heart, and nothing of the others."""
    x = independent(200, 1)
    y = np.random.default_rng(0).integers(0, 2, 200)

    def by_heart(x, y, key):
        return x, y

    def nearest(params, x):
        known, y = params
        distance = jnp.abs(x[:, None, 0] - known[None, :, 0])
        return jax.nn.one_hot(y[distance.argmin(axis=1)], 2)

    fits = jinterp.bootstrap(by_heart, (x, y), num_members=6, key=KEY)
    found = jinterp.oob_importance(fits, nearest, (x, y), score=accuracy, key=KEY)
    assert 0.4 < found.baseline_score < 0.6  # with its own rows it would be above 0.8


def test_a_forest_of_networks_is_trained_and_asked_without_compiling_again() -> None:
    ds = wine()

    def ask():
        fits = jinterp.bootstrap(network, ds, num_members=5, key=KEY)
        return jinterp.oob_importance(fits, of_network, ds, score=accuracy, key=KEY)

    first = ask()
    with count_compiles() as counter:
        np.testing.assert_array_equal(ask().per_repeat, first.per_repeat)
    assert counter.compiled == 0
    assert first.baseline_score > 0.9
    with jinterp.memory_budget(num_bytes=2**18):
        cut = ask()
    np.testing.assert_allclose(cut.per_repeat, first.per_repeat, atol=0.05)


ONES = np.ones(2, np.float32)
X = independent(20, 2)


def constant(x, y, key):
    return jnp.ones(x.shape[1], x.dtype)


def without_weights(outputs, targets):
    return -((outputs - targets) ** 2).mean()


def impure(x, y, key):
    return np.linalg.lstsq(np.asarray(x), np.asarray(y), rcond=None)[0]


def test_bad_input_gets_a_named_error() -> None:
    ds = X, X[:, 0]
    ask = {"score": r2, "key": KEY}
    drop = jinterp.drop_column_importance
    with pytest.raises(ValueError, match="`num_repeats` is 0; expected at least 1"):
        drop(constant, linear, ds, ds, num_repeats=0, **ask)
    with pytest.raises(ValueError, match="columns of `held_out` are not those of `ds`"):
        drop(constant, linear, ds, jinterp.table(ds, column_names=["a", "b"]), **ask)
    with pytest.raises(TypeError, match="`fit` is None; expected a function fit"):
        drop(None, linear, ds, ds, **ask)
    with pytest.raises(jax.errors.JAXTypeError) as caught:
        drop(impure, linear, ds, ds, **ask)
    assert "This came from `fit` (impure" in caught.value.__notes__[-1]
    with pytest.raises(ValueError, match="`ds` has no targets"):
        drop(constant, linear, X, ds, **ask)
    with pytest.raises(ValueError, match="`num_members` is 0; expected at least 1"):
        jinterp.bootstrap(constant, ds, num_members=0, key=KEY)
    fits = jinterp.bootstrap(constant, ds, num_members=2, key=KEY)
    with pytest.raises(ValueError, match="`fits` are of 20 rows, and `ds` has 19"):
        jinterp.oob_importance(fits, linear, (X[1:], X[1:, 0]), **ask)
    with pytest.raises(ValueError, match=r"failed when it was given weights.*expected score"):
        jinterp.oob_importance(fits, linear, ds, score=without_weights, key=KEY)
    of_all = Fits(fits.params, np.tile(np.arange(20), (2, 1)))
    with pytest.raises(ValueError, match="member 0 of `fits` was trained on every row"):
        jinterp.oob_importance(of_all, linear, ds, **ask)


def test_one_class_is_told_once() -> None:
    ds = X, np.zeros(20, int)
    with pytest.warns(UserWarning, match="all targets are 0") as caught:
        jinterp.drop_column_importance(constant, two_classes, ds, ds, score=accuracy, key=KEY)
    assert len(caught) == 1
