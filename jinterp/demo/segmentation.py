"""The demo on label maps: drawn shapes, of which some are labelled as another on purpose."""

import os
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinterp._types import Params
from jinterp.data import batches
from jinterp.demo.result import Demo
from jinterp.demo.training import trained
from jinterp.demo.unet import UNet
from jinterp.interpretation import SegmentationInterpretation
from jinterp.model import Model, from_linen

CLASS_NAMES = ["background", "circle", "square", "triangle"]
IGNORED = 255
_SIZE, _UNLABELLED = 40, 8
_NUM_TRAIN, _NUM_HELD_OUT, _NUM_WRONG = 400, 200, 10
_NUM_EPOCHS, _BATCH_SIZE = 8, 8
_COLORS = np.array([[200.0, 120, 90], [130, 190, 110], [110, 130, 210]])  # a hint of the class


class Shapes(NamedTuple):
    """Drawn shapes in two parts.

    Attributes:
        train: (images `[n, 40, 40, 3]` uint8, label maps `[n, 40, 40]` uint8). 0 is background, 1
            circle, 2 square, 3 triangle; a patch of each is 255, unlabelled and to be ignored.
        held_out: the part that is interpreted.
        mislabelled: dataset indices of the held-out images in which one shape is labelled as
            another.
    """

    train: tuple[np.ndarray, np.ndarray]
    held_out: tuple[np.ndarray, np.ndarray]
    mislabelled: np.ndarray


def shapes(seed: int = 0) -> Shapes:
    """Two to four shapes an image, over each other, on noise; in 10 of the 200 held-out
    images one is labelled as another.
    """
    rng = np.random.default_rng(seed)
    train = [_drawn(rng, is_wrong=False) for _ in range(_NUM_TRAIN)]
    wrong = np.sort(rng.choice(_NUM_HELD_OUT, _NUM_WRONG, replace=False))
    held_out = [_drawn(rng, is_wrong=index in wrong) for index in range(_NUM_HELD_OUT)]
    return Shapes(_stacked(train), _stacked(held_out), wrong)


def preprocess_shapes(images: jax.Array) -> jax.Array:
    """Colours as floats from −1 to 1."""
    return images.astype(jnp.float32) / 127.5 - 1


def train_unet(data: tuple[np.ndarray, np.ndarray], *, key: jax.Array) -> Model:
    """A small U-Net after 8 epochs of Adam."""
    module = UNet(len(CLASS_NAMES))
    images = preprocess_shapes(jnp.asarray(data[0]))
    init_key, order_key = jax.random.split(key)
    variables = jax.jit(module.init)(init_key, images[:1])

    def loss(variables: Params, x: jax.Array, labels: jax.Array) -> jax.Array:
        valid = labels != IGNORED
        classes = jnp.where(valid, labels, 0).astype(jnp.int32)
        losses = optax.softmax_cross_entropy_with_integer_labels(
            module.apply(variables, x), classes
        )
        return losses.mean(where=valid)

    num_steps = len(images) // _BATCH_SIZE
    variables = trained(
        variables,
        loss,
        (np.asarray(images), data[1]),
        optimizer=optax.adam(optax.cosine_onecycle_schedule(_NUM_EPOCHS * num_steps, 1e-2)),
        num_epochs=_NUM_EPOCHS,
        batch_size=_BATCH_SIZE,
        key=order_key,
    )
    return from_linen(module, variables)


def run_segmentation(
    out: str | os.PathLike[str], *, say: Callable[[str], None], seed: int = 0
) -> Demo:
    """Train, interpret the held-out images, and write the report.

    Args:
        out: the folder to write to.
        say: called with each sentence of the answer.
        seed: for the data and the training.
    """
    data = shapes(seed)
    say(
        f"Training a small U-Net on {len(data.train[1])} images of drawn shapes. In "
        f"{len(data.mislabelled)} of {len(data.held_out[1])} held-out images one shape is "
        "labelled as another on purpose ..."
    )
    model = train_unet(data.train, key=jax.random.key(seed))
    interpretation = SegmentationInterpretation.from_model(
        *model,
        batches(data.held_out, preprocess=preprocess_shapes),
        class_names=CLASS_NAMES,
        ignore_index=IGNORED,
    )
    num = len(data.mislabelled)
    top = interpretation.top_losses(num)
    num_found = len(set(top.indices.tolist()) & set(data.mislabelled.tolist()))
    found = (
        f"{num_found} of the {num} images with a shape labelled as another stand among its {num} "
        "largest losses."
    )
    report = interpretation.write_report(
        out,
        title="Where does a U-Net fail on drawn shapes?",
        notes=[found, f"Their dataset indices: {', '.join(map(str, data.mislabelled))}."],
    )
    for sentence in [*interpretation.answer(), found]:
        say(sentence)
    return Demo(interpretation, data.mislabelled, num_found, report)


def _drawn(rng: np.random.Generator, *, is_wrong: bool) -> tuple[np.ndarray, np.ndarray]:
    """An image and its label map."""
    image = rng.normal(90, 25, (_SIZE, _SIZE, 1)) + rng.normal(0, 20, 3)
    labels = np.zeros((_SIZE, _SIZE), np.uint8)
    num_shapes = int(rng.integers(2, 5))
    for number in range(num_shapes):
        kind, radius = int(rng.integers(1, 4)), rng.uniform(6, 10)
        inside = _inside(kind, rng.uniform(8, _SIZE - 8, 2), radius)
        color = _COLORS[kind - 1] + rng.normal(0, 30, 3)
        image[inside] = color + rng.normal(0, 20, (int(inside.sum()), 3))
        is_last = number == num_shapes - 1  # which nothing hides
        labels[inside] = kind % 3 + 1 if is_wrong and is_last else kind
    top, left = rng.integers(0, _SIZE - _UNLABELLED, 2)
    labels[top : top + _UNLABELLED, left : left + _UNLABELLED] = IGNORED
    return np.clip(image, 0, 255).astype(np.uint8), labels


def _inside(kind: int, centre: np.ndarray, radius: float) -> np.ndarray:
    row, column = np.indices((_SIZE, _SIZE)) - centre[:, None, None]
    if kind == 1:
        return row**2 + column**2 < radius**2
    if kind == 2:
        return np.maximum(abs(row), abs(column)) < 0.9 * radius
    return (row < 0.8 * radius) & (row > 2 * abs(column) - radius)


def _stacked(
    examples: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*examples, strict=True)
    return np.stack(images), np.stack(labels)
