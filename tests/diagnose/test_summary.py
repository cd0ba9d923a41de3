"""Parameters, operations and memory by layer, against counts by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from rich.console import Console

import jinterp
from tests import networks

POSITIONS = {"conv1": 8 * 12, "conv2": 4 * 6}
PARAMS = {"conv1": 9 * 3 * 6 + 6, "conv2": 9 * 6 * 8 + 8, "head": 8 * 5 + 5}
MULTIPLY_ADDS = {
    "conv1": 4 * POSITIONS["conv1"] * 9 * 3 * 6,
    "conv2": 4 * POSITIONS["conv2"] * 9 * 6 * 8,
    "head": 4 * 8 * 5,
}


@pytest.mark.parametrize("library", networks.CNNS)
def test_counts_by_hand_in_each_library(library: str) -> None:
    found = jinterp.summary(*networks.CNNS[library](), networks.IMAGES)
    assert {layer.name: layer.num_params for layer in found.layers} == PARAMS
    assert {layer.name: layer.multiply_adds for layer in found.layers} == MULTIPLY_ADDS
    assert [layer.shape for layer in found.layers] == [(4, 8, 12, 6), (4, 4, 6, 8), (4, 5)]
    assert found.total.num_params == found.total.num_trainable == sum(PARAMS.values())
    assert found.total.multiply_adds == sum(MULTIPLY_ADDS.values())
    assert found.unused == ()
    for layer in found.layers[2:]:  # without padding two operations each, and the bias
        assert layer.flops == 2 * layer.multiply_adds + 4 * 5


def test_modules_are_taken_as_they_are() -> None:
    shown = str(jinterp.summary(*networks.cnn(), networks.IMAGES))
    assert str(jinterp.summary(networks.Cnn(), networks.cnn().params, networks.IMAGES)) == shown
    module = networks.cnn_nnx_module()
    of_nnx = jinterp.summary(module, None, networks.IMAGES)
    assert of_nnx.total == jinterp.summary(*networks.cnn_nnx(), networks.IMAGES).total
    with pytest.raises(ValueError, match="which holds its own; expected None"):
        jinterp.summary(module, nnx.state(module), networks.IMAGES)


def test_parts_are_shown_below_their_whole() -> None:
    found = jinterp.summary(*networks.vit(), networks.IMAGES)
    by_name = {layer.name: layer for layer in found.layers}
    block = by_name["block0"]
    parts = ["block0/norm1", "block0/attention", "block0/norm2", "block0/mlp"]
    assert block.num_params == sum(by_name[part].num_params for part in parts)
    assert block.multiply_adds == sum(by_name[part].multiply_adds for part in parts)
    assert "\n    dense1 " in str(found)
    # seven tokens of eight: query, key, value and out, and twice the products of two heads
    attention = 4 * (4 * 7 * 8 * 8 + 2 * 7 * 7 * 8)
    assert by_name["block0/attention"].multiply_adds == attention


class Twice(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shared = nn.Dense(3, name="shared")
        self.param("forgotten", nn.initializers.ones, (7,))
        x = nn.BatchNorm(use_running_average=True, name="norm")(shared(shared(x)))
        return nn.Dense(2, name="head")(x)


def test_shared_unused_and_frozen_parameters_and_statistics() -> None:
    module, x = Twice(), jnp.ones((2, 3))
    variables = module.init(jax.random.key(0), x)
    found = jinterp.summary(module, variables, x)
    by_name = {layer.name: layer for layer in found.layers}
    assert by_name["shared#1"].num_params == by_name["shared#2"].num_params == 12
    assert by_name["norm"].num_params == 6
    assert found.total.num_params == 12 + 7 + 6 + 8
    assert found.unused == ("forgotten",)
    assert "The model never reads forgotten." in str(found)
    frozen = {"params": {"shared": False, "forgotten": True, "norm": True, "head": True}}
    frozen["batch_stats"] = True
    found = jinterp.summary(module, variables, x, trainable=frozen)
    assert found.layers[0].num_trainable == 0
    assert found.total.num_trainable == 21
    with pytest.raises(ValueError, match="`trainable` is not built as `params` are"):
        jinterp.summary(module, variables, x, trainable={"params": [True]})


def test_loops_and_branches() -> None:
    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("loop"):
            x = jax.lax.fori_loop(0, 5, lambda _, h: jnp.tanh(h @ params), x)
        with jax.named_scope("branch"):
            return jax.lax.cond(x.sum() > 0, lambda h: h @ params @ params, lambda h: h, x)

    found = jinterp.summary(apply_fn, jnp.eye(3), jnp.ones((2, 3)))
    assert [layer.multiply_adds for layer in found.layers] == [5 * 18, 2 * 18]


def test_grouped_convolutions() -> None:
    module = nn.Conv(8, (3, 3), feature_group_count=2)
    x = jnp.ones((1, 5, 5, 4))
    found = jinterp.summary(module, module.init(jax.random.key(0), x), x)
    assert found.total.multiply_adds == 5 * 5 * 9 * 2 * 8


def test_shapes_are_enough_and_nothing_is_computed() -> None:
    shape = jax.ShapeDtypeStruct((4, 8, 12, 3), jnp.float32)
    found = jinterp.summary(*networks.cnn(), shape)
    assert found.total.multiply_adds == sum(MULTIPLY_ADDS.values())


class Dropped(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return nn.Dropout(0.5)(nn.Dense(3)(x), deterministic=not train)


def test_keywords_for_the_modules_call() -> None:
    module, x = Dropped(), jnp.ones((2, 4))
    found = jinterp.summary(module, module.init(jax.random.key(0), x, False), x, train=False)
    assert found.total.num_params == 15
    with pytest.raises(TypeError, match="got 'train'; expected such keywords with a Linen module"):
        jinterp.summary(*networks.cnn(), networks.IMAGES, train=False)


def test_how_it_is_shown() -> None:
    found = jinterp.summary(*networks.cnn(), networks.IMAGES)
    console = Console(width=80)
    with console.capture() as captured:
        console.print(found)
    text = captured.get()
    assert "multiply-adds" in text  # nothing is cut
    (row,) = (line for line in text.splitlines() if line.startswith("conv1"))
    assert row.split("  ")[1].strip() == "(4, 8, 12, 6)"
    assert f"{sum(PARAMS.values())}" in text
    assert found._repr_html_().count("<tr>") == 5


def test_memory_by_layer() -> None:
    model = networks.cnn()
    found = jinterp.model_sizes(*model, networks.IMAGES, optimizer=optax.adam(1e-3))
    for layer in found.layers:
        assert layer.parameters == 4 * PARAMS[layer.name]
        assert layer.optimizer == 2 * layer.parameters
    activations = [4 * 4 * size for size in (8 * 12 * 6, 4 * 6 * 8, 5)]
    assert [layer.activations for layer in found.layers] == activations
    assert found.total.activations == sum(activations)
    assert found.total.parameters == 4 * sum(PARAMS.values())
    assert found.total.optimizer == 8 * sum(PARAMS.values()) + 4
    assert jinterp.model_sizes(*model, networks.IMAGES).total.optimizer == 0
    of_momentum = optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.9))
    found = jinterp.model_sizes(*model, networks.IMAGES, optimizer=of_momentum)
    assert found.layers[0].optimizer == 4 * PARAMS["conv1"]
    assert "conv2" in str(found)
    assert found._repr_html_().startswith("<table>")


def test_a_value_that_leaves_two_layers_counts_once() -> None:
    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("outer"), jax.named_scope("inner"):
            x = x @ params
        return x + 1

    found = jinterp.model_sizes(apply_fn, jnp.eye(3), jnp.ones((2, 3)))
    assert [layer.activations for layer in found.layers] == [24, 24]
    assert found.total.activations == 24


def test_statistics_have_no_optimizer_state() -> None:
    module, x = Twice(), np.ones((2, 3), np.float32)
    model = jinterp.from_linen(module, module.init(jax.random.key(0), x))
    found = jinterp.model_sizes(*model, x, optimizer=optax.adam(1e-3))
    norm = next(layer for layer in found.layers if layer.name == "norm")
    assert (norm.parameters, norm.optimizer) == (4 * 12, 8 * 6)


def test_an_exported_model_is_refused() -> None:
    model = networks.cnn()
    exported = jinterp.from_exported(
        jinterp.export_model(*model, networks.IMAGES, layers=["conv1"]), model.params
    )
    with pytest.raises(TypeError, match="is an exported model, whose operations cannot be counted"):
        jinterp.summary(*exported, networks.IMAGES)


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        stack = nn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return stack(name="stack")(x, None)[0]


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, _: Any) -> tuple[jax.Array, None]:
        return nn.Dense(8, name="dense")(x), None


def test_a_step_of_a_scan_has_its_slice_of_the_parameters() -> None:
    module, x = Scanned(), jnp.ones((2, 8))
    model = jinterp.from_linen(module, module.init(jax.random.key(0), x))
    expected = {layer.name: layer.num_params for layer in jinterp.layers(*model, x)}
    found = jinterp.summary(*model, x)
    assert {layer.name: layer.num_params for layer in found.layers} == expected
    assert 72 in expected.values()
    assert found.total.num_params == 216
    sizes = jinterp.model_sizes(*model, x, optimizer=optax.adam(1e-3))
    of_step = [layer for layer in sizes.layers if layer.parameters == 4 * 72]
    assert len(of_step) >= 3
    assert {layer.optimizer for layer in of_step} == {8 * 72}


def test_transposed_convolutions() -> None:
    module, x = nn.ConvTranspose(4, (2, 2), (2, 2)), jnp.ones((1, 8, 8, 3))
    found = jinterp.summary(module, module.init(jax.random.key(0), x), x)
    assert found.total.multiply_adds == 8 * 8 * 2 * 2 * 3 * 4


def test_an_optimizer_with_labels_for_parts() -> None:
    labels = {"conv1": "adam", "conv2": "sgd", "head": "adam"}
    parts = {"adam": optax.adam(1e-3), "sgd": optax.sgd(0.1)}
    optimizer = optax.multi_transform(parts, labels)
    found = jinterp.model_sizes(*networks.cnn(), networks.IMAGES, optimizer=optimizer)
    sizes = {layer.name: layer.optimizer for layer in found.layers}
    assert sizes == {"conv1": 8 * PARAMS["conv1"], "conv2": 0, "head": 8 * PARAMS["head"]}


def test_leaves_of_one_name_and_shape_are_told_apart() -> None:
    params = {"a": {"w": jnp.eye(3)}, "w": jnp.eye(3)}

    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("inner"):
            x = x @ params["a"]["w"]
        with jax.named_scope("outer"):
            return x @ params["w"] @ params["w"]

    optimizer = optax.multi_transform(
        {"adam": optax.adam(1e-3), "none": optax.set_to_zero()}, {"a": {"w": "none"}, "w": "adam"}
    )
    found = jinterp.model_sizes(apply_fn, params, jnp.ones((1, 3)), optimizer=optimizer)
    assert [layer.optimizer for layer in found.layers] == [0, 72]


@jax.custom_vjp
def product(x: jax.Array, weights: jax.Array) -> jax.Array:
    return x @ weights


product.defvjp(
    lambda x, weights: (x @ weights, (x, weights)),
    lambda kept, tangent: (tangent @ kept[1].T, kept[0].T @ tangent),
)


def test_the_largest_branch_counts_and_no_derivative() -> None:
    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        x = product(x, params)
        branches = (lambda x: x @ params, lambda x: x @ params @ params)
        return jax.lax.cond(x.sum() > 0, *branches, x)

    found = jinterp.summary(apply_fn, jnp.eye(3), jnp.ones((2, 3)))
    assert found.total.multiply_adds == 3 * 2 * 3 * 3
