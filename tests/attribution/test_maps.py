"""What is done with values: from channels to a map, to another resolution, to 0..1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp

VALUES = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
MODES = {
    "sum": lambda v, axis: v.sum(axis),
    "abs_sum": lambda v, axis: np.abs(v).sum(axis),
    "mean": lambda v, axis: v.mean(axis),
    "max": lambda v, axis: np.abs(v).max(axis),
    "norm": lambda v, axis: np.sqrt((v**2).sum(axis)),
}


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("axis", [-1, 1])
def test_aggregate(how: str, axis: int) -> None:
    found = jinterp.aggregate(VALUES, how, channel_axis=axis)
    np.testing.assert_allclose(found, MODES[how](VALUES, axis), rtol=1e-5, atol=1e-6)


def test_aggregate_of_text_is_one_number_a_token() -> None:
    assert jinterp.aggregate(VALUES[:, 0]).shape == (2, 4)


@pytest.mark.parametrize("method", ["linear", "nearest", "cubic"])
def test_upsample_is_jax_image_resize(method: str) -> None:
    maps = VALUES[..., 0]
    found = jinterp.upsample(maps, np.zeros((2, 9, 8, 7)), method=method)
    expected = jax.image.resize(maps, (2, 9, 8), method)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_upsample_keeps_signs_and_about_the_mean() -> None:
    maps = np.random.default_rng(1).normal(0.5, size=(2, 6, 8)).astype(np.float32)
    like = np.zeros((2, 48, 64, 3))
    found = jinterp.upsample(maps, like)
    assert found.min() >= maps.min()
    assert found.max() <= maps.max()
    np.testing.assert_allclose(found.mean((1, 2)), maps.mean((1, 2)), rtol=1e-4)
    assert jinterp.upsample(np.abs(maps), like).min() >= 0
    nearest = jinterp.upsample(maps, like, method="nearest")
    np.testing.assert_array_equal(nearest, maps.repeat(8, axis=1).repeat(8, axis=2))


def test_upsample_takes_any_number_of_axes() -> None:
    assert jinterp.upsample(VALUES[:, :, 0, 0], np.zeros((2, 7, 2))).shape == (2, 7)
    assert jinterp.upsample(VALUES, np.zeros((2, 6, 8, 10, 1))).shape == (2, 6, 8, 10)
    several = jinterp.upsample(VALUES, np.zeros((2, 8, 10, 1)))
    assert several.shape == (2, 3, 8, 10)
    np.testing.assert_allclose(
        several[:, 1], jinterp.upsample(VALUES[:, 1], np.zeros((2, 8, 10, 1))), rtol=1e-6
    )


def test_normalize_is_of_each_example() -> None:
    found = jinterp.normalize(VALUES)
    flat = VALUES.reshape(2, -1)
    low, high = flat.min(1)[:, None, None, None], flat.max(1)[:, None, None, None]
    np.testing.assert_allclose(found, (VALUES - low) / (high - low), rtol=1e-5, atol=1e-6)
    assert found.min() == 0
    assert found.max() == 1


def test_normalize_of_a_constant_is_zero() -> None:
    found = jinterp.normalize(jnp.full((2, 3, 3), 7.0))
    assert not np.asarray(found).any()
