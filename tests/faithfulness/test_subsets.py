"""Sensitivity-n and infidelity, against their definitions."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jinterp
from jinterp.faithfulness._subsets import subsets
from tests.problems import linear

pytestmark = pytest.mark.usefixtures("x64")

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def curved(weights: Any, x: jax.Array) -> jax.Array:
    return jnp.square(x @ weights) + x @ weights


def losses(
    weights: np.ndarray, x: np.ndarray, kept: np.ndarray, baseline: np.ndarray, target: int
) -> np.ndarray:
    """`[batch, samples]`, set by set."""
    found = np.zeros((len(x), len(kept)))
    for row, one in enumerate(x):
        for number, stays in enumerate(kept):
            seen = np.where(stays, one, baseline)
            pair = np.asarray(curved(weights, jnp.asarray(np.stack([one, seen]))))[:, target]
            found[row, number] = pair[0] - pair[1]
    return found


@pytest.mark.parametrize("size", [1, 3, 0.5])
def test_sensitivity_n_set_by_set(size: int | float) -> None:
    weights, x, values, baseline = (RNG.normal(size=s) for s in ((6, 2), (3, 6), (3, 6), (6,)))
    found = jinterp.sensitivity_n(
        curved, weights, x, values, 1, key=KEY, size=size, num_samples=30, baseline=baseline
    )
    number = size if isinstance(size, int) else 3
    kept = np.asarray(subsets(KEY, 30, 6, number))
    assert (kept.sum(1) == 6 - number).all()
    lost = losses(weights, x, kept, baseline, 1)
    said = values @ ~kept.T
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(said, lost, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@settings(max_examples=20)
@given(st.integers(2, 9), st.integers(0, 2**31))
def test_terms_of_a_linear_score_correlate_fully_for_every_n(num: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights, x = rng.normal(size=(num, 2)), rng.normal(size=(2, num))
    values = x * weights[:, 1]
    for size in range(1, num):
        found = jinterp.sensitivity_n(linear, weights, x, values, 1, key=KEY, size=size)
        np.testing.assert_allclose(found, 1, rtol=1e-9)


def test_every_set_is_as_likely() -> None:
    kept = np.asarray(subsets(KEY, 6000, 4, 2))
    kinds, counts = np.unique(kept, axis=0, return_counts=True)
    assert len(kinds) == 6
    assert (np.abs(counts - 1000) < 4 * np.sqrt(1000 * 5 / 6)).all()


def test_no_correlation_of_what_does_not_vary() -> None:
    x = RNG.normal(size=(2, 4))
    values = np.array([[1.0, 1, 1, 1], [1, 2, 3, 4]])
    with pytest.warns(UserWarning, match="1 of 2 examples have no correlation"):
        found = jinterp.sensitivity_n(linear, np.eye(4), x, values, 0, key=KEY, size=2)
    assert np.isnan(found).tolist() == [True, False]


@pytest.mark.parametrize("scaled", [False, True])
def test_infidelity_set_by_set(scaled: bool) -> None:
    weights, x, values, baseline = (RNG.normal(size=s) for s in ((6, 2), (3, 6), (3, 6), (6,)))
    found = jinterp.infidelity(
        curved,
        *(weights, x, values, 1),
        key=KEY,
        num_samples=40,
        remove=0.3,
        baseline=baseline,
        scaled=scaled,
    )
    kept = ~np.asarray(jax.random.bernoulli(KEY, np.float32(0.3), (40, 6)))
    assert 0.2 < 1 - kept.mean() < 0.4
    lost, said = losses(weights, x, kept, baseline, 1), values @ ~kept.T
    if scaled:
        said *= ((said * lost).sum(1) / (said**2).sum(1))[:, None]
    np.testing.assert_allclose(found, ((said - lost) ** 2).mean(1), rtol=1e-10)


def test_scaled_infidelity_knows_no_unit() -> None:
    weights, x, values = (RNG.normal(size=s) for s in ((6, 2), (3, 6), (3, 6)))
    found, other = (
        jinterp.infidelity(curved, weights, x, own, 1, key=KEY, scaled=True)
        for own in (values, values * 7)
    )
    np.testing.assert_allclose(found, other, rtol=1e-10)


def multi_layer(params: Any, x: jax.Array) -> jax.Array:
    """Oracle 17: with the same input added, and 8 times the first output."""
    total = (x + params[None]).sum(1)
    hidden = jax.nn.relu(total[:, None] + jnp.array([-10.0, 1, 1, 1])[None])
    return 8 * (hidden.sum(1, keepdims=True) - 1)


def test_of_everything_taken_away_it_is_the_square_of_the_gap() -> None:
    x = np.array([[1.0, 2.0, 3.0]])
    model = multi_layer, x[0]
    values = jinterp.integrated_gradients(
        *model, x, 0, baseline=1.0, num_steps=50, rule="gauss_legendre"
    )
    gap = jinterp.completeness_gap(*model, x, values, 0, baseline=1.0)
    found = jinterp.infidelity(*model, x, values, 0, key=KEY, remove=1.0, baseline=1.0)
    np.testing.assert_allclose(found, gap**2, rtol=1e-9)
    np.testing.assert_allclose(found, 0.10686, rtol=1e-4)


def test_squares_of_an_image() -> None:
    """Of an additive score the values of squares lose nothing."""
    x, weights = RNG.normal(size=(2, 4, 4, 2)), RNG.normal(size=(4, 4, 2, 1))
    mask = jinterp.patches(x, 2)
    values = jinterp.feature_ablation(weighted, weights, x, 0, feature_mask=mask)
    for metric, expected in ((jinterp.infidelity, 0), (jinterp.sensitivity_n, 1)):
        keywords = {"size": 2} if metric is jinterp.sensitivity_n else {}
        found = metric(weighted, weights, x, values, 0, key=KEY, feature_mask=mask, **keywords)
        np.testing.assert_allclose(found, expected, atol=1e-9)
    by_place = (x * weights[..., 0]).sum(-1)
    found = jinterp.infidelity(weighted, weights, x, by_place, 0, key=KEY)
    np.testing.assert_allclose(found, 0, atol=1e-9)


@pytest.mark.parametrize("form", ["elements", "places", "mask of elements"])
@pytest.mark.parametrize("metric", [jinterp.infidelity, jinterp.sensitivity_n])
def test_values_of_elements_are_added_up_in_their_group(metric: Any, form: str) -> None:
    """Integrated gradients of an additive score are right of squares, too: their sums are."""
    x, weights = RNG.normal(size=(2, 5, 4, 2)), RNG.normal(size=(5, 4, 2, 1))
    mask = jinterp.patches(x, 2)  # of other sizes at the edge
    values = jinterp.integrated_gradients(weighted, weights, x, 0)
    if form == "places":
        values = values.sum(-1)
    if form == "mask of elements":
        mask = np.broadcast_to(mask, x.shape[1:])
    keywords = {"size": 2} if metric is jinterp.sensitivity_n else {}
    keywords |= {"key": KEY, "feature_mask": mask}
    found = metric(weighted, weights, x, values, 0, values_of="elements", **keywords)
    np.testing.assert_allclose(found, float(metric is jinterp.sensitivity_n), atol=1e-9)
    with pytest.warns(UserWarning, match="2 of 2 examples have other values within a group"):
        as_groups = metric(weighted, weights, x, values, 0, **keywords)
    assert (np.abs(as_groups - found) > 1e-2).all()


def test_values_of_places_whose_channels_are_groups_of_their_own() -> None:
    x, weights = RNG.normal(size=(2, 3, 3, 2)), np.ones((3, 3, 2, 1))
    x[..., 1] = x[..., 0]  # so that each channel has half of what its place has
    mask = np.broadcast_to(np.arange(2), (3, 3, 2))
    found = jinterp.infidelity(
        *(weighted, weights, x, x.sum(-1), 0),
        key=KEY,
        feature_mask=mask,
        values_of="elements",
    )
    np.testing.assert_allclose(found, 0, atol=1e-9)


def test_what_values_are_of_is_named(as_user: None) -> None:
    x = RNG.normal(size=(2, 4))
    with pytest.raises(ValueError, match="`values_of` is 'pixels'; expected one of"):
        jinterp.infidelity(linear, np.eye(4), x, x, 0, key=KEY, values_of="pixels")


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_units_make_no_difference(scale: float) -> None:
    """Of values and of scores whose squares no float32 holds."""
    weights, x, values = (RNG.normal(size=s).astype(np.float32) for s in ((6, 2), (3, 6), (3, 6)))
    scale = np.float32(scale)
    for metric, keywords in (
        (jinterp.sensitivity_n, {"size": 3}),
        (jinterp.infidelity, {"scaled": True}),
    ):
        asked = functools.partial(metric, linear, key=KEY, **keywords)
        expected = asked(weights, x, values, 1)
        np.testing.assert_allclose(asked(weights, x, values * scale, 1), expected, rtol=1e-3)
    found = jinterp.sensitivity_n(linear, weights * scale, x, values, 1, key=KEY, size=3)
    expected = jinterp.sensitivity_n(linear, weights, x, values, 1, key=KEY, size=3)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def weighted(weights: Any, x: jax.Array) -> jax.Array:
    return jnp.tensordot(x, weights, axes=3)


@pytest.mark.parametrize(
    ("metric", "keywords", "said"),
    [
        (jinterp.sensitivity_n, {"size": 4}, "`size` is 4, with 4 features; expected 1 to 3"),
        (jinterp.sensitivity_n, {"size": 0}, "`size` is 0"),
        (jinterp.sensitivity_n, {"size": 1.0}, r"`size` is 1\.0"),
        (jinterp.sensitivity_n, {"num_samples": 1}, "`num_samples` is 1; expected at least 2"),
        (jinterp.sensitivity_n, {"num_samples": 0}, "`num_samples` is 0"),
        (jinterp.infidelity, {"num_samples": 0}, "`num_samples` is 0"),
        (jinterp.infidelity, {"remove": 0.0}, r"`remove` is 0\.0"),
        (jinterp.infidelity, {"remove": 1.5}, r"`remove` is 1\.5"),
        (jinterp.infidelity, {"baseline": [0.0, 1.0]}, "`baseline` holds 2"),
    ],
)
def test_bad_input(metric: Any, keywords: dict[str, Any], said: str) -> None:
    x = RNG.normal(size=(2, 4))
    with pytest.raises(ValueError, match=said):
        metric(linear, np.eye(4), x, x, 0, key=KEY, **keywords)


def test_a_function_is_no_baseline_of_sets() -> None:
    x = RNG.normal(size=(2, 4, 4, 1))
    for metric in (jinterp.sensitivity_n, jinterp.infidelity):
        with pytest.raises(TypeError, match="`baseline` is a function"):
            metric(weighted, np.ones((4, 4, 1, 1)), x, x, 0, key=KEY, baseline=jinterp.inpaint)
