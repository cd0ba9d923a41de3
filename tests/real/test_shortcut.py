"""The pointing game on a planted shortcut: maps find what the network looks at."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from tests.real import shortcut

NUM = 400
# Networks trained without the patch hit it by 0.00 to 0.07 over three seeds and both methods;
# with it, by 0.98 to 1.00.
MARGIN = 0.05
pytestmark = pytest.mark.slow


class Game(NamedTuple):
    """A network, and the test images of the marked class, with patches.

    Attributes:
        model: the network.
        accuracy: on test images like those of its training.
        x: `[num, 28, 28, 3]`.
        inside: where the patches are.
    """

    model: jinterp.Model
    accuracy: float
    x: jax.Array
    inside: np.ndarray

    @property
    def chance(self) -> float:
        """What a map that knows nothing hits: the share of the area."""
        return float(self.inside.mean())

    def integrated_gradients(self) -> float:
        """The share of hits of the sum over the colours.

        The sum of absolute values hits less (0.63): it also counts what edges of the coat add in
        one colour and take away in another.
        """
        values = jinterp.integrated_gradients(*self.model, self.x, shortcut.MARKED, num_steps=32)
        return float(shortcut.hits(jinterp.aggregate(values, "sum"), self.inside).mean())

    def grad_cam(self) -> float:
        """The share of hits of the map of the last convolution, at the input's resolution."""
        maps = jinterp.grad_cam(*self.model, self.x, shortcut.MARKED, relu=False)
        return float(shortcut.hits(jinterp.upsample(maps, self.x), self.inside).mean())


def play(folder: Path, *, patched: bool) -> Game:
    model = shortcut.train(shortcut.load(folder, "train", patched=patched))
    test = shortcut.load(folder, "t10k", patched=patched)
    ds = jinterp.batches((test.images, test.labels), preprocess=shortcut.preprocess)
    matrix = jinterp.confusion_matrix(*model, ds)
    marked = shortcut.load(folder, "t10k", patched=True)
    chosen = np.flatnonzero(marked.labels == shortcut.MARKED)[:NUM]
    x = shortcut.preprocess(jnp.asarray(marked.images[chosen]))
    return Game(model, np.trace(matrix) / matrix.sum(), x, marked.inside[chosen])


@pytest.fixture(scope="module")
def with_patch(shared: Path) -> Game:
    return play(shared / "data/fashion_mnist", patched=True)


@pytest.fixture(scope="module")
def without_patch(shared: Path) -> Game:
    return play(shared / "data/fashion_mnist", patched=False)


def test_the_network_takes_the_shortcut(with_patch: Game) -> None:
    assert with_patch.accuracy > 0.82
    logits = with_patch.model.apply_fn(with_patch.model.params, with_patch.x)
    assert (logits.argmax(1) == shortcut.MARKED).mean() > 0.98
    # Without the patch the coats are not known for coats.
    bare = jnp.where(with_patch.inside[..., None], 0, with_patch.x)
    logits = with_patch.model.apply_fn(with_patch.model.params, bare)
    assert (logits.argmax(1) == shortcut.MARKED).mean() < 0.1


def test_maps_find_the_shortcut(with_patch: Game) -> None:
    assert with_patch.integrated_gradients() >= 0.9
    assert with_patch.grad_cam() >= 0.9


def test_maps_are_at_chance_where_nothing_was_learned(without_patch: Game) -> None:
    assert without_patch.accuracy > 0.75
    assert without_patch.chance == pytest.approx(25 / 784)
    assert without_patch.integrated_gradients() <= without_patch.chance + MARGIN
    assert without_patch.grad_cam() <= without_patch.chance + MARGIN
