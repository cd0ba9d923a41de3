"""LIME, against an explicit weighted ridge regression and its limit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from jinterp.attribution.lime import _drawn
from tests import networks
from tests.attribution.double import double
from tests.networks import IMAGES, ROWS, TOKENS, mlp
from tests.problems import linear

KEY = jax.random.key(0)


def regression(
    coalitions: np.ndarray, scores: np.ndarray, width: float, ridge: float
) -> np.ndarray:
    """With an intercept that is not penalised, as scikit-learn's Ridge; `[batch, groups]`."""
    distances = 1 - np.sqrt(coalitions.mean(1))
    weights = np.exp(-(distances**2) / (2 * width**2))
    design = np.column_stack([np.ones(len(coalitions)), coalitions])
    penalty = ridge * np.eye(design.shape[1])
    penalty[0, 0] = 0
    gram = design.T @ (weights[:, None] * design) + penalty
    return np.linalg.solve(gram, design.T @ (weights[:, None] * scores.T))[1:].T


@pytest.mark.parametrize(("width", "ridge"), [(0.25, 1.0), (0.5, 0.0), (0.1, 20.0)])
def test_the_regression(x64: None, width: float, ridge: float) -> None:
    apply_fn, params = double(mlp())
    x = ROWS.astype(float)
    mask = np.array([0, 1, 1, 2, 3, 3, 4])
    coalitions = np.asarray(_drawn(KEY, 60, 5))
    kept = coalitions[:, mask]
    scores = np.stack([apply_fn(params, np.where(own, x, 0.5))[:, 1] for own in kept], axis=1)
    found = jinterp.lime(
        apply_fn,
        params,
        x,
        1,
        key=KEY,
        num_samples=60,
        feature_mask=mask,
        kernel_width=width,
        ridge=ridge,
        baseline=0.5,
    )
    expected = regression(coalitions.astype(float), scores, width, ridge)
    np.testing.assert_allclose(found, expected[:, mask], rtol=1e-9, atol=1e-12)


def test_the_first_coalition_is_all_and_half_of_the_others_are_in() -> None:
    coalitions = np.asarray(_drawn(KEY, 1000, 50))
    assert coalitions[0].all()
    assert coalitions.mean() == pytest.approx(0.5, abs=0.01)


def test_without_ridge_a_linear_model_is_found() -> None:
    weights = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    mask = np.array([0, 1, 1, 2, 3, 3, 4])
    found = jinterp.lime(
        linear, weights, ROWS, 1, key=KEY, num_samples=50, ridge=0.0, feature_mask=mask
    )
    groups = np.stack([(ROWS * weights[:, 1] * (mask == n)).sum(1) for n in range(5)], 1)
    np.testing.assert_allclose(found, groups[:, mask], rtol=0, atol=2e-5)


def test_images_by_superpixels() -> None:
    mask = jinterp.superpixels(IMAGES, 6)
    values = np.asarray(jinterp.lime(*networks.cnn(), IMAGES, 1, key=KEY, feature_mask=mask))
    assert values.shape == IMAGES.shape
    groups = np.asarray(jinterp.group_values(values, mask, IMAGES))
    for row, own in zip(groups, mask, strict=True):
        present = np.isin(np.arange(groups.shape[1]), own)
        # Which an example lacks has no effect: nothing but the noise of the regression.
        assert np.abs(row[present]).min() > np.abs(row[~present]).max(initial=0)


def test_tokens() -> None:
    """A token that is the pad token itself changes nothing."""
    tokens = np.where(TOKENS[:, :1] == TOKENS, 0, TOKENS)
    values = jinterp.lime(*networks.text(), tokens, 2, key=KEY, num_samples=500, baseline=0)
    assert values.dtype == np.float32
    sizes = np.abs(np.asarray(values))
    assert sizes[tokens == 0].max() < 0.2 * sizes[tokens > 0].mean()


def test_several_targets() -> None:
    targets = np.array([[0, 1], [1, 2], [2, 0], [0, 2]])

    def explained(target: Any) -> jax.Array:
        return jinterp.lime(*mlp(), ROWS, target, key=KEY, num_samples=30)

    singles = jnp.stack([explained(targets[:, n]) for n in range(2)], 1)
    np.testing.assert_allclose(explained(targets), singles, rtol=1e-4, atol=1e-6)
