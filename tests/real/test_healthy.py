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


@pytest.mark.parametrize(
    ("depth", "num_params", "multiply_adds"),
    [(20, 269_722, 40_551_040), (56, 853_018, 125_485_696)],
)
def test_the_networks_of_the_paper_are_counted_as_by_hand(
    shared: Path, depth: int, num_params: int, multiply_adds: int
) -> None:
    """3 x 3 convolutions of He's CIFAR networks, their scales and biases, and the head.

    The paper says 0.27M and 0.85M parameters; multiply-adds are 41M and 126M at 32 x 32.
    """
    blocks = (depth - 2) // 6
    widths, sizes = (16, 32, 64), (32, 16, 8)
    convolutions = [(3, 16, 32)]
    for stage, (width, size) in enumerate(zip(widths, sizes, strict=True)):
        before = widths[max(stage - 1, 0)]
        convolutions += [(before, width, size)] + [(width, width, size)] * (2 * blocks - 1)
    by_hand = sum(9 * a * b * size**2 for a, b, size in convolutions) + 64 * 10
    assert by_hand == multiply_adds
    counted = sum(9 * a * b + 2 * b for a, b, _ in convolutions) + 64 * 10 + 10
    assert counted == num_params
    path = shared / f"data/models/resnet{depth}_cifar10.npz"
    model = jinterp.from_linen(*linen_resnet(path, depth))
    total = jinterp.summary(*model, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)).total
    assert total.num_params == total.num_trainable == num_params
    assert total.multiply_adds == multiply_adds
    # XLA leaves out what the padding would be multiplied by: less than a tenth
    assert 0.9 * 2 * multiply_adds < total.flops < 1.02 * 2 * multiply_adds


@pytest.mark.slow
def test_a_trained_resnet_raises_no_alarm_at_all(shared: Path, cifar10) -> None:
    model = jinterp.from_linen(*linen_resnet(shared / "data/models/resnet20_cifar10.npz", 20))
    images, labels = (array[:500] for array in cifar10)
    ds = jinterp.batches((images, labels), preprocess=preprocess)
    checks = jinterp.check_model(*model, ds, optimizer=optax.sgd(1e-3))
    assert checks.failed == []
    assert checks["dead units"].status == checks["labels"].status == "passed"


@pytest.mark.slow
def test_a_leaf_that_is_not_finite_is_named_in_a_real_network(shared: Path, cifar10) -> None:
    module, variables = linen_resnet(shared / "data/models/resnet20_cifar10.npz", 20)
    variance = variables["batch_stats"]["layer2_1"]["bn1"]["var"]
    variables["batch_stats"]["layer2_1"]["bn1"]["var"] = variance.at[3].set(-1)
    images, labels = (array[:64] for array in cifar10)
    ds = jinterp.batches((images, labels), preprocess=preprocess)
    (check,) = jinterp.check_model(*jinterp.from_linen(module, variables), ds).failed
    assert "NaN is made by `rsqrt` in the layer 'layer2_1/bn1'" in check.found
