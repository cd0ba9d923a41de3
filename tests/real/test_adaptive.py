"""Integrated gradients to a tolerance, on a real network. benchmarks/adaptive.py is the whole."""

from pathlib import Path

import numpy as np
import pytest

import jinterp
from tests.real.resnet import linen_resnet, preprocess

NUM = 20
TOLERANCE = 0.02
# The cheapest uniform midpoint rule that is within the tolerance for 95 of 100 images.
CHEAPEST = 60


@pytest.mark.slow
def test_the_tolerance_is_kept_for_about_the_cost_of_the_right_rule(shared: Path, cifar10) -> None:
    """The truth here is 512 midpoints, whose own error is about 0.0016."""
    images, labels = (array[:NUM] for array in cifar10)
    model = jinterp.from_linen(*linen_resnet(shared / "data/models/resnet20_cifar10.npz", 20))
    asked = (*model, preprocess(images), labels.astype(int))
    exact = np.asarray(jinterp.integrated_gradients(*asked, num_steps=512), np.float64)
    found = jinterp.adaptive_integrated_gradients(*asked, tolerance=TOLERANCE)

    errors = np.linalg.norm((found.values - exact).reshape(NUM, -1), axis=1)
    errors /= np.linalg.norm(exact.reshape(NUM, -1), axis=1)
    assert (errors <= TOLERANCE).mean() >= 0.95
    assert found.converged.all()
    assert found.num_steps.sum() <= 2 * CHEAPEST * NUM
    # The estimate is neither blind nor timid.
    assert 0.7 < np.median(found.errors / errors) < 1.4

    coarse = jinterp.adaptive_integrated_gradients(*asked, tolerance=TOLERANCE, max_steps=21)
    assert not coarse.converged.any()
    assert coarse.num_steps.tolist() == [21] * NUM
    gaps = jinterp.completeness_gap(*asked[:3], found.values, asked[3])
    np.testing.assert_allclose(found.gaps, gaps, atol=1e-3)
