"""Every class activation map against a loop in NumPy, on activations and slopes that are known."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from tests import networks
from tests.attribution.double import double
from tests.networks import IMAGES

RNG = np.random.default_rng(0)
# The layer is the input, and the score is linear in it: slopes are the weights of the class.
A = RNG.normal(size=(3, 4, 5, 6))
G = RNG.normal(size=(2, 4, 5, 6))
TARGET = np.array([1, 0, 1])


def apply_fn(weights: jax.Array, x: jax.Array) -> jax.Array:
    with jax.named_scope("layer"):
        x = 1 * x
    return jnp.einsum("bhwc,khwc->bk", x, weights)


def loop(weight: Callable[[np.ndarray, np.ndarray], Any]) -> np.ndarray:
    """Σ_k of a channel times its weight: a number, or one a place."""
    maps = np.zeros(A.shape[:-1])
    for example, label in enumerate(TARGET):
        for k in range(A.shape[-1]):
            a, g = A[example, ..., k], G[label, ..., k]
            maps[example] += weight(a, g) * a
    return maps


def plus_plus(a: np.ndarray, g: np.ndarray) -> float:
    total, weight = a.sum(), 0.0
    for place in np.ndindex(*g.shape):
        alpha = g[place] ** 2 / (2 * g[place] ** 2 + total * g[place] ** 3)
        weight += alpha * max(g[place], 0)
    return weight


FORMULAS = {
    "grad_cam": lambda a, g: g.mean(),
    "grad_cam_plus_plus": plus_plus,
    "xgrad_cam": lambda a, g: (g * a).sum() / a.sum(),
    "hires_cam": lambda a, g: g,
    "layer_cam": lambda a, g: np.maximum(g, 0),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_formula(x64: None, name: str) -> None:
    explain, expected = getattr(jinterp, name), loop(FORMULAS[name])
    found = explain(apply_fn, G, A, TARGET, layer="layer", relu=False)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    found = explain(apply_fn, G, A, TARGET, layer="layer")
    np.testing.assert_allclose(found, np.maximum(expected, 0), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["grad_cam_plus_plus", "xgrad_cam"])
def test_nothing_is_divided_by_zero(x64: None, name: str) -> None:
    """A channel without activation, and one without gradient, weigh nothing."""
    a, g = A.copy(), G.copy()
    a[..., 0] = g[..., 1] = 0
    found = getattr(jinterp, name)(apply_fn, g, a, TARGET, layer="layer", relu=False)
    assert np.isfinite(found).all()
    kept = getattr(jinterp, name)(
        apply_fn, g[..., 2:], a[..., 2:], TARGET, layer="layer", relu=False
    )
    np.testing.assert_allclose(found, kept, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [*FORMULAS, "eigen_cam"])
def test_several_targets(x64: None, name: str) -> None:
    explain = getattr(jinterp, name)
    both = explain(apply_fn, G, A, np.array([[0, 1]] * 3), layer="layer", relu=False)
    for target in (0, 1):
        one = explain(apply_fn, G, A, target, layer="layer", relu=False)
        np.testing.assert_allclose(both[:, target], one, rtol=1e-10, atol=1e-12)


def test_eigen_cam_is_the_first_principal_component(x64: None) -> None:
    found = jinterp.eigen_cam(apply_fn, G, A, layer="layer", relu=False)
    for example, a in enumerate(A):
        rows = a.reshape(20, 6)
        left, sizes, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
        first = left[:, 0] * sizes[0]
        first *= np.sign(first @ rows.sum(1))
        np.testing.assert_allclose(found[example].ravel(), first, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        jinterp.eigen_cam(apply_fn, G, A, layer="layer"), np.maximum(found, 0), atol=1e-12
    )


def test_eigen_cam_has_the_sign_of_the_activation(x64: None) -> None:
    found = jinterp.eigen_cam(apply_fn, G, A, layer="layer", relu=False)
    turned = jinterp.eigen_cam(apply_fn, G, -A, layer="layer", relu=False)
    np.testing.assert_allclose(turned, -found, atol=1e-10)


def test_eigen_cam_with_fewer_places_than_channels(x64: None) -> None:
    found = jinterp.eigen_cam(apply_fn, G[:, :1, :3], A[:, :1, :3], layer="layer", relu=False)
    assert found.shape == (3, 1, 3)
    rows = A[0, 0, :3] - A[0, 0, :3].mean(0)
    sizes = np.linalg.svd(rows, compute_uv=False)
    assert np.linalg.norm(found[0]) == pytest.approx(sizes[0], rel=1e-10)


# What looks at the score of changed inputs or layers, on a network with strides.


def logits_after_conv2(params: Any, activation: np.ndarray) -> np.ndarray:
    head = params["params"]["head"]
    return np.maximum(activation, 0).mean((1, 2)) @ head["kernel"] + head["bias"][None]


def score_of(model: jinterp.Model, x: Any, target: np.ndarray) -> np.ndarray:
    logits = np.asarray(model.apply_fn(model.params, jnp.asarray(x)))
    return logits[np.arange(len(x)), target]


@pytest.mark.parametrize("channel_softmax", [True, False])
@pytest.mark.parametrize("max_channels", [None, 3])
def test_score_cam(x64: None, channel_softmax: bool, max_channels: int | None) -> None:
    model, x, target = double(networks.cnn()), IMAGES.astype(float), np.array([2, 0, 4, 1])
    found = jinterp.score_cam(
        *model,
        x,
        target,
        layer="conv2",
        baseline=0.3,
        channel_softmax=channel_softmax,
        max_channels=max_channels,
        relu=False,
    )
    activation = np.asarray(jinterp.activations(*model, x, "conv2")["conv2"])
    empty = score_of(model, np.full_like(x, 0.3), target)
    for example in range(4):
        a = activation[example]
        channels = np.argsort(-a.std((0, 1)))[: max_channels or 8]
        gains = []
        for k in channels:
            raised = jax.image.resize(a[..., k], (8, 12), "linear", antialias=False)
            mask = np.asarray((raised - raised.min()) / (raised.max() - raised.min()))
            seen = x[example] * mask[..., None]
            score = score_of(model, seen[None], target[example : example + 1])
            gains.append(score[0] - empty[example])
        weights = np.array(gains)
        if channel_softmax:
            weights = np.exp(weights) / np.exp(weights).sum()
        np.testing.assert_allclose(found[example], a[..., channels] @ weights, atol=1e-10)


def test_a_constant_channel_hides_everything(x64: None) -> None:
    a = np.abs(A)
    a[..., 0] = 2
    found = jinterp.score_cam(apply_fn, G, a, TARGET, layer="layer", channel_softmax=False)
    assert np.isfinite(found).all()


def test_ablation_cam(x64: None) -> None:
    model, x, target = double(networks.cnn()), IMAGES.astype(float), np.array([2, 0, 4, 1])
    found = jinterp.ablation_cam(*model, x, target, layer="conv2", relu=False)
    activation = np.asarray(jinterp.activations(*model, x, "conv2")["conv2"])
    rows = np.arange(4)
    whole = logits_after_conv2(model.params, activation)[rows, target]
    np.testing.assert_allclose(whole, score_of(model, x, target), rtol=1e-10)
    expected = np.zeros(activation.shape[:-1])
    for k in range(8):
        without = activation.copy()
        without[..., k] = 0
        lost = whole - logits_after_conv2(model.params, without)[rows, target]
        expected += (lost / np.abs(whole))[:, None, None] * activation[..., k]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["score_cam", "ablation_cam"])
def test_without_a_target_it_is_the_predicted_class(name: str) -> None:
    model, x = networks.cnn(), IMAGES
    predicted = np.asarray(model.apply_fn(model.params, x).argmax(1))
    explain = getattr(jinterp, name)
    found = explain(*model, x, relu=False)
    np.testing.assert_allclose(found, explain(*model, x, predicted, relu=False), rtol=1e-6)


# Channels first, and units.


def channels_first(weights: jax.Array, x: jax.Array) -> jax.Array:
    with jax.named_scope("layer"):
        x = jnp.moveaxis(1 * x, -1, 1)
    return jnp.einsum("bchw,khwc->bk", x, weights)


@pytest.mark.parametrize("name", [*FORMULAS, "eigen_cam", "ablation_cam"])
def test_channels_first_are_the_same_channels(x64: None, name: str) -> None:
    explain = getattr(jinterp, name)
    found = explain(channels_first, G, A, TARGET, layer="layer", channel_axis=1, relu=False)
    expected = explain(apply_fn, G, A, TARGET, layer="layer", relu=False)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def all_channels_first(weights: jax.Array, x: jax.Array) -> jax.Array:
    with jax.named_scope("layer"):
        x = 1 * x
    return jnp.einsum("bchw,khwc->bk", x, weights)


def test_score_cam_of_inputs_with_channels_first(x64: None) -> None:
    x = np.moveaxis(A, -1, 1)
    found = jinterp.score_cam(
        all_channels_first, G, x, TARGET, layer="layer", channel_axis=1, relu=False
    )
    expected = jinterp.score_cam(apply_fn, G, A, TARGET, layer="layer", relu=False)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
