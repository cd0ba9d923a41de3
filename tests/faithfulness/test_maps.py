"""What is said of a map: how much of the score it keeps, where it lies, how it is spread."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import jinterp
from tests.problems import linear

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 4, 5, 2)).astype(np.float32)
WEIGHTS = RNG.normal(size=(4, 5, 2, 3)).astype(np.float32)


def images(weights: Any, x: jax.Array) -> jax.Array:
    return jnp.tensordot(jnp.tanh(x), weights, axes=3)


def probability(x: np.ndarray) -> np.ndarray:
    return np.asarray(jax.nn.softmax(images(WEIGHTS, jnp.asarray(x)))[:, 1])


@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_drop_and_increase_by_their_definition(baseline: float) -> None:
    values = RNG.normal(size=IMAGES.shape).astype(np.float32)
    summed = np.maximum(values.sum(-1, keepdims=True), 0)
    shown = summed / summed.max(axis=(1, 2, 3), keepdims=True)
    whole, through = probability(IMAGES), probability(IMAGES * shown + baseline * (1 - shown))
    found = jinterp.average_drop(images, WEIGHTS, IMAGES, values, 1, baseline=baseline)
    np.testing.assert_allclose(found, np.maximum(whole - through, 0) / whole, rtol=1e-4, atol=1e-6)
    found = jinterp.increase(images, WEIGHTS, IMAGES, values, 1, baseline=baseline)
    np.testing.assert_array_equal(found, (through > whole).astype(np.float32))


def test_a_map_of_everything_keeps_everything_and_one_of_nothing_nothing() -> None:
    everything = np.ones(IMAGES.shape[:-1], np.float32)
    np.testing.assert_allclose(
        jinterp.average_drop(images, WEIGHTS, IMAGES, everything, 1), 0, atol=1e-6
    )
    np.testing.assert_array_equal(jinterp.increase(images, WEIGHTS, IMAGES, everything, 1), 0)
    x = np.array([[3.0, 1.0], [-3.0, 1.0]], np.float32)
    found = jinterp.average_drop(
        linear, np.ones((2, 1), np.float32), x, -np.abs(x), 0, score=jinterp.logit
    )
    assert found[0] == 1
    assert np.isnan(found[1])  # a score below 0 has no share to lose


@settings(max_examples=30)
@given(st.integers(1, 30), st.integers(0, 2**31))
def test_sparseness_and_complexity_of_random_values(num: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(2, num))
    values[:, 0] += 1e-3
    sizes = np.abs(values)
    apart = np.abs(sizes[:, :, None] - sizes[:, None]).sum((1, 2))
    gini = apart / (2 * num * sizes.sum(1))
    entropy = scipy.stats.entropy(sizes, axis=1)
    with jax.enable_x64(True):
        found = jinterp.sparseness(None, None, values, values)
        np.testing.assert_allclose(found, gini, atol=1e-10)
        found = jinterp.complexity(None, None, values, values)
        np.testing.assert_allclose(found, entropy, atol=1e-10)


def test_sparseness_and_complexity_at_their_ends() -> None:
    values = np.zeros((3, 8), np.float32)
    values[0, 3] = -5
    values[1] = 2
    np.testing.assert_allclose(jinterp.sparseness(None, None, values, values), [7 / 8, 0, np.nan])
    np.testing.assert_allclose(
        jinterp.complexity(None, None, values, values), [0, np.log(8), np.nan], rtol=1e-6
    )


def test_groups_that_an_example_lacks_do_not_count() -> None:
    mask = np.array([[0, 1, 2, 3], [0, 0, 1, 1]])
    values = np.array([[4.0, 3.0, 2.0, 1.0], [3.0, 3.0, 1.0, 1.0]], np.float32)
    found = jinterp.sparseness(None, None, values, values, feature_mask=mask)
    np.testing.assert_allclose(found, [0.25, 0.25], rtol=1e-6)
    found = jinterp.complexity(None, None, values, values, feature_mask=mask)
    np.testing.assert_allclose(found[1], scipy.stats.entropy([3, 1]), rtol=1e-6)


def mask_of(*places: tuple[int, int]) -> np.ndarray:
    mask = np.zeros((len(places), 4, 5), bool)
    for row, (down, right) in enumerate(places):
        mask[row, down, right] = True
    return mask


def test_the_pointing_game() -> None:
    values = np.zeros_like(IMAGES)
    values[:, 1, 2] = 0.5  # two channels, that add up to the largest
    values[:, 0, 0, 0] = 0.9
    values[:, 3, 0] = -2  # speaks against
    mask = mask_of((1, 2), (1, 4), (3, 3))
    hits = jinterp.pointing_game(None, None, IMAGES, values, mask=mask)
    np.testing.assert_array_equal(hits, [1, 0, 0])
    for tolerance, expected in ((1.9, [1, 0, 0]), (2.0, [1, 1, 0]), (2.24, [1, 1, 1])):
        found = jinterp.pointing_game(
            None, None, IMAGES, values, mask=mask[..., None], tolerance=tolerance
        )
        np.testing.assert_array_equal(found, expected)
    first = jinterp.pointing_game(
        *(None, None, np.moveaxis(IMAGES, -1, 1), np.moveaxis(values, -1, 1)),
        mask=mask,
        channel_axis=1,
    )
    np.testing.assert_array_equal(first, hits)


def test_a_map_that_says_nothing_points_nowhere() -> None:
    mask = mask_of((0, 0), (0, 0), (3, 3))
    blank = np.zeros_like(IMAGES)
    assert np.isnan(jinterp.pointing_game(None, None, IMAGES, blank, mask=mask)).all()


@pytest.mark.parametrize("scale", [1e-30, 1.5e37])
def test_units_make_no_difference(scale: float) -> None:
    """Also where no float32 holds the sum."""
    values = np.abs(RNG.normal(size=IMAGES.shape)).astype(np.float32)
    mask = {"mask": mask_of((1, 2), (1, 4), (3, 3))}
    for metric, keywords in (
        (jinterp.sparseness, {}),
        (jinterp.complexity, {}),
        (jinterp.energy_in_mask, mask),
    ):
        found, expected = (
            metric(None, None, IMAGES, own, **keywords)
            for own in (np.float32(scale) * values, values)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_energy_in_a_mask() -> None:
    values = RNG.normal(size=IMAGES.shape).astype(np.float32)
    mask = RNG.random(IMAGES.shape[:-1]) < 0.5
    above = np.maximum(values.sum(-1), 0)
    expected = (above * mask).sum((1, 2)) / above.sum((1, 2))
    found = jinterp.energy_in_mask(None, None, IMAGES, values, mask=mask)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    everywhere = np.ones_like(mask)
    found = jinterp.energy_in_mask(None, None, IMAGES, values, mask=everywhere)
    np.testing.assert_allclose(found, 1, rtol=1e-6)
    nowhere_above = jinterp.energy_in_mask(None, None, IMAGES, -np.abs(values), mask=mask)
    assert np.isnan(nowhere_above).all()


@pytest.mark.parametrize("metric", [jinterp.pointing_game, jinterp.energy_in_mask])
def test_a_mask_of_nothing_is_no_hit(metric: Any) -> None:
    mask = mask_of((1, 2), (1, 4), (3, 3))
    mask[1] = False
    with pytest.raises(ValueError, match="False everywhere in 1 of 3 examples, the first 1"):
        metric(None, None, IMAGES, IMAGES, mask=mask)
    with pytest.raises(ValueError, match="`mask` has the shape"):
        metric(None, None, IMAGES, IMAGES, mask=mask[:2])
    with pytest.raises(TypeError, match="expected bool"):
        metric(None, None, IMAGES, IMAGES, mask=mask.astype(int))


def test_values_that_are_not_finite() -> None:
    values = IMAGES.copy()
    values[1, 0, 0] = np.nan
    asked = {
        jinterp.sparseness: {},
        jinterp.complexity: {},
        jinterp.pointing_game: {"mask": mask_of((1, 2), (1, 4), (3, 3))},
        jinterp.energy_in_mask: {"mask": mask_of((1, 2), (1, 4), (3, 3))},
        jinterp.average_drop: {},
        jinterp.increase: {},
    }
    for metric, keywords in asked.items():
        with pytest.warns(UserWarning, match="1 of 3 examples have values that are NaN"):
            found = metric(images, WEIGHTS, IMAGES, values, 1, **keywords)
        assert np.isnan(found).tolist() == [False, True, False], metric.__name__


def test_integers_cannot_be_dimmed() -> None:
    tokens = np.array([[3, 1, 2]])
    for metric in (jinterp.average_drop, jinterp.increase):
        with pytest.raises(TypeError, match="int"):
            metric(
                of_tokens,
                jnp.arange(4.0),
                tokens,
                np.ones((1, 3), np.float32),
                0,
                score=jinterp.logit,
            )


def of_tokens(table: Any, tokens: jax.Array) -> jax.Array:
    return table[tokens].sum(1, keepdims=True)
