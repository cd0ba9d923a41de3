"""Draw the README's pictures: python -m tests.real.pictures docs/images."""

import functools
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn
from matplotlib.figure import Figure

import jinterp
from jinterp import demo, plot
from jinterp.diagnose import Recorded
from jinterp.tabular import negative_cross_entropy
from tests.real import camvid
from tests.real.conftest import SHARED
from tests.real.resnet import linen_resnet, preprocess
from tests.real.test_cifar10 import CLASS_NAMES
from tests.real.test_fashion_mnist import read


def main(out: str) -> None:
    with np.load(SHARED / "data/cifar10/test.npz") as arrays:
        ds = jinterp.batches(dict(arrays), preprocess=preprocess)
    model = jinterp.from_linen(*linen_resnet(SHARED / "data/models/resnet20_cifar10.npz", 20))
    found = jinterp.ClassificationInterpretation.from_model(*model, ds, class_names=CLASS_NAMES)
    figures = {
        "why": why(model, found),
        "top_losses": found.plot_top_losses(6),
        "confusion_matrix": found.plot_confusion_matrix().figure,
        "reliability": found.plot_calibration().figure,
    }
    figures["segmentation"] = segmentation()
    figures["tables"] = tables()
    figures["healthy"] = healthy()
    for name, figure in figures.items():
        (Path(out) / f"{name}.png").write_bytes(plot.png(figure, dots_per_inch=90))


def segmentation() -> Figure:
    """The worst three of every fifth street scene: neighbours are alike."""
    images, labels = camvid.camvid(SHARED, "val")
    kept = jinterp.SegmentationInterpretation.from_model(
        *camvid.trained_unet(SHARED),
        jinterp.batches((images[::5], labels[::5]), preprocess=camvid.preprocess),
        class_names=camvid.CLASS_NAMES,
        ignore_index=camvid.UNLABELLED,
    )
    return kept.plot_top_losses(3)


def tables() -> Figure:
    """What a small network reads of the breast cancer data."""
    known, held_out = demo.breast_cancer()
    found = jinterp.TabularInterpretation.from_model(
        *demo.train_table(known, key=jax.random.key(0)),
        held_out,
        score=negative_cross_entropy,
        num_repeats=20,
        key=jax.random.key(1),
    )
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    importance, curve, effects = figure.subplots(1, 3)
    first, second = (found.importance.names[n] for n in np.argsort(-found.importance.mean)[:2])
    found.plot_importance(max_vars=10, ax=importance)
    found.plot_ice(first, centred=True, ax=curve)
    found.plot_ale([first, second], ax=effects)
    return figure


class Clothes(nn.Module):
    """Three convolutions and two dense layers."""

    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for number, width in enumerate((8, 16, 32)):
            conv = nn.Conv(width, (3, 3), 2, kernel_init=self.kernel_init, name=f"conv{number}")
            x = nn.relu(conv(x))
        x = x.reshape(len(x), -1)
        x = nn.relu(nn.Dense(64, kernel_init=self.kernel_init, name="hidden")(x))
        return nn.Dense(10, kernel_init=self.kernel_init, name="head")(x)


def healthy() -> Figure:
    """What four layers put out while a network dies, and while it learns."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    dying, learning = figure.subfigures(1, 2)
    dying.suptitle("weights too large, learning rate 0.1: it dies", fontsize=10)
    plot.hist_chart(watched(Clothes(nn.initializers.normal(0.3)), 0.1), fig=dying)
    learning.suptitle("He's initialisation, learning rate 0.01: it learns", fontsize=10)
    plot.hist_chart(watched(Clothes(), 0.01), fig=learning)
    return figure


def watched(module: Clothes, learning_rate: float) -> Recorded:
    """100 steps of SGD with momentum on Fashion-MNIST."""
    images, labels = read(SHARED / "data/fashion_mnist", "train")
    images = images[:10_000, ..., None] / np.float32(255)
    labels = labels.astype(np.int32)
    apply_fn, params = jinterp.from_linen(module, module.init(jax.random.key(0), images[:1]))
    history = jinterp.ActivationHistory(apply_fn, ("conv0", "conv1", "conv2", "hidden"))
    optimizer = optax.sgd(learning_rate, momentum=0.9)

    @jax.jit
    def step(params: Any, state: Any, records: Any, x: Any, y: Any) -> Any:
        def loss_fn(params: Any) -> Any:
            logits, readings = history.apply(params, x)
            return jinterp.cross_entropy(logits, y).mean(), readings

        gradient, readings = jax.grad(loss_fn, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, history.update(records, readings)

    state = optimizer.init(params)
    records = history.init(params, images[:128])
    rng = np.random.default_rng(0)
    for _ in range(100):
        rows = rng.integers(0, len(images), 128)
        params, state, records = step(params, state, records, images[rows], labels[rows])
    return history.read(records)


def why(model: jinterp.Model, found: jinterp.ClassificationInterpretation) -> Figure:
    """Four methods on three examples that the network took for something else."""
    examples = [9, 52, 139]
    halfway = functools.partial(jinterp.layer_cam, layer="layer2_2")
    methods = {
        "saliency": jinterp.saliency,
        "integrated gradients": jinterp.integrated_gradients,
        "Layer-CAM, layer2_2": halfway,
        "Grad-CAM": jinterp.grad_cam,
    }
    rows = found.evaluation.predictions.rows(np.array(examples))
    return plot.attribution_grid(
        {name: found.explain(examples, explain) for name, explain in methods.items()},
        found.dataset.take(examples),
        titles=[f"taken for {CLASS_NAMES[each]}" for each in rows.predictions],
    )


if __name__ == "__main__":
    main(sys.argv[1])
