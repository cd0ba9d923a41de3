"""Noise averaged away, against the same over explicit samples."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from jinterp.stream import memory
from tests import networks
from tests.attribution.double import double
from tests.networks import ROWS

KEY = jax.random.key(3)
TARGET = np.array([2, 0, 4, 1])


def explicit(x: np.ndarray, num_samples: int, noise: float) -> list[Any]:
    """The noisy inputs: one draw for all examples, times a share of each one's range."""
    found = []
    for key in jax.random.split(KEY, num_samples):
        (own,) = jax.random.split(key, 1)
        drawn = np.asarray(jax.random.normal(own, x.shape[1:], np.float32))
        spread = np.array([each.max() - each.min() for each in x]).reshape(-1, *[1] * (x.ndim - 1))
        found.append(x + noise * spread * drawn)
    return found


@pytest.mark.parametrize(
    ("reduce", "reduction"),
    [
        ("mean", lambda v: v.mean(0)),
        ("square", lambda v: (v**2).mean(0)),
        ("variance", lambda v: v.var(0)),
    ],
)
def test_the_reduction_of_explicit_samples(x64: None, reduce: Any, reduction: Any) -> None:
    model, x = double(networks.mlp()), ROWS.astype(float)
    smoothed = jinterp.smooth(jinterp.gradient, key=KEY, num_samples=7, noise=0.3, reduce=reduce)
    samples = [jinterp.gradient(*model, each, TARGET) for each in explicit(x, 7, 0.3)]
    expected = reduction(np.stack(samples))
    np.testing.assert_allclose(smoothed(*model, x, TARGET), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("explain", [jinterp.gradient, jinterp.integrated_gradients])
def test_without_noise_it_is_the_method_itself(explain: Any) -> None:
    arguments = *networks.mlp(), ROWS, TARGET
    found = jinterp.smooth(explain, key=KEY, num_samples=3, noise=0.0)(*arguments)
    np.testing.assert_allclose(found, explain(*arguments), rtol=1e-6, atol=1e-7)
    still = jinterp.smooth(explain, key=KEY, num_samples=3, noise=0.0, reduce="variance")
    np.testing.assert_allclose(still(*arguments), 0, atol=1e-12)


def quadratic(params: None, x: jax.Array) -> jax.Array:
    return (x**2).sum(axis=1, keepdims=True) / 2


def test_noise_is_a_share_of_the_range_of_each_example() -> None:
    """The gradient of Σx²/2 is x itself, so that its variance is that of the noise."""
    x = np.linspace(0, 1, 50, dtype=np.float32)[None] * np.array([[1.0], [10]], np.float32)
    spread = jinterp.smooth(
        jinterp.gradient, key=KEY, num_samples=100, noise=0.15, reduce="variance"
    )
    found = np.sqrt(np.asarray(spread(quadratic, None, x, 0)).mean(1))
    np.testing.assert_allclose(found, [0.15, 1.5], rtol=0.05)
    np.testing.assert_allclose(found[1] / found[0], 10, rtol=1e-4)


def test_more_samples_come_nearer_to_the_mean() -> None:
    """∂/∂x of Σx²/2 has the mean x."""
    x = np.linspace(-1, 1, 40, dtype=np.float32)[None]
    smoothed = jinterp.smooth(jinterp.gradient, key=KEY, num_samples=100, noise=0.15)
    error = np.asarray(smoothed(quadratic, None, x, 0)) - x
    assert np.sqrt((error**2).mean()) == pytest.approx(0.15 * 2 / np.sqrt(100), rel=0.3)


def turning(params: None, x: jax.Array) -> jax.Array:
    return jnp.stack([jnp.tanh(x[:, 0]), jnp.tanh(-2 * x[:, 0])], 1)


def test_the_class_is_that_of_the_input_without_noise() -> None:
    x = np.array([[0.05, 3.0]], np.float32)
    smoothed = jinterp.smooth(jinterp.gradient, key=KEY, num_samples=20, noise=1.0)
    np.testing.assert_allclose(smoothed(turning, None, x), smoothed(turning, None, x, 0), rtol=1e-6)


def test_maps_are_smoothed_too() -> None:
    smoothed = jinterp.smooth(jinterp.grad_cam, key=KEY, num_samples=3)
    found = smoothed(*networks.cnn(), networks.IMAGES, TARGET, relu=False)
    samples = [
        jinterp.grad_cam(*networks.cnn(), each, TARGET, relu=False)
        for each in explicit(networks.IMAGES, 3, 0.15)
    ]
    np.testing.assert_allclose(found, np.mean(samples, 0), rtol=1e-4, atol=1e-6)


def test_the_score_of_the_explainer_is_its_own() -> None:
    smoothed = jinterp.smooth(jinterp.gradient, key=KEY, num_samples=2, noise=0.0)
    arguments = *networks.mlp(), ROWS, TARGET
    found = smoothed(*arguments, score=jinterp.probability)
    expected = jinterp.gradient(*arguments, score=jinterp.probability)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def rows_for_two_copies() -> tuple[np.ndarray, np.ndarray]:
    x = np.repeat(ROWS, memory.rows_per_call(jax.devices()[0]) // (2 * len(ROWS)), axis=0)
    return x, np.repeat(TARGET, len(x) // len(ROWS))


class Counting:
    """The gradient, and how many rows it was given in each call."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, apply_fn: Any, params: Any, x: Any, target: Any) -> Any:
        self.sizes.append(len(x))
        return jinterp.gradient(apply_fn, params, x, target)


@pytest.mark.parametrize(("num_samples", "together"), [(6, 2), (5, 1)])
def test_noisy_copies_share_calls(num_samples: int, together: int) -> None:
    """As many in one call as make enough rows, all calls alike."""
    (x, target), explain = rows_for_two_copies(), Counting()
    found = jinterp.smooth(explain, key=KEY, num_samples=num_samples)(*networks.mlp(), x, target)
    assert explain.sizes == [together * len(x)] * (num_samples // together)
    noisy = explicit(x, num_samples, 0.15)
    samples = [jinterp.gradient(*networks.mlp(), each, target) for each in noisy]
    np.testing.assert_allclose(found, np.mean(samples, 0), rtol=1e-4, atol=1e-6)


def test_noisy_copies_and_their_values_fit_the_budget() -> None:
    (x, target), explain = rows_for_two_copies(), Counting()
    with jinterp.memory_budget(num_bytes=3 * x.nbytes):
        jinterp.smooth(explain, key=KEY, num_samples=2)(*networks.mlp(), x, target)
    assert explain.sizes == [len(x)] * 2


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_the_noise_of_an_example_does_not_depend_on_the_batch(impl: str) -> None:
    smoothed = jinterp.smooth(jinterp.gradient, key=jax.random.key(0, impl=impl), num_samples=4)
    x, target = rows_for_two_copies()
    found, few = (smoothed(*networks.mlp(), x[:n], target[:n]) for n in (len(x), 2))
    np.testing.assert_allclose(found[:2], few, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("values", [np.arange(6.0, dtype=np.float32), np.float32(2)])
def test_values_that_have_no_rows(values: Any) -> None:
    """Such as a curve over six steps: with three copies together it looks like rows of each."""

    def explain(apply_fn: Any, params: Any, x: Any, target: Any) -> Any:
        return jnp.asarray(values)

    found = jinterp.smooth(explain, key=KEY, num_samples=3)(*networks.mlp(), ROWS, TARGET)
    np.testing.assert_array_equal(found, values)


def test_arrays_of_the_batch_that_an_explainer_holds() -> None:
    """They do not fit several copies of the batch, which are explained one after the other."""
    baseline = ROWS[::-1] / 2

    def explain(apply_fn: Any, params: Any, x: Any, target: Any) -> Any:
        return jinterp.integrated_gradients(apply_fn, params, x, target, baseline=baseline)

    found = jinterp.smooth(explain, key=KEY, num_samples=3)(*networks.mlp(), ROWS, TARGET)
    samples = [explain(*networks.mlp(), each, TARGET) for each in explicit(ROWS, 3, 0.15)]
    np.testing.assert_allclose(found, np.mean(samples, 0), rtol=1e-4, atol=1e-6)


def around(params: None, x: jax.Array) -> jax.Array:
    with jax.named_scope("inside"):
        y = jnp.tanh(x)
    return x * y


def test_at_a_layer_that_the_input_goes_around() -> None:
    """The model from there on holds the inputs of its batch, which belong to one copy of it."""
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    inside = jinterp.smooth(jinterp.gradient, key=KEY, num_samples=3)
    found = jinterp.at_layer(inside, "inside")(around, None, x, np.arange(5) % 3)
    np.testing.assert_allclose(found, x * np.eye(3)[np.arange(5) % 3], rtol=1e-6)
