"""Draw the README's pictures: python -m tests.real.pictures docs/images."""

import functools
import sys
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

import jinterp
from jinterp import demo, plot
from jinterp.tabular import negative_cross_entropy
from tests.real import camvid
from tests.real.conftest import SHARED
from tests.real.resnet import linen_resnet, preprocess
from tests.real.test_cifar10 import CLASS_NAMES


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
