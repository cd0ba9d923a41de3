"""Layers inside jitted, rematerialised and scanned calls, custom rules, loops and branches."""

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import jinterp
from jinterp.model.program import flatten
from tests import networks
from tests.model.test_tap import agree, noise

X = networks.ROWS
WIDTH, STEPS = 7, 3
STACKED = {"kernel": noise((STEPS, 7, 7), 5) / 2, "bias": noise((STEPS, 7), 6)}


def primitives(run: Callable[..., Any], *arguments: Any) -> list[str]:
    """Every equation of a function, also inside others."""

    def walk(jaxpr: Any) -> list[str]:
        found = []
        for eqn in jaxpr.eqns:
            found.append(eqn.primitive.name)
            for value in jax.tree.leaves(tuple(eqn.params.values()), is_leaf=is_jaxpr):
                if is_jaxpr(value):
                    found += walk(getattr(value, "jaxpr", value))
        return found

    def is_jaxpr(value: Any) -> bool:
        return hasattr(value, "eqns")

    return walk(jax.make_jaxpr(run)(*arguments).jaxpr)


def dense(weights: Any, x: Any) -> jax.Array:
    return x @ weights["kernel"] + weights["bias"][None]


class Block(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.tanh(nn.Dense(WIDTH, name="dense")(x))


class Blocks(nn.Module):
    lift: Callable[..., Any]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for name in ("first", "second"):
            x = self.lift(Block)(name=name)(x)
        return nn.Dense(5, name="head")(x)


def blocks_by_hand(params: Any, layer: str) -> Callable[[Any], Any]:
    def by_hand(delta: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, read = jnp.asarray(X), jnp.zeros(0)
        for name in ("first", "second"):
            x = dense(params[name]["dense"], x)
            if layer == f"{name}/dense":
                x = read = x + delta
            x = jnp.tanh(x)
            if layer == name:
                x = read = x + delta
        return dense(params["head"], x), read

    return by_hand


@pytest.mark.parametrize("layer", ["first", "second/dense"])
@pytest.mark.parametrize("lift", [nn.remat, nn.jit], ids=["remat", "jit"])
def test_lifted_linen_blocks(lift: Callable[..., Any], layer: str) -> None:
    model = networks.linen(Blocks(lift), X)
    by_hand = blocks_by_hand(model.params["params"], layer)
    agree(model, X, layer, by_hand, noise((4, 7)))
    jitted = jinterp.Model(jax.jit(model.apply_fn), model.params)
    agree(jitted, X, layer, by_hand, noise((4, 7)))


def test_a_jitted_function_called_twice_has_two_calls_of_its_layer() -> None:
    @jax.jit
    def half(weights: Any, x: jax.Array) -> jax.Array:
        with jax.named_scope("half"):
            return jnp.tanh(dense(weights, x))

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        return half(params, half(params, x))

    params = jax.tree.map(lambda leaf: leaf[0], STACKED)

    def by_hand(delta: jax.Array) -> tuple[jax.Array, jax.Array]:
        read = jnp.tanh(dense(params, X)) + delta
        return jnp.tanh(dense(params, read))[:, :5], read

    def cut(params: Any, x: jax.Array) -> jax.Array:
        return apply_fn(params, x)[:, :5]

    agree((cut, params), X, "half#1", by_hand, noise((4, 7)))


def is_remat(name: str) -> bool:
    return name in {"checkpoint", "remat", "remat2"}


def num_remats(run: Callable[..., Any], *arguments: Any) -> int:
    return sum(map(is_remat, primitives(run, *arguments)))


def test_only_the_rematerialised_call_that_holds_the_layer_is_opened() -> None:
    model = networks.linen(Blocks(nn.remat), X)
    zero = jnp.zeros((4, 7))
    assert num_remats(*model, X) == 2
    for layer, expected in {"head": 2, "second": 1, "second/dense": 1}.items():
        delta = jnp.zeros((4, 5)) if layer == "head" else zero
        tapped = jinterp.tap(model.apply_fn, layer)
        assert num_remats(tapped, delta, model.params, X) == expected

    def both(params: Any, x: jax.Array) -> Any:
        return jinterp.activations(model.apply_fn, params, x, ["first/dense", "second/dense"])

    assert num_remats(both, model.params, X) == 0


def test_a_rematerialised_call_inside_the_layer_stays() -> None:
    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        with jax.named_scope("block"):
            x = jax.checkpoint(lambda x: inner(params, x))(x)
        return x[:, :5]

    def inner(params: Any, x: jax.Array) -> jax.Array:
        with jax.named_scope("inner"):
            return jnp.tanh(dense(params, x))

    params = jax.tree.map(lambda leaf: leaf[0], STACKED)

    def by_hand(delta: jax.Array) -> tuple[jax.Array, jax.Array]:
        read = jnp.tanh(dense(params, X)) + delta
        return read[:, :5], read

    agree((apply_fn, params), X, "block", by_hand, noise((4, 7)))
    assert num_remats(jinterp.tap(apply_fn, "block"), jnp.zeros((4, 7)), params, X) == 1
    found = jinterp.activations(apply_fn, params, X, ["block", "block/inner"])
    np.testing.assert_array_equal(found["block"], found["block/inner"])


class NnxBlock(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.dense = nnx.Linear(7, 7, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.tanh(self.dense(x))


class NnxRemat(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.first, self.second = NnxBlock(rngs), NnxBlock(rngs)
        self.head = nnx.Linear(7, 5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in (self.first, self.second):
            x = nnx.remat(lambda block, x: block(x))(block, x)
        return self.head(x)


@pytest.mark.parametrize("layer", ["first", "second/dense"])
def test_nnx_remat(layer: str) -> None:
    module = NnxRemat(nnx.Rngs(0))
    params = nnx.to_pure_dict(nnx.state(module))
    by_hand = blocks_by_hand(params, layer)
    agree(jinterp.from_nnx(module), X, layer, by_hand, noise((4, 7)))


class NnxScan(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        @nnx.split_rngs(splits=STEPS)
        @nnx.vmap(in_axes=0, out_axes=0)
        def make(rngs: nnx.Rngs) -> NnxBlock:
            return NnxBlock(rngs)

        self.blocks = make(rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
        def run(block: NnxBlock, x: jax.Array) -> jax.Array:
            return block(x)

        return run(self.blocks, x)[:, :5]


def steps_by_hand(params: Any, step: int, reverse: bool = False) -> Callable[[Any], Any]:
    """A stack of dense layers, the delta on one; steps count from 1 in the order they run."""

    def by_hand(delta: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, read = jnp.asarray(X), jnp.zeros(0)
        order = range(STEPS)[::-1] if reverse else range(STEPS)
        for number, index in enumerate(order, start=1):
            x = dense(jax.tree.map(lambda leaf, index=index: leaf[index], params), x)
            if number == step:
                x = read = x + delta
            x = jnp.tanh(x)
        return x[:, :5], read

    return by_hand


def test_nnx_scan() -> None:
    module = NnxScan(nnx.Rngs(0))
    params = nnx.to_pure_dict(nnx.state(module))["blocks"]["dense"]
    model = jinterp.from_nnx(module)
    agree(model, X, "blocks#2/dense", steps_by_hand(params, 2), noise((4, 7)))


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def body(block: Block, x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return block(x), None

        scan = nn.scan(body, variable_axes={"params": 0}, split_rngs={"params": True}, length=STEPS)
        return scan(Block(name="block"), x, None)[0][:, :5]


def test_linen_scan() -> None:
    model = networks.linen(Scanned(), X)
    names = [each.name for each in jinterp.layers(*model, X)]
    (layer,) = [name for name in names if "#2" in name and name.endswith("dense")]
    by_hand = steps_by_hand(model.params["params"]["block"]["dense"], 2)
    agree(model, X, layer, by_hand, noise((4, 7)))


def scanned(reverse: bool) -> Callable[..., Any]:
    def body(x: jax.Array, weights: Any) -> tuple[jax.Array, jax.Array]:
        with jax.named_scope("dense"):
            x = dense(weights, x)
        return jnp.tanh(x), x.sum(1)

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        x, sums = jax.lax.scan(body, jnp.asarray(x), params, reverse=reverse)
        return x[:, :5] + 0 * sums.sum(0)[:, None]

    return apply_fn


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("reverse", [False, True])
def test_lax_scan(reverse: bool, step: int) -> None:
    by_hand = steps_by_hand(STACKED, step, reverse)
    agree((scanned(reverse), STACKED), X, f"dense#{step}", by_hand, noise((4, 7)))


def test_what_a_scan_stacks_keeps_its_order() -> None:
    """The layer is opened in one step; the outputs of the others stay where they were."""

    def body(x: jax.Array, weights: Any) -> tuple[jax.Array, jax.Array]:
        with jax.named_scope("dense"):
            x = jnp.tanh(dense(weights, x))
        return x, x.sum(1)

    for reverse in (False, True):

        def apply_fn(params: Any, x: jax.Array, reverse: bool = reverse) -> jax.Array:
            return jax.lax.scan(body, x, params, reverse=reverse)[1].T

        logits, _ = jinterp.tap(apply_fn, "dense#2")(jnp.zeros((4, 7)), STACKED, jnp.asarray(X))
        np.testing.assert_allclose(logits, apply_fn(STACKED, jnp.asarray(X)), rtol=1e-5, atol=1e-6)


def test_a_scan_that_no_layer_is_in_stays_a_scan() -> None:
    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        x = scanned(False)(params, x)
        with jax.named_scope("last"):
            return x * 2

    tapped = jinterp.tap(apply_fn, "last")
    assert primitives(tapped, jnp.zeros((4, 5)), STACKED, X).count("scan") == 1
    opened = jinterp.tap(apply_fn, "dense#1")
    assert primitives(opened, jnp.zeros((4, 7)), STACKED, X).count("scan") == 0


def test_a_fori_loop_of_known_length_is_a_scan() -> None:
    def apply_fn(params: jax.Array, x: jax.Array) -> jax.Array:
        def body(_: jax.Array, x: jax.Array) -> jax.Array:
            with jax.named_scope("double"):
                return x @ params

        return jax.lax.fori_loop(0, 3, body, jnp.asarray(x))

    read = jinterp.activations(apply_fn, 2 * jnp.eye(7), X, ["double#1", "double#3"])
    np.testing.assert_allclose(read["double#1"], 2 * X)
    np.testing.assert_allclose(read["double#3"], 8 * X)


def test_a_scan_without_layers_is_not_unrolled() -> None:
    def apply_fn(params: jax.Array, x: jax.Array) -> jax.Array:
        with jax.named_scope("hidden"):
            x = x @ params
        return jax.lax.scan(lambda x, _: (x / 2, None), x, None, length=1000)[0]

    program = flatten(jax.make_jaxpr(apply_fn)(jnp.eye(7), X), 1, None)
    assert [step.eqn.primitive.name for step in program.steps].count("scan") == 1
    found = jinterp.layers(apply_fn, jnp.eye(7), X)
    assert [(each.name, each.shape) for each in found] == [("hidden", (4, 7))]


def test_a_scan_of_no_steps() -> None:
    def apply_fn(params: jax.Array, x: jax.Array) -> jax.Array:
        with jax.named_scope("hidden"):
            x = x @ params

        def body(x: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            with jax.named_scope("never"):
                return x + 1, x

        return jax.lax.scan(body, x, None, length=0)[0]

    read = jinterp.activations(apply_fn, jnp.eye(7), X, "hidden")["hidden"]
    np.testing.assert_allclose(read, X)


@pytest.mark.parametrize("jitted", [False, True])
def test_scans_in_a_scan(jitted: bool) -> None:
    params = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf]), STACKED)

    def outer(x: jax.Array, weights: Any) -> tuple[jax.Array, None]:
        def run(x: jax.Array) -> jax.Array:
            with jax.named_scope("group"):
                return jax.lax.scan(inner, x, weights)[0]

        return (jax.jit(run) if jitted else run)(x), None

    def inner(x: jax.Array, weights: Any) -> tuple[jax.Array, None]:
        with jax.named_scope("dense"):
            x = dense(weights, x)
        return jnp.tanh(x), None

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        return jax.lax.scan(outer, jnp.asarray(x), params)[0][:, :5]

    def by_hand(delta: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, read = jnp.asarray(X), jnp.zeros(0)
        for group in range(2):
            for step in range(STEPS):
                x = dense(jax.tree.map(operator.itemgetter((group, step)), params), x)
                if (group, step) == (1, 0):
                    x = read = x + delta
                x = jnp.tanh(x)
        return x[:, :5], read

    agree((apply_fn, params), X, "group#2/dense#1", by_hand, noise((4, 7)))
    tapped = jinterp.tap(apply_fn, "group#2")
    logits, _ = tapped(jnp.zeros((4, 7)), params, X)
    np.testing.assert_allclose(logits, apply_fn(params, X), rtol=1e-5, atol=1e-6)
    assert primitives(tapped, jnp.zeros((4, 7)), params, X).count("scan") == 2
    with pytest.raises(ValueError, match=r"called 6 times.*'group#1/dense#1'.* and 1 more"):
        jinterp.activations(apply_fn, params, X, "group/dense")


@jax.custom_vjp
def loud(x: jax.Array) -> jax.Array:
    return jnp.tanh(x)


loud.defvjp(lambda x: (jnp.tanh(x), None), lambda _, gradient: (10 * gradient,))


@jax.custom_jvp
def quiet(x: jax.Array) -> jax.Array:
    return jnp.tanh(x)


quiet.defjvp(lambda primals, tangents: (jnp.tanh(*primals), tangents[0] / 10))


@pytest.mark.parametrize("rule", [loud, quiet], ids=["vjp", "jvp"])
def test_custom_rules_are_obeyed_in_and_after_the_layer(rule: Callable[..., Any]) -> None:
    params = jax.tree.map(lambda leaf: leaf[0], STACKED)

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        with jax.named_scope("first"):
            x = dense(params, x)
        with jax.named_scope("second"):
            return rule(x)[:, :5]

    def by_hand(delta: jax.Array) -> tuple[jax.Array, jax.Array]:
        read = dense(params, X) + delta
        return rule(read)[:, :5], read

    agree((apply_fn, params), X, "first", by_hand, noise((4, 7)))
    gradient = jax.grad(lambda delta: jinterp.tap(apply_fn, "first")(delta, params, X)[0].sum())
    expected = 10.0 if rule is loud else 0.1
    np.testing.assert_allclose(gradient(jnp.zeros((4, 7)))[:, :5], expected, rtol=1e-6)


def scoped(x: jax.Array) -> jax.Array:
    with jax.named_scope("inner"):
        return x / 2


def in_while(x: jax.Array) -> jax.Array:
    return jax.lax.while_loop(lambda x: x.sum() > 1, scoped, x)


def in_cond(x: jax.Array) -> jax.Array:
    return jax.lax.cond(x.sum() > 1, scoped, lambda x: x, x)


def in_custom_rule(x: jax.Array) -> jax.Array:
    rule = jax.custom_vjp(scoped)
    rule.defvjp(lambda x: (scoped(x), None), lambda _, gradient: (gradient,))
    return rule(x)


@pytest.mark.parametrize(
    ("part", "kind"), [(in_while, "while"), (in_cond, "cond"), (in_custom_rule, "custom_vjp_call")]
)
def test_what_cannot_be_opened_is_named_and_can_be_read_around(
    part: Callable[..., Any], kind: str
) -> None:
    def apply_fn(params: jax.Array, x: jax.Array) -> jax.Array:
        with jax.named_scope("outer"):
            return part(x @ params)

    assert [each.name for each in jinterp.layers(apply_fn, jnp.eye(7), X)] == ["outer"]
    for name in ("inner", "outer/inner", "outer.inner"):
        with pytest.raises(
            ValueError, match=rf"no layer '{name}'\. It is inside a `{kind}`.*around"
        ):
            jinterp.activations(apply_fn, jnp.eye(7), X, name)
    read = jinterp.activations(apply_fn, jnp.eye(7), X, "outer")["outer"]
    np.testing.assert_allclose(read, part(jnp.asarray(X)), rtol=1e-6)
