"""Deletion, insertion, pixel flipping and monotonicity, against closed forms and loops."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jinterp
from tests.problems import linear

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 4, 5, 2))
WEIGHTS = RNG.normal(size=(4, 5, 2, 3))


def quadratic(weights: Any, x: jax.Array) -> jax.Array:
    """Logits of images, in which places interact."""
    return jnp.tensordot(jnp.square(x), weights, axes=3) + jnp.tensordot(x, weights, axes=3) ** 2


def score_of(x: np.ndarray, target: int = 1) -> np.ndarray:
    return np.asarray(quadratic(WEIGHTS, jnp.asarray(x)))[:, target]


def loop(
    score: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    places: np.ndarray,
    baseline: np.ndarray,
    *,
    inserted: bool,
    ascending: bool = False,
) -> np.ndarray:
    """The scores place by place, by the definition: `places` `[batch, *space]`, one at a time."""
    rows = []
    for one, values, other in zip(x, places, baseline, strict=True):
        order = np.argsort(values.ravel() if ascending else -values.ravel(), kind="stable")
        seen, scores = (other if inserted else one).copy(), []
        scores.append(score(seen[None])[0])
        for place in order:
            at = np.unravel_index(place, values.shape)
            seen[at] = (one if inserted else other)[at]
            scores.append(score(seen[None])[0])
        rows.append(scores)
    return np.array(rows)


ALL = {"score": jinterp.logit, "num_steps": 20}


@pytest.mark.parametrize("baseline", [0.0, 0.5, IMAGES[::-1] * 2])
def test_the_curves_place_by_place(baseline: Any) -> None:
    values = RNG.normal(size=IMAGES.shape)
    others = np.broadcast_to(baseline, IMAGES.shape)
    given = (quadratic, WEIGHTS, IMAGES, values, 1)
    for curve, is_inserted in (
        (jinterp.deletion_curve, False),
        (jinterp.insertion_curve, True),
    ):
        found = curve(*given, baseline=baseline, **ALL)
        expected = loop(score_of, IMAGES, values.sum(-1), others, inserted=is_inserted)
        np.testing.assert_allclose(found.scores, expected, rtol=1e-12)
        np.testing.assert_allclose(found.fractions, np.arange(21) / 20)
        trapezoid = np.trapezoid(expected, found.fractions, axis=1)
        np.testing.assert_allclose(found.area, trapezoid, rtol=1e-12)
    np.testing.assert_array_equal(
        jinterp.insertion(*given, baseline=baseline, **ALL),
        jinterp.insertion_curve(*given, baseline=baseline, **ALL).area,
    )
    np.testing.assert_array_equal(
        jinterp.deletion(*given, baseline=baseline, **ALL),
        jinterp.deletion_curve(*given, baseline=baseline, **ALL).area,
    )


def test_pixel_flipping_and_monotonicity_place_by_place() -> None:
    values = RNG.normal(size=IMAGES.shape)
    given, none = (quadratic, WEIGHTS, IMAGES, values, 1), np.zeros_like(IMAGES)
    falls = loop(score_of, IMAGES, values.sum(-1), none, inserted=False)
    found = jinterp.pixel_flipping(*given, num_steps=20)
    np.testing.assert_allclose(found, (falls[:, :1] - falls).mean(1), rtol=1e-12)
    rises = loop(score_of, IMAGES, values.sum(-1), none, inserted=True, ascending=True)
    found = jinterp.monotonicity(*given, **ALL)
    np.testing.assert_allclose(found, (np.diff(rises, axis=1) >= 0).mean(1))


def test_steps_at_which_nothing_comes_do_not_count() -> None:
    """The second example has two of the four groups, one of which lowers the score."""
    mask = np.array([[0, 1, 2, 3], [0, 0, 3, 3]])
    x = np.array([[1.0, -1, 1, -1], [1, 1, -1, -1]])
    values = np.array([[1.0, 2, 3, 4], [1, 1, 2, 2]])
    asked = linear, np.ones((4, 1)), x, values, 0
    found = jinterp.monotonicity(*asked, score=jinterp.logit, feature_mask=mask)
    np.testing.assert_allclose(found, [0.5, 0.5])


@pytest.mark.parametrize(("fall", "expected"), [(6e-8, 1.0), (1e-5, 0.0)])
def test_a_fall_within_rounding_is_none(fall: float, expected: float) -> None:
    """At each step the score falls, by the last digit of 1 in float32 or by more."""

    def falling(fall: Any, x: jax.Array) -> jax.Array:
        return 1 - fall * x.sum(axis=1, keepdims=True)

    x = np.ones((1, 6), np.float32)
    found = jinterp.monotonicity(falling, np.float32(fall), x, x, 0, score=jinterp.logit)
    assert found.tolist() == [expected]


def test_a_fall_within_the_rounding_of_half_precision_is_none() -> None:
    def falling(fall: Any, x: jax.Array) -> jax.Array:
        return (1 - fall * x.sum(axis=1, keepdims=True)).astype(jnp.bfloat16)

    x = np.ones((1, 6), np.float32)
    found = jinterp.monotonicity(falling, np.float32(4e-3), x, x, 0, score=jinterp.logit)
    assert found.tolist() == [1.0]


def test_functions_and_numbers_may_be_baselines_side_by_side() -> None:
    x = np.abs(IMAGES)
    asked = functools.partial(jinterp.deletion, quadratic, WEIGHTS, x, IMAGES, 1, num_steps=4)
    both = asked(baseline=[0.5, jinterp.inpaint])
    expected = (asked(baseline=0.5) + asked(baseline=jinterp.inpaint)) / 2
    np.testing.assert_allclose(both, expected, rtol=1e-9)
    with pytest.raises(TypeError, match=r"`baseline` is a function \(inpaint"):
        jinterp.infidelity(
            *(quadratic, WEIGHTS, x, IMAGES, 1), key=jax.random.key(0), baseline=[jinterp.inpaint]
        )


@pytest.mark.parametrize("metric", [jinterp.deletion, jinterp.road, jinterp.average_drop])
def test_the_probability_of_a_single_output_is_refused(metric: Any) -> None:
    keywords = {"key": jax.random.key(0)} if metric is jinterp.road else {}
    with pytest.raises(ValueError, match="`score` is the probability, which is the same for any"):
        metric(quadratic, WEIGHTS[..., :1], IMAGES, IMAGES, **keywords)


def test_values_may_be_integers() -> None:
    x, whole = np.arange(8.0).reshape(2, 4), np.array([[3, 1, 2, 0]] * 2)
    asked = functools.partial(jinterp.deletion, linear, np.ones((4, 2)), x, target=0)
    np.testing.assert_array_equal(asked(values=whole), asked(values=whole.astype(float)))
    gap = jinterp.completeness_gap(linear, np.ones((4, 2)), x, whole, 0)
    np.testing.assert_allclose(gap, [0.0, -16.0])


@settings(max_examples=25)
@given(st.integers(1, 12), st.integers(0, 2**31))
def test_an_additive_score(num: int, seed: int) -> None:
    """Deletion = Σ c₍ₖ₎ (k + ½) / d over the order of removal, and with insertion f(x) + f(0)."""
    rng = np.random.default_rng(seed)
    terms = rng.normal(size=(2, num))
    weights = np.ones((num, 1))
    ask = (linear, weights, terms, terms, 0)
    deleted = jinterp.deletion(*ask, score=jinterp.logit)
    removed = -np.sort(-terms, axis=1)
    expected = (removed * (np.arange(num) + 0.5)).sum(1) / num
    np.testing.assert_allclose(deleted, expected, atol=1e-12)
    inserted = jinterp.insertion(*ask, score=jinterp.logit)
    np.testing.assert_allclose(deleted + inserted, terms.sum(1), atol=1e-12)


def test_deletion_and_insertion_add_up_whatever_the_values_and_the_baseline() -> None:
    weights, x, values = RNG.normal(size=(7, 3)), RNG.normal(size=(4, 7)), RNG.normal(size=(4, 7))
    baseline = RNG.normal(size=7)
    asked = functools.partial(jinterp.deletion, linear, weights, x, values, 2)
    both = asked(score=jinterp.logit, baseline=baseline, num_steps=3) + jinterp.insertion(
        linear, weights, x, values, 2, score=jinterp.logit, baseline=baseline, num_steps=3
    )
    np.testing.assert_allclose(both, (x @ weights)[:, 2] + (baseline @ weights)[2], rtol=1e-12)


@pytest.mark.parametrize("num_steps", [1, 3, 7, 20, 500])
def test_fewer_steps_are_points_of_the_whole_curve(num_steps: int) -> None:
    values = RNG.normal(size=IMAGES.shape)
    whole = jinterp.deletion_curve(quadratic, WEIGHTS, IMAGES, values, 1, num_steps=20)
    found = jinterp.deletion_curve(quadratic, WEIGHTS, IMAGES, values, 1, num_steps=num_steps)
    counts = np.round(found.fractions.astype(np.float32) * np.float32(20)).astype(int)
    assert len(counts) == min(num_steps, 20) + 1
    np.testing.assert_allclose(found.scores, whole.scores[:, counts], rtol=1e-12)


def test_maps_without_channels_and_channels_first() -> None:
    values = RNG.normal(size=IMAGES.shape)
    expected = jinterp.deletion(quadratic, WEIGHTS, IMAGES, values, 1, **ALL)
    summed = values.sum(-1)
    for own in (summed, summed[..., None]):
        found = jinterp.deletion(quadratic, WEIGHTS, IMAGES, own, 1, **ALL)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    first = np.moveaxis(values, -1, 1)
    for own in (first, summed, summed[:, None]):
        found = jinterp.deletion(
            channels_first, WEIGHTS, np.moveaxis(IMAGES, -1, 1), own, 1, channel_axis=1, **ALL
        )
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def channels_first(weights: Any, x: jax.Array) -> jax.Array:
    return quadratic(weights, jnp.moveaxis(x, 1, -1))


def test_groups_go_together_and_count_by_their_mean() -> None:
    mask = np.array([0, 1, 1, 2])
    weights, x = RNG.normal(size=(4, 1)), RNG.normal(size=(2, 4))
    values = np.array([[3.0, 2.0, 3.0, 1.0], [1.0, 9.0, 9.0, 2.0]])
    found = jinterp.deletion_curve(
        linear, weights, x, values, 0, feature_mask=mask, score=jinterp.logit
    )
    terms = x * weights[:, 0]
    order = [[[0], [1, 2], [3]], [[1, 2], [3], [0]]]
    for row, groups in enumerate(order):
        left = [
            terms[row].sum() - terms[row, list(itertools.chain(*groups[:k]))].sum()
            for k in range(4)
        ]
        np.testing.assert_allclose(found.scores[row], left, atol=1e-12)


def test_an_example_with_fewer_groups_reaches_its_end_in_as_many_steps() -> None:
    mask = np.array([[0, 1, 2, 3], [0, 0, 1, 1]])
    weights, x = RNG.normal(size=(4, 1)), RNG.normal(size=(2, 4))
    values = np.array([[4.0, 3.0, 2.0, 1.0], [1.0, 1.0, 2.0, 2.0]])
    found = jinterp.deletion_curve(
        linear, weights, x, values, 0, feature_mask=mask, score=jinterp.logit
    ).scores[1]
    terms = (x * weights[:, 0])[1]
    whole, half = terms.sum(), terms[:2].sum()
    np.testing.assert_allclose(np.asarray(found)[[0, 2, 4]], [whole, half, 0], atol=1e-12)


def test_several_baselines_are_averaged_and_functions_fill() -> None:
    values = RNG.normal(size=IMAGES.shape)
    asked = functools.partial(jinterp.deletion, quadratic, WEIGHTS, IMAGES, values, 1, **ALL)
    each = [asked(baseline=number) for number in (0.0, 1.0)]
    np.testing.assert_allclose(asked(baseline=[0.0, 1.0]), (each[0] + each[1]) / 2, rtol=1e-12)
    np.testing.assert_allclose(asked(baseline=ones), each[1], rtol=1e-12)
    means = IMAGES.mean((1, 2), keepdims=True)
    whole = asked(baseline=np.broadcast_to(means, IMAGES.shape))
    np.testing.assert_allclose(asked(baseline=means), whole, rtol=1e-12)


def ones(x: Any, kept: Any, channel_axis: int) -> Any:
    return jnp.where(kept, x, jnp.ones_like(x))


def test_several_arrays_are_ranked_together() -> None:
    x = {"a": np.array([[1.0, 2.0]]), "b": np.array([[[3.0, 5.0]]])}  # b: one place, two channels
    values = {"a": np.array([[5.0, 1.0]]), "b": np.array([[[1.0, 2.0]]])}
    found = jinterp.deletion_curve(total, None, x, values, 0, score=jinterp.logit)
    np.testing.assert_array_equal(found.scores, [[11, 10, 2, 0]])


def total(params: Any, x: Any) -> jax.Array:
    return (x["a"].sum(1) + x["b"].sum((1, 2)))[:, None]


def test_tokens() -> None:
    tokens = np.array([[3, 1, 2]])
    found = jinterp.deletion_curve(
        of_tokens, jnp.arange(4.0), tokens, np.array([[1.0, 3.0, 2.0]]), 0, score=jinterp.logit
    )
    np.testing.assert_array_equal(found.scores, [[6, 5, 3, 0]])


def of_tokens(table: Any, tokens: jax.Array) -> jax.Array:
    return table[tokens].sum(1, keepdims=True)


# --- what is said of values that say nothing


def test_values_that_are_not_finite_give_nan_and_a_warning() -> None:
    x = RNG.normal(size=(3, 4))
    values = np.array([[1.0, 2, 3, 4], [np.nan, 1, 2, 3], [1, np.inf, 0, 2]])
    for metric in (jinterp.deletion, jinterp.insertion, jinterp.pixel_flipping):
        said = f"`{metric.__name__}`: 2 of 3 examples have values that are NaN or infinite"
        with pytest.warns(UserWarning, match=said):
            found = metric(linear, np.eye(4), x, values, 0)
        assert np.isfinite(found).tolist() == [True, False, False]


def test_equal_values_are_told() -> None:
    x = RNG.normal(size=(2, 4))
    values = np.array([[1.0, 2, 3, 4], [0, 0, 0, 0]])
    with pytest.warns(UserWarning, match="1 of 2 examples have the same value everywhere"):
        jinterp.deletion(linear, np.eye(4), x, values, 0)


# --- what is wrong


@pytest.mark.parametrize(
    ("values", "keywords", "said"),
    [
        (
            np.ones((3, 4, 4, 2)),
            {},
            r"\(3, 4, 4, 2\); expected \(3, 4, 5, 2\)",
        ),
        (np.ones((3, 2, 2)), {}, r"Use jinterp\.upsample"),
        (np.ones((3, 5, 4, 5, 2)), {}, "one class an example"),
        ((np.ones(3), np.ones(3)), {}, "`values` has 2 arrays; expected 1"),
        (IMAGES, {"target": np.zeros((3, 2), int)}, "target"),
        (IMAGES, {"num_steps": 0}, "`num_steps` is 0"),
        (IMAGES, {"baseline": np.ones(7)}, "`baseline` has the shape"),
        (IMAGES, {"feature_mask": np.ones((4, 5, 3), int)}, "`feature_mask` has the shape"),
        (IMAGES, {"channel_axis": 7}, "`channel_axis` is 7"),
    ],
)
@pytest.mark.parametrize("metric", [jinterp.deletion, jinterp.insertion_curve])
def test_bad_input(
    metric: Any, values: Any, keywords: dict[str, Any], said: str, as_user: None
) -> None:
    with pytest.raises(ValueError, match=said):
        metric(quadratic, WEIGHTS, IMAGES, values, **{"target": 1, **keywords})
