"""Trained networks raise no alarm."""

from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

import jinterp
from jinterp.demo import classification as demo
from tests.real.resnet import linen_resnet, preprocess


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_gradient_of_the_demo_is_healthy_before_and_after_training() -> None:
    train = demo.digits().train
    model = demo.train(train, key=jax.random.key(0))
    x = demo.preprocess(jnp.asarray(train[0]))[:128]
    loss = jinterp.mean_loss(model.apply_fn)
    for params in (demo.DigitNet().init(jax.random.key(0), x), model.params):
        flow = jinterp.gradient_flow(loss, params, (x, train[1][:128]), optimizer=optax.adamw(2e-3))
        assert (flow.verdict, flow.problems) == ("healthy", [])
        assert 0.1 < flow.early_to_late < 5
