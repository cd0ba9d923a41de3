"""He's CIFAR ResNet (2015, section 4.2) in Linen and in NNX.

The pretrained weights are those of akamaster/pytorch_resnet_cifar10.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
WIDTHS = (16, 32, 64)
EPSILON = 1e-5


def preprocess(images: jax.Array) -> jax.Array:
    """uint8 images [batch, 32, 32, 3] as the network was trained on them."""
    return (images.astype(jnp.float32) / 255 - MEAN) / STD


def shortcut(x: jax.Array, features: int, strides: int) -> jax.Array:
    """Subsample in space, zero-pad the channels equally on both sides (the paper's option A)."""
    x = x[:, ::strides, ::strides]
    pad = (features - x.shape[-1]) // 2
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (pad, pad)))


def stages(depth: int) -> list[tuple[str, int, int]]:
    """(name, features, strides) of every basic block of a network of `depth` = 6n + 2 layers."""
    blocks = (depth - 2) // 6
    return [
        (f"layer{stage}_{block}", width, 2 if stage > 1 and block == 0 else 1)
        for stage, width in enumerate(WIDTHS, start=1)
        for block in range(blocks)
    ]


class LinenBlock(nn.Module):
    features: int
    strides: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def conv(name: str, strides: int) -> nn.Conv:
            return nn.Conv(self.features, (3, 3), strides, padding=1, use_bias=False, name=name)

        def norm(name: str) -> nn.BatchNorm:
            return nn.BatchNorm(use_running_average=True, epsilon=EPSILON, name=name)

        y = nn.relu(norm("bn1")(conv("conv1", self.strides)(x)))
        y = norm("bn2")(conv("conv2", 1)(y))
        return nn.relu(y + shortcut(x, self.features, self.strides))


class LinenResNet(nn.Module):
    depth: int = 20
    num_classes: int = 10

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(WIDTHS[0], (3, 3), padding=1, use_bias=False, name="conv1")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True, epsilon=EPSILON, name="bn1")(x))
        for name, features, strides in stages(self.depth):
            x = LinenBlock(features, strides, name=name)(x)
        return nn.Dense(self.num_classes, name="linear")(x.mean((1, 2)))


class NnxBlock(nnx.Module):
    def __init__(self, inputs: int, features: int, strides: int, rngs: nnx.Rngs):
        self.features, self.strides = features, strides
        self.conv1 = nnx.Conv(
            inputs, features, (3, 3), strides, padding=1, use_bias=False, rngs=rngs
        )
        self.bn1 = nnx.BatchNorm(features, epsilon=EPSILON, rngs=rngs)
        self.conv2 = nnx.Conv(features, features, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.bn2 = nnx.BatchNorm(features, epsilon=EPSILON, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return nnx.relu(y + shortcut(x, self.features, self.strides))


class NnxResNet(nnx.Module):
    def __init__(self, depth: int = 20, num_classes: int = 10, *, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(3, WIDTHS[0], (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(WIDTHS[0], epsilon=EPSILON, rngs=rngs)
        self.names = tuple(name for name, *_ in stages(depth))
        inputs = WIDTHS[0]
        for name, features, strides in stages(depth):
            setattr(self, name, NnxBlock(inputs, features, strides, rngs))
            inputs = features
        self.linear = nnx.Linear(WIDTHS[-1], num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.bn1(self.conv1(x)))
        for name in self.names:
            x = getattr(self, name)(x)
        return self.linear(x.mean((1, 2)))


def _path(name: str) -> tuple[Sequence[str], str]:
    """`layer1.0.conv1.weight` as (("layer1_0", "conv1"), "weight")."""
    *modules, leaf = name.split(".")
    if modules[0].startswith("layer"):
        modules = [f"{modules[0]}_{modules[1]}", *modules[2:]]
    return modules, leaf


def linen_variables(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Linen variables from the PyTorch state: OIHW becomes HWIO, statistics get their own tree."""
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for name, value in weights.items():
        modules, leaf = _path(name)
        if leaf == "num_batches_tracked":
            continue
        collection = "batch_stats" if leaf.startswith("running") else "params"
        if leaf == "weight":
            leaf = "scale" if value.ndim == 1 else "kernel"
        leaf = {"running_mean": "mean", "running_var": "var"}.get(leaf, leaf)
        value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
        node = variables[collection]
        for module in modules:
            node = node.setdefault(module, {})
        node[leaf] = jnp.asarray(value)
    return variables


def linen_resnet(path: Path, depth: int) -> tuple[LinenResNet, dict[str, Any]]:
    with np.load(path) as weights:
        return LinenResNet(depth), linen_variables(weights)


def nnx_resnet(path: Path, depth: int) -> NnxResNet:
    """The same network in NNX, its variables filled from the Linen ones."""
    _, variables = linen_resnet(path, depth)
    module = NnxResNet(depth, rngs=nnx.Rngs(0))
    for collection in variables.values():
        for keys, value in jax.tree_util.tree_flatten_with_path(collection)[0]:
            node: Any = module
            for key in keys:
                node = getattr(node, key.key)
            node[...] = value
    return module
