"""Groups of features: masks, what makes them, and values a group."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jinterp
from tests import networks
from tests.networks import IMAGES, ROWS, SERIES, TOKENS, VOLUMES
from tests.problems import linear

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(7, 3)).astype(np.float32)


def flat(params: Any, x: Any) -> jax.Array:
    """A linear model of an array of any shape, or of several."""
    leaves = [leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(x)]
    return jnp.concatenate(leaves, axis=1) @ params


def sums_by_group(values: np.ndarray, ids: np.ndarray, num: int) -> np.ndarray:
    """`[batch, groups]` of `[batch, ...]`, with a row of ids for each example."""
    ids = np.broadcast_to(ids, values.shape)
    return np.stack([(values * (ids == n)).reshape(len(values), -1).sum(1) for n in range(num)], 1)


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """Of `[4, 2, 3, 2]`: with a row for each example or not, and axes of length 1."""
    lead = draw(st.sampled_from([(), (1,), (4,)]))
    axes = [draw(st.sampled_from([1, length])) for length in (2, 3, 2)]
    shape = (*lead, *axes)
    num = int(np.prod(shape))
    ids = np.array(draw(st.lists(st.integers(0, 4), min_size=num, max_size=num)))
    dtype = draw(st.sampled_from([np.int32, np.int64, np.uint8]))
    return np.unique(ids, return_inverse=True)[1].reshape(shape).astype(dtype)


SMALL = RNG.normal(size=(4, 2, 3, 2)).astype(np.float32)
OF_SMALL = RNG.normal(size=(12, 3)).astype(np.float32)


@given(masks())
def test_every_element_carries_the_sum_of_its_group_on_a_linear_model(mask: np.ndarray) -> None:
    values = jinterp.feature_ablation(flat, OF_SMALL, SMALL, 1, feature_mask=mask)
    contributions = SMALL * OF_SMALL[:, 1].reshape(2, 3, 2)
    ids = mask if mask.ndim == 4 else mask[None]
    groups = sums_by_group(contributions, ids, mask.max() + 1)
    expected = np.take_along_axis(groups, np.broadcast_to(ids, SMALL.shape).reshape(4, -1), 1)
    np.testing.assert_allclose(values, expected.reshape(SMALL.shape), rtol=1e-4, atol=1e-5)
    found = jinterp.group_values(values, mask, SMALL)
    np.testing.assert_allclose(found, groups, rtol=1e-4, atol=1e-5)


def test_no_mask_is_a_group_for_every_element() -> None:
    numbers = np.arange(7)
    arguments = *networks.mlp(), ROWS, 1
    found = jinterp.feature_ablation(*arguments, feature_mask=numbers)
    np.testing.assert_array_equal(jinterp.feature_ablation(*arguments), found)
    np.testing.assert_array_equal(jinterp.group_values(found, None, ROWS), found)


def test_groups_reach_over_the_arrays_of_a_pytree() -> None:
    x = {"a": ROWS[:, :4], "b": ROWS[:, 4:]}
    mask = {"a": np.array([0, 1, 1, 0]), "b": np.array([[2, 0, 1]])}
    whole = np.array([0, 1, 1, 0, 2, 0, 1])
    found = jinterp.feature_ablation(flat, WEIGHTS, x, 0, feature_mask=mask)
    expected = jinterp.feature_ablation(linear, WEIGHTS, ROWS, 0, feature_mask=whole)
    np.testing.assert_allclose(np.concatenate([found["a"], found["b"]], 1), expected, rtol=1e-5)
    groups = jinterp.group_values(found, mask, x)
    np.testing.assert_array_equal(groups, jinterp.group_values(expected, whole, ROWS))
    every = jinterp.feature_ablation(flat, WEIGHTS, x, 0)
    one_by_one = jinterp.feature_ablation(linear, WEIGHTS, ROWS, 0)
    np.testing.assert_allclose(np.concatenate([every["a"], every["b"]], 1), one_by_one, rtol=1e-5)


def test_a_group_that_an_example_lacks_is_zero_there() -> None:
    mask = np.array([[0, 0, 0, 1, 1, 1, 1], [2] * 7, [0] * 7, [0, 1, 2, 0, 1, 2, 0]])
    values = jinterp.feature_ablation(linear, WEIGHTS, ROWS, 0, feature_mask=mask)
    groups = np.asarray(jinterp.group_values(values, mask, ROWS))
    expected = sums_by_group(ROWS * WEIGHTS[:, 0], mask, 3)
    np.testing.assert_allclose(groups, expected, rtol=1e-4, atol=1e-6)
    assert ((groups == 0) == [[0, 0, 1], [1, 1, 0], [0, 1, 1], [0, 0, 0]]).all()


def test_values_of_groups_of_several_targets() -> None:
    mask = np.arange(7) % 3
    targets = np.array([[0, 1], [1, 2], [2, 0], [0, 2]])
    values = jinterp.feature_ablation(linear, WEIGHTS, ROWS, targets, feature_mask=mask)
    found = jinterp.group_values(values, mask, ROWS)
    singles = [jinterp.group_values(values[:, n], mask, ROWS) for n in range(2)]
    np.testing.assert_array_equal(found, np.stack(singles, 1))


@pytest.mark.parametrize("batched", [False, True])
def test_the_gap_counts_a_group_once(batched: bool) -> None:
    mask = np.arange(7) % 3
    mask = np.stack([mask, mask[::-1], np.zeros(7, int), mask]) if batched else mask
    targets = np.array([[0, 1], [1, 2], [2, 0], [0, 2]])
    for target in (2, targets):
        values = jinterp.feature_ablation(linear, WEIGHTS, ROWS, target, feature_mask=mask)
        arguments = linear, WEIGHTS, ROWS, values, target
        gap = jinterp.completeness_gap(*arguments, feature_mask=mask)
        np.testing.assert_allclose(gap, 0, atol=1e-5)
        assert np.abs(jinterp.completeness_gap(*arguments)).max() > 0.1


def test_a_group_for_each_element_is_the_gap_without_groups() -> None:
    values = jinterp.integrated_gradients(*networks.mlp(), ROWS, 1, num_steps=2)
    arguments = *networks.mlp(), ROWS, values, 1
    gap = jinterp.completeness_gap(*arguments)
    grouped = jinterp.completeness_gap(*arguments, feature_mask=np.arange(7))
    np.testing.assert_allclose(grouped, gap, rtol=1e-5)


def test_x_may_be_traced_where_the_mask_is_not() -> None:
    mask = jnp.arange(7) % 3

    @jax.jit
    def explained(params: Any, x: Any) -> Any:
        return jinterp.feature_ablation(linear, params, x, 0, feature_mask=mask)

    expected = jinterp.feature_ablation(linear, WEIGHTS, ROWS, 0, feature_mask=mask)
    np.testing.assert_allclose(explained(WEIGHTS, ROWS), expected, rtol=1e-5)


# What makes masks.


@pytest.mark.parametrize("x", [SERIES, IMAGES, VOLUMES])
@pytest.mark.parametrize("size", [1, 3, 50])
def test_patches_are_places_that_agree_in_their_quotients(x: np.ndarray, size: int) -> None:
    mask = jinterp.patches(x, size)
    space = x.shape[1:-1]
    assert mask.shape == (*space, 1)
    corners = np.stack(np.indices(space), -1).reshape(-1, len(space)) // size
    pairs = set(zip(map(tuple, corners.tolist()), mask.ravel().tolist(), strict=True))
    assert len(pairs) == len({pair[0] for pair in pairs}) == mask.max() + 1
    first = jinterp.patches(np.moveaxis(x, -1, 1), size, channel_axis=1)
    np.testing.assert_array_equal(first, np.moveaxis(mask, -1, 0))


@pytest.mark.parametrize("channel_axis", [-1, 1])
def test_superpixels_are_connected_and_numbered_for_each_image(channel_axis: int) -> None:
    x = np.moveaxis(IMAGES, -1, channel_axis)
    mask = jinterp.superpixels(x, 6, channel_axis=channel_axis)
    assert mask.shape == ((4, 8, 12, 1) if channel_axis == -1 else (4, 1, 8, 12))
    for own in mask:
        assert set(own.ravel()) == set(range(own.max() + 1))
    np.testing.assert_array_equal(
        mask, jinterp.superpixels(5 * x - 3, 6, channel_axis=channel_axis)
    )


def test_superpixels_of_a_disc_follow_its_edge() -> None:
    rows, columns = np.indices((20, 20))
    disc = (rows - 9) ** 2 + (columns - 10) ** 2 < 40
    mask = jinterp.superpixels(disc[None, ..., None].astype(np.float32), 12)
    inside, outside = set(mask[0][disc].ravel()), set(mask[0][~disc].ravel())
    assert not inside & outside


def test_an_explanation_by_superpixels() -> None:
    mask = jinterp.superpixels(IMAGES, 6)
    values = np.asarray(jinterp.feature_ablation(*networks.cnn(), IMAGES, feature_mask=mask))
    for each, own in zip(values, mask, strict=True):
        for number in range(own.max() + 1):
            assert len(np.unique(each[own[..., 0] == number])) == 1


# Tokens.


def test_a_baseline_of_tokens_is_a_token() -> None:
    with pytest.raises(ValueError, match="numbers that are no int32, which `x` is; expected whole"):
        jinterp.feature_ablation(*networks.text(), TOKENS, 2, baseline=1.7)


def test_tokens_are_replaced_by_a_pad_token() -> None:
    apply_fn, params = networks.text()
    values = jinterp.feature_ablation(apply_fn, params, TOKENS, 2, baseline=0)
    assert values.dtype == np.float32
    expected = np.empty(TOKENS.shape)
    whole = np.asarray(apply_fn(params, TOKENS))[:, 2]
    for place in range(TOKENS.shape[1]):
        without = TOKENS.copy()
        without[:, place] = 0
        expected[:, place] = whole - np.asarray(apply_fn(params, without))[:, 2]
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)
    assert (np.asarray(values)[TOKENS == 0] == 0).all()


def test_tokens_at_their_embedding() -> None:
    """A group for each token; a pad token's embedding takes its place."""
    apply_fn, params = networks.text()
    explain = jinterp.at_layer(jinterp.feature_ablation, "embed")
    mask = np.arange(TOKENS.shape[1])[:, None]
    values = explain(apply_fn, params, TOKENS, 2, feature_mask=mask, baseline=0)
    assert values.shape == (*TOKENS.shape, 8)
    of_tokens = jinterp.feature_ablation(apply_fn, params, TOKENS, 2, baseline=0)
    np.testing.assert_allclose(values[..., 0], of_tokens, rtol=1e-4, atol=1e-5)
