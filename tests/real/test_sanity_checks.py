"""What Adebayo et al. and Sixt et al. saw, on a ResNet-20: guided backprop shows the input."""

from pathlib import Path

import jax
import numpy as np
import pytest

import jinterp
from tests.real.resnet import linen_resnet, preprocess

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def model(shared: Path) -> jinterp.Model:
    return jinterp.from_linen(*linen_resnet(shared / "data/models/resnet20_cifar10.npz", 20))


@pytest.fixture(scope="module")
def x(cifar10: tuple[np.ndarray, np.ndarray]) -> jax.Array:
    return preprocess(cifar10[0][:16])


@pytest.mark.slow
def test_the_gradient_changes_with_the_top_layer_and_guided_backprop_does_not(model, x) -> None:
    of_gradient, of_guided = (
        jinterp.randomization_check(explain, *model, x, key=KEY)
        for explain in (jinterp.gradient, jinterp.guided_backprop)
    )
    assert len(of_gradient.layers) == 39
    assert of_gradient.layers[:2] == ("linear", "layer3_2/bn2")
    assert of_gradient.layers[-2:] == ("bn1", "conv1")
    ranks, guided = (found.rank_correlations.mean(axis=1) for found in (of_gradient, of_guided))
    assert np.abs(ranks).max() < 0.2
    assert guided[:3].min() > 0.9
    assert guided[-1] < 0.3
    assert of_guided.ssims.mean(axis=1)[:3].min() > 0.9


def test_guided_backprop_of_another_class_is_the_same(model, x) -> None:
    of_gradient, of_guided = (
        jinterp.random_logit_check(explain, *model, x, key=KEY).rank_correlations.mean()
        for explain in (jinterp.gradient, jinterp.guided_backprop)
    )
    assert of_gradient < 0.2
    assert of_guided > 0.85
