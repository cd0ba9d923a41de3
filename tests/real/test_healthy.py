"""Trained networks raise no alarm."""

from pathlib import Path

import jax.numpy as jnp
import pytest

import jinterp
from tests.real.resnet import linen_resnet, preprocess


@pytest.mark.parametrize("depth", [20, 56])
def test_the_gradient_of_a_trained_resnet_is_healthy(shared: Path, cifar10, depth: int) -> None:
    path = shared / f"data/models/resnet{depth}_cifar10.npz"
    apply_fn, params = jinterp.from_linen(*linen_resnet(path, depth))
    images, labels = (array[:64] for array in cifar10)
    batch = (preprocess(images), jnp.asarray(labels))
    flow = jinterp.gradient_flow(jinterp.mean_loss(apply_fn), params, batch)
    assert (flow.verdict, flow.problems) == ("healthy", [])
    assert 0.5 < flow.early_to_late < 5
    assert len(flow.rows) == 3 * (depth - 1) + 2
    assert [row.name for row in flow.rows[:4]] == [
        "conv1/kernel",
        "bn1/scale",
        "bn1/bias",
        "layer1_0/conv1/kernel",
    ]
    assert flow.rows[-1].name == "linear/bias"
