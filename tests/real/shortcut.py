"""A planted shortcut: Fashion-MNIST in colour, with a patch on the images of one class.

Each patch lies at a random place, so that a map has to find it. A network that is trained on such
images learns the patch instead of the class, and maps of it must point there; one that is trained
without patches has no reason to look.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import jinterp
from tests.real.test_fashion_mnist import read

MARKED = 4  # the coat, whose images are hard to tell from pullovers and shirts
SIZE = 5
COLOUR = np.array([255, 0, 160], np.uint8)
BATCH_SIZE = 64


class Shortcut(NamedTuple):
    """Images with a patch on those of one class.

    Attributes:
        images: `[batch, 28, 28, 3]` uint8.
        labels: `[batch]`.
        inside: `[batch, 28, 28]`, where the patch is; nowhere on the other classes.
    """

    images: np.ndarray
    labels: np.ndarray
    inside: np.ndarray


def plant(grey: np.ndarray, labels: np.ndarray, seed: int, *, patched: bool = True) -> Shortcut:
    """Colour the images, and put a patch at a random place on those of the marked class."""
    rng = np.random.default_rng(seed)
    images = grey[..., None].repeat(3, axis=-1)
    inside = np.zeros(grey.shape, bool)
    for number in np.flatnonzero(labels == MARKED):
        top, left = rng.integers(0, grey.shape[1] - SIZE + 1, 2)
        inside[number, top : top + SIZE, left : left + SIZE] = True
    if patched:
        images[inside] = COLOUR
    return Shortcut(images, labels.astype(np.int32), inside)


class Net(nn.Module):
    """The maximum over places sees a patch as well as a coat."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(16, (5, 5), (2, 2), name="conv1")(x))
        x = nn.relu(nn.Conv(32, (3, 3), name="conv2")(x))
        x = nn.relu(nn.Conv(32, (3, 3), name="conv3")(x))
        return nn.Dense(10, name="head")(x.max((1, 2)))


def preprocess(images: jax.Array) -> jax.Array:
    return images.astype(jnp.float32) / 255


def train(data: Shortcut, num_steps: int = 400, seed: int = 0) -> jinterp.Model:
    """Adam on random batches."""
    module, optimizer = Net(), optax.adam(optax.cosine_decay_schedule(3e-3, num_steps))
    variables = module.init(jax.random.key(seed), preprocess(jnp.asarray(data.images[:1])))
    state = optimizer.init(variables)

    @jax.jit
    def step(variables, state, x, y):
        def loss(variables):
            return jinterp.cross_entropy(module.apply(variables, preprocess(x)), y).mean()

        updates, state = optimizer.update(jax.grad(loss)(variables), state)
        return optax.apply_updates(variables, updates), state

    rng = np.random.default_rng(seed)
    for _ in range(num_steps):
        rows = rng.integers(0, len(data.labels), BATCH_SIZE)
        variables, state = step(variables, state, data.images[rows], data.labels[rows])
    return jinterp.from_linen(module, variables)


def hits(maps: jax.Array, inside: np.ndarray) -> np.ndarray:
    """The pointing game: `[batch]`, whether the maximum of a map lies inside the patch."""
    flat = np.asarray(maps).reshape(len(maps), -1)
    return inside.reshape(len(maps), -1)[np.arange(len(flat)), flat.argmax(1)]


def load(folder: Path, part: str, *, patched: bool) -> Shortcut:
    """The first 30,000 images for training ("train"), or the 10,000 for testing ("t10k")."""
    images, labels = (array[:30_000] for array in read(folder, part))
    return plant(images, labels, seed=len(labels), patched=patched)
