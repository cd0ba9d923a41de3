"""Examples of the CIFAR-10 test images that explain others, with ResNet-20."""

from pathlib import Path

import numpy as np
import pytest

import jinterp
from tests.real.resnet import linen_resnet, preprocess

NUM = 1000


@pytest.fixture(scope="module")
def model(shared: Path) -> jinterp.Model:
    return jinterp.from_linen(*linen_resnet(shared / "data/models/resnet20_cifar10.npz", 20))


def test_an_image_is_its_own_nearest_and_its_neighbours_share_its_class(model, cifar10) -> None:
    images, labels = (array[:NUM] for array in cifar10)
    ds = jinterp.batches((images, labels), preprocess=preprocess)
    x = preprocess(images[:50])
    found = jinterp.similar_examples(*model, x, ds, layer="layer3_2", k=6)
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(50))
    np.testing.assert_allclose(found.similarities[:, 0], 1, rtol=1e-5)
    np.testing.assert_array_equal(found.targets, labels[found.indices])
    same = found.targets[:, 1:] == labels[:50, None]
    assert same.mean() > 0.7  # a tenth by chance
