"""RISE, against the expectation over all its masks."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from tests import networks
from tests.networks import IMAGES, SERIES, VOLUMES

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 4, 4, 1)).astype(np.float32)
WEIGHTS = RNG.normal(size=(4, 4, 1)).astype(np.float32)


def squared(params: Any, x: jax.Array) -> jax.Array:
    """1 + z + z²/2 of the weighted sum z."""
    total = (x * params[None]).sum((1, 2, 3))[:, None]
    return 1 + total + total**2 / 2


def every_mask(keep: float) -> tuple[np.ndarray, np.ndarray]:
    """`[masks, 4, 4]` of 2×2 cells, cut out of 6×6, and their probabilities."""
    masks, chances = [], []
    for cells in itertools.product([0.0, 1.0], repeat=4):
        wide = jax.image.resize(jnp.array(cells).reshape(2, 2), (6, 6), "linear")
        chance = keep ** sum(cells) * (1 - keep) ** (4 - sum(cells)) / 4
        for row, column in itertools.product(range(2), repeat=2):
            masks.append(np.asarray(wide[row : row + 4, column : column + 4]))
            chances.append(chance)
    return np.stack(masks), np.array(chances)


def expected(x: np.ndarray, keep: float, baseline: float) -> np.ndarray:
    """E[s M] / E[M]."""
    masks, chances = every_mask(keep)
    found = []
    for one in x:
        seen = one[None] * masks[..., None] + baseline * (1 - masks[..., None])
        scores = np.asarray(squared(WEIGHTS, jnp.asarray(seen, jnp.float32)))[:, 0]
        found.append(
            np.einsum("m,m,mij->ij", chances, scores, masks)
            / np.einsum("m,mij->ij", chances, masks)
        )
    return np.stack(found)[..., None]


@pytest.mark.parametrize(("keep", "baseline"), [(0.5, 0.0), (0.3, 1.0)])
def test_many_masks_come_near_to_all(keep: float, baseline: float) -> None:
    """Within five standard errors at all places, and those are small."""
    found = jinterp.with_error(jinterp.rise)(
        squared,
        WEIGHTS,
        X,
        0,
        key=KEY,
        num_samples=1000,
        num_cells=2,
        keep=keep,
        baseline=baseline,
    )
    exact = expected(X, keep, baseline)
    assert (np.abs(found.values - exact) <= 5 * np.asarray(found.errors)).all()
    assert np.asarray(found.errors).max() < 0.05 * np.ptp(exact)


def test_a_constant_score_is_the_same_everywhere() -> None:
    def constant(params: Any, x: jax.Array) -> jax.Array:
        return 0 * x.sum((1, 2, 3))[:, None] + 7

    values = jinterp.rise(constant, None, X, 0, key=KEY, num_samples=9)
    np.testing.assert_array_equal(values, 7)


def test_places_that_no_mask_shows_have_the_mean_score() -> None:
    """One mask, of cells of a pixel: most of it is dark."""
    arguments = squared, WEIGHTS, X, 0
    values = jinterp.rise(*arguments, key=KEY, num_samples=1, num_cells=4, keep=0.01)
    np.testing.assert_array_equal(values, np.broadcast_to(values[:, :1, :1], X.shape))
    np.testing.assert_allclose(values[:, 0, 0], squared(WEIGHTS, 0 * X), rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "x"),
    [(networks.cnn_1d, SERIES), (networks.cnn, IMAGES), (networks.cnn_3d, VOLUMES)],
)
def test_any_number_of_axes_in_space(model: Any, x: np.ndarray) -> None:
    apply_fn, params = model()
    values = jinterp.rise(apply_fn, params, x, 1, key=KEY, num_samples=20, num_cells=3)
    assert values.shape == x.shape
    np.testing.assert_array_equal(values, np.broadcast_to(values[..., :1], x.shape))

    def first(params: Any, x: Any) -> Any:
        return apply_fn(params, jnp.moveaxis(x, 1, -1))

    turned = jinterp.rise(
        first,
        params,
        np.moveaxis(x, -1, 1),
        1,
        key=KEY,
        num_samples=20,
        num_cells=3,
        channel_axis=1,
    )
    np.testing.assert_allclose(np.moveaxis(turned, 1, -1), values, rtol=1e-4, atol=1e-5)


def test_several_targets() -> None:
    targets = np.array([[0, 1], [1, 2], [2, 0], [0, 2]])
    keywords = {"key": KEY, "num_samples": 8}
    found = jinterp.rise(*networks.cnn(), IMAGES, targets, **keywords)
    singles = [jinterp.rise(*networks.cnn(), IMAGES, targets[:, n], **keywords) for n in (0, 1)]
    np.testing.assert_allclose(found, np.stack(singles, 1), rtol=1e-4, atol=1e-5)
