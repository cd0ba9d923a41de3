"""Names, shapes, types and parameter counts of the layers, in every library."""

import re
from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import jinterp
from tests import networks

X = networks.ROWS


def listed(model: Any, x: Any = X) -> list[tuple[str, tuple[int, ...], int]]:
    return [(each.name, each.shape, each.num_params) for each in jinterp.layers(*model, x)]


def total(params: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("library", networks.CNNS)
def test_one_network_has_the_same_layers_in_every_library(library: str) -> None:
    assert listed(networks.CNNS[library](), networks.IMAGES) == [
        ("conv1", (4, 8, 12, 6), 3 * 3 * 3 * 6 + 6),
        ("conv2", (4, 4, 6, 8), 3 * 3 * 6 * 8 + 8),
        ("head", (4, 5), 8 * 5 + 5),
    ]


def test_the_networks_agree_across_libraries() -> None:
    first, *others = (
        model.apply_fn(model.params, networks.IMAGES)
        for model in (build() for build in networks.CNNS.values())
    )
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-5, atol=1e-6)


def test_parts_are_named_inside_their_block_and_counted_in_it() -> None:
    sizes = {name: size for name, _, size in listed(networks.vit(), networks.IMAGES)}
    parts = {"norm1": 16, "attention": 4 * 72, "norm2": 16, "mlp": 108 + 104}
    for part, size in parts.items():
        assert sizes[f"block1/{part}"] == size
    assert sizes["block1"] == sum(parts.values())
    assert sizes["block1/attention/query"] == 8 * 8 + 8


@pytest.mark.parametrize(
    ("build", "x", "free"),
    [
        (networks.cnn_1d, networks.SERIES, 0),
        (networks.cnn_3d, networks.VOLUMES, 0),
        (networks.vit, networks.IMAGES, 8 + 7 * 8),
        (networks.vit_mean, networks.IMAGES, 6 * 8),
        (networks.mixer, networks.IMAGES, 0),
        (networks.text, networks.TOKENS, 9 * 8),
        (networks.unet, networks.IMAGES, 0),
    ],
)
def test_the_top_layers_share_out_what_is_not_free(build: Any, x: Any, free: int) -> None:
    """Free are the class token and the positions, which the model itself adds."""
    model = build()
    found = listed(model, x)
    assert sum(size for name, _, size in found if "/" not in name) == total(model.params) - free
    assert all(shape[0] == len(x) for _, shape, _ in found)
    assert found[-1][:2] == ("head", jax.eval_shape(*model, x).shape)


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.BatchNorm(use_running_average=True, name="norm")(x)
        return nn.Dense(5, name="head")(nn.Dropout(0.5, deterministic=True, name="dropout")(x))


class NnxBlock(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.conv = nnx.Linear(7, 7, rngs=rngs)
        self.norm = nnx.LayerNorm(7, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(x + nnx.tanh(self.conv(x)))


class NnxNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.blocks = nnx.List([NnxBlock(rngs) for _ in range(2)])
        self.norm = nnx.BatchNorm(7, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(7, 5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.blocks:
            x = block(x)
        return self.head(self.dropout(self.norm(x)))


class NnxAround(nnx.Module):
    def __init__(self, inner: nnx.Module):
        self.inner = inner

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.inner(x)


def test_statistics_are_no_parameters_and_a_layer_that_does_nothing_is_not_listed() -> None:
    assert listed(networks.linen(Normalised(), X)) == [("norm", (4, 7), 14), ("head", (4, 5), 40)]
    found = listed(jinterp.from_nnx(NnxNet(nnx.Rngs(0))))
    assert found[-2:] == [("norm", (4, 7), 14), ("head", (4, 5), 40)]


def test_lists_of_nnx_blocks() -> None:
    model = jinterp.from_nnx(NnxNet(nnx.Rngs(0)))
    assert [name for name, *_ in listed(model)] == [
        "blocks.0", "blocks.0/conv", "blocks.0/norm",
        "blocks.1", "blocks.1/conv", "blocks.1/norm",
        "norm", "head",
    ]  # fmt: skip
    read = jinterp.activations(*model, X, ["blocks.1.conv", "blocks.1/conv", "blocks/1/conv"])
    first, *others = read.values()
    assert len(others) == 2
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_an_nnx_module_that_only_holds_another() -> None:
    model = jinterp.from_nnx(NnxAround(NnxNet(nnx.Rngs(0))))
    names = [name for name, *_ in listed(model)]
    assert names[:3] == ["inner", "inner/blocks.0", "inner/blocks.0/conv"]


class Methods(nn.Module):
    def setup(self) -> None:
        self.hidden, self.head = nn.Dense(6), nn.Dense(5)

    def encode(self, x: jax.Array) -> jax.Array:
        return nn.tanh(self.hidden(x))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.encode(x))


def test_a_method_of_the_model_itself_is_named_without_its_class() -> None:
    names = [name for name, *_ in listed(networks.linen(Methods(), X))]
    assert names == ["encode", "encode/hidden", "head"]


def test_what_nothing_reads_is_no_output() -> None:
    def apply_fn(params: jax.Array, x: jax.Array) -> jax.Array:
        with jax.named_scope("gate"):
            left, _ = jnp.split(x @ params, 2, axis=1)
        return left

    (gate,) = jinterp.layers(apply_fn, jnp.ones((7, 6)), X)
    assert (gate.shape, gate.num_outputs) == ((4, 3), 1)


def test_a_model_that_is_one_layer() -> None:
    assert listed(networks.linen(nn.Dense(3), X)) == [("Dense", (4, 3), 24)]
    assert listed(jinterp.from_nnx(nnx.Linear(7, 3, rngs=nnx.Rngs(0)))) == [("Linear", (4, 3), 24)]


@pytest.mark.parametrize("in_module", [False, True])
def test_haiku(in_module: bool) -> None:
    def net(x: jax.Array) -> jax.Array:
        x = jnp.tanh(hk.Linear(6, name="hidden")(x))
        return hk.nets.MLP([4, 5], name="mlp")(x)

    class Net(hk.Module):
        def __call__(self, x: jax.Array) -> jax.Array:
            return net(x)

    transformed = hk.without_apply_rng(hk.transform(lambda x: (Net() if in_module else net)(x)))
    params = transformed.init(jax.random.key(0), X)
    assert listed((transformed.apply, params)) == [
        ("hidden", (4, 6), 48),
        ("mlp", (4, 5), 28 + 25),
        ("mlp/linear_0", (4, 4), 28),
        ("mlp/linear_1", (4, 5), 25),
    ]


class EquinoxNet(eqx.Module):
    conv: eqx.nn.Conv2d
    hidden: eqx.nn.Linear
    head: eqx.nn.Linear

    def __init__(self, key: jax.Array):
        keys = jax.random.split(key, 3)
        self.conv = eqx.nn.Conv2d(3, 6, 3, key=keys[0])
        self.hidden = eqx.nn.Linear(6, 8, use_bias=False, key=keys[1])
        self.head = eqx.nn.Linear(8, 5, key=keys[2])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.nn.relu(self.conv(x)).mean((1, 2))
        return self.head(jax.nn.relu(self.hidden(x)))


def equinox() -> jinterp.Model:
    params, static = eqx.partition(EquinoxNet(jax.random.key(0)), eqx.is_array)
    return jinterp.Model(lambda params, x: jax.vmap(eqx.combine(params, static))(x), params)


def test_equinox_layers_are_numbered_and_have_the_batch_in_front() -> None:
    """Without a bias, vmap leaves the batch on the last axis of a matrix product."""
    images = networks.IMAGES.transpose(0, 3, 1, 2)
    assert listed(equinox(), images) == [
        ("eqx.nn.Conv", (4, 6, 6, 10), 168),
        ("eqx.nn.Linear#1", (4, 8), 48),
        ("eqx.nn.Linear#2", (4, 5), 45),
    ]


def test_a_plain_function_without_scopes_has_no_layers_and_says_what_to_do() -> None:
    model = (lambda params, x: jnp.tanh(x @ params), jnp.ones((7, 5)))
    assert listed(model) == []
    with pytest.raises(
        ValueError, match=r"no layer 'head'.*no named scopes.*from_linen.*jax\.named_scope"
    ):
        jinterp.activations(*model, X, "head")


def test_shapes_are_enough() -> None:
    model = networks.mlp()
    abstract = jax.eval_shape(lambda: (model.params, jnp.asarray(X)))
    assert listed((model.apply_fn, abstract[0]), abstract[1]) == listed(model)


def test_scopes_around_the_call_are_not_the_models() -> None:
    with jax.named_scope("of the user"):
        assert listed(networks.mlp()) == listed(networks.mlp())
    plain = [name for name, *_ in listed(networks.mlp())]
    assert plain == ["hidden1", "hidden2", "head"]


def test_parameters_cast_outside_the_layers_count_in_them() -> None:
    model = networks.mlp()

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
        return model.apply_fn(params, x.astype(jnp.bfloat16))

    assert listed((apply_fn, model.params)) == listed(model)
    assert {each.dtype for each in jinterp.layers(apply_fn, model.params, X)} == {
        jnp.dtype(jnp.bfloat16)
    }


class Step(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return nn.tanh(nn.Dense(7, name="dense")(x)), None


class Stack(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scanned = nn.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return scanned(name="steps")(x, None)[0]


class Stacks(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(5, name="head")(Stack(name="stack")(x))


def test_stacked_parameters_count_once_around_a_scan_and_a_slice_in_a_step() -> None:
    found = {name: size for name, _, size in listed(networks.linen(Stacks(), X))}
    assert found["stack"] == 3 * 56
    assert found["stack/steps#2"] == found["stack/steps#2/dense"] == 56


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.RNN(nn.OptimizedLSTMCell(4), name="rnn")(x)
        return nn.Dense(5, name="head")(x.mean(1))


def test_the_steps_of_a_linen_rnn_are_numbered_from_one() -> None:
    model = networks.linen(Recurrent(), networks.SERIES)
    names = [each.name for each in jinterp.layers(*model, networks.SERIES)]
    steps = [int(name.split("#")[1]) for name in names if re.fullmatch(r".*#\d+", name)]
    assert steps == list(range(1, 21))


class Tied(nn.Module):
    def setup(self) -> None:
        self.embed = nn.Embed(networks.VOCABULARY, 6)
        self.hidden = nn.Dense(6)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        return self.embed.attend(self.hidden(self.embed(tokens).mean(1)))


def test_a_parameter_that_two_layers_share_counts_in_both() -> None:
    sizes = {
        name: size
        for name, _, size in listed(networks.linen(Tied(), networks.TOKENS), networks.TOKENS)
    }
    assert sizes == {"embed": 120, "hidden": 42, "embed.attend": 120}


@settings(max_examples=15)
@given(
    st.lists(st.integers(1, 9), max_size=4),
    st.integers(1, 5),
    st.integers(1, 6),
)
def test_the_layers_of_an_mlp_share_out_its_parameters(
    widths: list[int], classes: int, batch: int
) -> None:
    x = np.ones((batch, 3), np.float32)
    model = networks.linen(networks.Mlp(tuple(widths), classes), x)
    found = jinterp.layers(*model, x)
    top = [each for each in found if "/" not in each.name]
    assert sum(each.num_params for each in top) == total(model.params)
    assert [each.shape for each in top] == [(batch, width) for width in [*widths, classes]]
