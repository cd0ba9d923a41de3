"""Explainers at a layer, of its units, of many classes, and of outputs that are not classes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from tests import networks
from tests.attribution.double import double
from tests.networks import IMAGES, ROWS, TOKENS

TARGET = np.array([2, 0, 4, 1])


def head_by_hand(params: Any, activation: jax.Array) -> jax.Array:
    """The small network from hidden2 (before its tanh) on."""
    head = params["params"]["head"]
    return jnp.tanh(activation) @ head["kernel"] + head["bias"][None]


def hidden2_by_hand(params: Any, x: np.ndarray) -> np.ndarray:
    one, two = (jax.tree.map(np.asarray, params["params"][f"hidden{n}"]) for n in (1, 2))
    return np.tanh(x @ one["kernel"] + one["bias"]) @ two["kernel"] + two["bias"]


# At a layer.


def test_layer_gradient_x_activation(x64: None) -> None:
    model, x = double(networks.mlp()), ROWS.astype(float)
    found = jinterp.at_layer(jinterp.input_x_gradient, "hidden2")(*model, x, TARGET)
    hidden = hidden2_by_hand(model.params, x)
    kernel = np.asarray(model.params["params"]["head"]["kernel"])
    slopes = (1 - np.tanh(hidden) ** 2) * kernel.T[TARGET]
    np.testing.assert_allclose(found, hidden * slopes, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("baseline", [0.0, 0.7, np.linspace(-1, 1, 7)])
def test_layer_integrated_gradients(x64: None, baseline: Any) -> None:
    """The path is straight at the layer, from what the baseline gives there."""
    model, x = double(networks.mlp()), ROWS.astype(float)
    explain = jinterp.at_layer(jinterp.integrated_gradients, "hidden2")
    found = explain(*model, x, TARGET, baseline=baseline, num_steps=40)
    ends = [hidden2_by_hand(model.params, each) for each in (x, np.zeros_like(x) + baseline)]
    expected = jinterp.integrated_gradients(
        head_by_hand, model.params, ends[0], TARGET, baseline=ends[1], num_steps=40
    )
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("layer", ["hidden1", "hidden2"])
def test_layer_integrated_gradients_are_complete(x64: None, layer: str) -> None:
    model, x = double(networks.mlp()), ROWS.astype(float)
    explain = jinterp.at_layer(jinterp.integrated_gradients, layer)
    values = explain(*model, x, TARGET, baseline=0.5, rule="gauss_legendre", num_steps=60)
    logits = [
        np.asarray(model.apply_fn(model.params, jnp.asarray(each)))
        for each in (x, np.full_like(x, 0.5))
    ]
    change = (logits[0] - logits[1])[np.arange(4), TARGET]
    np.testing.assert_allclose(values.sum(1), change, rtol=1e-9)
    gaps = jinterp.completeness_gap(*model, x, values, TARGET, baseline=0.5)
    np.testing.assert_allclose(gaps, values.sum(1) - change, atol=1e-12)


def test_layer_expected_gradients_take_inputs_as_baselines(x64: None) -> None:
    model, x = double(networks.mlp()), ROWS.astype(float)
    baselines = np.random.default_rng(1).normal(size=(3, 7))
    keywords: dict[str, Any] = {"key": jax.random.key(0), "num_samples": 6}
    explain = jinterp.at_layer(jinterp.expected_gradients, "hidden2")
    found = explain(*model, x, TARGET, baselines=baselines, **keywords)
    ends = [hidden2_by_hand(model.params, each) for each in (x, baselines)]
    expected = jinterp.expected_gradients(
        head_by_hand, model.params, ends[0], TARGET, baselines=ends[1], **keywords
    )
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)


def test_tokens_are_explained_at_their_embedding() -> None:
    model = networks.text()
    explain = jinterp.at_layer(jinterp.integrated_gradients, "embed")
    values = explain(*model, TOKENS, TARGET, baseline=0, num_steps=100)
    assert values.shape == (4, 9, 8)
    logits = [model.apply_fn(model.params, each) for each in (TOKENS, 0 * TOKENS)]
    change = (logits[0] - logits[1])[np.arange(4), TARGET]
    np.testing.assert_allclose(values.sum((1, 2)), change, rtol=1e-3, atol=1e-4)
    per_token = jinterp.aggregate(values)
    # A token that is the baseline's adds nothing.
    assert not np.asarray(per_token)[TOKENS == 0].any()
    assert np.abs(np.asarray(per_token)[TOKENS != 0]).min() > 0


# Units of a layer.


def test_a_channel_of_a_layer(x64: None) -> None:
    model, x = double(networks.cnn()), IMAGES.astype(float)
    upto = jinterp.truncate(model.apply_fn, "conv1")
    values = jinterp.input_x_gradient(upto, model.params, x, 3, score=jinterp.channel)
    conv1 = model.params["params"]["conv1"]
    expected = jinterp.input_x_gradient(first_convolution, conv1, x, 3, score=jinterp.channel)
    np.testing.assert_allclose(values, expected, rtol=1e-10, atol=1e-14)


def first_convolution(params: Any, x: jax.Array) -> jax.Array:
    dimensions = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
        x, params["kernel"], (1, 1), "SAME", dimension_numbers=dimensions
    )
    return y + params["bias"][None, None, None]


def test_a_neuron_of_a_layer_sees_its_own_window(x64: None) -> None:
    model, x = double(networks.cnn()), IMAGES.astype(float)
    upto = jinterp.truncate(model.apply_fn, "conv1")
    values = np.array(jinterp.gradient(upto, model.params, x, score=jinterp.neuron(3, 5, 2)))
    kernel = model.params["params"]["conv1"]["kernel"][..., 2]
    np.testing.assert_allclose(values[:, 2:5, 4:7], np.broadcast_to(kernel, (4, 3, 3, 3)))
    values[:, 2:5, 4:7] = 0
    assert not values.any()


def test_a_path_to_a_neuron_is_complete(x64: None) -> None:
    """A convolution is linear: a few steps are exact."""
    model, x = double(networks.cnn()), IMAGES.astype(float)
    upto = jinterp.truncate(model.apply_fn, "conv1")
    score = jinterp.neuron(3, 5, 2)
    values = jinterp.integrated_gradients(upto, model.params, x, score=score, num_steps=3)
    gaps = jinterp.completeness_gap(upto, model.params, x, values, score=score)
    np.testing.assert_allclose(gaps, 0, atol=1e-12)


# Many classes.


@pytest.mark.parametrize(
    "explain",
    [jinterp.gradient, jinterp.integrated_gradients, jinterp.grad_cam],
    ids=lambda explain: explain.__name__,
)
def test_each_class_is_one_after_the_other(explain: Any) -> None:
    model = networks.cnn()
    found = jinterp.each_class(explain)(*model, IMAGES)
    assert found.shape[:2] == (4, 5)
    for target in range(5):
        one = explain(*model, IMAGES, target)
        np.testing.assert_allclose(found[:, target], one, rtol=1e-4, atol=1e-6)


def test_each_class_of_some() -> None:
    model = networks.mlp()
    found = jinterp.each_class(jinterp.gradient, [3, 1])(*model, ROWS)
    assert found.shape == (4, 2, 7)
    np.testing.assert_allclose(found[:, 0], jinterp.gradient(*model, ROWS, 3), rtol=1e-5)
    values = jinterp.each_class(jinterp.integrated_gradients, [3, 1])(*model, ROWS)
    gaps = jinterp.completeness_gap(*model, ROWS, values, np.array([[3, 1]] * 4))
    assert gaps.shape == (4, 2)
    np.testing.assert_allclose(gaps, 0, atol=1e-3)


# A dense output.


def in_region(logits: jax.Array, target: Any) -> jax.Array:
    """The mean logit of a class over a region of the image."""
    return jinterp.logit(logits[:, 2:4, 3:6].mean((1, 2)), target)


def test_a_dense_output_through_a_score_of_the_user(x64: None) -> None:
    model, x = double(networks.unet()), IMAGES.astype(float)
    values = jinterp.integrated_gradients(*model, x, TARGET, score=in_region, num_steps=200)
    assert values.shape == x.shape
    logits = [np.asarray(model.apply_fn(model.params, jnp.asarray(each))) for each in (x, 0 * x)]
    change = (logits[0] - logits[1])[:, 2:4, 3:6].mean((1, 2))[np.arange(4), TARGET]
    np.testing.assert_allclose(values.sum((1, 2, 3)), change, atol=0.01 * np.abs(change).max())
    gaps = jinterp.completeness_gap(*model, x, values, TARGET, score=in_region)
    np.testing.assert_allclose(gaps, values.sum((1, 2, 3)) - change, atol=1e-12)
    # Two 3×3 layers, one of them at half the resolution: the receptive field ends.
    gradients = np.asarray(jinterp.gradient(*model, x, TARGET, score=in_region))
    assert not gradients[:, :, 11:].any()
    assert gradients[:, 2:4, 3:6].any()
    maps = jinterp.grad_cam(*model, x, TARGET, score=in_region, layer="bottom", relu=False)
    assert maps.shape == (4, 4, 6)


def test_a_dense_output_without_a_score_says_what_to_do(as_user: None) -> None:
    with pytest.raises(ValueError, match=r"use score=jinterp\.region\(mask\)"):
        jinterp.gradient(*networks.unet(), IMAGES, TARGET)
