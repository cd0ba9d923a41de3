"""Relevance and DeepLIFT on a pretrained ResNet-20."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from jinterp import rules
from tests.real.resnet import EPSILON, WIDTHS, linen_resnet, preprocess, shortcut, stages

pytestmark = pytest.mark.slow
RULE = rules.Epsilon(1e-6)


@pytest.fixture(scope="module")
def model(shared: Path) -> jinterp.Model:
    return jinterp.from_linen(*linen_resnet(shared / "data/models/resnet20_cifar10.npz", 20))


@pytest.fixture(scope="module")
def x(cifar10: Any) -> jax.Array:
    return preprocess(jnp.asarray(cifar10[0][:8]))


def folded(variables: Any) -> dict[str, tuple[Any, Any]]:
    """Kernel and bias of each convolution with its BatchNorm, by the names of both."""
    params, stats = variables["params"], variables["batch_stats"]

    def fold(conv: Any, norm: Any, stat: Any) -> tuple[Any, Any]:
        scale = norm["scale"] / np.sqrt(stat["var"] + EPSILON)
        bias = norm["bias"] - stat["mean"] * scale
        return conv["kernel"] * scale[None, None, None], bias

    found = {"conv1": fold(params["conv1"], params["bn1"], stats["bn1"])}
    for name, _, _ in stages(20):
        for n in (1, 2):
            own = params[name], stats[name]
            key = f"{name}/conv{n}"
            found[key] = fold(own[0][f"conv{n}"], own[0][f"bn{n}"], own[1][f"bn{n}"])
    return found | {"linear": (params["linear"]["kernel"], params["linear"]["bias"])}


def weighed(z: jax.Array) -> jax.Array:
    """Z, with z / (z + ε sign z) times its gradient: then input times gradient is LRP-ε."""
    factor = z / (z + RULE.epsilon * jnp.where(z < 0, -1.0, 1.0))
    return jax.lax.stop_gradient(z) + jax.lax.stop_gradient(factor) * (z - jax.lax.stop_gradient(z))


def by_hand(layers: Any, x: jax.Array) -> jax.Array:
    """The logits, for which the gradient does what LRP-ε says."""

    def conv(name: str, x: jax.Array, strides: int = 1) -> jax.Array:
        kernel, bias = layers[name]
        numbers, padding = ("NHWC", "HWIO", "NHWC"), [(1, 1), (1, 1)]
        strides = (strides, strides)
        z = jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=numbers)
        return weighed(z + bias[None, None, None])

    x = jax.nn.relu(conv("conv1", x))
    for name, width, strides in stages(20):
        y = conv(f"{name}/conv2", jax.nn.relu(conv(f"{name}/conv1", x, strides)))
        x = jax.nn.relu(y + shortcut(x, width, strides))
    kernel, bias = layers["linear"]
    assert x.shape[-1] == WIDTHS[-1]
    return weighed(x.mean((1, 2)) @ kernel + bias[None])


@pytest.mark.parametrize("is_double", [True, False])
def test_relevance_and_what_biases_take_add_up_to_the_logit(
    model: Any, x: jax.Array, is_double: bool
) -> None:
    """In float32 a ReLU near its kink can flip, and sums of values of both signs are rounded."""
    with jax.enable_x64(is_double):
        dtype = np.dtype(np.float64 if is_double else np.float32)
        params, x = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), (model.params, x))
        check(model._replace(params=params), x, *((1e-8, 1e-5) if is_double else (5e-3, 5e-5)))


def check(model: Any, x: Any, of_values: float, of_sum: float) -> None:
    layers = folded(model.params)
    target = np.argmax(model.apply_fn(model.params, x), axis=1)
    values = jinterp.lrp(*model, x, rules=RULE)

    @jax.jit
    def pulled(layers: Any, one: jax.Array, target: jax.Array) -> tuple[Any, Any, Any]:
        def logit(layers: Any, one: jax.Array) -> jax.Array:
            return by_hand(layers, one[None])[0, target]

        (of_layers, of_x), score = jax.grad(logit, (0, 1))(layers, one), logit(layers, one)
        of_biases = sum((bias * of_layers[name][1]).sum() for name, (_, bias) in layers.items())
        return one * of_x, of_biases, score

    for n in range(len(x)):
        expected, of_biases, score = pulled(layers, x[n], target[n])
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(values[n], expected, rtol=0, atol=of_values * scale)
        assert abs(float(values[n].sum() + of_biases - score)) <= of_sum * abs(float(score))
        assert abs(float(of_biases)) > 1e-2  # else nothing was accounted for


@pytest.mark.parametrize(
    "given", [rules.EPSILON_PLUS_FLAT, rules.EPSILON_GAMMA, rules.EPSILON_ALPHA2_BETA1_FLAT]
)
def test_composites_tell_the_classes_apart(model: Any, x: jax.Array, given: Any) -> None:
    values = jinterp.lrp(*model, x, np.array([[0, 1]] * 8), rules=given)
    assert np.isfinite(values).all()
    assert (np.abs(values[:, 0] - values[:, 1]).max((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_the_sum_of_deep_lift_is_the_difference_of_the_logits(
    model: Any, x: jax.Array, rule: str
) -> None:
    values = jinterp.deep_lift(*model, x, rule=rule)
    gap = jinterp.completeness_gap(*model, x, values)
    assert np.abs(gap).max() <= 1e-4


def test_deep_lift_shap_adds_up_to_the_difference_to_the_mean(model: Any, x: jax.Array) -> None:
    values = jinterp.deep_lift_shap(*model, x[:2], baselines=x[2:5])
    gap = jinterp.completeness_gap(*model, x[:2], values, baseline=[*x[2:5]])
    assert np.abs(gap).max() <= 1e-4
