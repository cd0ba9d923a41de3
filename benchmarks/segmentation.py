"""What does the pass over label maps cost beside the model, and how much memory does it take?

python -m benchmarks.segmentation; needs CamVid (`JINTERP_SHARED`) and scikit-learn.
"""

import functools
import json
import sys
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import sklearn.metrics
from PIL import Image

import jinterp
from benchmarks.forward import fastest_forward
from benchmarks.timing import in_turn, machine, peak_of, peak_resident_kib, table
from jinterp.demo.unet import UNet
from tests.real.camvid import CLASS_NAMES, UNLABELLED, preprocess
from tests.real.conftest import SHARED

NUM_CLASSES = len(CLASS_NAMES)
SMALL, LARGE = (120, 90), (240, 180)
NUM_IMAGES = (233, 2330)  # of the test set, and ten times it


def main() -> None:
    print(machine("jinterp", "jax", "flax", "numpy", "scikit-learn"))
    for size, stride in ((SMALL, 2), (LARGE, 2), (SMALL, 1)):
        images, labels = camvid_test(size)
        model = network(images, stride)
        print(f"\n{len(images)} images of {size[0]} × {size[1]}, U-Net of stride {stride}\n")
        print(table(measure(model, images, labels), "the model alone"))
    peaks = {num: peak_of("segmentation", num) for num in NUM_IMAGES}
    listed = ", ".join(f"{num} images {mib:.0f} MiB" for num, mib in peaks.items())
    print(f"\nPeak memory of a process that streams images of {LARGE[0]} × {LARGE[1]}: {listed}")


def camvid_test(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    folders = SHARED / "data/camvid/test", SHARED / "data/camvid/testannot"
    images, labels = (sorted(folder.iterdir()) for folder in folders)
    of_colors = [np.asarray(Image.open(path).convert("RGB").resize(size)) for path in images]
    of_classes = [np.asarray(Image.open(path).resize(size, Image.NEAREST)) for path in labels]
    return np.stack(of_colors), np.stack(of_classes)


def network(images: np.ndarray, stride: int) -> jinterp.Model:
    module = UNet(NUM_CLASSES, (16, 32, 64), stride)
    variables = module.init(jax.random.key(0), preprocess(jnp.asarray(images[:1])))
    return jinterp.from_linen(module, variables)


def measure(model: jinterp.Model, images: np.ndarray, labels: np.ndarray) -> dict:
    alone = fastest_forward(model, images, preprocess)
    ds = jinterp.batches((images, labels), preprocess=preprocess)
    evaluate = functools.partial(jinterp.evaluate_segmentation, *model, ds, ignore_index=UNLABELLED)
    logits = np.concatenate(alone())[: len(images)]
    valid = labels != UNLABELLED
    actual, predicted = labels[valid], logits.argmax(-1)[valid]
    expected = sklearn.metrics.confusion_matrix(actual, predicted, labels=range(NUM_CLASSES))
    difference = np.abs(evaluate().confusion_matrix - expected).sum()
    if difference > 1e-5 * len(actual):
        raise AssertionError(f"{difference} pixels differ")
    programs = {
        "**jinterp.evaluate_segmentation**": evaluate,
        "the model alone": lambda: alone(),
        "the model, then scikit-learn's confusion matrix": lambda: then_scikit_learn(
            alone, labels, valid
        ),
    }
    return in_turn(programs, rounds=5)


def then_scikit_learn(
    alone: Callable[[], list], labels: np.ndarray, valid: np.ndarray
) -> np.ndarray:
    predicted = np.concatenate([np.asarray(part).argmax(-1) for part in alone()])[: len(labels)]
    return sklearn.metrics.confusion_matrix(
        labels[valid], predicted[valid], labels=range(NUM_CLASSES)
    )


def stream(num: int) -> None:
    images, labels = camvid_test(LARGE)
    model = network(images, 2)
    items = ((images[i % len(images)], labels[i % len(images)]) for i in range(num))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = jinterp.batches(items, preprocess=preprocess)
        jinterp.evaluate_segmentation(*model, ds, ignore_index=UNLABELLED)
    print(json.dumps(peak_resident_kib() / 1024))


if __name__ == "__main__":
    stream(int(sys.argv[1])) if len(sys.argv) > 1 else main()
