"""Shapley values: oracles, axioms, SHAP's numbers, and estimates that converge to them."""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jinterp
from jinterp.attribution.exact_shapley import _duration
from tests import networks
from tests.attribution.double import double
from tests.attribution.shap_numbers import BACKGROUND, EXACT, HIDDEN, OUT
from tests.attribution.shap_numbers import X as OF_SHAP
from tests.attribution.test_oracles import WEIGHTS, perceptron
from tests.networks import IMAGES, ROWS, TOKENS, mlp
from tests.problems import linear

KEY = jax.random.key(0)
ALL = [
    lambda *args, **keywords: jinterp.exact_shapley(*args, **keywords),
    lambda *args, **keywords: jinterp.kernel_shap(*args, key=KEY, **keywords),
]
EXACT_TWICE = pytest.mark.parametrize("explain", ALL, ids=["exact", "kernel"])


def by_orders(scores: Any, num_groups: int) -> np.ndarray:
    """The mean over all orders of what each group adds to `scores(coalition)`."""
    total = np.zeros(num_groups)
    for order in itertools.permutations(range(num_groups)):
        inside: set[int] = set()
        for group in order:
            before = scores(frozenset(inside))
            inside.add(group)
            total[group] += scores(frozenset(inside)) - before
    return total / math.factorial(num_groups)


# Oracles.


@EXACT_TWICE
@pytest.mark.parametrize(
    ("x", "keywords", "expected"),
    [
        ([20, 50, 30], {}, [230 / 3, 590 / 3, 350 / 3]),
        ([20, 50, 30], {"feature_mask": np.array([0, 0, 1])}, [275, 275, 115]),
        ([20, 50, 30], {"baseline": np.array([10.0, 20, 10])}, [40, 120, 80]),
        ([2, 10, 3], {}, [7, 32.5, 10.5]),
    ],
)
def test_the_perceptron(
    x64: None, explain: Any, x: list[float], keywords: Any, expected: list[float]
) -> None:
    found = explain(perceptron, WEIGHTS, np.array([x], float), 0, **keywords)
    np.testing.assert_allclose(found, [expected], rtol=1e-12)


def of_shap(params: None, x: jax.Array) -> jax.Array:
    total = jnp.tanh(x @ jnp.asarray(HIDDEN, x.dtype)) @ jnp.asarray(OUT, x.dtype)
    return (total + x[:, 0] * x[:, 3] * x[:, 5])[:, None]


@EXACT_TWICE
def test_the_numbers_of_the_shap_package(x64: None, explain: Any) -> None:
    """Over a background of seven rows."""
    more = {} if explain is ALL[0] else {"num_samples": 2**10 - 2}
    found = explain(of_shap, None, OF_SHAP, 0, baseline=list(BACKGROUND), **more)
    np.testing.assert_allclose(found, EXACT, rtol=0, atol=1e-13)


# Axioms.


@settings(max_examples=20)
@given(st.lists(st.integers(0, 3), min_size=7, max_size=7), st.sampled_from([0.0, 0.5]))
def test_exact_values_are_means_over_all_orders(ids: list[int], baseline: float) -> None:
    mask = np.unique(ids, return_inverse=True)[1]
    num = int(mask.max()) + 1
    apply_fn, params = mlp()
    found = jinterp.exact_shapley(
        apply_fn, params, ROWS[:1], 2, feature_mask=mask, baseline=baseline
    )

    @functools.cache
    def scores(coalition: frozenset[int]) -> float:
        kept = np.isin(mask, list(coalition))
        return float(apply_fn(params, np.where(kept, ROWS[:1], np.float32(baseline)))[0, 2])

    groups = jinterp.group_values(found, mask, ROWS[:1])
    np.testing.assert_allclose(groups[0], by_orders(scores, num), rtol=0, atol=2e-6)


def test_every_estimate_adds_up_whatever_is_drawn() -> None:
    keywords: dict[Any, dict[str, Any]] = {
        jinterp.permutation_shapley: {"num_samples": 2},
        jinterp.kernel_shap: {"num_samples": 20},
    }
    for explain, more in keywords.items():
        for seed in range(5):
            values = explain(*mlp(), ROWS, key=jax.random.key(seed), **more)
            gap = jinterp.completeness_gap(*mlp(), ROWS, values)
            np.testing.assert_allclose(gap, 0, atol=5e-6, err_msg=str(explain))


def test_they_add_up_over_groups_and_baselines(x64: None) -> None:
    model, x = double(networks.cnn()), IMAGES.astype(float)
    mask = jinterp.patches(x, 4)
    keywords = {"feature_mask": mask, "baseline": [0.0, x.mean(0)]}
    for values in (
        jinterp.exact_shapley(*model, x, **keywords),
        jinterp.permutation_shapley(*model, x, key=KEY, num_samples=2, **keywords),
        jinterp.kernel_shap(*model, x, key=KEY, num_samples=20, **keywords),
    ):
        gap = jinterp.completeness_gap(*model, x, values, **keywords)
        np.testing.assert_allclose(gap, 0, atol=1e-12)


def blind(params: Any, x: jax.Array) -> jax.Array:
    return mlp().apply_fn(params, x * jnp.array([[1, 1, 0, 1, 0, 1, 1.0]], x.dtype))


@pytest.mark.parametrize("num_rows", [1, 4])
def test_what_the_model_ignores_gets_exactly_nothing(num_rows: int) -> None:
    arguments = blind, mlp().params, ROWS[:num_rows], 1
    exact = np.asarray(jinterp.exact_shapley(*arguments))
    ordered = np.asarray(jinterp.permutation_shapley(*arguments, key=KEY, num_samples=6))
    for values in (exact, ordered):
        assert ((values == 0).all(axis=0) == [0, 0, 1, 0, 1, 0, 0]).all()
    # A group that is as in the baseline changes nothing either.
    assert (np.asarray(jinterp.exact_shapley(*arguments, baseline=ROWS[:num_rows] * 1)) == 0).all()


def test_groups_that_can_be_exchanged_get_the_same() -> None:
    def symmetric(params: None, x: jax.Array) -> jax.Array:
        return jnp.tanh(x[:, :1] * x[:, 1:2] + x[:, 2:3])

    x = np.array([[2.0, 2.0, 1.0]], np.float32)
    found = jinterp.exact_shapley(symmetric, None, x, 0)
    np.testing.assert_allclose(found[0, 0], found[0, 1], rtol=1e-6)


def test_pairs_of_orders_are_exact_where_two_interact() -> None:
    def pairwise(params: Any, x: jax.Array) -> jax.Array:
        return jnp.einsum("bi,ij,bj->b", x, params, x)[:, None]

    params = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float32)
    found = jinterp.permutation_shapley(pairwise, params, ROWS, 0, key=KEY, num_samples=2)
    exact = jinterp.exact_shapley(pairwise, params, ROWS, 0)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5)


# Kernel SHAP.


@pytest.mark.parametrize("num_groups", range(1, 8))
def test_all_coalitions_give_the_exact_values(num_groups: int) -> None:
    mask = np.minimum(np.arange(7), num_groups - 1)
    keywords = {"feature_mask": mask}
    exact = jinterp.exact_shapley(*mlp(), ROWS, 1, **keywords)
    num = max(2**num_groups - 2, 1)
    found = jinterp.kernel_shap(*mlp(), ROWS, 1, key=KEY, num_samples=num, **keywords)
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-6)


@pytest.mark.parametrize("num_samples", [14, 40, 100])
def test_any_coalitions_are_exact_on_a_linear_model(num_samples: int) -> None:
    weights = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    found = jinterp.kernel_shap(linear, weights, ROWS, 1, key=KEY, num_samples=num_samples)
    np.testing.assert_allclose(found, ROWS * weights[:, 1], rtol=0, atol=1e-5)


def test_single_precision_is_as_good_as_its_scores() -> None:
    """A thousand offset scores of 64 groups: the regression adds no error of its own."""
    weights = np.random.default_rng(0).normal(size=(64, 1)).astype(np.float32)
    x = np.random.default_rng(1).normal(size=(3, 64)).astype(np.float32)

    def offset(params: Any, x: jax.Array) -> jax.Array:
        return x @ params + 1000

    found = jinterp.kernel_shap(offset, weights, x, 0, key=KEY, num_samples=1000)
    resolution = 1000 * np.finfo(np.float32).eps
    np.testing.assert_allclose(found, x * weights[:, 0], rtol=0, atol=2 * resolution)


def test_tokens() -> None:
    """By token, where a pad token takes the place of others."""
    arguments = *networks.text(), TOKENS, 2
    exact = jinterp.exact_shapley(*arguments, baseline=0)
    assert exact.dtype == np.float32
    found = jinterp.kernel_shap(*arguments, key=KEY, baseline=0)
    np.testing.assert_allclose(found, exact, rtol=0, atol=5e-6)
    apply_fn, params = networks.text()
    change = np.asarray(apply_fn(params, TOKENS) - apply_fn(params, 0 * TOKENS))[:, 2]
    np.testing.assert_allclose(exact.sum(1), change, rtol=0, atol=5e-6)


def test_tokens_at_their_embedding() -> None:
    mask = np.arange(TOKENS.shape[1])[:, None]
    explain = jinterp.at_layer(jinterp.exact_shapley, "embed")
    values = explain(*networks.text(), TOKENS, 2, feature_mask=mask, baseline=0)
    of_tokens = jinterp.exact_shapley(*networks.text(), TOKENS, 2, baseline=0)
    np.testing.assert_allclose(values[..., 0], of_tokens, rtol=0, atol=5e-6)


# Convergence.


TWELVE = np.random.default_rng(3).normal(size=(1, 12)).astype(np.float32)
INNER = np.random.default_rng(4).normal(size=(12, 8)).astype(np.float32)


def deep(params: None, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ INNER).prod(axis=1, keepdims=True) * 50 + jnp.tanh(x @ INNER)[:, :1]


def mean_error(explain: Any, num_samples: int) -> float:
    """The root mean square over 200 keys."""

    def once(key: jax.Array) -> jax.Array:
        return explain(deep, None, TWELVE, 0, key=key, num_samples=num_samples)

    found = jax.jit(jax.vmap(once))(jax.random.split(KEY, 200))
    exact = jinterp.exact_shapley(deep, None, TWELVE, 0)
    return float(jnp.sqrt(jnp.square(found - exact[None]).mean()))


@pytest.mark.parametrize(
    ("explain", "first", "each"),
    [(jinterp.permutation_shapley, 0, 8), (jinterp.kernel_shap, 24, 80)],
    ids=["permutation", "kernel"],
)
def test_errors_fall_with_the_root_of_the_samples(explain: Any, first: int, each: int) -> None:
    """Eight times as many, of those that are drawn: Kernel SHAP takes all of one size first."""
    few, many = (mean_error(explain, first + num * each) for num in (1, 4))
    assert few / many == pytest.approx(2, rel=0.15)


# Too many groups.


def test_too_many_groups(as_user: None) -> None:
    mask = np.arange(96).reshape(8, 12, 1)
    with pytest.raises(ValueError, match=r"there are 96 groups, which take 2\^96") as raised:
        jinterp.exact_shapley(*networks.cnn(), IMAGES, feature_mask=mask)
    said = str(raised.value)
    assert "forward passes an example, about " in said
    assert "e+" in said
    assert " years on this machine; expected at most 20 groups." in said
    assert "jinterp.patches or jinterp.superpixels" in said
    assert "permutation_shapley or kernel_shap, which sample." in said
    with pytest.raises(ValueError, match="forward passes an example; expected at most 20"):
        jax.jit(lambda x: jinterp.exact_shapley(*networks.cnn(), x))(IMAGES)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.25, "0.25 seconds"), (130.0, "2.2 minutes"), (9000.0, "2.5 hours"), (3e5, "3.5 days")],
)
def test_durations(seconds: float, said: str) -> None:
    assert _duration(seconds) == said
