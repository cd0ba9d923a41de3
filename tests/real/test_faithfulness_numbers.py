"""The metrics of Captum's integrated gradients on a ResNet-20, by their authors' definitions.

Each is computed anew in a loop over plain forward passes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from jinterp.faithfulness._subsets import subsets
from tests.real.resnet import linen_resnet, preprocess

KEY = jax.random.key(0)
NUM_IMAGES = 4
PLACES = 32 * 32
NUM_STEPS = 16
NUM_SETS = 20


class Asked(NamedTuple):
    """What the metrics are asked about.

    Attributes:
        question: the first arguments of a metric.
        logits: `[images, 10]` of images, in float64.
        x: `[images, 32, 32, 3]`.
        values: in the shape of `x`.
        target: the true labels.
    """

    question: tuple[Any, ...]
    logits: Callable[[np.ndarray], np.ndarray]
    x: np.ndarray
    values: np.ndarray
    target: np.ndarray

    def logit(self, x: np.ndarray) -> np.ndarray:
        return self.logits(x)[np.arange(len(x)), self.target]

    def probability(self, x: np.ndarray, target: np.ndarray | None = None) -> np.ndarray:
        odds = np.exp(self.logits(x))
        target = self.target if target is None else target
        return odds[np.arange(len(x)), target] / odds.sum(axis=1)


@pytest.fixture(scope="module")
def asked(shared: Path, cifar10) -> Asked:
    with np.load(shared / "goldens/captum_resnet20.npz") as arrays:
        values = arrays["integrated_gradients_gl300_zero"][:NUM_IMAGES]
        target = arrays["label"][:NUM_IMAGES].astype(np.int32)
        images = cifar10[0][arrays["index"][:NUM_IMAGES]]
    model = jinterp.from_linen(*linen_resnet(shared / "data/models/resnet20_cifar10.npz", 20))
    x = preprocess(images)
    forward = jax.jit(model.apply_fn)

    def logits(x: np.ndarray) -> np.ndarray:
        return np.asarray(forward(model.params, jnp.asarray(x, jnp.float32)), np.float64)

    question = *model, x, jnp.asarray(values), jnp.asarray(target)
    return Asked(question, logits, np.asarray(x), values.astype(np.float64), target)


def curve(asked: Asked, shown: np.ndarray, instead: np.ndarray) -> np.ndarray:
    """The probabilities while the largest sums over channels turn from one image to the other."""
    seen = shown.copy()
    scores = [asked.probability(seen)]
    orders = np.argsort(-asked.values.sum(axis=3).reshape(NUM_IMAGES, -1), axis=1)
    for places in np.split(orders, NUM_STEPS, axis=1):
        for image, own in enumerate(places):
            at = np.unravel_index(own, (32, 32))
            seen[image][at] = instead[image][at]
        scores.append(asked.probability(seen))
    return np.stack(scores, axis=1)


def test_deletion(asked: Asked) -> None:
    """Petsiuk et al. 2018, with zeros."""
    expected = np.trapezoid(curve(asked, asked.x, np.zeros_like(asked.x)), dx=1 / NUM_STEPS)
    found = jinterp.deletion(*asked.question, num_steps=NUM_STEPS)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_insertion(asked: Asked) -> None:
    """Petsiuk et al. 2018, into the mean colour of each image."""
    mean = np.broadcast_to(asked.x.mean(axis=(1, 2), keepdims=True), asked.x.shape)
    expected = np.trapezoid(curve(asked, mean, asked.x), dx=1 / NUM_STEPS)
    found = jinterp.insertion(*asked.question, baseline=jnp.asarray(mean), num_steps=NUM_STEPS)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_infidelity(asked: Asked) -> None:
    """Yeh et al. 2019, definition 2.1, with I = x on the set and slopes φ = values / x."""
    taken = np.asarray(jax.random.bernoulli(KEY, jnp.float32(0.5), (NUM_SETS, PLACES)))
    slopes, whole, squares = asked.values / asked.x, asked.logit(asked.x), []
    for each in taken:
        lost = asked.x * each.reshape(32, 32, 1)
        said = np.einsum("bhwc,bhwc->b", lost, slopes)
        squares.append((said - (whole - asked.logit(asked.x - lost))) ** 2)
    found = jinterp.infidelity(*asked.question, key=KEY, num_samples=NUM_SETS)
    np.testing.assert_allclose(found, np.mean(squares, axis=0), rtol=1e-4)


def test_sensitivity_n(asked: Asked) -> None:
    """Ancona et al. 2018, definition 1, with n a tenth of the places."""
    whole, said, lost = asked.logit(asked.x), [], []
    for kept in np.asarray(subsets(KEY, NUM_SETS, PLACES, PLACES // 10)).reshape(-1, 32, 32, 1):
        said.append((asked.values * ~kept).sum(axis=(1, 2, 3)))
        lost.append(whole - asked.logit(asked.x * kept))
    pairs = zip(np.transpose(said), np.transpose(lost), strict=True)
    expected = [np.corrcoef(*pair)[0, 1] for pair in pairs]
    found = jinterp.sensitivity_n(*asked.question, key=KEY, size=0.1, num_samples=NUM_SETS)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_sparseness_and_complexity(asked: Asked) -> None:
    """Chalasani et al. 2020, section 3.1; Bhatt et al. 2020, definition 5."""
    gini, entropy = [], []
    for sizes in np.abs(asked.values.sum(axis=3)).reshape(NUM_IMAGES, -1):
        shares = np.sort(sizes) / sizes.sum()
        numbers = np.arange(1, PLACES + 1)
        gini.append(1 - 2 * (shares * (PLACES - numbers + 0.5) / PLACES).sum())
        entropy.append(-sum(share * np.log(share) for share in shares if share))
    np.testing.assert_allclose(jinterp.sparseness(*asked.question), gini, rtol=1e-5)
    np.testing.assert_allclose(jinterp.complexity(*asked.question), entropy, rtol=1e-5)


@pytest.mark.parametrize("further", [0, 2])
def test_average_drop_and_increase(asked: Asked, further: int) -> None:
    """Chattopadhay et al. 2018, section 5.1, for the true class and for another one."""
    target = (asked.target + further) % 10
    maps = np.maximum(asked.values.sum(axis=3, keepdims=True), 0)
    through = asked.probability(asked.x * maps / maps.max(axis=(1, 2), keepdims=True), target)
    whole = asked.probability(asked.x, target)
    question = *asked.question[:4], jnp.asarray(target)
    drops = jinterp.average_drop(*question)
    np.testing.assert_allclose(drops, np.maximum(0, whole - through) / whole, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(jinterp.increase(*question), through > whole)
