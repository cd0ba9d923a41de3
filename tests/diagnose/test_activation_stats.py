"""Statistics of layers: NumPy over the collected activations, planted faults, bad input."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import jinterp
from jinterp.diagnose import activation_stats
from jinterp.diagnose._values import some
from tests import networks
from tests.problems import count_compiles, linear

NUM = 21


@functools.cache
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(NUM, 8, 12, 3)) + rng.normal(size=(NUM, 1, 1, 3))).astype(np.float32)
    return x, np.zeros(NUM, int)


def entropy_rank(rows: np.ndarray) -> float:
    singular = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
    shares = singular[singular > 0] / singular.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


@pytest.mark.parametrize("library", networks.CNNS)
@pytest.mark.parametrize("batch_size", [1, 4, NUM, 32])
def test_equal_numpys_in_float64_by_any_batch_size(library: str, batch_size: int) -> None:
    model, (x, y) = networks.CNNS[library](), data()
    stats = activation_stats(*model, jinterp.batches((x, y), batch_size))
    assert [layer.name for layer in stats.layers] == ["conv1", "conv2", "head"]
    assert stats.num_examples == NUM
    found = jinterp.activations(*model, x, ["conv1", "conv2", "head"])
    for layer in stats.layers:
        values = np.float64(found[layer.name])
        channels = values.reshape(NUM, -1, values.shape[-1])
        flat = channels.reshape(-1, values.shape[-1])
        close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
        close(layer.mean, values.mean())
        close(layer.deviation, values.std())
        close(layer.channels.mean, flat.mean(0))
        close(layer.channels.deviation, flat.std(0))
        close(layer.channels.minimum, flat.min(0))
        close(layer.channels.maximum, flat.max(0))
        close([layer.minimum, layer.maximum], [flat.min(), flat.max()])
        seen = networks.on_grid(layer.name, values).reshape(-1, values.shape[-1])
        close(layer.channels.near_zero, (np.abs(seen) < 3 / 64).mean(0), rtol=0)
        assert layer.near_zero == pytest.approx((np.abs(seen) < 3 / 64).mean())
        np.testing.assert_array_equal(layer.counts, np.histogram(seen, stats.edges)[0])
        assert layer.effective_rank == pytest.approx(entropy_rank(seen), rel=1e-4)
        assert layer.finite == 1
        assert layer.shape == found[layer.name].shape[1:]


@given(shape=st.lists(st.integers(1, 300), max_size=3))
@hypothesis_settings(max_examples=100)
def test_a_grid_covers_every_axis(shape: list[int]) -> None:
    grid = some(tuple(shape))
    num = math.prod(map(len, grid))
    assert 1 <= num <= 9
    assert num == math.prod(shape) or math.prod(shape) > 9
    for axis, size in zip(grid, shape, strict=True):
        assert axis.step % 2 == 1
        assert all(min(abs(each - seen) for seen in axis) < axis.step for each in range(size))


def test_the_three_libraries_know_the_same_activation_functions() -> None:
    for library in networks.CNNS.values():
        stats = activation_stats(*library(), data())
        assert [layer.activation_function for layer in stats.layers] == ["relu", "relu", None]


@given(
    values=st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False),
        min_size=1,
        max_size=20,
    )
)
@hypothesis_settings(max_examples=25)
def test_every_value_is_in_its_bin(values: list[float]) -> None:
    """−0, edges themselves, and what is beyond them; NumPy's bins are closed on the left."""
    x = np.zeros((20, 1), np.float32)
    x[: len(values), 0] = values
    stats = activation_stats(*named(), jinterp.batches((x, np.zeros(20, int)), 20))
    magnitudes = np.histogram(np.abs(x), stats.edges[len(stats.edges) // 2 :])[0]
    counts = stats["same"].counts
    middle = len(counts) // 2
    np.testing.assert_array_equal(counts[middle + 1 :] + counts[:middle][::-1], magnitudes)
    assert counts[middle + 1 :].sum() == (x >= 2.0**-16).sum()
    assert counts.sum() == 20


def same(params: Any, x: Any) -> Any:
    with jax.named_scope("same"):
        x = x * params
    return jnp.concatenate([x, -x], -1)


def named() -> jinterp.Model:
    return jinterp.Model(same, jnp.ones(()))


class Sick(nn.Module):
    """A hidden layer whose rectifier never lets units 1 and 2 through, and a tanh that is flat."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Dense(4, name="rectified")(x))
        x = nn.tanh(nn.Dense(3, name="cut")(x))
        with jax.named_scope("squashed"):
            x = nn.sigmoid(100 * x)
        return nn.Dense(2, name="head")(x)


def sick() -> jinterp.Model:
    module = Sick()
    variables = jax.tree.map(np.array, module.init(jax.random.key(0), jnp.zeros((1, 3))))
    layers = variables["params"]
    layers["rectified"]["bias"][1:3] = -1000
    layers["cut"]["kernel"] *= 100
    layers["cut"]["bias"][:] = [50, 0, 0]
    return jinterp.from_linen(module, variables)


def test_dead_and_saturated_units_are_named() -> None:
    """Case 27: a rectifier with a bias of −1000."""
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    model = sick()
    stats = activation_stats(*model, (x, np.zeros(50, int)))
    rectified, cut, squashed, head = stats.layers
    assert rectified.channels.dead.tolist() == [False, True, True, False]
    assert rectified.dead == 0.5
    values = np.float64(jinterp.activations(*model, x, "cut")["cut"])
    expected = 1 - np.tanh(values) ** 2 < 0.05
    np.testing.assert_allclose(cut.channels.saturated, expected.mean(0))
    values = np.float64(jinterp.activations(*model, x, "squashed")["squashed"])
    expected = 4 * values * (1 - values) < 0.05
    np.testing.assert_allclose(squashed.channels.saturated, expected.mean(0), atol=1e-6)
    assert squashed.activation_function == "sigmoid"
    assert np.isnan(rectified.saturated)
    assert np.isnan(head.channels.saturated).all()
    assert head.activation_function is None
    assert "rectified" in str(stats)


def test_negative_outputs_that_no_rectifier_reads_are_alive() -> None:
    """A dead unit is not one that is near zero, nor one that is negative."""

    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("negative"):
            x = x - params
        return jax.nn.relu(x) + x

    x = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    stats = activation_stats(apply_fn, jnp.full((1, 1), 100.0), (x, np.zeros(9, int)))
    assert stats["negative"].dead == 0
    assert stats["negative"].maximum < 0


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_what_a_function_flattens_counts_before_it_as_behind_it(name: str) -> None:
    function = {"tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}[name]

    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("before"):
            x = x * params
        with jax.named_scope("behind"):
            return function(x)

    x = np.linspace(-8, 8, 41, dtype=np.float32)[:, None]
    stats = activation_stats(apply_fn, jnp.ones((1, 1)), (x, np.zeros(41, int)))
    slope = 1 - np.tanh(x if name == "tanh" else x / 2) ** 2  # of its largest
    assert stats["before"].saturated == pytest.approx((slope < 0.05).mean())
    assert stats["behind"].saturated == pytest.approx((slope < 0.05).mean())
    assert stats["before"].activation_function == name


@jax.custom_jvp
def shifted_relu(x: jax.Array) -> jax.Array:
    return jnp.maximum(x, 0.0) - 0.5


shifted_relu.defjvps(lambda tangent, primal, x: jnp.where(x > 0, tangent, jnp.zeros_like(x)))


@pytest.mark.parametrize(
    ("behind", "name"),
    [
        (jax.nn.relu, "relu"),
        (jax.nn.relu6, "relu"),
        (lambda x: jax.nn.relu(x.reshape(-1)), "relu"),
        (lambda x: jnp.maximum(x, 1.0), None),
        (lambda x: (x, jax.nn.relu(x)), None),
        (lambda x: jax.nn.relu(x) + jnp.tanh(x), None),
    ],
    ids=["relu", "relu6", "reshaped", "max with 1", "returned", "two"],
)
def test_what_reads_a_layer_is_told(behind: Any, name: str | None) -> None:
    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("layer"):
            x = x * params
        return jax.tree.map(lambda leaf: leaf.reshape(len(x), -1), behind(x))

    ds = (np.ones((4, 2), np.float32), np.zeros(4, int))
    stats = activation_stats(apply_fn, jnp.ones((1, 1)), ds)
    assert stats["layer"].activation_function == name


def test_a_rectifier_that_is_shifted_is_none() -> None:
    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("layer"):
            return shifted_relu(x * params)

    ds = (np.full((4, 2), 0.25, np.float32), np.zeros(4, int))
    stats = activation_stats(apply_fn, jnp.ones((1, 1)), ds)
    assert stats["layer"].maximum == -0.25
    assert stats["layer"].dead == 0


def test_a_table_as_long_as_the_batch_is_left_out() -> None:
    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("table"):
            table = params * 2
        with jax.named_scope("sum"):
            return x + table.sum(0)[None]

    ds = jinterp.batches((np.ones((8, 2), np.float32), np.zeros(8, int)), 4)
    stats = activation_stats(apply_fn, jnp.ones((4, 2)), ds)
    assert [layer.name for layer in stats.layers] == ["sum"]


def test_a_unit_that_reaches_0_and_no_more_is_dead() -> None:
    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("before"):
            x = x * params
        return jax.nn.relu(x)

    x = np.array([[0, 1], [1, 0]], np.float32)
    stats = activation_stats(apply_fn, jnp.array([[-1.0, 1.0]]), (x, np.zeros(2, int)))
    assert stats["before"].channels.dead.tolist() == [True, False]


def test_what_has_no_batch_or_no_floats_is_left_out() -> None:
    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("bias"):
            bias = params * 2
        with jax.named_scope("rounded"):
            whole = jnp.round(x).astype(jnp.int32)
        with jax.named_scope("sum"):
            return x + bias + whole.astype(jnp.float32)

    ds = (np.ones((5, 2), np.float32), np.zeros(5, int))
    stats = activation_stats(apply_fn, jnp.ones((1, 2)), ds)
    assert [layer.name for layer in stats.layers] == ["sum"]
    with pytest.raises(ValueError, match=r"'bias' returns the shape \(1, 2\), which has no axis"):
        activation_stats(apply_fn, jnp.ones((1, 2)), ds, ["bias"])
    with pytest.raises(ValueError, match="'rounded' returns int32; expected floating point"):
        activation_stats(apply_fn, jnp.ones((1, 2)), ds, ["rounded"])


def test_a_nan_is_in_the_numbers_of_its_channel() -> None:
    x = np.ones((6, 2), np.float32)
    x[3, 1], x[4, 0] = np.nan, np.inf
    layer = activation_stats(*named(), (x, np.zeros(6, int)))["same"]
    assert layer.channels.finite.tolist() == [False, False]
    assert layer.finite == 0
    assert np.isnan(layer.channels.mean[1])
    assert np.isnan(layer.effective_rank)
    assert layer.counts.sum() == 10
    assert layer.channels.maximum[0] == np.inf


def test_on_a_mesh_and_with_padding() -> None:
    model, ds = networks.cnn(), data()
    whole = activation_stats(*model, ds)
    mesh = jax.make_mesh((4,), ("data",))
    cut = activation_stats(*model, jinterp.batches(ds, 8), mesh=mesh)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(cut), strict=True):
        if not isinstance(a, str):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_second_call_compiles_nothing() -> None:
    model, ds = networks.cnn(), data()
    activation_stats(*model, ds)
    with count_compiles() as counter:
        activation_stats(*model, ds)
        assert counter.compiled == 0


def test_half_precision_is_counted_in_single() -> None:
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    stats = activation_stats(same, jnp.ones((), jnp.bfloat16), (x.astype(jnp.bfloat16), x[:, 0]))
    values = np.float64(x.astype(jnp.bfloat16))
    np.testing.assert_allclose(stats["same"].channels.mean, values.mean(0), rtol=1e-5)


def test_a_constant_layer_has_no_rank() -> None:
    layer = activation_stats(*named(), (np.full((7, 3), 0.1, np.float32), np.zeros(7)))["same"]
    assert layer.effective_rank == 0
    assert layer.deviation == pytest.approx(0, abs=1e-7)


def test_channels_first() -> None:
    model, (x, y) = networks.cnn(), data()
    last = activation_stats(*model, (x, y), ["conv1"])
    second = activation_stats(*model, (x, y), ["conv1"], channel_axis=1)
    assert len(second["conv1"].channels.mean) == 8
    assert second["conv1"].mean == pytest.approx(last["conv1"].mean, rel=1e-5)
    with pytest.raises(ValueError, match="`channel_axis` is 9; the layer 'conv1' has the axes"):
        activation_stats(*model, (x, y), ["conv1"], channel_axis=9)


def test_labels_count_for_nothing() -> None:
    x, _ = data()
    activation_stats(*networks.unet(), (x, np.full(NUM, np.nan)))


def test_what_is_asked_wrongly() -> None:
    model, ds = networks.cnn(), data()
    with pytest.raises(ValueError, match="there is no layer 'conv3'"):
        activation_stats(*model, ds, ["conv3"])
    with pytest.raises(ValueError, match="enters no named scopes"):
        activation_stats(linear, jnp.eye(3), (np.ones((4, 3), np.float32), np.zeros(4)))
    with pytest.raises(KeyError, match="there is no layer 'x'; there are 'same'"):
        activation_stats(*named(), (np.ones((4, 3), np.float32), np.zeros(4)))["x"]


def test_a_model_in_training_mode_is_refused() -> None:
    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("norm"):
            return (x - x.mean(0, keepdims=True)) * params

    with pytest.raises(ValueError, match="mixes the examples of a batch"):
        activation_stats(apply_fn, jnp.ones((1, 1)), (data()[0][:, 0, 0], np.zeros(NUM)))


def test_of_very_many_channels_no_rank_is_told() -> None:
    x = np.random.default_rng(0).normal(size=(6, 513)).astype(np.float32)
    assert np.isnan(activation_stats(*named(), (x, np.zeros(6)))["same"].effective_rank)
