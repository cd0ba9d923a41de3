"""Ranges of layers for a batch, and which operation made the first NaN."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jinterp
from jinterp.diagnose import detect_dead_units, layer_outputs
from tests import networks


@pytest.mark.parametrize("library", networks.CNNS)
def test_ranges_are_those_of_the_activations(library: str) -> None:
    model = networks.CNNS[library]()
    found = layer_outputs(*model, networks.IMAGES)
    values = jinterp.activations(*model, networks.IMAGES, ["conv1", "conv2", "head"])
    assert [layer.name for layer in found.layers] == list(values)
    for layer in found.layers:
        value = np.float64(values[layer.name])
        assert layer.shape == value.shape
        assert layer.dtype == "float32"
        given = (layer.minimum, layer.maximum, layer.mean)
        assert given == pytest.approx((value.min(), value.max(), value.mean()), rel=1e-5)
        assert (layer.num_nan, layer.num_infinite) == (0, 0)
    assert found.first_nan is None
    assert found.not_finite == ()
    assert str(found).splitlines()[1].startswith("conv1")


class Block(nn.Module):
    """A convolution, and in one of them a logarithm of what may be negative."""

    is_sick: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.Dense(6, name="dense")(x)
        if self.is_sick:
            y = jnp.log(y)
        return nn.LayerNorm(name="norm")(x + nn.relu(y))


class Blocks(nn.Module):
    """Three blocks, of which the second makes NaN, and an attention mask of −∞ in the first."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Dense(6, name="first")(x)
        mask = jnp.where(jnp.arange(6) < 3, -jnp.inf, jnp.float32(0))
        x = x + jax.nn.softmax(x + mask[None])
        for number in range(3):
            x = Block(number == 1, name=f"block{number}")(x)
        return nn.Dense(5, name="head")(x)


def test_the_layer_that_made_the_nan_is_named_and_not_those_that_pass_it_on() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    module = Blocks()
    model = jinterp.from_linen(module, module.init(jax.random.key(0), x))
    found = layer_outputs(*model, x)
    assert found.first_nan == "block1"
    assert found.origins is not None
    assert found.origins.nan is not None
    assert found.origins.nan.operation == "log"
    assert "test_layer_outputs.py" in found.origins.nan.line
    text = str(found)
    assert "The first NaN was made by `log` in the layer 'block1' (line" in text
    outputs = {layer.name: layer.num_nan for layer in found.layers}
    assert outputs["block0"] == outputs["block1/dense"] == 0
    assert outputs["block1/norm"] > 0
    assert outputs["head"] > 0


def test_a_nan_made_outside_of_all_layers() -> None:
    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("first"):
            x = x * params
        x = x / (x - x)
        with jax.named_scope("second"):
            return x + params

    found = layer_outputs(apply_fn, jnp.ones((1, 1)), jnp.zeros((3, 2)))
    assert found.first_nan == ""
    assert "`div` in the model outside of its layers" in str(found)


def test_infinities_that_become_nan() -> None:
    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("overflow"):
            x = jnp.exp(x * params)
        with jax.named_scope("difference"):
            return x - x

    found = layer_outputs(apply_fn, jnp.full((1, 1), 1e3), jnp.ones((3, 2)))
    assert found.first_nan == "difference"
    assert found.origins is not None
    assert found.origins.infinite is not None
    assert found.origins.infinite.layer == "overflow"
    assert "The first infinity was made by `exp` in the layer 'overflow'" in str(found)


def test_what_comes_in_is_not_made_by_the_model() -> None:
    model = networks.cnn()
    x = networks.IMAGES.copy()
    x[1, 2, 3, 0] = np.nan
    found = layer_outputs(*model, x)
    assert found.first_nan is None
    assert found.not_finite == ("the input",)
    params = jax.tree.map(np.array, model.params)
    params["params"]["conv2"]["kernel"][0] = np.inf
    found = layer_outputs(model.apply_fn, params, networks.IMAGES)
    assert found.not_finite == ("the parameter 'conv2/kernel'",)
    assert "the parameter 'conv2/kernel' is not finite." in str(found)


def test_a_model_without_layers_and_layers_of_integers() -> None:
    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("rounded"):
            whole = x.astype(jnp.int32)
        return whole.astype(jnp.float32) * params

    found = layer_outputs(apply_fn, jnp.ones((1, 1)), jnp.full((2, 2), 1.5))
    assert found.layers[0].maximum == 1
    assert layer_outputs(lambda p, x: x @ p, jnp.eye(2), jnp.ones((1, 2))).layers == ()


def test_an_exported_model_tells_its_layers() -> None:
    model = networks.cnn()
    blob = jinterp.export_model(*model, networks.IMAGES, layers=["conv1", "head"])
    exported = jinterp.from_exported(blob, model.params)
    x = networks.IMAGES.copy()
    x[0] = np.nan
    found = layer_outputs(*exported, x)
    assert found.origins is None
    assert found.first_nan == "conv1"


def test_dead_units_are_listed_by_layer() -> None:
    """Case 27, in each library."""
    for library in networks.CNNS.values():
        model = library()
        leaves, treedef = jax.tree.flatten(model.params)
        biases = [n for n, leaf in enumerate(leaves) if leaf.shape == (6,)]
        leaves[biases[0]] = leaves[biases[0]].at[2].set(-1000)
        params = jax.tree.unflatten(treedef, leaves)
        ds = (networks.IMAGES, np.zeros(4, int))
        found = {each.layer: each for each in detect_dead_units(model.apply_fn, params, ds)}
        assert 2 in found["conv1"].units
        assert found["conv1"].maximum[found["conv1"].units.tolist().index(2)] < -900
        assert found["conv1"].num_units == 6
        healthy = {each.layer: each.units for each in detect_dead_units(*model, ds)}
        assert 2 not in healthy.get("conv1", np.zeros(0, int))


def test_an_infinity_made_of_nan_has_no_origin_of_its_own() -> None:
    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("root"):
            x = jnp.sqrt(x - params)
        with jax.named_scope("filled"):
            return jnp.where(jnp.isnan(x), jnp.float32(jnp.inf), x)

    found = layer_outputs(apply_fn, jnp.float32(2), jnp.array([[3.0, 1.0]]))
    assert found.origins is not None
    assert found.origins.nan is not None
    assert found.origins.infinite is None
    assert [(layer.minimum, layer.maximum) for layer in found.layers] == [(1, 1), (1, 1)]


def test_the_line_is_a_librarys_where_the_user_wrote_none() -> None:
    module, x = nn.Dense(2), jnp.zeros((1, 3))
    variables = module.init(jax.random.key(0), x)
    endless = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.inf), variables)
    found = layer_outputs(*jinterp.from_linen(module, endless), x)
    assert found.origins is not None
    assert found.origins.nan is not None
    assert "linear.py" in found.origins.nan.line
