"""ROAD and its in-painting."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

import jinterp

KEY = jax.random.key(0)


def solved(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The system of the paper, equation by equation: `[height, width, channels]`."""
    height, width, num_channels = image.shape
    number = -np.ones((height, width), int)
    number[~known] = np.arange((~known).sum())
    matrix = scipy.sparse.lil_matrix(((~known).sum(),) * 2)
    right = np.zeros(((~known).sum(), num_channels))
    for row, column in zip(*np.nonzero(~known), strict=True):
        own = number[row, column]
        for down in (-1, 0, 1):
            for over in (-1, 0, 1):
                at = row + down, column + over
                inside = 0 <= at[0] < height and 0 <= at[1] < width
                if not inside or (down == 0 and over == 0):
                    continue
                weight = 1 / 12 if down and over else 1 / 6
                matrix[own, own] += weight
                if known[at]:
                    right[own] += weight * image[at]
                else:
                    matrix[own, number[at]] -= weight
    found = image.copy()
    if number.max() >= 0:
        found[~known] = scipy.sparse.linalg.spsolve(matrix.tocsc(), right).reshape(right.shape)
    return found


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.floats(0.05, 0.95))
def test_inpainting_solves_the_system(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(2, 9, 7, 3))
    known = rng.random((2, 9, 7)) > share
    known[:, 4, 3] = True
    with jax.enable_x64(True):
        found = jinterp.inpaint(images, known[..., None])
        first = jinterp.inpaint(np.moveaxis(images, -1, 1), known[:, None], 1)
    np.testing.assert_array_equal(np.moveaxis(first, 1, -1), found)
    for row in range(2):
        np.testing.assert_allclose(found[row], solved(images[row], known[row]), atol=1e-9)
    small = jinterp.inpaint(images.astype(np.float32), known[..., None])
    np.testing.assert_allclose(small, found, atol=2e-4)


def test_what_neighbours_tell_is_restored() -> None:
    """A constant image, and one of which nothing is known."""
    x = np.full((2, 32, 32, 1), 3.0, np.float32)
    known = np.random.default_rng(0).random((2, 32, 32, 1)) > 0.9
    known[1] = False
    found = jinterp.inpaint(x, known)
    np.testing.assert_allclose(found[0], 3, rtol=1e-4)
    np.testing.assert_array_equal(found[1], 0)


def centre(params: Any, x: jax.Array) -> jax.Array:
    """How far the middle stands out."""
    middle = x[:, 6:10, 6:10].mean((1, 2, 3))
    return jnp.stack([middle, -middle], axis=1) * params


def square() -> np.ndarray:
    x = np.zeros((2, 16, 16, 1), np.float32)
    x[:, 6:10, 6:10] = 1
    return x


def test_the_truth_is_told_from_chance_and_from_its_opposite() -> None:
    x = square()
    noise = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    right, none, wrong = (
        np.asarray(jinterp.road(centre, 5.0, x, values, 0, key=KEY, score=jinterp.logit))
        for values in (x + noise * 1e-3, noise, -x + noise * 1e-3)
    )
    assert (right > 1.5).all()
    np.testing.assert_allclose(wrong, -right, atol=0.1)
    assert (np.abs(none) < 0.5).all()


def test_road_by_its_definition() -> None:
    """Without noise: the mean over the fractions of (LeRF − MoRF) / 2."""
    rng = np.random.default_rng(1)
    x, values = (rng.normal(size=(2, 5, 4, 2)).astype(np.float32) for _ in range(2))
    fractions = (0.25, 0.5)
    found = jinterp.road(
        centred, 1.0, x, values, 0, key=KEY, fractions=fractions, noise=0.0, score=jinterp.logit
    )
    expected = np.zeros(2)
    for row in range(2):
        order = np.argsort(values[row].sum(-1).ravel())
        for fraction in fractions:
            count = round(fraction * 20)
            scores = []
            for gone in (order[:count], order[::-1][:count]):
                known = np.ones(20, bool)
                known[gone] = False
                painted = solved(x[row].astype(float), known.reshape(5, 4))
                scores.append(float(centred(1.0, jnp.asarray(painted[None]))[0, 0]))
            expected[row] += (scores[0] - scores[1]) / 4
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def centred(params: Any, x: jax.Array) -> jax.Array:
    return (jnp.square(x[:, 2:]).sum((1, 2, 3)) * params)[:, None]


def test_noise_is_that_of_the_key_and_of_what_is_taken_away() -> None:
    x = square()
    values = x + np.random.default_rng(0).normal(size=x.shape).astype(np.float32) * 1e-3
    one, same, other = (
        np.asarray(jinterp.road(centre, 5.0, x, values, 0, key=key, noise=1.0, score=jinterp.logit))
        for key in (KEY, KEY, jax.random.key(1))
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()
    alone = jinterp.road(centre, 5.0, x[1:], values[1:], 0, key=KEY, noise=1.0, score=jinterp.logit)
    np.testing.assert_allclose(alone, one[1:], rtol=1e-5)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"fractions": ()}, "`fractions` are"),
        ({"fractions": (0.5, 1.0)}, "`fractions` are"),
        ({"noise": -1.0}, "`noise` is -1.0"),
        ({"x": np.ones((2, 3), np.float32)}, "Give another `baseline`"),
    ],
)
def test_bad_input(keywords: dict[str, Any], said: str) -> None:
    asked = {"x": square(), **keywords}
    x = asked.pop("x")
    with pytest.raises(ValueError, match=said):
        jinterp.road(
            total, 1.0, x, np.arange(x.size, dtype=np.float32).reshape(x.shape), 0, key=KEY, **asked
        )


def total(params: Any, x: jax.Array) -> jax.Array:
    sums = x.reshape(len(x), -1).sum(1)
    return jnp.stack([sums, -sums], axis=1) * params
