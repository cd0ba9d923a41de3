"""Models that JAX does not look into: scikit-learn's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import permutation_importance as of_sklearn
from sklearn.linear_model import LinearRegression

import jinterp
from jinterp.tabular import accuracy, r2
from tests.problems import count_compiles

X, Y = load_breast_cancer(return_X_y=True)
X = X[:, :6].astype(np.float32)


@pytest.fixture(scope="module")
def forest() -> RandomForestClassifier:
    return RandomForestClassifier(10, random_state=0, n_jobs=2).fit(X, Y)


def model_of(forest: RandomForestClassifier) -> jinterp.Model:
    return jinterp.from_numpy(forest.predict_proba, probabilities=True)


def test_the_softmax_gives_the_probabilities_back(forest) -> None:
    apply_fn, params = model_of(forest)
    found = jax.nn.softmax(jax.jit(apply_fn)(params, X))
    np.testing.assert_allclose(found, forest.predict_proba(X), atol=1e-6)


def test_a_forest_is_evaluated_as_any_model(forest) -> None:
    found = jinterp.evaluate(*model_of(forest), (X, Y))
    assert found.accuracy == pytest.approx(forest.score(X, Y))


def test_a_forest_has_the_importance_that_scikit_learn_gives(forest) -> None:
    ask = {"score": accuracy, "num_repeats": 10, "key": jax.random.key(0)}
    found = jinterp.permutation_importance(*model_of(forest), (X, Y), **ask)
    peer = of_sklearn(forest, X, Y, n_repeats=10, random_state=0)
    error = np.hypot(found.deviation, peer.importances_std) / np.sqrt(10)
    assert (np.abs(found.mean - peer.importances_mean) <= 5 * error + 1e-6).all()
    with count_compiles() as counter:
        jinterp.permutation_importance(*model_of(forest), (X, Y), **ask)
    assert counter.compiled == 0


def test_many_rows_do_not_stand_still(forest) -> None:
    x = np.tile(X, (100, 1))
    with jax.enable_x64(False):
        found = jinterp.tabular.permutation_importance(
            *model_of(forest),
            (x, np.tile(Y, 100)),
            score=accuracy,
            num_repeats=1,
            groups={"all": list(range(6))},
            key=jax.random.key(0),
        )
    assert found.mean[0] > 0.2


def test_a_regression_is_read_as_it_is() -> None:
    x, y = load_diabetes(return_X_y=True)
    regression = LinearRegression().fit(x, y)
    model = jinterp.from_numpy(regression.predict)
    found = jinterp.permutation_importance(*model, (x, y), score=r2, key=jax.random.key(0))
    assert found.baseline_score == pytest.approx(regression.score(x, y), abs=1e-5)


def test_a_gradient_is_a_named_error(forest) -> None:
    with pytest.raises(ValueError, match=r"made by jinterp\.from_numpy.*expected what needs outp"):
        jinterp.saliency(*model_of(forest), jnp.asarray(X[:2]), 1)


def ask(predict, **keywords) -> None:
    apply_fn, params = jinterp.from_numpy(predict, **keywords)
    apply_fn(params, jnp.asarray(X[:3]))


def test_outputs_that_no_one_can_read_are_named_errors(forest) -> None:
    with pytest.raises(TypeError, match=r"returned int64; expected floating-point outputs, not"):
        ask(forest.predict)
    with pytest.warns(UserWarning, match=r"look like probabilities.* pass probabilities=True\."):
        ask(forest.predict_proba)
    with pytest.raises(ValueError, match=r"`probabilities` is True.*rows from 0 to 1 that sum to"):
        ask(lambda x: x, probabilities=True)
    with pytest.raises(ValueError, match=r"returned the shape \(1,\) for 2 rows"):
        ask(lambda x: x.sum(keepdims=True)[0])


@pytest.mark.usefixtures("as_user")
def test_a_model_in_place_of_its_method_is_a_named_error(forest) -> None:
    with pytest.raises(TypeError, match="`predict` is a RandomForestClassifier; expected a func"):
        jinterp.from_numpy(forest)
