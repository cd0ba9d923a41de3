"""Tiny networks of every usual kind, with fixed weights, and example inputs for them.

No two axes of an input are equal, so that a transposition shows. Weights are drawn with NumPy:
nothing is compiled to make them, and no bias is zero.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

import jinterp

CLASSES = 5
VOCABULARY = 20
PATCH = (4, 4)


def _random(*shape: int) -> np.ndarray:
    """Noise about a colour for each example, so that a mean over positions tells them apart."""
    rng = np.random.default_rng(len(shape))
    colours = rng.normal(size=(shape[0], *(1 for _ in shape[1:-1]), shape[-1]))
    return (colours + rng.normal(size=shape)).astype(np.float32)


ROWS = _random(4, 7)
SERIES = _random(4, 20, 2)
IMAGES = _random(4, 8, 12, 3)
VOLUMES = _random(3, 6, 8, 4, 2)
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, (4, 9)).astype(np.int32)


def linen(module: nn.Module, x: np.ndarray, seed: int = 0) -> jinterp.Model:
    """The module with random weights."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    rng = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], shape: jax.ShapeDtypeStruct) -> jax.Array:
        name, noise = path[-1].key, rng.normal(size=shape.shape)
        values = {
            "bias": noise / 10,
            "scale": 1 + noise / 10,
            "mean": noise / 10,
            "var": 1 + noise**2,
        }.get(name, noise * np.sqrt(2 / np.prod(shape.shape[:-1])))
        return jnp.asarray(values, shape.dtype)

    return jinterp.from_linen(module, jax.tree_util.tree_map_with_path(draw, shapes))


class Cnn(nn.Module):
    """Two convolutions over any number of axes, their mean over positions, and a head."""

    axes: int = 2

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(6, (3,) * self.axes, name="conv1")(x))
        x = nn.relu(nn.Conv(8, (3,) * self.axes, (2,) * self.axes, name="conv2")(x))
        x = x.mean(tuple(range(1, self.axes + 1)))
        return nn.Dense(CLASSES, name="head")(x)


class NnxCnn(nnx.Module):
    """The same over images in NNX."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(3, 6, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(6, 8, (3, 3), (2, 2), rngs=rngs)
        self.head = nnx.Linear(8, CLASSES, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.conv1(x))
        x = nnx.relu(self.conv2(x))
        return self.head(x.mean((1, 2)))


def plain_cnn_apply(params: Any, x: jax.Array) -> jax.Array:
    """The same over images without any library of layers."""

    def conv(name: str, x: jax.Array, strides: int) -> jax.Array:
        with jax.named_scope(name):
            weights = params[name]
            y = jax.lax.conv_general_dilated(
                x,
                weights["kernel"],
                (strides, strides),
                "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            return y + weights["bias"][None, None, None, :]

    x = jax.nn.relu(conv("conv1", x, 1))
    x = jax.nn.relu(conv("conv2", x, 2)).mean((1, 2))
    with jax.named_scope("head"):
        return x @ params["head"]["kernel"] + params["head"]["bias"][None]


@functools.cache
def cnn() -> jinterp.Model:
    """Layers conv1 [b, 8, 12, 6], conv2 [b, 4, 6, 8] and head, on `IMAGES`."""
    return linen(Cnn(), IMAGES)


def on_grid(layer: str, values: np.ndarray) -> np.ndarray:
    """The positions of `cnn`'s layers that costly statistics are of: 9 at most, in odd steps."""
    rows = {"conv1": [1, 4, 7], "conv2": [0, 1, 2, 3]}
    columns = {"conv1": [2, 7], "conv2": [1, 4]}
    return values[:, *np.ix_(rows[layer], columns[layer])] if layer in rows else values


@functools.cache
def cnn_nnx_module() -> NnxCnn:
    graphdef, state = nnx.split(nnx.eval_shape(lambda: NnxCnn(nnx.Rngs(0))))
    nnx.replace_by_pure_dict(state, cnn().params["params"])
    return nnx.merge(graphdef, state)


@functools.cache
def cnn_nnx() -> jinterp.Model:
    """`cnn` with the same weights in NNX."""
    return jinterp.from_nnx(cnn_nnx_module())


@functools.cache
def cnn_plain() -> jinterp.Model:
    """`cnn` with the same weights as a plain function with named scopes."""
    return jinterp.Model(plain_cnn_apply, cnn().params["params"])


CNNS = {"linen": cnn, "nnx": cnn_nnx, "plain": cnn_plain}


@functools.cache
def cnn_1d() -> jinterp.Model:
    """Layers conv1 [b, 20, 6], conv2 [b, 10, 8] and head, on `SERIES`."""
    return linen(Cnn(1), SERIES)


@functools.cache
def cnn_3d() -> jinterp.Model:
    """Layers conv1 [b, 6, 8, 4, 6], conv2 [b, 3, 4, 2, 8] and head, on `VOLUMES`."""
    return linen(Cnn(3), VOLUMES)


class Mlp(nn.Module):
    widths: tuple[int, ...] = (6, 8)
    classes: int = CLASSES

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for number, width in enumerate(self.widths, start=1):
            x = nn.tanh(nn.Dense(width, name=f"hidden{number}")(x))
        return nn.Dense(self.classes, name="head")(x)


@functools.cache
def mlp() -> jinterp.Model:
    """Layers hidden1 [b, 6], hidden2 [b, 8] and head, on `ROWS`."""
    return linen(Mlp(), ROWS)


class Feedforward(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.gelu(nn.Dense(self.width, name="dense1")(x))
        return nn.Dense(x.shape[-1], name="dense2")(y)


class TransformerBlock(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.LayerNorm(name="norm1")(x)
        x = x + nn.MultiHeadDotProductAttention(2, name="attention")(y)
        return x + Feedforward(12, name="mlp")(nn.LayerNorm(name="norm2")(x))


class Vit(nn.Module):
    """Tokens [b, 6, 8] in rows of three, with a class token in front where there is one."""

    class_token: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(8, PATCH, PATCH, name="patches")(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        if self.class_token:
            token = self.param("class_token", nn.initializers.normal(), (1, 1, x.shape[-1]))
            x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, x.shape[-1])), x], 1)
        x = x + self.param("positions", nn.initializers.normal(), (1, *x.shape[1:]))
        for number in range(2):
            x = TransformerBlock(name=f"block{number}")(x)
        x = nn.LayerNorm(name="norm")(x)
        x = x[:, 0] if self.class_token else x.mean(1)
        return nn.Dense(CLASSES, name="head")(x)


@functools.cache
def vit() -> jinterp.Model:
    """Layers block0 and block1 [b, 7, 8], class token first, and their parts, on `IMAGES`.

    The parts: norm1, attention (query, key, value, out), norm2, mlp (dense1, dense2).
    """
    return linen(Vit(), IMAGES)


@functools.cache
def vit_mean() -> jinterp.Model:
    """`vit` with the mean over its tokens [b, 6, 8] instead of a class token."""
    return linen(Vit(class_token=False), IMAGES)


class MixerBlock(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.LayerNorm(name="norm1")(x).swapaxes(1, 2)
        x = x + Feedforward(10, name="tokens")(y).swapaxes(1, 2)
        return x + Feedforward(12, name="channels")(nn.LayerNorm(name="norm2")(x))


class Mixer(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(8, PATCH, PATCH, name="patches")(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        for number in range(2):
            x = MixerBlock(name=f"block{number}")(x)
        x = nn.LayerNorm(name="norm")(x)
        return nn.Dense(CLASSES, name="head")(x.mean(1))


@functools.cache
def mixer() -> jinterp.Model:
    """Layers block0 and block1 [b, 6, 8] and their parts, on `IMAGES`."""
    return linen(Mixer(), IMAGES)


class Text(nn.Module):
    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = nn.Embed(VOCABULARY, 8, name="embed")(tokens)
        x = x + self.param("positions", nn.initializers.normal(), (1, *x.shape[1:]))
        for number in range(2):
            x = TransformerBlock(name=f"block{number}")(x)
        x = nn.LayerNorm(name="norm")(x)
        return nn.Dense(CLASSES, name="head")(x.mean(1))


@functools.cache
def text() -> jinterp.Model:
    """Layers embed, block0 and block1 [b, 9, 8] and their parts, on `TOKENS`."""
    return linen(Text(), TOKENS)


class Unet(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        wide = nn.relu(nn.Conv(6, (3, 3), name="down")(x))
        deep = nn.relu(nn.Conv(8, (3, 3), (2, 2), name="bottom")(wide))
        raised = deep.repeat(2, axis=1).repeat(2, axis=2)
        x = nn.relu(nn.Conv(6, (3, 3), name="up")(jnp.concatenate([wide, raised], -1)))
        return nn.Conv(CLASSES, (1, 1), name="head")(x)


@functools.cache
def unet() -> jinterp.Model:
    """Logits [b, 8, 12, classes]; layers down, bottom, up and head, on `IMAGES`."""
    return linen(Unet(), IMAGES)
