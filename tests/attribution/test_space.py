"""Where a map lies: the layer found by itself, grids of tokens, and the axis of channels."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jinterp
from tests import networks
from tests.attribution.double import double
from tests.networks import IMAGES, SERIES, VOLUMES


class Block(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.Conv(6, (3, 3), name="conv1")(x)
        y = nn.Conv(6, (3, 3), name="conv2")(nn.relu(y))
        return nn.relu(x + y)


class ResNet(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(6, (3, 3), name="conv")(x))
        for number in range(2):
            x = Block(name=f"block{number}")(x)
        return nn.Dense(networks.CLASSES, name="head")(x.mean((1, 2)))


class Encoder(nn.Module):
    """A network inside another: the scope of the outer one is not where the map lies."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = networks.Vit(class_token=False, name="vit")(x)
        return nn.Dense(3, name="top")(features)


def resnet() -> jinterp.Model:
    return networks.linen(ResNet(), IMAGES)


@pytest.mark.parametrize(
    ("model", "x", "layer", "shape"),
    [
        (networks.cnn, IMAGES, "conv2", (4, 4, 6)),
        (networks.cnn_nnx, IMAGES, "conv2", (4, 4, 6)),
        (networks.cnn_plain, IMAGES, "conv2", (4, 4, 6)),
        (networks.cnn_1d, SERIES, "conv2", (4, 10)),
        (networks.cnn_3d, VOLUMES, "conv2", (3, 3, 4, 2)),
        (resnet, IMAGES, "block1", (4, 8, 12)),
        (networks.vit_mean, IMAGES, "norm", (4, 2, 3)),
        (networks.mixer, IMAGES, "norm", (4, 2, 3)),
        (networks.vit, IMAGES, "block0", (4, 2, 3)),
        (networks.unet, IMAGES, "up", (4, 8, 12)),
    ],
    ids=["cnn", "nnx", "plain", "series", "volumes", "resnet", "vit_mean", "mixer", "vit", "unet"],
)
def test_the_layer_is_found(model: Any, x: np.ndarray, layer: str, shape: tuple[int, ...]) -> None:
    model = model()
    score = mean_of_class if model is networks.unet() else jinterp.logit
    found = jinterp.grad_cam(*model, x, 1, relu=False, score=score)
    assert found.shape == shape
    named = jinterp.grad_cam(*model, x, 1, relu=False, score=score, layer=layer)
    np.testing.assert_allclose(found, named, rtol=1e-6)
    assert np.abs(found).max() > 0


def mean_of_class(logits: jax.Array, target: Any) -> jax.Array:
    """The mean logit of a class over the image."""
    return jinterp.channel(logits, target)


@pytest.mark.parametrize(
    "explain",
    [jinterp.grad_cam, jinterp.eigen_cam, jinterp.score_cam],
    ids=lambda explain: explain.__name__,
)
def test_the_class_token_is_left_out(explain: Any) -> None:
    """After the last attention the other tokens reach no logit, so that a map there is blank."""
    model = networks.vit()
    found = explain(*model, IMAGES, 1, relu=False)
    assert found.shape == (4, 2, 3)
    assert (np.abs(np.asarray(found)).max((1, 2)) > 0).all()


def test_a_map_of_tokens_is_their_layout(flax_x64: None) -> None:
    model, x = double(networks.vit()), IMAGES.astype(float)
    found = jinterp.grad_cam(*model, x, 1, relu=False, layer="block0")
    activation = np.asarray(jinterp.activations(*model, x, "block0")["block0"])
    slopes = np.asarray(jinterp.at_layer(jinterp.gradient, "block0")(*model, x, 1))
    assert activation.shape == (4, 7, 8)
    weights = slopes[:, 1:].mean(1)
    expected = np.einsum("btc,bc->bt", activation[:, 1:], weights).reshape(4, 2, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)


def test_a_grid_is_taken_as_it_is_given(flax_x64: None) -> None:
    model, x = double(networks.vit_mean()), IMAGES.astype(float)
    found = jinterp.grad_cam(*model, x, 1, relu=False, layer="block1")
    upright = jinterp.grad_cam(*model, x, 1, relu=False, layer="block1", grid=(3, 2))
    assert upright.shape == (4, 3, 2)
    np.testing.assert_array_equal(found.reshape(4, 6), upright.reshape(4, 6))
    without = jinterp.hires_cam(*model, x, 1, relu=False, layer="block1", grid=(5, 1))
    every = jinterp.hires_cam(*model, x, 1, relu=False, layer="block1")
    np.testing.assert_allclose(without[:, :, 0], every.reshape(4, 6)[:, 1:], rtol=1e-12)


def test_a_grid_lets_tokens_of_text_be_seen() -> None:
    x = networks.TOKENS
    found = jinterp.hires_cam(*networks.text(), x, 1, relu=False, layer="block1", grid=(9,))
    values = jinterp.at_layer(jinterp.input_x_gradient, "block1")(*networks.text(), x, 1)
    np.testing.assert_allclose(found, values.sum(-1), rtol=1e-5, atol=1e-6)


def test_series_and_volumes_have_the_same_formula(x64: None) -> None:
    for model, x in ((networks.cnn_1d(), SERIES), (networks.cnn_3d(), VOLUMES)):
        model, x = double(model), x.astype(float)
        found = jinterp.grad_cam(*model, x, 1, relu=False)
        activation = np.asarray(jinterp.activations(*model, x, "conv2")["conv2"])
        slopes = np.asarray(jinterp.at_layer(jinterp.gradient, "conv2")(*model, x, 1))
        weights = slopes.mean(tuple(range(1, slopes.ndim - 1)), keepdims=True)
        np.testing.assert_allclose(found, (weights * activation).sum(-1), rtol=1e-10, atol=1e-14)


def test_the_same_layer_in_every_library(x64: None) -> None:
    x = IMAGES.astype(float)
    maps = [
        jinterp.grad_cam(*double(model()), x, 1, relu=False) for model in networks.CNNS.values()
    ]
    for each in maps[1:]:
        np.testing.assert_allclose(each, maps[0], rtol=1e-10, atol=1e-14)


def test_a_network_inside_another() -> None:
    model = networks.linen(Encoder(), IMAGES)
    found = jinterp.grad_cam(*model, IMAGES, 1, relu=False)
    named = jinterp.grad_cam(*model, IMAGES, 1, relu=False, layer="vit/norm")
    np.testing.assert_allclose(found, named, rtol=1e-6)


def test_rows_have_no_space() -> None:
    with pytest.raises(ValueError, match="no layer has an output in space"):
        jinterp.grad_cam(*networks.mlp(), networks.ROWS, 1)


def channels_first(weights: jax.Array, x: jax.Array) -> jax.Array:
    """A network whose layers have channels first, though its input has them last."""
    with jax.named_scope("first"):
        x = jnp.moveaxis(x, -1, 1) * weights["scale"][None, :, None, None]
    return x.mean((2, 3)) @ weights["head"]


def test_a_layer_with_channels_first_is_found() -> None:
    weights = {"scale": np.array([1, 2, 3], np.float32), "head": np.eye(3, dtype=np.float32)}
    found = jinterp.grad_cam(channels_first, weights, IMAGES, 1, channel_axis=1, relu=False)
    assert found.shape == (4, 8, 12)
    np.testing.assert_allclose(found, 2 * IMAGES[..., 1] / 96, rtol=1e-5)
