"""Similarities of explanations against SciPy and scikit-image."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr
from skimage.metrics import structural_similarity as of_skimage

import jinterp
from jinterp.faithfulness._similarity import (
    mean_ranks,
    prepared,
    similarities,
    structural_similarity,
)

IMAGES = np.zeros((2, 8, 9, 3), np.float32)


def compared(a: Any, b: Any, x: Any = IMAGES, channel_axis: int = -1) -> Any:
    return similarities(*(prepared(each, x, channel_axis) for each in (a, b)))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@given(st.integers(0, 1000), st.sampled_from([1, 2, 9, 40]), st.sampled_from([1, 3, 100]))
def test_ranks_are_those_of_scipy(seed: int, num: int, num_values: int) -> None:
    """Of few values many are equal; 0 and −0 are."""
    rng = np.random.default_rng(seed)
    rows = (rng.integers(-num_values, num_values, (3, num)) / 8).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = -0.0
    np.testing.assert_array_equal(jax.jit(mean_ranks)(rows), rankdata(rows, axis=1) - 1)


@given(st.integers(0, 1000), st.sampled_from([2, 3, 30]), st.sampled_from([2, 100]))
def test_rank_correlations_are_those_of_scipy(seed: int, num: int, num_values: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(-num_values, num_values, (4, num)).astype(np.float32) for _ in range(2))
    found = compared(a, b)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant rows, which are NaN there, too
        expected = [spearmanr(*rows).statistic for rows in zip(a, b, strict=True)]
        absolute = [spearmanr(*rows).statistic for rows in zip(abs(a), abs(b), strict=True)]
    np.testing.assert_allclose(found.rank_correlations, expected, atol=1e-6)
    np.testing.assert_allclose(found.absolute_rank_correlations, absolute, atol=1e-6)


@pytest.mark.parametrize("shape", [(32, 32), (7, 20), (6, 9), (3, 4)])
def test_structural_similarity_is_that_of_skimage(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    a = rng.random((3, *shape)).astype(np.float32)
    b = np.clip(a + rng.normal(0, 0.2, a.shape), 0, 1).astype(np.float32)
    size = min(7, (min(shape) - 1) // 2 * 2 + 1)
    expected = [of_skimage(*pair, data_range=1.0, win_size=size) for pair in zip(a, b, strict=True)]
    found = jax.jit(structural_similarity)(a, b)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_maps_are_scaled_to_their_range_and_channels_added() -> None:
    a, b = noise(2, 8, 9, 3), noise(2, 8, 9, 3, seed=1) + noise(2, 8, 9, 3)
    expected = compared(a.sum(3), 100 * b.sum(3) - 7).ssims
    np.testing.assert_allclose(compared(a, b, a).ssims, expected, atol=1e-5)
    first = (np.moveaxis(each, 3, 1) for each in (a, b))
    np.testing.assert_allclose(compared(*first, channel_axis=1).ssims, expected, atol=1e-5)


def test_what_has_no_two_axes_in_space_has_no_structural_similarity() -> None:
    series, rows, tiny = noise(2, 8, 9), noise(2, 8), noise(2, 2, 9)
    assert np.isnan(compared(series, series, x=series).ssims).all()
    assert np.isnan(compared(rows, rows).ssims).all()
    assert np.isnan(compared(tiny, tiny).ssims).all()
    assert np.isnan(compared((series, series), (series, series)).ssims).all()
    np.testing.assert_allclose(compared(series, series).ssims, 1, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, np.nan, np.inf])
def test_values_that_are_the_same_everywhere_or_not_finite_are_like_nothing(value: float) -> None:
    a, b = noise(3, 9, 11), noise(3, 9, 11)
    b[1] = value
    for found in compared(a, b):
        assert np.isnan(found).tolist() == [False, True, False]
        np.testing.assert_allclose(np.asarray(found)[[0, 2]], 1, atol=1e-5)


def test_the_order_of_negative_values_is_that_of_sizes_reversed() -> None:
    a = -np.abs(noise(2, 50))
    found = compared(a, -a)
    np.testing.assert_allclose(found.rank_correlations, -1, atol=1e-6)
    np.testing.assert_allclose(found.absolute_rank_correlations, 1, atol=1e-6)


def test_arrays_of_a_pytree_are_ranked_together() -> None:
    a, b = noise(2, 4, 3), noise(2, 5)
    found = compared({"a": a, "b": jnp.asarray(b, jnp.bfloat16)}, {"a": a + 1, "b": b - 1})
    rows = np.concatenate([a.reshape(2, -1), np.asarray(jnp.asarray(b, jnp.bfloat16), float)], 1)
    moved = np.concatenate([(a + 1).reshape(2, -1), b - 1], 1)
    expected = [spearmanr(*each).statistic for each in zip(rows, moved, strict=True)]
    np.testing.assert_allclose(found.rank_correlations, expected, atol=1e-6)


def test_slices_that_fit_a_small_budget_give_the_same() -> None:
    a, b = noise(9, 16, 16, 3), noise(9, 16, 16, 3, seed=1)
    whole = compared(a, b)
    with jinterp.memory_budget(num_bytes=300_000):
        for found, expected in zip(compared(a, b), whole, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)
