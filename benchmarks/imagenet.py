"""ResNet-50 and ViT-S/16 for 224 × 224 images in Linen, with random weights."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

EPSILON = 1e-5
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # width, blocks
EXPANSION = 4
VIT_EPSILON = 1e-6
PATCH, VIT_WIDTH, VIT_DEPTH, VIT_HEADS = 16, 384, 12, 6
NUM_CLASSES = 1000


def bottlenecks() -> list[tuple[str, int, int]]:
    """(name, width, strides) of every block of ResNet-50."""
    return [
        (f"layer{stage}_{block}", width, 2 if stage > 1 and block == 0 else 1)
        for stage, (width, num_blocks) in enumerate(STAGES, start=1)
        for block in range(num_blocks)
    ]


def _norm(name: str) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=True, epsilon=EPSILON, name=name)


class Bottleneck(nn.Module):
    width: int
    strides: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def conv(name: str, features: int, size: int, strides: int) -> nn.Conv:
            kernel, padding = (size, size), size // 2
            return nn.Conv(features, kernel, strides, padding, use_bias=False, name=name)

        outputs = EXPANSION * self.width
        y = nn.relu(_norm("bn1")(conv("conv1", self.width, 1, 1)(x)))
        y = nn.relu(_norm("bn2")(conv("conv2", self.width, 3, self.strides)(y)))
        y = _norm("bn3")(conv("conv3", outputs, 1, 1)(y))
        if x.shape != y.shape:
            x = _norm("downsample_bn")(conv("downsample", outputs, 1, self.strides)(x))
        return nn.relu(y + x)


class ResNet50(nn.Module):
    """He's ResNet-50, with the strides in the 3 × 3 convolutions, as torchvision has it."""

    def setup(self) -> None:
        self.conv1 = nn.Conv(64, (7, 7), 2, 3, use_bias=False)
        self.bn1 = nn.BatchNorm(use_running_average=True, epsilon=EPSILON)
        self.blocks = [
            Bottleneck(width, strides, name=name) for name, width, strides in bottlenecks()
        ]
        self.linear = nn.Dense(NUM_CLASSES)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.features(x))

    def features(self, x: jax.Array) -> jax.Array:
        x = nn.relu(self.bn1(self.conv1(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for block in self.blocks:
            x = block(x)
        return x

    def head(self, x: jax.Array) -> jax.Array:
        return self.linear(x.mean((1, 2)))


class Block(nn.Module):
    """Attention and a perceptron, each after a norm."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.LayerNorm(VIT_EPSILON, name="norm1")(x)
        qkv = nn.Dense(3 * VIT_WIDTH, name="qkv")(y)
        query, key, value = jnp.moveaxis(qkv.reshape(*y.shape[:2], 3, VIT_HEADS, -1), 2, 0)
        y = jax.nn.dot_product_attention(query, key, value).reshape(y.shape)
        x = x + nn.Dense(VIT_WIDTH, name="proj")(y)
        y = nn.Dense(4 * VIT_WIDTH, name="fc1")(nn.LayerNorm(VIT_EPSILON, name="norm2")(x))
        return x + nn.Dense(VIT_WIDTH, name="fc2")(nn.gelu(y, approximate=False))


class ViT(nn.Module):
    """ViT-S/16 of Dosovitskiy et al. 2020 and Touvron et al. 2021, with a class token.

    `features` ends before the last block: after it, only the class token matters.
    """

    def setup(self) -> None:
        self.patches = nn.Conv(VIT_WIDTH, (PATCH, PATCH), PATCH, 0)
        self.class_token = self.param("class_token", nn.initializers.normal(), (1, 1, VIT_WIDTH))
        self.positions = self.param("positions", nn.initializers.normal(), (1, 197, VIT_WIDTH))
        self.blocks = [Block(name=f"block{number}") for number in range(VIT_DEPTH)]
        self.norm = nn.LayerNorm(VIT_EPSILON)
        self.linear = nn.Dense(NUM_CLASSES)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.features(x))

    def features(self, x: jax.Array) -> jax.Array:
        tokens = self.patches(x).reshape(len(x), -1, VIT_WIDTH)
        first = jnp.broadcast_to(self.class_token, (len(x), 1, VIT_WIDTH))
        x = jnp.concatenate([first, tokens], axis=1) + self.positions
        for block in self.blocks[:-1]:
            x = block(x)
        return x

    def head(self, x: jax.Array) -> jax.Array:
        return self.linear(self.norm(self.blocks[-1](x))[:, 0])


def random_variables(module: nn.Module, shape: tuple[int, ...]) -> Any:
    """Weights for inputs of a shape, and statistics for the norms.

    Drawn by NumPy: `init` of a deep network runs operation by operation.
    """
    rng = np.random.default_rng(0)

    def drawn(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        name = path[-1].key
        if name in ("scale", "var"):
            values = rng.uniform(0.5, 1.5, leaf.shape)
            if name == "scale" and path[-2].key == "bn3":
                values = values / 5  # small at the end of a branch, as training leaves it
        elif name == "kernel":
            values = rng.normal(size=leaf.shape) / math.sqrt(math.prod(leaf.shape[:-1]))
        else:
            values = rng.normal(size=leaf.shape) / 10
        return jnp.asarray(values, jnp.float32)

    empty = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *shape)))
    return jax.tree_util.tree_map_with_path(drawn, empty)
