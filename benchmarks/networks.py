"""The networks, images and labels that attribution is measured on, without torch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import jinterp
from tests.real.conftest import SHARED
from tests.real.resnet import linen_resnet, preprocess

WIDTHS = (32, 32, 64, 64, 128, 128)
WEIGHTS = SHARED / "data/models/resnet20_cifar10.npz"


class Network(NamedTuple):
    """A network, and the two halves that Grad-CAM by hand needs.

    Attributes:
        name: of the network.
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        layer: the last one with an output in space.
        features: `features(params, x) -> activation` of that layer.
        head: `head(params, activation) -> logits`.
    """

    name: str
    apply_fn: Callable[..., Any]
    params: Any
    layer: str
    features: Callable[..., Any]
    head: Callable[..., Any]


class CNN(nn.Module):
    """Six convolutions, in pairs, and a dense layer on the mean of the last."""

    def setup(self) -> None:
        self.convs = [nn.Conv(width, (3, 3), name=f"conv{n}") for n, width in enumerate(WIDTHS)]
        self.linear = nn.Dense(10)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.features(x))

    def features(self, x: jax.Array) -> jax.Array:
        for number, conv in enumerate(self.convs[:-1]):
            x = self.after(number, conv(x))
        return self.convs[-1](x)

    def head(self, x: jax.Array) -> jax.Array:
        return self.linear(self.after(len(WIDTHS) - 1, x).mean((1, 2)))

    def after(self, number: int, x: jax.Array) -> jax.Array:
        x = nn.relu(x)
        return nn.max_pool(x, (2, 2), (2, 2)) if number % 2 else x


def cnn() -> Network:
    """The CNN with random weights."""
    module = CNN()
    variables = module.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))

    def features(params: Any, x: jax.Array) -> jax.Array:
        return module.apply(params, x, method="features")

    def head(params: Any, activation: jax.Array) -> jax.Array:
        return module.apply(params, activation, method="head")

    return Network("cnn", *jinterp.from_linen(module, variables), "features/conv5", features, head)


def resnet20() -> Network:
    """ResNet-20 with its pretrained weights."""
    module, variables = linen_resnet(WEIGHTS, 20)
    layer = "layer3_2"

    def features(params: Any, x: jax.Array) -> jax.Array:
        def is_layer(each: nn.Module, method: str) -> bool:
            return each.name == layer

        _, state = module.apply(
            params, x, capture_intermediates=is_layer, mutable=["intermediates"]
        )
        return state["intermediates"][layer]["__call__"][0]

    def head(params: Any, activation: jax.Array) -> jax.Array:
        linear = params["params"]["linear"]
        return activation.mean((1, 2)) @ linear["kernel"] + linear["bias"]

    return Network("resnet20", *jinterp.from_linen(module, variables), layer, features, head)


def fashion_mnist(num: int) -> tuple[jax.Array, jax.Array]:
    """Test images `[num, 28, 28, 1]` in -1 to 1, and labels."""
    from tests.real.test_fashion_mnist import read

    images, labels = read(SHARED / "data/fashion_mnist", "t10k")
    x = images[:num, ..., None].astype(np.float32) / 127.5 - 1
    return jnp.asarray(x), jnp.asarray(labels[:num].astype(np.int32))


def cifar10(num: int) -> tuple[jax.Array, jax.Array]:
    """Test images `[num, 32, 32, 3]`, normalised, and labels."""
    with np.load(SHARED / "data/cifar10/test.npz") as arrays:
        images, labels = arrays["image"][:num], arrays["label"][:num]
    return preprocess(jnp.asarray(images)), jnp.asarray(labels.astype(np.int32))


NETWORKS = {"cnn": (cnn, fashion_mnist), "resnet20": (resnet20, cifar10)}
