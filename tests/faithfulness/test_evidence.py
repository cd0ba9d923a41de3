"""The numbers beside a map."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from jinterp.faithfulness import Evidence
from tests.problems import linear

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 6)).astype(np.float32)
WEIGHTS = RNG.normal(size=(6, 2)).astype(np.float32)


def test_each_number_is_that_of_its_metric() -> None:
    values, asked = 2 * X * WEIGHTS[:, 1], (linear, WEIGHTS, X)
    explain = functools.partial(jinterp.integrated_gradients, baseline=0.5)
    found = jinterp.evidence(*asked, values, 1, explain=explain, key=KEY, num_steps=3, num_random=2)
    gaps = jinterp.completeness_gap(*asked, values, 1, baseline=0.5)
    np.testing.assert_allclose(found.gaps, gaps, rtol=1e-6)
    keys = [jax.random.split(own, 1)[0] for own in jax.random.split(KEY, 2)]
    random = [np.tile(jax.random.normal(own, (6,), jnp.float32), (3, 1)) for own in keys]
    for orders, (deleted, inserted) in (
        ([values], (found.deletions[None], found.insertions[None])),
        (random, (found.random_deletions, found.random_insertions)),
    ):
        for measure, numbers in ((jinterp.deletion, deleted), (jinterp.insertion, inserted)):
            areas = [measure(*asked, own, 1, baseline=0.5, num_steps=3) for own in orders]
            np.testing.assert_allclose(numbers, areas, rtol=1e-6)


def test_random_values_are_beaten_in_both_or_not_at_all() -> None:
    terms = X * (WEIGHTS[:, 1] - WEIGHTS[:, 0])
    assert jinterp.evidence(linear, WEIGHTS, X, terms, 1, key=KEY).beats_random.all()
    assert not jinterp.evidence(linear, WEIGHTS, X, -terms, 1, key=KEY).beats_random.any()


def test_one_of_the_two_is_not_enough() -> None:
    low, high = jnp.zeros(1), jnp.ones(1)
    for deleted, inserted, expected in (
        (low, high, True),
        (low, low, False),
        (high, high, False),
    ):
        half = low[None] + 0.5
        found = Evidence(low, deleted, inserted, half, half)
        assert bool(found.beats_random[0]) is expected


def test_every_draw_must_be_beaten_and_random_values_seldom_do() -> None:
    low, high = jnp.zeros((2, 1)), jnp.array([[0.5], [-1.0]])
    assert not Evidence(low[0], low[0], low[0] + 1, high, high).beats_random.any()
    x = RNG.normal(size=(600, 12)).astype(np.float32)
    weights = RNG.normal(size=(12, 2)).astype(np.float32)
    values = RNG.normal(size=x.shape).astype(np.float32)
    for num, most in ((5, 0.25), (19, 0.1)):
        found = jinterp.evidence(linear, weights, x, values, 0, key=KEY, num_random=num)
        assert 0 < found.beats_random.mean() < most


def weighted(params: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.tensordot(x, params, axes=3)


SMOOTH = jinterp.smooth(jinterp.deep_lift, key=KEY, num_samples=2)
IMAGES = RNG.normal(size=(2, 4, 4, 3)).astype(np.float32)
OF_IMAGES = RNG.normal(size=(4, 4, 3, 2)).astype(np.float32)


@pytest.mark.parametrize("explain", [None, jinterp.gradient, SMOOTH])
def test_what_has_no_reason_to_add_up_has_no_gap(explain: Any) -> None:
    model = weighted, OF_IMAGES
    found = jinterp.evidence(*model, IMAGES, IMAGES, 0, explain=explain, key=KEY)
    assert np.isnan(found.gaps).all()
    assert all(np.isfinite(each).all() for each in found[1:])


def test_maps_of_a_layer_are_brought_to_the_inputs() -> None:
    maps = RNG.normal(size=(2, 2, 2)).astype(np.float32)
    for explain, x, weights in (
        (None, IMAGES, OF_IMAGES),
        (
            functools.partial(jinterp.grad_cam, channel_axis=1),
            np.moveaxis(IMAGES, -1, 1),
            np.moveaxis(OF_IMAGES, 2, 0),
        ),
    ):
        found = jinterp.evidence(weighted, weights, x, maps, 0, explain=explain, key=KEY)
        large = jinterp.upsample(maps, IMAGES)
        expected = jinterp.deletion(weighted, OF_IMAGES, IMAGES, large, 0, num_steps=16)
        np.testing.assert_allclose(found.deletions, expected, rtol=1e-5)


def test_several_baselines_and_groups_are_those_of_the_explainer() -> None:
    baselines = RNG.normal(size=(4, 6)).astype(np.float32)
    explain = functools.partial(jinterp.deep_lift_shap, baselines=baselines)
    asked = linear, WEIGHTS, X, explain(linear, WEIGHTS, X, 1), 1
    found = jinterp.evidence(*asked, explain=explain, key=KEY)
    np.testing.assert_allclose(found.gaps, 0, atol=1e-5)
    expected = jinterp.deletion(*asked, baseline=baselines.mean(0), num_steps=16)
    np.testing.assert_allclose(found.deletions, expected, rtol=1e-5)

    mask = np.array([0, 0, 1, 1, 2, 2])
    explain = functools.partial(jinterp.exact_shapley, feature_mask=mask)
    asked = linear, WEIGHTS, X, explain(linear, WEIGHTS, X, 1), 1
    found = jinterp.evidence(*asked, explain=explain, key=KEY)
    np.testing.assert_allclose(found.gaps, 0, atol=1e-5)
    expected = jinterp.deletion(*asked, feature_mask=mask, num_steps=16)
    np.testing.assert_allclose(found.deletions, expected, rtol=1e-6)


@pytest.mark.parametrize("baseline", [[0.0, 2.0], (0.0, 2.0), [np.zeros(6), np.full((1, 6), 2.0)]])
def test_of_several_baselines_deletion_takes_the_mean(baseline: Any) -> None:
    explain = functools.partial(jinterp.integrated_gradients, baseline=baseline)
    asked = linear, WEIGHTS, X, explain(linear, WEIGHTS, X, 1), 1
    found = jinterp.evidence(*asked, explain=explain, key=KEY)
    np.testing.assert_allclose(found.gaps, 0, atol=1e-5)
    expected = jinterp.deletion(*asked, baseline=1.0, num_steps=16)
    np.testing.assert_allclose(found.deletions, expected, rtol=1e-5)


def of_two(params: Any, x: Any) -> jax.Array:
    return x[0] @ params[0] + x[1] @ params[1]


def test_a_list_of_inputs_has_one_baseline_in_its_structure() -> None:
    x, weights = [X, X[:, :4]], [WEIGHTS, WEIGHTS[:4]]
    baseline = [np.zeros(6, np.float32), np.ones(4, np.float32)]
    explain = functools.partial(jinterp.deep_lift, baseline=baseline)
    asked = of_two, weights, x, explain(of_two, weights, x, 1), 1
    found = jinterp.evidence(*asked, explain=explain, key=KEY)
    np.testing.assert_allclose(found.gaps, 0, atol=1e-5)
    expected = jinterp.deletion(*asked, baseline=baseline, num_steps=16)
    np.testing.assert_allclose(found.deletions, expected, rtol=1e-5)


def test_random_groups_come_in_any_order_whatever_their_sizes() -> None:
    """The first of ten groups has most elements, and the mean of most numbers is near 0."""
    mask = np.concatenate([np.zeros(91, int), np.arange(1, 10)])
    x, weights = np.ones((1, 100), np.float32), np.zeros((100, 2), np.float32)
    weights[0, 0] = 10  # the score is that of the large group
    explain = functools.partial(jinterp.feature_ablation, feature_mask=mask)
    found = jinterp.evidence(
        *(linear, weights, x, x, 0), explain=explain, key=KEY, num_steps=10, num_random=300
    )
    places = np.round((found.random_deletions[:, 0] - 0.5) * 20).astype(int)
    num_each = np.unique(places, return_counts=True)[1]
    assert len(num_each) == 10
    assert (np.abs(num_each - 30) < 4 * np.sqrt(30)).all()


def test_a_single_output_and_another_score_are_their_own_evidence() -> None:
    """The probability of the only class is always 1, and falls where a loss rises."""
    one = WEIGHTS[:, :1]
    values = X * one[:, 0]
    found = jinterp.evidence(linear, one, X, values, key=KEY)
    expected = jinterp.deletion(linear, one, X, values, score=jinterp.logit, num_steps=16)
    np.testing.assert_allclose(found.deletions, expected, rtol=1e-6)
    explain = functools.partial(jinterp.integrated_gradients, score=jinterp.loss)
    asked = linear, WEIGHTS, X, explain(linear, WEIGHTS, X, 1), 1
    found = jinterp.evidence(*asked, explain=explain, key=KEY)
    expected = jinterp.deletion(*asked, score=jinterp.loss, num_steps=16)
    np.testing.assert_allclose(found.deletions, expected, rtol=1e-6)
    found = jinterp.evidence(*asked, explain=explain, key=KEY, score=jinterp.margin)
    expected = jinterp.deletion(*asked, score=jinterp.margin, num_steps=16)
    np.testing.assert_allclose(found.deletions, expected, rtol=1e-6)


def test_captions() -> None:
    numbers = [np.array([each, 1.0]) for each in (np.nan, 0.126, np.nan, 0.5, 0.25)]
    numbers[2] = np.array([0.75, np.nan])
    numbers[3:] = [each[None] for each in numbers[3:]]
    assert Evidence(*numbers).captions() == [
        "deletion 0.13, random 0.50\ninsertion 0.75, random 0.25",
        "no evidence: not finite",
    ]
    one, drawn = np.array([-0.0412]), np.array([[0.25], [0.75]])
    found = Evidence(one, one, one, drawn, drawn).captions()
    assert found == ["deletion −0.04, random 0.50\ninsertion −0.04, random 0.50\ngap −0.041"]
