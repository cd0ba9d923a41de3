"""Path integrals: baselines, completeness, exact cases, and rules that adapt."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from tests import networks
from tests.attribution.double import double
from tests.networks import IMAGES, ROWS

TARGET = np.array([2, 0, 4, 1])


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def total(values: Any) -> np.ndarray:
    return np.asarray(values).reshape(len(values), -1).sum(1)


def change(model: jinterp.Model, x: Any, baseline: Any) -> np.ndarray:
    """s(x) − s(b) for the targets."""
    rows = np.arange(len(x))
    logits = [np.asarray(model.apply_fn(model.params, jnp.asarray(each))) for each in (x, baseline)]
    return (logits[0] - logits[1])[rows, TARGET[: len(x)]]


def linear(weights: jax.Array, x: jax.Array) -> jax.Array:
    return x.reshape(len(x), -1) @ weights


def quartic(params: None, x: jax.Array) -> jax.Array:
    """Σ x⁴, whose integrated gradients from 0 are x⁴."""
    return (x**4).sum(axis=1, keepdims=True)


# Baselines.


@pytest.mark.parametrize(
    "explain",
    [
        jinterp.integrated_gradients,
        jinterp.idgi,
        jinterp.guided_integrated_gradients,
        lambda *args, **keywords: jinterp.conductance(*args, layer="hidden1", **keywords),
        lambda *args, **keywords: jinterp.internal_influence(*args, layer="hidden1", **keywords),
    ],
    ids=["integrated", "idgi", "guided", "conductance", "influence"],
)
def test_several_baselines_give_the_mean_of_single_ones(x64: None, explain: Any) -> None:
    baselines = [0.5, random(7, seed=1), random(4, 7, seed=2)]
    arguments = *double(networks.mlp()), ROWS.astype(float), TARGET
    found = explain(*arguments, baseline=baselines, num_steps=10)
    single = [explain(*arguments, baseline=each, num_steps=10) for each in baselines]
    np.testing.assert_allclose(found, sum(single) / 3, rtol=1e-12, atol=1e-14)
    assert np.abs(single[0] - single[1]).max() > 0.01


def test_the_gap_of_several_baselines(x64: None) -> None:
    x = random(4, 3)
    baselines = [0.5, random(3, seed=1)]
    model = jinterp.Model(quartic, None)
    values = jinterp.integrated_gradients(*model, x, 0, baseline=baselines, num_steps=1000)
    gaps = jinterp.completeness_gap(*model, x, values, 0, baseline=baselines)
    np.testing.assert_allclose(gaps, 0, atol=1e-4)
    away = jinterp.completeness_gap(*model, x, values + 1, 0, baseline=baselines)
    np.testing.assert_allclose(away - gaps, 3, rtol=1e-12)


# Exact cases.


def test_the_gap_of_half_precision_is_taken_in_full() -> None:
    """256 − 0.5 has nine digits, of which bfloat16 keeps eight."""
    x = jnp.array([[256.0]], jnp.bfloat16)
    asked = linear, jnp.ones((1, 1), jnp.bfloat16), x
    gap = jinterp.completeness_gap(*asked, np.array([[255.5]], np.float32), 0, baseline=0.5)
    assert gap.tolist() == [0.0]


def test_midpoints_are_exact_for_squares_and_gauss_legendre_for_polynomials(x64: None) -> None:
    x = random(5, 3)
    found = jinterp.integrated_gradients(quartic, None, x, 0, rule="gauss_legendre", num_steps=2)
    np.testing.assert_allclose(found, x**4, rtol=1e-12)
    found = jinterp.integrated_gradients(quartic, None, x, 0, num_steps=200)
    # ∫4α³ by n midpoints is 1 − 1/2n².
    np.testing.assert_allclose(found, x**4 * (1 - 0.5 / 200**2), rtol=1e-9)


@pytest.mark.parametrize("num_samples", [3, 6, 12])
def test_expected_gradients_of_a_linear_model_are_exact(x64: None, num_samples: int) -> None:
    """The baselines take turns, so that each counts as often as any other."""
    x, baselines, weights = random(5, 2, 3), random(3, 2, 3, seed=1), random(6, 4, seed=2)
    found = jinterp.expected_gradients(
        linear, weights, x, 2, baselines=baselines, key=jax.random.key(0), num_samples=num_samples
    )
    expected = (x - baselines.mean(0)) * weights[:, 2].reshape(2, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_expected_gradients_are_their_own_formula(x64: None) -> None:
    """With one baseline and many samples: integrated gradients from it."""
    x, baseline = random(4, 3), random(3, seed=1)
    found = jinterp.expected_gradients(
        quartic, None, x, 0, baselines=baseline[None], key=jax.random.key(3), num_samples=2000
    )
    exact = jinterp.integrated_gradients(
        quartic, None, x, 0, baseline=baseline, rule="gauss_legendre", num_steps=2
    )
    # One draw in each of n intervals: errors fall like n^-3/2.
    np.testing.assert_allclose(found, exact, atol=1e-3 * np.abs(exact).max())


@pytest.mark.parametrize("num_steps", [1, 3, 20])
@pytest.mark.parametrize("baseline", [0.25, -1.0])
def test_idgi_completes_exactly(x64: None, num_steps: int, baseline: float) -> None:
    model, x = double(networks.mlp()), ROWS.astype(float)
    values = jinterp.idgi(*model, x, TARGET, baseline=baseline, num_steps=num_steps)
    expected = change(model, x, np.full_like(x, baseline))
    np.testing.assert_allclose(total(values), expected, rtol=1e-12, atol=1e-14)


def test_idgi_shares_a_step_by_the_squared_gradient(x64: None) -> None:
    weights = random(3, 2)
    x = random(4, 3, seed=1)
    values = jinterp.idgi(linear, weights, x, 1)
    share = weights[:, 1] ** 2 / (weights[:, 1] ** 2).sum()
    np.testing.assert_allclose(values, (x @ weights[:, 1])[:, None] * share, rtol=1e-12)


# At a layer.


def test_conductance_through_a_whole_layer_is_the_change_of_the_score(x64: None) -> None:
    model, x, baseline = double(networks.mlp()), ROWS.astype(float), random(7)
    expected = change(model, x, np.broadcast_to(baseline, x.shape))
    for layer in ("hidden1", "hidden2"):
        values = jinterp.conductance(
            *model, x, TARGET, layer=layer, baseline=baseline, num_steps=1000
        )
        np.testing.assert_allclose(total(values), expected, atol=1e-5)


def test_conductance_at_the_head_is_the_change_of_each_logit(x64: None) -> None:
    model, x = double(networks.mlp()), ROWS.astype(float)
    values = jinterp.conductance(*model, x, TARGET, layer="head", num_steps=3)
    expected = np.zeros((4, 5))
    expected[np.arange(4), TARGET] = change(model, x, 0 * x)
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-14)


def test_internal_influence_times_a_linear_layer_is_its_conductance(x64: None) -> None:
    """In the first layer da/dα is constant."""
    arguments = *double(networks.mlp()), ROWS.astype(float), TARGET
    influence = jinterp.internal_influence(*arguments, layer="hidden1")
    ends = [
        jinterp.activations(*arguments[:2], x, "hidden1")["hidden1"]
        for x in (arguments[2], 0 * arguments[2])
    ]
    conductance = jinterp.conductance(*arguments, layer="hidden1")
    np.testing.assert_allclose(conductance, influence * (ends[0] - ends[1]), rtol=1e-10, atol=1e-14)


# Rules that adapt.


def step(params: jax.Array, x: jax.Array) -> jax.Array:
    """relu(x₀ − 1)·w₀ + relu(x₁ − 2)·w₁: the slopes jump at 1/x₀ and 2/x₁ of the way from 0."""
    kinks = jnp.array([1.0, 2], x.dtype)
    return jax.nn.relu(x - kinks[None]) @ params[:, None]


def test_adaptive_steps_are_midpoints(x64: None) -> None:
    model, x = double(networks.mlp()), ROWS.astype(float)
    found = jinterp.adaptive_integrated_gradients(*model, x, TARGET, tolerance=1e-9, max_steps=63)
    expected = jinterp.integrated_gradients(*model, x, TARGET, num_steps=63)
    np.testing.assert_allclose(found.values, expected, rtol=1e-10, atol=1e-14)
    gaps = jinterp.completeness_gap(*model, x, expected, TARGET)
    np.testing.assert_allclose(found.gaps, gaps, rtol=1e-6, atol=1e-12)
    before = jinterp.integrated_gradients(*model, x, TARGET, num_steps=21)
    change = np.linalg.norm(expected - before, axis=1) / np.linalg.norm(expected, axis=1)
    np.testing.assert_allclose(found.errors, change / np.sqrt(8), rtol=1e-9)


def test_examples_leave_when_they_have_converged(x64: None) -> None:
    """The slopes of the first two do not jump, those of the others do somewhere on the way."""
    x = np.array([[0.5, 5e9], [2e9, 0.5], [1.7, 5.1], [6.3, 2.9]])
    found = jinterp.adaptive_integrated_gradients(step, jnp.array([1.0, -2]), x, 0, tolerance=0.01)
    assert found.num_steps.tolist()[:2] == [21, 21]
    assert min(found.num_steps[2:]) > 21
    assert found.converged.all()
    assert (found.errors <= 0.01).all()
    alone = jinterp.adaptive_integrated_gradients(
        step, jnp.array([1.0, -2]), x[2:3], 0, tolerance=0.01
    )
    np.testing.assert_allclose(alone.values[0], found.values[2], rtol=1e-12)
    assert alone.num_steps[0] == found.num_steps[2]


def test_what_has_not_converged_says_so(x64: None) -> None:
    x = np.array([[0.5, 1e9], [1.7, 5.1]])
    found = jinterp.adaptive_integrated_gradients(
        step, jnp.array([1.0, -2]), x, 0, tolerance=1e-4, max_steps=62
    )
    assert found.converged.tolist() == [True, False]
    assert found.num_steps.tolist() == [21, 21]
    assert found.errors[1] > 1e-4


def test_the_estimated_error_is_that_of_jumping_slopes(x64: None) -> None:
    """Over many places of the jump the root mean squares agree, as the formula has it."""
    rng = np.random.default_rng(0)
    x = rng.uniform([1.2, 2.2], [9, 9], (400, 2))
    weights = jnp.array([1.0, -2])
    found = jinterp.adaptive_integrated_gradients(step, weights, x, 0, tolerance=1e-9, max_steps=21)
    exact = np.maximum(x - [1, 2], 0) * np.array([1, -2])
    error = np.linalg.norm(found.values - exact, axis=1)
    estimate = found.errors * np.linalg.norm(found.values, axis=1)
    assert np.sqrt(np.mean(estimate**2)) == pytest.approx(np.sqrt(np.mean(error**2)), rel=0.1)
    np.testing.assert_allclose(found.gaps, (found.values - exact).sum(1), atol=1e-12)


def test_the_estimated_error_of_a_smooth_function_is_no_smaller_than_the_true_one(
    x64: None,
) -> None:
    x = random(20, 3)
    found = jinterp.adaptive_integrated_gradients(quartic, None, x, 0)
    error = np.linalg.norm(found.values - x**4, axis=1) / np.linalg.norm(x**4, axis=1)
    np.testing.assert_allclose(error, 0.5 / 21**2, rtol=1e-9)
    np.testing.assert_allclose(found.errors, error * 8 / np.sqrt(8) / (1 - error), rtol=1e-6)


def test_an_example_equal_to_the_baseline_has_converged() -> None:
    x = ROWS.copy()
    x[1] = 0
    with pytest.warns(UserWarning, match="1 of 4 examples are zero everywhere"):
        found = jinterp.adaptive_integrated_gradients(*networks.mlp(), x, TARGET, tolerance=0.1)
    assert found.converged.all()
    assert found.errors[1] == 0
    assert found.gaps[1] == 0
    assert not np.asarray(found.values[1]).any()


def test_adaptive_at_a_layer(x64: None) -> None:
    """Examples leave although the head is computed from rows of the batch."""
    model, x = double(networks.cnn()), IMAGES.astype(float)
    explain = jinterp.at_layer(jinterp.adaptive_integrated_gradients, "conv1")
    found = explain(*model, x, TARGET, tolerance=0.01)
    expected = jinterp.at_layer(jinterp.integrated_gradients, "conv1")(
        *model, x, TARGET, num_steps=2000
    )
    error = np.linalg.norm((found.values - expected).reshape(4, -1), axis=1)
    assert (error <= 0.02 * np.linalg.norm(expected.reshape(4, -1), axis=1)).all()
    assert len(set(found.num_steps.tolist())) > 1


# Noise along the paths.


def test_without_noise_gradient_shap_is_expected_gradients() -> None:
    keywords = {"baselines": ROWS[:2], "key": jax.random.key(3), "num_samples": 6}
    arguments = *networks.mlp(), ROWS, TARGET
    found = jinterp.gradient_shap(*arguments, noise=0, **keywords)
    np.testing.assert_array_equal(found, jinterp.expected_gradients(*arguments, **keywords))
    noisy = jinterp.gradient_shap(*arguments, **keywords)
    assert (noisy != found).any()


def test_noise_is_a_share_of_the_range(x64: None) -> None:
    """E[x · 4 (αx + ε)³] = x⁴ + 6 x² σ², with σ the share of each example's range."""
    x = np.array([[1.0, -1.0, 0.5], [3.0, -1.0, 2.0]])
    found = jinterp.gradient_shap(
        quartic, None, x, 0, baselines=0 * x, key=jax.random.key(0), num_samples=40_000, noise=0.2
    )
    sigma = 0.2 * np.array([[2.0], [4.0]])
    np.testing.assert_allclose(found, x**4 + 6 * x**2 * sigma**2, rtol=0.05)
