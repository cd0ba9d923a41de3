"""Reading and moving a layer, against the same model split by hand."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jinterp
from jinterp.model.tap import open_layers
from tests import networks
from tests.problems import count_compiles

IMAGES, ROWS = networks.IMAGES, networks.ROWS
SHAPES = {"conv1": (4, 8, 12, 6), "conv2": (4, 4, 6, 8), "head": (4, 5)}
WEIGHTS = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)


def noise(shape: tuple[int, ...], seed: int = 2) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def conv(weights: Any, x: jax.Array, strides: int) -> jax.Array:
    dimensions = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
        x, weights["kernel"], (strides, strides), "SAME", dimension_numbers=dimensions
    )
    return y + weights["bias"][None, None, None]


def cnn_by_hand(layer: str, delta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The logits and the layer of the small CNN, written with the delta inside."""
    params, read = networks.cnn().params["params"], {}

    def out_of(name: str, value: jax.Array) -> jax.Array:
        read[name] = value + delta if name == layer else value
        return read[name]

    x = jax.nn.relu(out_of("conv1", conv(params["conv1"], jnp.asarray(IMAGES), 1)))
    x = jax.nn.relu(out_of("conv2", conv(params["conv2"], x, 2))).mean((1, 2))
    head = params["head"]
    logits = out_of("head", x @ head["kernel"] + head["bias"][None])
    return logits, read[layer]


def agree(model: Any, x: Any, layer: str, by_hand: Callable[[Any], Any], delta: Any) -> None:
    """Logits, activation and gradient by the delta, at zero and away from it."""
    tapped = jinterp.tap(model[0], layer)

    @jax.jit
    def both(delta: Any) -> Any:
        def score(run: Callable[[Any], Any], delta: Any) -> tuple[jax.Array, Any]:
            logits, activation = run(delta)
            return (logits * WEIGHTS[: len(logits)]).sum(), (logits, activation)

        return [
            jax.value_and_grad(functools.partial(score, run), has_aux=True)(delta)
            for run in (lambda delta: tapped(delta, model[1], x), by_hand)
        ]

    for each in (jax.tree.map(jnp.zeros_like, delta), delta):
        found, expected = both(each)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected
        )
    np.testing.assert_allclose(
        tapped(jax.tree.map(jnp.zeros_like, delta), model[1], x)[0],
        model[0](model[1], x),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("layer", SHAPES)
@pytest.mark.parametrize("library", networks.CNNS)
def test_a_tapped_cnn_is_the_one_split_by_hand(library: str, layer: str) -> None:
    by_hand = functools.partial(cnn_by_hand, layer)
    agree(networks.CNNS[library](), IMAGES, layer, by_hand, noise(SHAPES[layer]))


def test_a_block_of_a_transformer() -> None:
    model, delta = networks.vit(), noise((4, 7, 8))
    params = model.params["params"]

    def tail(x: jax.Array) -> jax.Array:
        x = networks.TransformerBlock().apply({"params": params["block1"]}, x)
        x = nn.LayerNorm().apply({"params": params["norm"]}, x)
        return x[:, 0] @ params["head"]["kernel"] + params["head"]["bias"][None]

    tapped = jax.jit(jinterp.tap(model.apply_fn, "block0"))
    _, before = tapped(jnp.zeros_like(delta), model.params, IMAGES)
    logits, moved = tapped(delta, model.params, IMAGES)
    np.testing.assert_allclose(moved, before + delta, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits, jax.jit(tail)(before + delta), rtol=1e-4, atol=1e-5)
    whole = jax.jit(model.apply_fn)(model.params, IMAGES)
    np.testing.assert_allclose(whole, jax.jit(tail)(before), rtol=1e-4, atol=1e-5)


def test_an_embedding_of_tokens() -> None:
    """One vector added to every token is that vector added to the whole table."""
    model, vector = networks.text(), noise((8,))
    params = dict(model.params["params"])
    table = params["embed"]["embedding"]
    params["embed"] = {"embedding": table + vector[None]}
    delta = jnp.broadcast_to(vector, (4, 9, 8))
    tokens = networks.TOKENS
    logits, read = jax.jit(jinterp.tap(model.apply_fn, "embed"))(delta, model.params, tokens)
    np.testing.assert_allclose(read, (table + vector[None])[tokens], rtol=1e-5, atol=1e-6)
    expected = jax.jit(model.apply_fn)({"params": params}, tokens)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_haiku() -> None:
    def net(x: jax.Array) -> jax.Array:
        return hk.Linear(5, name="head")(jnp.tanh(hk.Linear(6, name="hidden")(x)))

    transformed = hk.without_apply_rng(hk.transform(net))
    params = transformed.init(jax.random.key(0), ROWS)

    def by_hand(delta: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden = ROWS @ params["hidden"]["w"] + params["hidden"]["b"][None] + delta
        return jnp.tanh(hidden) @ params["head"]["w"] + params["head"]["b"][None], hidden

    agree((transformed.apply, params), ROWS, "hidden", by_hand, noise((4, 6)))


class EquinoxMlp(eqx.Module):
    hidden: eqx.nn.Linear
    head: eqx.nn.Linear

    def __init__(self, use_bias: bool):
        keys = jax.random.split(jax.random.key(0))
        self.hidden = eqx.nn.Linear(7, 6, use_bias, key=keys[0])
        self.head = eqx.nn.Linear(6, 5, use_bias, key=keys[1])

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(jnp.tanh(self.hidden(x)))


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("batch", [1, 4])
def test_equinox_under_the_users_vmap_has_the_batch_in_front(use_bias: bool, batch: int) -> None:
    module, x = EquinoxMlp(use_bias), ROWS[:batch]
    params, static = eqx.partition(module, eqx.is_array)

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        return jax.vmap(eqx.combine(params, static))(x)

    def by_hand(delta: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden = jax.vmap(module.hidden)(x) + delta
        return jax.vmap(lambda row: module.head(jnp.tanh(row)))(hidden), hidden

    agree((apply_fn, params), x, "eqx.nn.Linear#1", by_hand, noise((batch, 6)))


def test_a_vmapped_model_for_one_batch_size_only() -> None:
    weights = noise((6, 7))

    def apply_fn(params: jax.Array, x: jax.Array) -> jax.Array:
        with jax.named_scope("hidden"):
            hidden = jax.vmap(lambda row: jnp.tanh(params @ row))(x)
        return hidden.reshape(4, 6)

    read = jinterp.activations(apply_fn, weights, ROWS, "hidden")["hidden"]
    np.testing.assert_allclose(read, np.tanh(ROWS @ weights.T), rtol=1e-5, atol=1e-6)
    assert [each.name for each in jinterp.layers(apply_fn, weights, ROWS)] == ["hidden"]


@settings(max_examples=6)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(1, 4), st.data())
def test_any_hidden_layer_of_any_mlp(widths: list[int], batch: int, data: st.DataObject) -> None:
    layer = data.draw(st.integers(1, len(widths)))
    x = ROWS[:batch]
    model = networks.linen(networks.Mlp(tuple(widths)), x)
    params = model.params["params"]

    def by_hand(delta: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, read = jnp.asarray(x), None
        for number in range(1, len(widths) + 1):
            weights = params[f"hidden{number}"]
            y = y @ weights["kernel"] + weights["bias"][None]
            if number == layer:
                y = read = y + delta
            y = jnp.tanh(y)
        return y @ params["head"]["kernel"] + params["head"]["bias"][None], read

    agree(model, x, f"hidden{layer}", by_hand, noise((batch, widths[layer - 1])))


class Residual(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(7, name="last")(nn.tanh(nn.Dense(7, name="first")(x)))


class Wrapped(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(5, name="head")(nn.tanh(Residual(name="block")(x)))


def test_several_layers_in_one_forward_pass() -> None:
    model, passes = networks.cnn(), []

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        jax.debug.callback(lambda: passes.append(1))
        return model.apply_fn(params, x)

    found = jinterp.activations(apply_fn, model.params, IMAGES, list(SHAPES))
    jax.effects_barrier()
    assert len(passes) == 1
    assert list(found) == list(SHAPES)
    for layer, shape in SHAPES.items():
        expected = cnn_by_hand(layer, jnp.zeros(shape))[1]
        np.testing.assert_allclose(found[layer], expected, rtol=1e-5, atol=1e-6)


def test_a_block_and_its_last_part_end_at_one_value() -> None:
    model = networks.linen(Wrapped(), ROWS)
    found = jinterp.activations(*model, ROWS, ["block", "block/last", "block/first"])
    np.testing.assert_array_equal(found["block"], found["block/last"])
    delta = noise((4, 7))
    moved = [jinterp.tap(model.apply_fn, layer)(delta, model.params, ROWS)[0] for layer in found]
    np.testing.assert_array_equal(moved[0], moved[1])
    assert not np.allclose(moved[0], moved[2])


def test_deltas_at_a_block_and_its_last_part_add_up() -> None:
    """The part does not see the delta of the block around it; the block sees that of its part."""
    model = networks.linen(Wrapped(), ROWS)
    inner, outer = noise((4, 7)), noise((4, 7), 3)
    for names, deltas in {
        ("block/last", "block"): (inner, outer),
        ("block", "block/last"): (outer, inner),
    }.items():
        logits, read = open_layers(*model, ROWS, names)(deltas, model.params, ROWS)
        found = dict(zip(names, read, strict=True))
        tapped = jinterp.tap(model.apply_fn, "block")
        expected, moved = tapped(inner + outer, model.params, ROWS)
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["block"], moved, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["block/last"], moved - outer, rtol=1e-5, atol=1e-6)


class Pair(nn.Module):
    """Its second output is made of its first."""

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        a = nn.Dense(6, name="a")(x)
        return a, jnp.tanh(a), a.argmax(1)


class Pairs(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        a, b, index = Pair(name="pair")(x)
        return nn.Dense(5, name="head")(a * b) + index[:, None].astype(jnp.float32)


def test_each_of_several_outputs_moves_alone() -> None:
    """A delta is added as a value leaves the layer: the layer's own parts do not see it."""
    model = networks.linen(Pairs(), ROWS)
    params = model.params["params"]

    def by_hand(deltas: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, Any]:
        a = ROWS @ params["pair"]["a"]["kernel"] + params["pair"]["a"]["bias"][None]
        left, right = a + deltas[0], jnp.tanh(a) + deltas[1]
        logits = (left * right) @ params["head"]["kernel"] + params["head"]["bias"][None]
        return logits + a.argmax(1)[:, None].astype(jnp.float32), (left, right)

    agree(model, ROWS, "pair", by_hand, (noise((4, 6)), noise((4, 6), 3)))
    assert [each.num_outputs for each in jinterp.layers(*model, ROWS)] == [2, 1, 1]


class Cells(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        cell = nn.LSTMCell(6, name="cell")
        carry = (jnp.zeros((x.shape[0], 6)), jnp.zeros((x.shape[0], 6)))
        for step in range(3):
            carry, y = cell(carry, x[:, step])
        return nn.Dense(5, name="head")(y)


def test_the_carry_of_an_lstm() -> None:
    x = networks.SERIES
    model = networks.linen(Cells(), x)
    params = model.params["params"]
    cell = nn.LSTMCell(6, parent=None)

    def by_hand(deltas: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, Any]:
        carry = (jnp.zeros((4, 6)), jnp.zeros((4, 6)))
        for step in range(3):
            carry, y = cell.apply({"params": params["cell"]}, carry, x[:, step])
            if step == 1:
                carry = read = jax.tree.map(jnp.add, carry, deltas)
        return y @ params["head"]["kernel"] + params["head"]["bias"][None], read

    agree(model, x, "cell#2", by_hand, (noise((4, 6)), noise((4, 6), 3)))


def test_every_call_of_a_shared_module_is_a_layer() -> None:
    model = networks.linen(Cells(), networks.SERIES)
    with pytest.raises(
        ValueError, match=r"called 3 times; name one call: 'cell#1', 'cell#2', 'cell#3'"
    ):
        jinterp.activations(*model, networks.SERIES, "cell")
    with pytest.raises(ValueError, match="called 3 times; name one call: 'cell#1/hf'"):
        jinterp.activations(*model, networks.SERIES, "cell.hf")


def test_a_layer_of_integers_can_be_read() -> None:
    def apply_fn(params: jax.Array, x: jax.Array) -> jax.Array:
        with jax.named_scope("choose"):
            chosen = (x @ params).argmax(1)
        return jax.nn.one_hot(chosen, 5)

    params = noise((7, 5))
    read = jinterp.activations(apply_fn, params, ROWS, "choose")["choose"]
    np.testing.assert_array_equal(read, (ROWS @ params).argmax(1))
    logits, _ = jinterp.tap(apply_fn, "choose")(jnp.ones(4, jnp.int32), params, ROWS)
    np.testing.assert_array_equal(logits, jax.nn.one_hot(read + 1, 5))
    with pytest.raises(ValueError, match=r"`delta` is float32.*output is int32.*no gradient"):
        jinterp.tap(apply_fn, "choose")(jnp.ones(4), params, ROWS)


def test_a_delta_of_another_shape_is_named() -> None:
    model = networks.mlp()
    with pytest.raises(
        ValueError, match=r"`delta` has the shape \(4, 7\); the layer's output has \(4, 6\)"
    ):
        jinterp.tap(model.apply_fn, "hidden1")(jnp.zeros((4, 7)), model.params, ROWS)


def test_an_unknown_layer_lists_those_near_it() -> None:
    with pytest.raises(ValueError, match=r"no layer 'hiden1'\. Near it: 'hidden1'.*lists all 3"):
        jinterp.activations(*networks.mlp(), ROWS, "hiden1")
    with pytest.raises(ValueError, match="Near it: 'block0/mlp/dense1', 'block1/mlp/dense1'"):
        jinterp.activations(*networks.vit(), IMAGES, "dense1")


def test_a_layer_that_only_prints_has_no_output() -> None:
    def apply_fn(params: jax.Array, x: jax.Array) -> jax.Array:
        with jax.named_scope("log"):
            jax.debug.callback(lambda value: None, x + 1)
        with jax.named_scope("hidden"):
            return x @ params

    assert [each.name for each in jinterp.layers(apply_fn, jnp.eye(7), ROWS)] == ["hidden"]
    with pytest.raises(ValueError, match="'log' has no output: nothing after it reads"):
        jinterp.activations(apply_fn, jnp.eye(7), ROWS, "log")


def test_equal_taps_are_equal_and_compile_once() -> None:
    model = networks.mlp()
    first, second = (jinterp.tap(model.apply_fn, "hidden1") for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert first != jinterp.tap(model.apply_fn, "hidden2")
    run = jax.jit(lambda tapped, *rest: tapped(*rest), static_argnums=0)
    run(first, jnp.zeros((4, 6)), model.params, ROWS)
    jinterp.activations(*model, ROWS, ["hidden1"])
    with count_compiles() as counter:
        run(second, jnp.zeros((4, 6)), model.params, ROWS)
        again = jinterp.from_linen(networks.Mlp(), model.params)
        jinterp.activations(*again, ROWS, ["hidden1"])
    assert counter.compiled == 0


def test_under_vmap_every_example_is_a_batch_of_one() -> None:
    model, delta = networks.cnn(), noise(SHAPES["conv2"])
    tapped = jinterp.tap(model.apply_fn, "conv2")

    @jax.jit
    @jax.vmap
    def one(delta: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, read = tapped(delta[None], model.params, x[None])
        return logits[0], read[0]

    for found, expected in zip(one(delta, IMAGES), cnn_by_hand("conv2", delta), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_jacobian_by_a_layer() -> None:
    model = networks.mlp()
    tapped = jinterp.tap(model.apply_fn, "hidden2")

    def logits(delta: jax.Array) -> jax.Array:
        return tapped(delta, model.params, ROWS)[0]

    read = tapped(jnp.zeros((4, 8)), model.params, ROWS)[1]
    kernel = model.params["params"]["head"]["kernel"]
    slope = 1 - jnp.tanh(read) ** 2
    expected = jnp.einsum("bk,kc,bd->bcdk", slope, kernel, jnp.eye(4))
    for jacobian in (jax.jacrev, jax.jacfwd):
        found = jax.jit(jacobian(logits))(jnp.zeros((4, 8)))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_derivatives_by_parameters_and_inputs_go_through() -> None:
    model = networks.mlp()
    tapped = jinterp.tap(model.apply_fn, "hidden1")
    zero = jnp.zeros((4, 6))
    found = jax.grad(lambda *rest: (tapped(zero, *rest)[0] * WEIGHTS).sum(), (0, 1))
    expected = jax.grad(lambda *rest: (model.apply_fn(*rest) * WEIGHTS).sum(), (0, 1))
    arguments = (model.params, jnp.asarray(ROWS))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        found(*arguments),
        expected(*arguments),
    )


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_inputs_split_over_two_devices(kind: AxisType) -> None:
    model = networks.mlp()
    mesh = jax.make_mesh((2,), ("batch",), (kind,), devices=jax.devices()[:2])

    def score(delta: jax.Array, x: jax.Array) -> jax.Array:
        return (jinterp.tap(model.apply_fn, "hidden1")(delta, model.params, x)[0] * WEIGHTS).sum()

    def run(x: jax.Array) -> Any:
        read = jinterp.activations(*model, x, ["hidden1", "hidden2"])
        return read, jax.jit(jax.grad(score))(jnp.zeros((4, 6)), x)

    expected = run(jnp.asarray(ROWS))
    with jax.set_mesh(mesh):
        found = run(jax.device_put(ROWS, NamedSharding(mesh, PartitionSpec("batch"))))
    assert len(found[0]["hidden1"].sharding.device_set) == 2
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected
    )


def test_with_64_bits() -> None:
    with jax.enable_x64(True):
        model = networks.mlp()
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model.params)
        x = ROWS.astype(np.float64)
        weights = params["params"]["hidden1"]
        read = jinterp.activations(model.apply_fn, params, x, "hidden1")["hidden1"]
        assert read.dtype == jnp.float64
        expected = x @ np.asarray(weights["kernel"]) + np.asarray(weights["bias"])
        np.testing.assert_allclose(read, expected, rtol=1e-14, atol=1e-14)


def test_a_delta_of_higher_precision_than_a_layer_in_bfloat16() -> None:
    model = networks.mlp()
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model.params)
    x = ROWS.astype(jnp.bfloat16)
    tapped = jinterp.tap(model.apply_fn, "hidden1")

    def total(delta: jax.Array, params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, read = tapped(delta, params, x)
        return logits.astype(jnp.float32).sum(), read

    run = jax.jit(jax.grad(total, has_aux=True))
    gradient, read = run(jnp.zeros((4, 6)), params, x)
    assert read.dtype == jnp.bfloat16
    assert gradient.dtype == jnp.float32
    expected, _ = run(jnp.zeros((4, 6)), model.params, ROWS)
    np.testing.assert_allclose(gradient, expected, rtol=0.1, atol=0.05)
