"""The networks, images and labels that are measured, without torch."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import jinterp
from benchmarks.imagenet import NUM_CLASSES, ResNet50, ViT, random_variables
from tests.real.conftest import SHARED
from tests.real.resnet import linen_resnet, preprocess

WIDTHS = (32, 32, 64, 64, 128, 128)
IMAGE = (224, 224, 3)


class Network(NamedTuple):
    """A network, and the two halves that methods at a layer need when they are written by hand.

    Attributes:
        name: of the network.
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        layer: the last one with an output in space that matters for the logits.
        features: `features(params, x) -> activation` of that layer.
        head: `head(params, activation) -> logits`.
        shape: of one input.
        in_space: an activation as `[batch, *space, channels]`.
    """

    name: str
    apply_fn: Callable[..., Any]
    params: Any
    layer: str
    features: Callable[..., Any]
    head: Callable[..., Any]
    shape: tuple[int, ...]
    in_space: Callable[..., Any] = lambda activation: activation


class CNN(nn.Module):
    """Convolutions, in pairs, and a dense layer on the mean of the last."""

    widths: tuple[int, ...] = WIDTHS

    def setup(self) -> None:
        self.convs = [
            nn.Conv(width, (3, 3), name=f"conv{n}") for n, width in enumerate(self.widths)
        ]
        self.linear = nn.Dense(10)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.features(x))

    def features(self, x: jax.Array) -> jax.Array:
        for number, conv in enumerate(self.convs[:-1]):
            x = self.after(number, conv(x))
        return self.convs[-1](x)

    def head(self, x: jax.Array) -> jax.Array:
        return self.linear(self.after(len(self.widths) - 1, x).mean((1, 2)))

    def after(self, number: int, x: jax.Array) -> jax.Array:
        x = nn.relu(x)
        return nn.max_pool(x, (2, 2), (2, 2)) if number % 2 else x


def _of(
    name: str, module: nn.Module, variables: Any, layer: str, shape: tuple[int, ...]
) -> Network:
    """The network of a module with the methods `features` and `head`."""
    model = jinterp.from_linen(module, variables)
    features, head = (functools.partial(module.apply, method=half) for half in ("features", "head"))
    return Network(name, *model, f"features/{layer}", features, head, shape)


def cnn(name: str = "cnn", widths: tuple[int, ...] = WIDTHS) -> Network:
    """A CNN with random weights."""
    module = CNN(widths)
    shape = (28, 28, 1)
    variables = module.init(jax.random.key(0), jnp.zeros((1, *shape)))
    return _of(name, module, variables, f"conv{len(widths) - 1}", shape)


def cifar_resnet(depth: int) -> Network:
    """ResNet-20 or ResNet-56 with its pretrained weights."""
    module, variables = linen_resnet(SHARED / f"data/models/resnet{depth}_cifar10.npz", depth)
    layer = f"layer3_{(depth - 2) // 6 - 1}"

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

    model = jinterp.from_linen(module, variables)
    return Network(f"resnet{depth}", *model, layer, features, head, (32, 32, 3))


def resnet50() -> Network:
    """ResNet-50 with random weights."""
    module = ResNet50()
    return _of("resnet50", module, random_variables(module, IMAGE), "layer4_2", IMAGE)


def vit() -> Network:
    """ViT-S/16 with random weights; its layer is what the last block reads."""
    module = ViT()
    network = _of("vit_s16", module, random_variables(module, IMAGE), "block10", IMAGE)
    return network._replace(in_space=_without_class_token)


def _without_class_token(tokens: jax.Array) -> jax.Array:
    return tokens[:, 1:].reshape(len(tokens), 14, 14, -1)


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


def made_up(shape: tuple[int, ...], classes: int, num: int) -> tuple[jax.Array, jax.Array]:
    """Noise, and a label each."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num, *shape)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(rng.integers(0, classes, num, dtype=np.int32))


_IMAGENET = functools.partial(made_up, IMAGE, NUM_CLASSES)
NETWORKS: dict[str, tuple[Callable[[], Network], Callable[[int], tuple[jax.Array, jax.Array]]]] = {
    "cnn": (cnn, fashion_mnist),
    "resnet20": (functools.partial(cifar_resnet, 20), cifar10),
    "resnet56": (functools.partial(cifar_resnet, 56), cifar10),
    "resnet50": (resnet50, _IMAGENET),
    "vit_s16": (vit, _IMAGENET),
}
TINY = "tiny"  # what the tests measure, without data
NETWORKS_AND_TINY = NETWORKS | {
    TINY: (functools.partial(cnn, TINY, (4, 4)), functools.partial(made_up, (28, 28, 1), 10))
}
