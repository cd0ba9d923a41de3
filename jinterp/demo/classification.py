"""The demo: a network trained on scikit-learn's digits, with labels flipped on purpose."""

import os
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jinterp._types import Params
from jinterp.attribution import hires_cam
from jinterp.data import batches
from jinterp.demo.result import Demo
from jinterp.demo.training import trained
from jinterp.interpretation import ClassificationInterpretation
from jinterp.model import Model, from_linen

SHARE_FLIPPED = 0.03
_SHARE_HELD_OUT = 0.4
_NUM_EPOCHS = 20
_BATCH_SIZE = 32


class DigitNet(nn.Module):
    """Two convolutions and two dense layers, for 8×8 digits."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(16, (3, 3))(x))
        x = nn.Conv(32, (3, 3), strides=2)(x)
        with jax.named_scope("features"):  # a layer by name: heat maps want it rectified
            x = nn.relu(x)
        x = nn.relu(nn.Dense(64)(x.reshape(len(x), -1)))
        return nn.Dense(10)(x)


class Digits(NamedTuple):
    """The digits, with some labels flipped, in two parts.

    Attributes:
        train: (images `[n, 8, 8, 1]` uint8, labels).
        held_out: the part that is interpreted.
        flipped: dataset indices of the flipped labels in the held-out part.
    """

    train: tuple[np.ndarray, np.ndarray]
    held_out: tuple[np.ndarray, np.ndarray]
    flipped: np.ndarray


def preprocess(images: jax.Array) -> jax.Array:
    """Grey levels as floats from 0 to 1."""
    return images.astype(jnp.float32) / 255


def digits(seed: int = 0) -> Digits:
    """scikit-learn's digits, 3 % of the labels changed to another class."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(labels))
    images = (images[order] * (255 / 16)).round().reshape(-1, 8, 8, 1).astype(np.uint8)
    labels = labels[order].astype(np.int32)
    flipped = rng.random(len(labels)) < SHARE_FLIPPED
    labels = np.where(flipped, (labels + rng.integers(1, 10, len(labels))) % 10, labels)
    cut = int(len(labels) * (1 - _SHARE_HELD_OUT))
    return Digits(
        (images[:cut], labels[:cut].astype(np.int32)),
        (images[cut:], labels[cut:].astype(np.int32)),
        np.flatnonzero(flipped[cut:]),
    )


def train(data: tuple[np.ndarray, np.ndarray], *, key: jax.Array) -> Model:
    """The network after 20 epochs of Adam with weight decay."""
    module = DigitNet()
    images, labels = preprocess(jnp.asarray(data[0])), data[1]
    init_key, order_key = jax.random.split(key)
    variables = jax.jit(module.init)(init_key, images[:1])

    def loss(variables: Params, x: jax.Array, y: jax.Array) -> jax.Array:
        logits = module.apply(variables, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    variables = trained(
        variables,
        loss,
        (np.asarray(images), labels),
        optimizer=optax.adamw(2e-3, weight_decay=1e-2),
        num_epochs=_NUM_EPOCHS,
        batch_size=_BATCH_SIZE,
        key=order_key,
    )
    return from_linen(module, variables)


def run(out: str | os.PathLike[str], *, say: Callable[[str], None], seed: int = 0) -> Demo:
    """Train, interpret the held-out digits, and write the report.

    Args:
        out: the folder to write to.
        say: called with each sentence of the answer.
        seed: for the data, the flips and the training.
    """
    data = digits(seed)
    say(
        f"Training a small network on {len(data.train[1])} of scikit-learn's digits, "
        f"{SHARE_FLIPPED:.0%} of all labels flipped on purpose ..."
    )
    model = train(data.train, key=jax.random.key(seed))
    ds = batches(data.held_out, preprocess=preprocess)
    interpretation = ClassificationInterpretation.from_model(*model, ds)
    num_flipped = len(data.flipped)
    top = interpretation.top_losses(num_flipped)
    num_found = len(set(top.indices.tolist()) & set(data.flipped.tolist()))
    found = (
        f"{num_found} of the {num_flipped} labels flipped on purpose in the held-out part stand "
        f"among its {num_flipped} largest losses."
    )
    report = interpretation.write_report(
        out,
        title="Where does a network fail on scikit-learn's digits?",
        explain=hires_cam,  # the network flattens, which Grad-CAM's mean over space does not allow
        notes=[
            f"{SHARE_FLIPPED:.0%} of the labels were flipped on purpose. {found}",
            f"Flipped: dataset indices {', '.join(map(str, data.flipped))}.",
        ],
    )
    for sentence in interpretation.answer():
        say(sentence)
    say(found)
    return Demo(interpretation, data.flipped, num_found, report)
