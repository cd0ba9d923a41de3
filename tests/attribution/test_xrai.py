"""XRAI by hand, against the published algorithm, and on images with a planted object."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jinterp
from jinterp.attribution._segments import segments_of
from tests.networks import IMAGES, SERIES, cnn, cnn_1d
from tests.problems import count_compiles

SPACE = (4, 6)


def weighted(params: Any, x: jax.Array) -> jax.Array:
    """Linear, so that integrated gradients are w ⊙ (x − b)."""
    return (x * params[None]).sum((1, 2))


def published(attributions: np.ndarray, masks: np.ndarray, min_pixel_diff: int) -> np.ndarray:
    """The loop of PAIR's `XRAI._xrai`, for one image."""
    output = np.full(attributions.shape, -np.inf)
    current = np.zeros(attributions.shape, bool)
    remaining = dict(enumerate(masks))
    while True:
        best_gain, best_key, remove = -np.inf, None, []
        for key, mask in remaining.items():
            new = mask & ~current
            if new.sum() < min_pixel_diff:
                remove.append(key)
                continue
            gain = attributions[new].mean()
            if gain > best_gain:
                best_gain, best_key = gain, key
        for key in remove:
            del remaining[key]
        if not remaining:
            break
        new = remaining[best_key] & ~current
        output[new] = best_gain
        current |= remaining.pop(best_key)
    left = output == -np.inf
    if left.any():
        output[left] = attributions[left].mean()
    return output


def test_by_hand() -> None:
    """Values 4 2 1 1: the pair (4, 2) has mean 3; of (2, 1) only 1 is new; then all is covered."""
    x = jnp.array([4.0, 2, 1, 1]).reshape(1, 1, 4, 1)
    masks = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]], bool).reshape(1, 3, 1, 4)
    found = jinterp.xrai(weighted, jnp.ones((1, 4, 1)), x, 0, baseline=0.0, segments=masks)
    np.testing.assert_allclose(found.ravel(), [3, 3, 1, 1], rtol=1e-6)  # sums of 50 steps
    first = masks.copy()
    first[0, 0, 0, 1] = False  # 4 alone is denser, then (2, 1), then the last
    found = jinterp.xrai(weighted, jnp.ones((1, 4, 1)), x, 0, baseline=0.0, segments=first)
    np.testing.assert_allclose(found.ravel(), [4, 1.5, 1.5, 1], rtol=1e-6)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 999),
    num=st.integers(1, 9),
    share=st.sampled_from([0.1, 0.3, 0.7]),
    least=st.sampled_from([1, 3, 8]),
)
def test_the_published_algorithm(seed: int, num: int, share: float, least: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, *SPACE, 2)).astype(np.float32)
    weights = rng.normal(size=(*SPACE, 2)).astype(np.float32)
    masks = rng.random((3, num + 1, *SPACE)) < share
    masks[:, -1] = ~masks[:, :-1].any(1)
    found = jinterp.xrai(
        *(weighted, jnp.asarray(weights), x, 1),
        baseline=[0.0, 1.0],
        segments=masks,
        min_area=(least - 0.5) / np.prod(SPACE),
        num_steps=1,
        score=second,
    )
    attributions = (weights * (x - np.float32(0.5)))[..., 1]
    attributions = np.maximum(attributions, 0)  # the other channel has no gradient
    expected = [published(a, m, least) for a, m in zip(attributions, masks, strict=True)]
    np.testing.assert_allclose(found[..., 0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[..., 0], found[..., 1])


def second(outputs: jax.Array, target: Any) -> jax.Array:
    return outputs[:, 1]


def test_black_and_white_are_those_of_the_image() -> None:
    masks = np.ones((4, 1, *IMAGES.shape[1:3]), bool)
    masks[:, :, :3] = False
    masks = np.concatenate([masks, ~masks], axis=1)
    found = jinterp.xrai(*cnn(), IMAGES, 1, segments=masks, num_steps=8)
    for n in range(4):
        one = IMAGES[n : n + 1]
        given = [float(one.min()), float(one.max())]
        expected = jinterp.xrai(
            *cnn(), one, 1, segments=masks[n : n + 1], num_steps=8, baseline=given
        )
        np.testing.assert_allclose(found[n], expected[0], rtol=1e-4, atol=1e-5)


def test_channels_first_and_signals() -> None:
    def first(params: Any, x: jax.Array) -> jax.Array:
        return cnn().apply_fn(params, jnp.moveaxis(x, 1, -1))

    x = np.moveaxis(IMAGES, -1, 1)
    halves = np.zeros((4, 2, *IMAGES.shape[1:3]), bool)
    halves[:, 0, :, :5] = halves[:, 1, :, 5:] = True
    found = jinterp.xrai(first, cnn().params, x, 1, segments=halves, num_steps=4, channel_axis=1)
    expected = jinterp.xrai(*cnn(), IMAGES, 1, segments=halves, num_steps=4)
    np.testing.assert_allclose(found, np.moveaxis(expected, -1, 1), rtol=1e-4, atol=1e-6)
    parts = np.zeros((4, 2, 20), bool)
    parts[:, 0, :5] = parts[:, 1, 5:] = True
    values = jinterp.xrai(*cnn_1d(), SERIES, 1, segments=parts, num_steps=4)
    assert values.shape == SERIES.shape
    assert len(np.unique(values[0])) == 2


# ---------------------------------------------------------------- segments of an image


def pictures() -> np.ndarray:
    """A bright square on a dark noisy ground, at another place in each."""
    rng = np.random.default_rng(0)
    x = 0.05 * rng.random((3, 40, 48, 3))
    for n, (row, column) in enumerate([(4, 6), (20, 10), (12, 30)]):
        x[n, row : row + 12, column : column + 12] += 0.8
    return x.astype(np.float32)


SQUARES = np.asarray(pictures()[..., 0] > 0.5)


def brightness(params: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(x).mean((1, 2)) * params[None]


@functools.cache
def made() -> np.ndarray:
    return segments_of(pictures())


def test_segments_cover_each_image_and_one_is_the_object() -> None:
    assert made().any(axis=1).all()
    assert made().shape[1] % 64 == 0
    overlap = (made() & SQUARES[:, None]).sum((2, 3)) / (made() | SQUARES[:, None]).sum((2, 3))
    assert (overlap.max(axis=1) > 0.7).all()  # widened by a pixel
    alone = segments_of(pictures()[1:2])[0]
    np.testing.assert_array_equal(alone, made()[1, : len(alone)])
    assert not made()[1, len(alone) :].any()


def test_a_constant_image_is_one_segment() -> None:
    masks = segments_of(np.ones((1, 9, 7, 3), np.float32))
    assert masks.any(axis=1).all()


def test_images_that_are_not_finite_are_said() -> None:
    x = pictures()
    x[1, 0, 0] = np.nan
    with pytest.warns(UserWarning, match="`xrai`: 1 of 3 examples have NaN or infinite values"):
        found = jinterp.xrai(brightness, jnp.ones(3), x, 0, num_steps=2)
    assert np.isfinite(found).all(axis=(1, 2, 3)).tolist() == [True, False, True]


def test_the_object_comes_first() -> None:
    x = pictures()
    found = jinterp.xrai(brightness, jnp.ones(3), x, 0, num_steps=8)
    given = jinterp.xrai(brightness, jnp.ones(3), x, 0, num_steps=8, segments=made())
    np.testing.assert_array_equal(found, given)
    inside = np.where(SQUARES, found[..., 0], -np.inf).reshape(3, -1).max(1)
    outside = np.where(SQUARES, -np.inf, found[..., 0])
    assert (np.sort(found[..., 0][SQUARES])[0] > np.quantile(outside[outside > -np.inf], 0.9)).all()
    np.testing.assert_allclose(found.reshape(3, -1).max(1), inside)


def test_other_images_compile_nothing() -> None:
    x = pictures()
    jinterp.xrai(brightness, jnp.ones(3), x, 0, num_steps=8)
    with count_compiles() as counter:
        jinterp.xrai(brightness, jnp.ones(3), x[::-1].copy(), 0, num_steps=8)
    assert counter.compiled == 0


# ---------------------------------------------------------------- bad input


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("error", "segments", "said"),
    [
        (TypeError, np.ones((4, 2, 8, 12), int), "`segments` are int32; expected bool masks"),
        (ValueError, np.ones((4, 8, 12), bool), "`segments` have the shape (4, 8, 12); expected"),
        (ValueError, np.ones((4, 2, 12, 8), bool), "(batch, num, *space), (4, num, 8, 12)."),
        (ValueError, np.ones((3, 2, 8, 12), bool), "`segments` have the shape (3, 2, 8, 12)"),
    ],
)
def test_segments_that_do_not_fit(error: type[Exception], segments: Any, said: str) -> None:
    with pytest.raises(error) as raised:
        jinterp.xrai(*cnn(), IMAGES, 0, segments=segments)
    assert said in str(raised.value)


def test_segments_that_leave_pixels_out() -> None:
    masks = np.ones((4, 1, 8, 12), bool)
    masks[2, 0, :2] = False
    said = (
        r"`segments` leave out 25.0% of the pixels of example 2; .*Add one of the rest: ~segments"
    )
    with pytest.raises(ValueError, match=said):
        jinterp.xrai(*cnn(), IMAGES, 0, segments=masks)


def test_segments_are_not_made_under_jit_nor_of_signals() -> None:
    with pytest.raises(TypeError, match="`xrai` makes segments on the host, which jit, vmap and"):
        jax.jit(lambda x: jinterp.xrai(*cnn(), x, 0))(IMAGES)
    with pytest.raises(ValueError, match=r"`x` has the shape \(4, 20, 2\); expected images"):
        jinterp.xrai(*cnn_1d(), SERIES, 0)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"min_area": 1.5}, "`min_area` is 1.5; expected 0 to 1."),
        ({"num_steps": 0}, "`num_steps` is 0; expected at least 1."),
    ],
)
def test_numbers_out_of_range(keywords: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        jinterp.xrai(*cnn(), IMAGES, 0, **keywords)
