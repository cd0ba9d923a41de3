"""Blur integrated gradients: the blur, its derivative, and their sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import jinterp
from jinterp.attribution.blur import blurred_leaf as blur
from tests import networks
from tests.attribution.double import double
from tests.networks import IMAGES, SERIES, VOLUMES

pytestmark = pytest.mark.usefixtures("x64")


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize(("sigma", "tolerance"), [(1.5, 1e-5), (3.0, 1e-10), (8.0, 1e-10)])
@pytest.mark.parametrize("shape", [(2, 40, 3), (2, 20, 31, 3), (1, 12, 9, 10, 2)])
def test_the_blur_is_a_gaussian_with_mirrored_edges(
    shape: tuple[int, ...], sigma: float, tolerance: float
) -> None:
    """SciPy samples the Gaussian, whose frequencies over the grid's own, exp(−π²σ²/2), alias."""
    x = random(*shape)
    found = blur(jnp.asarray(x), jnp.float64(sigma), -1)
    sigmas = (0, *[sigma] * (x.ndim - 2), 0)
    expected = gaussian_filter(x, sigmas, mode="reflect", truncate=8)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_the_blur_begins_with_the_input_and_ends_with_its_mean() -> None:
    x = random(2, 8, 12, 3)
    np.testing.assert_allclose(blur(jnp.asarray(x), jnp.float64(0), -1), x, atol=1e-13)
    mean = np.broadcast_to(x.mean((1, 2), keepdims=True), x.shape)
    np.testing.assert_allclose(blur(jnp.asarray(x), jnp.float64(50), -1), mean, atol=1e-13)


def test_channels_first() -> None:
    x = jnp.asarray(random(2, 8, 12, 3))
    first = blur(jnp.moveaxis(x, -1, 1), jnp.float64(2), 1)
    np.testing.assert_allclose(jnp.moveaxis(first, 1, -1), blur(x, jnp.float64(2), -1), atol=1e-13)


@pytest.mark.parametrize("sigma", [0.3, 2.0, 10.0])
def test_the_derivative_of_the_blur(sigma: float) -> None:
    x = jnp.asarray(random(2, 8, 12, 3))

    def at(sigma: jax.Array) -> jax.Array:
        return blur(x, sigma, -1)

    change = jax.jvp(at, (jnp.float64(sigma),), (jnp.float64(1),))[1]
    step = 1e-4
    expected = (at(jnp.float64(sigma + step)) - at(jnp.float64(sigma - step))) / (2 * step)
    np.testing.assert_allclose(change, expected, atol=1e-7)


@pytest.mark.parametrize(("name", "x"), [("cnn", IMAGES), ("cnn_1d", SERIES), ("cnn_3d", VOLUMES)])
@pytest.mark.parametrize("max_sigma", [4.0, 50.0])
def test_the_sum_is_the_change_of_the_score(name: str, x: np.ndarray, max_sigma: float) -> None:
    model, x = double(getattr(networks, name)()), jnp.asarray(x.astype(float))
    """The slopes jump at the kinks of the ReLUs, so that the error falls like 1/steps."""
    values = jinterp.blur_integrated_gradients(*model, x, 2, max_sigma=max_sigma, num_steps=400)
    ends = [
        model.apply_fn(model.params, each)[:, 2]
        for each in (x, blur(x, jnp.float64(max_sigma), -1))
    ]
    sums = values.reshape(len(x), -1).sum(1)
    scale = np.abs(ends[0] - ends[1]).max()
    np.testing.assert_allclose(sums, ends[0] - ends[1], rtol=0, atol=0.02 * scale)


def test_a_linear_score_has_the_values_in_closed_form() -> None:
    """The gradient is constant: w ⊙ (x − blurred)."""
    x, weights = random(3, 8, 12, 2), np.random.default_rng(1).normal(size=(8, 12, 2))
    values = jinterp.blur_integrated_gradients(linear, weights, x, 0, max_sigma=3.0, num_steps=2000)
    expected = weights[None] * (x - blur(jnp.asarray(x), jnp.float64(3), -1))
    np.testing.assert_allclose(values, expected, atol=1e-5)


def linear(weights: jax.Array, x: jax.Array) -> jax.Array:
    return (x * weights[None]).sum((1, 2, 3))[:, None]
