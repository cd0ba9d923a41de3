"""Cases whose right answer is known, from closed forms and from peers' own tests."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp

pytestmark = pytest.mark.usefixtures("x64")


def close(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.array(expected, float), rtol=tolerance, atol=tolerance)


# Integrated gradients: two formulas of one function have one answer.


def one_way(params: None, x: jax.Array) -> jax.Array:
    relu = jax.nn.relu
    return relu(relu(x[:, :1]) - 1 - relu(x[:, 1:]))


def another_way(params: None, x: jax.Array) -> jax.Array:
    relu = jax.nn.relu
    return relu(relu(x[:, :1] - 1) - relu(x[:, 1:]))


@pytest.mark.parametrize("rule", ["midpoint", "gauss_legendre"])
@pytest.mark.parametrize("apply_fn", [one_way, another_way])
def test_integrated_gradients_do_not_depend_on_the_formula(apply_fn: Any, rule: str) -> None:
    """The gradient jumps at α = 1/2, an edge of the midpoint rule and a centre of the other."""
    x = jnp.array([[3.0, 1.0]])
    found = jinterp.integrated_gradients(apply_fn, None, x, 0, rule=rule, num_steps=50)
    close(found, [[1.5, -0.5]])
    close(found / x, [[0.5, -0.5]])  # the mean gradient


# Class activation maps on a small convolution.


def convolution(params: None, x: jax.Array) -> jax.Array:
    """4×4, valid 3×3 of ones in two channels, biases, ReLU; rows [1]*5 + [-1]*3; ReLU."""
    with jax.named_scope("conv"):
        dimensions = ("NHWC", "HWIO", "NHWC")
        kernel = jnp.ones((3, 3, 1, 2), x.dtype)
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=dimensions)
        x = x - jnp.array([50.0, 75])[None, None, None]
    with jax.named_scope("relu"):
        x = jnp.maximum(x, 0)
    x = x.transpose(0, 3, 1, 2).reshape(len(x), 8)
    return jax.nn.relu(x @ jnp.array([[1.0]] * 5 + [[-1.0]] * 3) @ jnp.ones((1, 4)))


GRID = np.arange(16.0).reshape(1, 4, 4, 1)


def test_the_convolution_is_the_one_meant() -> None:
    close(convolution(None, jnp.asarray(GRID)), [[54.0] * 4])


@pytest.mark.parametrize(
    ("x", "expected"),
    [(GRID, [[11.25, 13.5], [20.25, 22.5]]), (GRID + 1, [[14.5, 19], [32.5, 37]])],
)
def test_grad_cam_at_the_convolution(x: np.ndarray, expected: list[list[float]]) -> None:
    close(jinterp.grad_cam(convolution, None, x, 0, layer="conv", relu=False), [expected])


def test_grad_cam_channel_by_channel() -> None:
    activation = jinterp.activations(convolution, None, GRID, "conv")["conv"]
    slopes = jinterp.at_layer(jinterp.gradient, "conv")(convolution, None, GRID, 0)
    found = slopes.mean((1, 2), keepdims=True) * activation
    close(found[0, ..., 0], [[-3.75, 3], [23.25, 30]])
    close(found[0, ..., 1], [[15, 10.5], [-3, -7.5]])


@pytest.mark.parametrize(
    ("explain", "expected"),
    [
        (jinterp.grad_cam, [[0, 4], [28, 32.5]]),
        (jinterp.hires_cam, [[0, 4], [25, 25]]),
        (jinterp.layer_cam, [[0, 4], [31, 40]]),
        (jinterp.xgrad_cam, [[0, 4], [25, 25]]),  # weights (1, −1)
    ],
)
def test_maps_at_the_relu(explain: Callable[..., Any], expected: list[list[float]]) -> None:
    close(explain(convolution, None, GRID, 0, layer="relu"), [expected])


# A perceptron.

WEIGHTS = {
    "hidden": (np.ones((3, 4)), np.array([-10.0, 1, 1, 1])),
    "out": (np.ones((4, 2)), np.array([-1.0, 1])),
}


def perceptron(params: Any, x: jax.Array) -> jax.Array:
    with jax.named_scope("input"):
        x = x @ jnp.eye(3, dtype=x.dtype)
    with jax.named_scope("hidden"):
        x = x @ params["hidden"][0] + params["hidden"][1][None]
    return jax.nn.relu(x) @ params["out"][0] + params["out"][1][None]


def test_conductance_of_the_perceptron() -> None:
    arguments = perceptron, WEIGHTS, jnp.array([[0.0, 100, 0]]), 0
    close(jinterp.conductance(*arguments, layer="input"), [[0, 390, 0]])
    close(jinterp.conductance(*arguments, layer="hidden"), [[90, 100, 100, 100]])
    captum = jinterp.conductance(*arguments, layer="hidden", rule="gauss_legendre")
    close(captum, [[90, 100, 100, 100]], 0.1 / 9)


def test_internal_influence_of_the_perceptron() -> None:
    arguments = perceptron, WEIGHTS, jnp.array([[0.0, 100, 0]]), 0
    close(jinterp.internal_influence(*arguments, layer="input"), [[3.9, 3.9, 3.9]])
    close(jinterp.internal_influence(*arguments, layer="hidden"), [[0.9, 1, 1, 1]])


def test_internal_influence_from_a_baseline() -> None:
    """The kinks are at α = .3 and .19; Captum's 50 points say .8 for 1 − .19."""
    arguments = perceptron, WEIGHTS, jnp.array([[0.0, 80, 0]]), 0
    baseline = jnp.array([0.0, -20, 0])
    found = jinterp.internal_influence(
        *arguments, layer="hidden", baseline=baseline, num_steps=1000
    )
    close(found, [[0.7, 0.81, 0.81, 0.81]], 2e-3)
    found = jinterp.internal_influence(*arguments, layer="hidden", baseline=baseline)
    close(found, [[0.7, 0.8, 0.8, 0.8]], 0.021)


def eightfold(params: Any, x: jax.Array) -> jax.Array:
    """Captum's many outputs at (·, 1, 1), and its additional input."""
    return 8 * perceptron(params, x + jnp.array([[1.0, 2, 3]]))


def test_the_gap_squared_is_the_infidelity() -> None:
    arguments = eightfold, WEIGHTS, jnp.array([[1.0, 2, 3]])
    values = jinterp.integrated_gradients(*arguments, 0, baseline=1.0, rule="gauss_legendre")
    gap = jinterp.completeness_gap(*arguments, values, 0, baseline=1.0)
    close(gap**2, [0.10686], 5e-5)


FIRST = perceptron, WEIGHTS, np.array([[20.0, 50, 30]]), 0


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({}, [80, 200, 120]),
        ({"feature_mask": np.array([0, 0, 1])}, [280, 280, 120]),
        ({"baseline": 4.0}, [64, 184, 104]),
        ({"baseline": 4.0, "feature_mask": np.array([0, 0, 1])}, [248, 248, 104]),
        ({"baseline": [0.0, 4.0]}, [72, 192, 112]),
    ],
)
def test_feature_ablation_of_the_perceptron(keywords: Any, expected: list[float]) -> None:
    close(jinterp.feature_ablation(*FIRST, **keywords), [expected])


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({"stride": 1, "baseline": 10.0}, [200, 220, 240]),
        ({"stride": 2}, [280, 280, 120]),
        ({"stride": (2,)}, [280, 280, 120]),
        ({"stride": 1, "baseline": [10.0, 0.0]}, [240, 260, 280]),
    ],
)
def test_occlusion_of_the_perceptron(keywords: Any, expected: list[float]) -> None:
    close(jinterp.occlusion(*FIRST, window=2, **keywords), [expected])


def thrice(params: None, x: jax.Array) -> jax.Array:
    return 3 * x.sum((1, 2, 3))[:, None]


def test_occlusion_of_two_points_summed_over_the_windows() -> None:
    x = np.zeros((1, 5, 5, 1))
    x[0, 1, 1] = x[0, 3, 3] = 1
    found = jinterp.occlusion(thrice, None, x, 0, window=3, stride=1)[0, ..., 0]
    num_windows = np.array([1.0, 2, 3, 2, 1])
    expected = [
        [3, 6, 6, 3, 0],
        [6, 15, 18, 12, 3],
        [6, 18, 24, 18, 6],
        [3, 12, 18, 15, 6],
        [0, 3, 6, 6, 3],
    ]
    close(found * np.outer(num_windows, num_windows), expected)


# Guided integrated gradients: the quadratic form, on which every path has its own answer.


def square(params: None, x: jax.Array) -> jax.Array:
    return (x @ jnp.array([[2.0], [1.0]])) ** 2


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({"max_dist": 0.0}, [54, 27]),
        ({"fraction": 1.0}, [54, 27]),
        ({"max_dist": 1.0}, [72, 9]),
    ],
)
def test_guided_integrated_gradients(keywords: dict[str, float], expected: list[float]) -> None:
    """The gradient is taken where a step starts, which misses about 81/steps."""
    x = jnp.array([[3.0, 3.0]])
    found = jinterp.guided_integrated_gradients(square, None, x, 0, num_steps=1000, **keywords)
    np.testing.assert_allclose(found, [expected], rtol=0, atol=0.15)


def test_guided_integrated_gradients_are_complete_within_a_band() -> None:
    x = jnp.array([[3.0, 3.0]])
    found = jinterp.guided_integrated_gradients(square, None, x, 0, num_steps=1000, max_dist=0.2)
    np.testing.assert_allclose(found.sum(), 81, rtol=0, atol=0.15)
    assert 54 < found[0, 0] < 72


# Saliency of a linear score.


def test_saliency_of_a_linear_score_is_its_weights() -> None:
    weights = np.random.default_rng(0).normal(size=(3, 5, 2))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(4, 3, 5, 2)))

    found = jinterp.saliency(linear, weights, x, 0)
    close(found, np.broadcast_to(np.abs(weights), x.shape))
    close(jinterp.gradient(linear, weights, x, 1), np.broadcast_to(-weights, x.shape))
    largest = jinterp.aggregate(found, "max")
    close(largest, np.broadcast_to(np.abs(weights).max(-1), x.shape[:-1]))


def linear(weights: jax.Array, x: jax.Array) -> jax.Array:
    scores = jnp.einsum("bhwc,hwc->b", x, weights)
    return jnp.stack([scores, -scores], 1)


# Score-CAM, with channels that are halves of the image.


def means(params: Any, x: jax.Array) -> jax.Array:
    with jax.named_scope("channels"):
        x = 1 * x
    scores = x.mean((1, 2)) @ jnp.array([3.0, 1])
    return jnp.stack([scores, -scores], 1)


@pytest.mark.parametrize(
    ("channel_softmax", "expected"), [(False, (1.5, 0.5)), (True, (0.7310585786, 0.2689414214))]
)
def test_score_cam_of_two_halves(channel_softmax: bool, expected: tuple[float, float]) -> None:
    halves = np.zeros((1, 4, 6, 2))
    halves[:, :2, :, 0] = halves[:, 2:, :, 1] = 1
    found = jinterp.score_cam(means, None, halves, 0, channel_softmax=channel_softmax)
    rows = np.repeat(expected, 2)[None, :, None]
    close(found, np.broadcast_to(rows, (1, 4, 6)), 1e-9)
