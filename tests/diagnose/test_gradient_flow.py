"""The gradient leaf by leaf: closed forms, healthy networks without alarm, planted faults found."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

import jinterp
from tests import networks
from tests.problems import count_compiles

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(64, 20)).astype(np.float32)
LABELS = RNG.integers(0, 10, 64)


def affine_layers(params: Any, x: Any, activation: Any) -> Any:
    for weights, bias in params[:-1]:
        x = activation(x @ weights + bias[None])
    weights, bias = params[-1]
    return x @ weights + bias[None]


SIGMOID = jinterp.mean_loss(functools.partial(affine_layers, activation=jax.nn.sigmoid))
TANH = jinterp.mean_loss(functools.partial(affine_layers, activation=jnp.tanh))
RELU = jinterp.mean_loss(functools.partial(affine_layers, activation=jax.nn.relu))


def weights_of(depth: int, gain: float, scale: float = 1.0, width: int = 32) -> list[Any]:
    """He's or LeCun's initialisation (gain 2 or 1), times `scale`."""
    rng = np.random.default_rng(depth)
    sizes = [20] + [width] * (depth - 1) + [10]
    return [
        (
            (scale * np.sqrt(gain / a) * rng.normal(size=(a, b))).astype(np.float32),
            np.zeros(b, np.float32),
        )
        for a, b in itertools.pairwise(sizes)
    ]


def rows_of(flow: Any) -> dict[str, Any]:
    return {row.name: row for row in flow.rows}


def linear_loss(params: Any, batch: Any) -> Any:
    """Its gradient by the weights is the batch, whatever they are."""
    return (params["weights"] * batch).sum() + 0 * params["bias"].sum()


def test_the_numbers_of_a_known_gradient() -> None:
    gradient = np.array([3, 0, -4, 0], np.float32)
    params = {"weights": np.full(4, 5, np.float32), "bias": np.zeros(2, np.float32)}
    flow = jinterp.gradient_flow(linear_loss, params, gradient, optimizer=optax.sgd(0.01))
    row = rows_of(flow)["weights"]
    assert row[:2] == ("weights", (4,))
    assert row[2:7] == pytest.approx((5, 10, 0.5, 2.5, 0.5))
    assert (row.num_nan, row.num_inf, row.verdict) == (0, 0, "healthy")
    assert row.update_ratio == pytest.approx(0.005)
    assert flow.loss == pytest.approx(-5)
    bias = rows_of(flow)["bias"]
    assert bias.verdict == "no gradient"
    assert np.isnan(bias.ratio)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_norms_whose_squares_float32_has_not(size: float) -> None:
    params = {"weights": np.ones(2, np.float32), "bias": np.ones(1, np.float32)}
    gradient = np.array([3 * size, 4 * size], np.float32)
    row = rows_of(jinterp.gradient_flow(linear_loss, params, gradient))["weights"]
    assert row.gradient_norm == pytest.approx(5 * size, rel=1e-5)
    assert row.verdict == "healthy"


def test_nan_and_infinity_are_counted_and_named() -> None:
    params = {"weights": np.ones(4, np.float32), "bias": np.ones(1, np.float32)}
    gradient = np.array([np.nan, np.inf, -np.inf, 1], np.float32)
    flow = jinterp.gradient_flow(linear_loss, params, gradient)
    row = rows_of(flow)["weights"]
    assert (row.num_nan, row.num_inf, row.verdict) == (1, 2, "not finite")
    assert flow.verdict == "not finite"
    assert "by `weights` is NaN or infinite" in flow.problems[0]
    assert "loss nan: not finite" in str(flow)


NETWORKS = {
    "mlp": networks.ROWS,
    "cnn": networks.IMAGES,
    "cnn_nnx": networks.IMAGES,
    "text": networks.TOKENS,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_healthy_networks_raise_no_alarm(name: str) -> None:
    model, x = getattr(networks, name)(), NETWORKS[name]
    with jax.numpy_dtype_promotion("standard"):
        flow = jinterp.gradient_flow(
            jinterp.mean_loss(model.apply_fn),
            model.params,
            (x, np.arange(len(x)) % networks.CLASSES),
            optimizer=optax.adam(1e-3),
        )
    assert (flow.verdict, flow.problems) == ("healthy", [])
    assert 0.05 < flow.early_to_late < 5
    assert all(row.update_ratio > 0 for row in flow.rows)


def test_deep_networks_of_usual_weights_are_healthy() -> None:
    for loss, gain in ((TANH, 1.0), (RELU, 2.0)):
        flow = jinterp.gradient_flow(loss, weights_of(12, gain), (ROWS, LABELS))
        assert (flow.verdict, flow.problems) == ("healthy", [])


def test_a_network_is_healthy_before_and_after_training() -> None:
    """To a loss of 1e-3, where all gradients are small."""
    params, optimizer = weights_of(4, 2.0), optax.adam(3e-3)
    labels = jnp.asarray(ROWS[:, :3].sum(1) > 0, jnp.int32)
    with jax.numpy_dtype_promotion("standard"):
        state = optimizer.init(params)

        @jax.jit
        def step(params: Any, state: Any) -> Any:
            gradient = jax.grad(RELU)(params, (ROWS, labels))
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

        for _ in range(300):
            params, state = step(params, state)
        flow = jinterp.gradient_flow(
            RELU, params, (ROWS, labels), optimizer=optimizer, optimizer_state=state
        )
    assert flow.loss < 1e-3
    assert (flow.verdict, flow.problems) == ("healthy", [])


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_a_deep_sigmoid_network_vanishes(scale: float) -> None:
    """With tiny weights the early gradients are below what float32 has, and exactly 0."""
    flow = jinterp.gradient_flow(SIGMOID, weights_of(12, 1.0, scale), (ROWS, LABELS))
    assert flow.verdict == "vanishing"
    assert "vanishes on its way back. In `" in flow.problems[0]
    assert flow.early_to_late < 1e-4
    assert (rows_of(flow)["0/0"].verdict == "no gradient") == (scale < 1)


@pytest.mark.parametrize("depth", [5, 12])
def test_weights_ten_times_too_large_explode(depth: int) -> None:
    """In a network of ReLUs the gradients are as large late as early."""
    flow = jinterp.gradient_flow(RELU, weights_of(depth, 2.0, scale=10), (ROWS, LABELS))
    assert flow.verdict == "exploding"
    assert "times as large as the weights" in flow.problems[0]
    assert 0.1 < flow.early_to_late < 10


def test_a_chaotic_network_explodes_on_the_way_back() -> None:
    flow = jinterp.gradient_flow(TANH, weights_of(12, 1.0, scale=10), (ROWS, LABELS))
    assert flow.verdict == "exploding"
    assert "explodes on its way back. In `0/0`, `1/0`" in flow.problems[0]


@pytest.mark.parametrize(("rate", "verdict"), [(0.003, "healthy"), (1.0, "large update")])
def test_a_learning_rate_that_replaces_the_weights(rate: float, verdict: str) -> None:
    weights = weights_of(5, 2.0, scale=1)
    with jax.numpy_dtype_promotion("standard"):  # optax's own
        flow = jinterp.gradient_flow(RELU, weights, (ROWS, LABELS), optimizer=optax.adam(rate))
    assert flow.verdict == verdict
    assert [problem.partition(" by ")[0] for problem in flow.problems] == (
        [] if verdict == "healthy" else ["One step changes the weights"]
    )


class Detached(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        main = nn.Dense(10, name="main")(x)
        branch = nn.Dense(10, name="late")(nn.relu(nn.Dense(8, name="branch")(x)))
        self.variable("batch_stats", "mean", jnp.zeros, 3)
        return main + jax.lax.stop_gradient(branch)


def test_a_branch_behind_stop_gradient_is_named() -> None:
    model = networks.linen(Detached(), ROWS)
    flow = jinterp.gradient_flow(jinterp.mean_loss(model.apply_fn), model.params, (ROWS, LABELS))
    without = {row.name for row in flow.rows if row.verdict == "no gradient"}
    assert without == {"branch/kernel", "branch/bias", "late/kernel", "late/bias"}
    assert {row.name for row in flow.rows} - without == {"main/kernel", "main/bias"}
    assert flow.verdict == "no gradient"
    assert all(name in flow.problems[0] for name in without)


def test_a_dead_layer_and_all_before_it_have_no_gradient() -> None:
    """The last bias is all that a loss still depends on."""
    params = weights_of(4, 2.0)
    params[2][1][...] = -1000
    flow = jinterp.gradient_flow(RELU, params, (ROWS, LABELS))
    verdicts = {name: row.verdict for name, row in rows_of(flow).items()}
    dead = {f"{layer}/{leaf}" for layer in range(3) for leaf in range(2)} | {"3/0"}
    assert {name for name, each in verdicts.items() if each == "no gradient"} == dead
    assert verdicts["3/1"] == "healthy"
    assert all(row.gradient_norm == 0 and row.zero_share == 1 for row in flow.rows[:6])


def test_a_frozen_leaf_is_named() -> None:
    optimizer = optax.multi_transform(
        {"train": optax.sgd(0.1), "freeze": optax.set_to_zero()}, ["freeze", "train", "train"]
    )
    flow = jinterp.gradient_flow(RELU, weights_of(3, 2.0), (ROWS, LABELS), optimizer=optimizer)
    assert [row.verdict for row in flow.rows] == ["frozen"] * 2 + ["healthy"] * 4
    assert flow.verdict == "frozen"
    assert "The optimizer leaves `0/0`, `0/1` as it is" in flow.problems[0]


def test_leaves_stand_in_the_order_in_which_they_are_read() -> None:
    """Not in that of the tree; recast all at the start; in a scan, rematerialised, and unread."""

    def loss(params: Any, x: Any) -> Any:
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
        x = jnp.tanh(x @ params["z"])
        x = jax.checkpoint(lambda b, c, x: jnp.tanh(jnp.tanh(x @ c) @ b))(
            params["b"], params["c"], x
        )
        x = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, params["y"])[0]
        return (x @ params["a"]).sum()

    square = np.eye(3, dtype=np.float16)
    params = dict.fromkeys("abcxz", square) | {"y": np.stack([square] * 2)}
    flow = jinterp.gradient_flow(loss, params, np.ones((2, 3), np.float32))
    assert [row.name for row in flow.rows] == ["z", "c", "b", "y", "a", "x"]


def test_only_what_is_trained_counts() -> None:
    def loss(params: Any, x: Any) -> Any:
        return (x * params["scale"][params["order"]]).sum()

    params = {"scale": np.ones(3, np.float32), "order": np.arange(3), "key": jax.random.key(0)}
    flow = jinterp.gradient_flow(
        loss, params | {"empty": np.zeros(0, np.float32)}, np.ones(3, np.float32)
    )
    assert [row.name for row in flow.rows] == ["scale"]


def test_the_state_of_an_optimizer_changes_its_update() -> None:
    """Of the collection "params", of all variables, and of what nnx.Optimizer holds."""
    module = networks.cnn_nnx_module()
    linen, nnx_model = networks.cnn(), networks.cnn_nnx()
    optimizer = optax.adam(1e-3)
    batch = (networks.IMAGES, np.arange(4))
    first = 1e-3 * np.sqrt(162) / np.linalg.norm(linen.params["params"]["conv1"]["kernel"])
    with jax.numpy_dtype_promotion("standard"):
        given = [
            (linen, jax.eval_shape(optimizer.init, linen.params["params"])),
            (linen, jax.eval_shape(optimizer.init, linen.params)),
            (nnx_model, nnx.Optimizer(module, optimizer, wrt=nnx.Param).opt_state),
        ]
        for model, state in given:
            flow = functools.partial(
                jinterp.gradient_flow,
                jinterp.mean_loss(model.apply_fn),
                model.params,
                batch,
                optimizer=optimizer,
            )
            zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
            same = flow(optimizer_state=zeros)
            later = flow(optimizer_state=jax.tree.map(np.ones_like, zeros))
            assert same.rows[0].update_ratio == pytest.approx(first, rel=1e-4)
            assert later.rows[0].update_ratio != pytest.approx(first, rel=0.1)


def test_a_second_call_compiles_nothing() -> None:
    params, optimizer = weights_of(3, 2.0), optax.sgd(0.1)
    jinterp.gradient_flow(RELU, params, (ROWS, LABELS), optimizer=optimizer)
    other = jax.tree.map(lambda leaf: leaf + 1, params)
    with count_compiles() as counter:
        jinterp.gradient_flow(RELU, other, (ROWS, LABELS), optimizer=optimizer)
    assert counter.compiled == 0


def test_float64() -> None:
    with jax.enable_x64(True):
        params = {"weights": np.ones(2), "bias": np.ones(1, np.float32)}
        gradient = np.array([3e-200, 4e-200])
        flow = jinterp.gradient_flow(linear_loss_mixed, params, gradient)
    assert rows_of(flow)["weights"].gradient_norm == pytest.approx(5e-200)


def linear_loss_mixed(params: Any, batch: Any) -> Any:
    return (params["weights"] * batch).sum() + params["bias"].sum().astype(batch.dtype)


def test_errors(as_user: None) -> None:
    params, batch = weights_of(2, 2.0), (ROWS, LABELS)
    with pytest.raises(TypeError, match="`loss_fn` is a int; expected a function loss_fn"):
        jinterp.gradient_flow(3, params, batch)
    with pytest.raises(ValueError, match=r"returned float32\[64\]; expected one floating-point"):
        jinterp.gradient_flow(lambda params, batch: batch[0][:, 0], params, batch)
    with pytest.raises(ValueError, match="returned a tuple; expected one floating-point number"):
        jinterp.gradient_flow(lambda params, batch: (RELU(params, batch), 1), params, batch)
    with pytest.raises(ValueError, match="`params` has no trained leaf of floating point"):
        jinterp.gradient_flow(RELU, [np.arange(3)], batch)
    with pytest.raises(TypeError, match="`optimizer` is a str; expected an optax optimizer"):
        jinterp.gradient_flow(RELU, params, batch, optimizer="adam")
    with pytest.raises(ValueError, match="`optimizer_state` is given without `optimizer`"):
        jinterp.gradient_flow(RELU, params, batch, optimizer_state=())
    other = optax.adam(1e-3).init(weights_of(3, 2.0))
    with pytest.raises(ValueError, match="`optimizer_state` has other shapes than `optimizer`"):
        jinterp.gradient_flow(
            RELU, params, batch, optimizer=optax.adam(1e-3), optimizer_state=other
        )


class Unhashable:
    __hash__ = None

    def __call__(self, params: Any, batch: Any) -> Any:
        return RELU(params, batch)


def test_a_loss_without_a_hash(as_user: None) -> None:
    with pytest.raises(TypeError, match="cannot be hashed"):
        jinterp.gradient_flow(Unhashable(), weights_of(2, 2.0), (ROWS, LABELS))
