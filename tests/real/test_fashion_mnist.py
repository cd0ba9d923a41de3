"""A network trained for a minute on Fashion-MNIST, and interpreted."""

import gzip
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics as sk
from flax import linen as nn

import jinterp

NAMES = ["T-shirt", "trouser", "pullover", "dress", "coat"]
NAMES += ["sandal", "shirt", "sneaker", "bag", "ankle boot"]


class Net(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Dense(256)(x.reshape(len(x), -1)))
        return nn.Dense(10)(nn.relu(nn.Dense(128)(x)))


def preprocess(images: jax.Array) -> jax.Array:
    return images.astype(jnp.float32) / 255


def read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The idx files: a header of 16 or 8 bytes, then bytes."""
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        return images, np.frombuffer(file.read(), np.uint8, offset=8)


@pytest.mark.slow
def test_shirts_are_the_hardest(shared: Path) -> None:
    folder = shared / "data/fashion_mnist"
    images, labels = read(folder, "train")
    module, optimizer = Net(), optax.adam(1e-3)
    variables = module.init(jax.random.key(0), preprocess(jnp.asarray(images[:1])))

    @jax.jit
    def step(variables, state, x, y):
        def loss(variables):
            logits = module.apply(variables, preprocess(x))
            return jinterp.cross_entropy(logits, y.astype(jnp.int32)).mean()

        updates, state = optimizer.update(jax.grad(loss)(variables), state)
        return optax.apply_updates(variables, updates), state

    state = optimizer.init(variables)
    for rows in np.random.default_rng(0).permutation(60_000)[:59_904].reshape(-1, 128):
        variables, state = step(variables, state, images[rows], labels[rows])

    test = read(folder, "t10k")
    ds = jinterp.batches(test, preprocess=preprocess)
    found = jinterp.ClassificationInterpretation.from_model(
        *jinterp.from_linen(module, variables), ds, class_names=NAMES
    )
    assert found.evaluation.accuracy > 0.8
    report = found.classification_report()
    assert NAMES[int(np.argmin(report.f1))] == "shirt"
    assert "shirt" in found.most_confused()[0][:2]
    expected = sk.confusion_matrix(test[1], found.evaluation.predictions.predictions)
    np.testing.assert_array_equal(found.confusion_matrix(), expected)
