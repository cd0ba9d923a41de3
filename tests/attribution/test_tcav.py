"""Concept vectors against scikit-learn, planted concepts, and how often chance is called one."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import ttest_1samp
from sklearn.linear_model import Ridge

import jinterp
from jinterp.attribution.tcav import _p_values
from tests.networks import IMAGES, cnn

SETS, NUM = 8, 24
PARAMS = {
    "conv": np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32),
    "head": np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32),
}
RED = np.array([1, 0, 0], np.float32)


def apply_fn(params: Any, x: jax.Array) -> jax.Array:
    """Class 0 looks for red, class 1 for something else of the layer."""
    with jax.named_scope("conv"):
        hidden = x @ params["conv"]
    red = jnp.tanh((hidden @ params["inverse"])[..., 0])
    other = (jnp.tanh(hidden).mean((1, 2)) @ params["head"])[:, 1]
    return jnp.stack([red.mean((1, 2)), other], axis=1)


MODEL = jinterp.Model(apply_fn, {**PARAMS, "inverse": np.linalg.pinv(PARAMS["conv"])})


def images(seed: int, num: int = NUM) -> np.ndarray:
    rng = np.random.default_rng(seed)
    colours = 0.5 * rng.normal(size=(num, 1, 1, 3))
    return (colours + 0.5 * rng.normal(size=(num, 4, 4, 3))).astype(np.float32)


RANDOM = [images(seed) for seed in range(SETS)]
CONCEPTS = {
    "red": images(100) + RED,
    "not red": images(101) - RED,
    "green": images(102) + RED[[1, 0, 2]],
    "random": images(103),
}


@functools.cache
def vectors() -> jinterp.attribution.ConceptVectors:
    with pytest.warns(UserWarning, match="the concept 'random' is told from random examples"):
        return jinterp.concept_vectors(*MODEL, CONCEPTS, RANDOM, layer="conv")


def test_a_planted_concept_is_found_and_others_are_not() -> None:
    found = jinterp.tcav(*MODEL, images(200), vectors(), 0)
    assert found.concepts == ("red", "not red", "green", "random")
    scores, p_values = (dict(zip(found.concepts, row, strict=True)) for row in found[1:5:3])
    assert scores["red"] > 0.85
    assert scores["not red"] < 0.15
    assert max(p_values["red"], p_values["not red"]) < 0.01
    assert p_values["random"] > 0.05
    assert min(p_values["green"], p_values["random"]) > 0.05
    assert found.accuracies[:3].min() > 0.64 > found.accuracies[3]
    assert (found.sensitivities[:2] * [1, -1] > 0).all()
    assert str(found).splitlines()[1].startswith("red")


def test_directional_derivatives_against_finite_differences() -> None:
    x, step = images(201, 5), 1e-2
    tapped = jinterp.tap(apply_fn, "conv")
    expected = np.empty((2, 4, SETS))
    for c, of_concept in enumerate(vectors().vectors):
        for r, vector in enumerate(of_concept):
            delta = jnp.broadcast_to(step * vector[None], (5, *vector.shape))
            up, down = (tapped(sign * delta, MODEL.params, x)[0] for sign in (1, -1))
            slopes = np.asarray(up - down)[:, 1] / (2 * step)
            expected[:, c, r] = (slopes > 0).mean(), slopes.mean()
    found = jinterp.tcav(*MODEL, x, vectors(), 1)
    sensitivities = (expected[1] * vectors().separations).mean(1)
    np.testing.assert_allclose(found.sensitivities, sensitivities, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected[0].mean(1), atol=1e-6)
    np.testing.assert_allclose(found.deviations, expected[0].std(1, ddof=1), atol=1e-6)


def test_vectors_and_accuracies_are_those_of_ridge_regression() -> None:
    """Left out one at a time, which the closed form foresees."""
    layer = [(x @ PARAMS["conv"]).reshape(len(x), -1) for x in (CONCEPTS["red"], RANDOM[2])]
    rows, labels = np.concatenate(layer).astype(np.float64), np.repeat([1.0, -1.0], NUM)
    alpha = 0.1 * ((rows - rows.mean(0)) ** 2).sum(1).mean()
    ridge = Ridge(alpha).fit(rows, labels)
    unit = (ridge.coef_ / np.linalg.norm(ridge.coef_)).reshape(4, 4, 6)
    np.testing.assert_allclose(vectors().vectors[0, 2], unit, atol=1e-5)
    gap = ((rows[:NUM].mean(0) - rows[NUM:].mean(0)) * unit.ravel()).sum()
    np.testing.assert_allclose(vectors().separations[0, 2], gap, rtol=1e-5)
    right = 0
    for left_out in range(len(rows)):
        rest = np.arange(len(rows)) != left_out
        own = 0.1 * ((rows - rows.mean(0)) ** 2).sum(1).mean()
        fit = Ridge(own).fit(rows[rest], labels[rest])
        right += fit.predict(rows[left_out : left_out + 1])[0] * labels[left_out] > 0
    assert vectors().accuracies[0, 2] == pytest.approx(right / len(rows))


def test_random_vectors_are_of_all_pairs_of_sets() -> None:
    assert vectors().pairs.tolist() == [[a, b] for a in range(SETS) for b in range(a + 1, SETS)]
    assert vectors().random_vectors.shape == (28, 4, 4, 6)
    norms = np.linalg.norm(vectors().random_vectors.reshape(28, -1), axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)


def gaussian(seed: int, num_sets: int) -> tuple[float, float]:
    """p-values of a concept that is one more random set: ours, and the paper's t-test.

    In the space of a layer with one direction that counts, as for a linear head.
    """
    rng = np.random.default_rng(seed)
    means = rng.normal(size=num_sets + 1)
    noise = 0.3 * rng.normal(size=(num_sets + 1, num_sets + 1))
    between = means[:, None] - means[None] + noise - noise.T
    pairs = np.array(np.triu_indices(num_sets, 1)).T
    own, of_pairs = between[-1, :-1], between[pairs[:, 0], pairs[:, 1]]
    ours = _p_values(np.array([own.mean()]), of_pairs, pairs, num_sets)[0]
    return ours, ttest_1samp(own, 0).pvalue


@pytest.mark.parametrize("num_sets", [3, 10, 30])
def test_chance_is_called_a_concept_as_often_as_the_test_says(num_sets: int) -> None:
    found = np.array([gaussian(seed, num_sets) for seed in range(2000)])
    ours, independent = (found < 0.05).mean(axis=0)
    assert ours == pytest.approx(0.05, abs=0.015)  # three standard errors
    assert independent > 0.1  # scores that share the concept are not independent


def test_false_positives_of_the_whole_method() -> None:
    """Sets of random images as concepts, twenty at a time, each time against other random sets."""
    x, p_values = images(300), []
    for seed in range(8):
        own = {str(n): images(10_000 + 20 * seed + n) for n in range(20)}
        random = [images(20_000 + 20 * seed + n) for n in range(10)]
        with pytest.warns(UserWarning, match="its vectors mean nothing"):
            found = jinterp.concept_vectors(*MODEL, own, random, layer="conv")
        p_values += jinterp.tcav(*MODEL, x, found, 0).p_values.tolist()
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.04)


def test_a_small_set_that_means_nothing_is_said_to() -> None:
    """Though nine of ten examples are on the right side, those of the larger set."""
    rng = np.random.default_rng(0)
    concepts = {"nothing": rng.normal(size=(10, 20)).astype(np.float32)}
    random = [rng.normal(size=(100, 20)).astype(np.float32) for _ in range(5)]

    def hidden(params: Any, x: jax.Array) -> jax.Array:
        with jax.named_scope("hidden"):
            found = x @ params
        return jnp.tanh(found)

    with pytest.warns(UserWarning, match="the concept 'nothing' is told from random examples with"):
        found = jinterp.concept_vectors(hidden, jnp.eye(20), concepts, random, layer="hidden")
    assert 0.3 < found.accuracies.mean() < 0.7


def test_a_score_that_the_layer_does_not_reach_is_said() -> None:
    def ignores(params: Any, x: jax.Array) -> jax.Array:
        return apply_fn(params, x) * jnp.array([[0.0, 1.0]])

    with pytest.warns(
        UserWarning, match="the score of 24 of 24 examples does not depend on 'conv'"
    ):
        found = jinterp.tcav(ignores, MODEL.params, images(200), vectors(), 0)
    assert found.scores.tolist() == [0, 0, 0, 0]
    assert np.isnan(found.p_values).all()


def test_one_class_for_each_example() -> None:
    x, target = images(200, 6), np.array([0, 0, 0, 1, 1, 1])
    both = jinterp.tcav(*MODEL, x, vectors(), target).sensitivities
    each = [jinterp.tcav(*MODEL, x[target == c], vectors(), c).sensitivities for c in (0, 1)]
    np.testing.assert_allclose(both, np.mean(each, axis=0), rtol=1e-4)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("error", "change", "said"),
    [
        (TypeError, {"concepts": [RANDOM[0]]}, "`concepts` is a list; expected a dict of name to"),
        (TypeError, {"concepts": {}}, "`concepts` is a dict; expected a dict of name to examples"),
        (ValueError, {"random": RANDOM[0]}, "`random` holds 1 set; expected a list of at least 3"),
        (ValueError, {"random": RANDOM[:2]}, "`random` holds 2 sets; expected a list of at least"),
        (
            ValueError,
            {"concepts": {"red": RANDOM[0][:9]}},
            "the concept 'red' has 9 examples; expected at least 10, better 50.",
        ),
        (
            ValueError,
            {"concepts": {"red": RANDOM[1]}},
            "random set 1 and the concept 'red' are the same in 'conv'; expected other examples.",
        ),
        (
            ValueError,
            {"random": [*RANDOM[:2], RANDOM[2][:, :3]]},
            "random set 2 has examples of shape (3, 4, 3); the concept 'red' has (4, 4, 3).",
        ),
        (
            ValueError,
            {"random": [*RANDOM[:2], RANDOM[2] * np.float32(np.nan)]},
            "random set 2 has NaN or infinite activations in 'conv'",
        ),
        (ValueError, {"layer": "cnv"}, "conv"),
        (TypeError, {"layer": 0}, "`layer` is 0; expected one name"),
    ],
)
def test_bad_input(error: type[Exception], change: dict[str, Any], said: str) -> None:
    given = {"concepts": {"red": CONCEPTS["red"]}, "random": RANDOM, "layer": "conv"} | change
    with pytest.raises(error) as raised:
        jinterp.concept_vectors(*MODEL, **given)
    assert said in str(raised.value)


@pytest.mark.usefixtures("as_user")
def test_vectors_of_another_model() -> None:
    with pytest.raises(ValueError, match="no layer 'conv'"):
        jinterp.tcav(*cnn(), IMAGES, vectors(), 0)
    other = vectors()._replace(layer="conv1")
    with pytest.raises(ValueError, match=r"'conv1' returns \(\d, 8, 12, 6\) .* shape \(4, 4, 6\)"):
        jinterp.tcav(*cnn(), IMAGES, other, 0)
    with pytest.raises(ValueError, match="expected one class an example"):
        jinterp.tcav(*MODEL, images(200, 4), vectors(), np.zeros((4, 2), int))
