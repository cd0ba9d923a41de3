"""Input invariance: who moves when the inputs do, in closed form and on networks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jinterp
from tests import networks
from tests.attribution.double import double
from tests.networks import CNNS, IMAGES, ROWS, TOKENS, cnn
from tests.problems import count_compiles

TARGET = np.array([2, 0, 4, 1])


def linear(params: jax.Array, x: jax.Array) -> jax.Array:
    return x @ params


def moved(explain: Any, *arguments: Any, **keywords: Any) -> np.ndarray:
    return np.asarray(jinterp.input_invariance(explain, *arguments, **{"shift": 2.0, **keywords}))


def test_input_times_gradient_of_a_linear_model_moves_by_the_shift() -> None:
    """W ⊙ (x + b) against w ⊙ x: ‖w ⊙ b‖ / ‖w ⊙ x‖."""
    weights, shift = (np.random.default_rng(n).normal(size=7).astype(np.float32) for n in range(2))
    found = moved(jinterp.input_x_gradient, linear, weights[:, None], ROWS, 0, shift=shift)
    expected = np.linalg.norm(weights * shift) / np.linalg.norm(weights * ROWS, axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", CNNS)
def test_the_gradient_stays(kind: str) -> None:
    np.testing.assert_allclose(moved(jinterp.gradient, *CNNS[kind](), IMAGES, TARGET), 0, atol=1e-4)


def from_the_mean(apply_fn: Any, params: Any, x: Any, target: Any = None) -> Any:
    baseline = x.mean(axis=(1, 2), keepdims=True)
    return jinterp.integrated_gradients(apply_fn, params, x, target, baseline=baseline)


def test_integrated_gradients_stay_where_the_baseline_moves_too() -> None:
    assert (moved(jinterp.integrated_gradients, *cnn(), IMAGES, TARGET) > 0.1).all()
    assert (moved(jinterp.input_x_gradient, *cnn(), IMAGES, TARGET) > 0.1).all()
    np.testing.assert_allclose(moved(from_the_mean, *cnn(), IMAGES, TARGET), 0, atol=1e-3)


def test_a_layer_is_the_same_for_both_models() -> None:
    for explain in (jinterp.hires_cam, jinterp.at_layer(jinterp.gradient, "conv2")):
        np.testing.assert_allclose(moved(explain, *cnn(), IMAGES, TARGET), 0, atol=1e-4)


def test_draws_are_the_same_where_the_key_is() -> None:
    smoothed = jinterp.smooth(jinterp.gradient, key=jax.random.key(0), num_samples=3)
    np.testing.assert_allclose(moved(smoothed, *cnn(), IMAGES, TARGET), 0, atol=1e-4)


@pytest.mark.parametrize("shape", [(), (3,), (1, 1, 3), (8, 1, 3), (8, 12, 3)])
def test_a_shift_of_every_shape(shape: tuple[int, ...]) -> None:
    shift = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    whole = np.broadcast_to(shift, IMAGES.shape[1:])
    found = moved(jinterp.input_x_gradient, *cnn(), IMAGES, TARGET, shift=shift)
    slopes = np.asarray(jinterp.gradient(*cnn(), IMAGES, TARGET))
    norms = [
        np.linalg.norm(each.reshape(4, -1), axis=1) for each in (slopes * whole, slopes * IMAGES)
    ]
    np.testing.assert_allclose(found, norms[0] / norms[1], rtol=1e-3)


def two_inputs(params: Any, x: Any) -> jax.Array:
    return x["a"] @ params["a"] + x["b"] @ params["b"]


def test_inputs_that_are_a_pytree() -> None:
    params = {"a": np.ones((7, 1), np.float32), "b": np.full((3, 1), 2.0, np.float32)}
    x = {"a": ROWS, "b": ROWS[:, :3]}
    size = np.linalg.norm(np.concatenate([ROWS, 2 * ROWS[:, :3]], axis=1), axis=1)
    for shift, norm in ((1.0, np.sqrt(7 + 3 * 4)), ({"a": 0.0, "b": np.ones(3)}, np.sqrt(3 * 4))):
        found = moved(jinterp.input_x_gradient, two_inputs, params, x, 0, shift=shift)
        np.testing.assert_allclose(found, norm / size, rtol=1e-5)


def test_the_class_stays_the_one_predicted_for_the_inputs() -> None:
    found = moved(jinterp.input_x_gradient, *cnn(), IMAGES)
    predicted = np.asarray(cnn().apply_fn(cnn().params, IMAGES)).argmax(axis=1)
    np.testing.assert_array_equal(found, moved(jinterp.input_x_gradient, *cnn(), IMAGES, predicted))


def test_nothing_is_compiled_for_another_shift_or_parameters() -> None:
    others = jax.tree.map(jnp.negative, cnn().params)
    moved(jinterp.input_x_gradient, *cnn(), IMAGES, TARGET)
    with count_compiles() as counter:
        found = moved(jinterp.input_x_gradient, cnn().apply_fn, others, IMAGES, TARGET, shift=3.0)
    assert counter.compiled == 0
    assert (found > 0).all()


def test_no_number_depends_on_the_batch() -> None:
    whole = moved(jinterp.integrated_gradients, *cnn(), IMAGES, TARGET)
    order = np.array([2, 0, 3])
    some = moved(jinterp.integrated_gradients, *cnn(), IMAGES[order], TARGET[order])
    np.testing.assert_allclose(some, whole[order], rtol=1e-4)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_two_devices_give_the_same(kind: Any) -> None:
    mesh = jax.make_mesh((2,), ("batch",), (kind,), devices=jax.devices()[:2])
    rows = NamedSharding(mesh, PartitionSpec("batch"))
    params = jax.device_put(cnn().params, NamedSharding(mesh, PartitionSpec()))
    x, target = (jax.device_put(each, rows) for each in (IMAGES, jnp.asarray(TARGET)))
    found = moved(jinterp.input_x_gradient, cnn().apply_fn, params, x, target)
    expected = moved(jinterp.input_x_gradient, *cnn(), IMAGES, TARGET)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_under_jit() -> None:
    found = jax.jit(
        lambda x: jinterp.input_invariance(jinterp.input_x_gradient, *cnn(), x, TARGET, shift=2.0)
    )
    expected = moved(jinterp.input_x_gradient, *cnn(), IMAGES, TARGET)
    np.testing.assert_allclose(found(IMAGES), expected, rtol=1e-4)


def test_float64(x64: None) -> None:
    found = moved(jinterp.gradient, *double(networks.mlp()), ROWS.astype(float), TARGET)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, 0, atol=1e-13)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("explain", "x", "shift", "error", "said"),
    [
        (jinterp.gradient, IMAGES, np.ones((4, 8, 12, 3)), ValueError, r"`shift` has the shape"),
        (jinterp.gradient, IMAGES, np.ones(12), ValueError, r"one example \(8, 12, 3\)"),
        (jinterp.gradient, IMAGES, {"a": 1.0}, ValueError, r"`shift` is a PyTreeDef.*expected"),
        (jinterp.gradient, IMAGES, "much", TypeError, "`shift` is 'much'"),
        (jinterp.rise, IMAGES, 1.0, TypeError, r"needs `key`"),
        (lambda *a: a[2].sum(), IMAGES, 1.0, ValueError, r"returned float32\[\] for 4 examples"),
    ],
)
def test_named_errors(explain: Any, x: Any, shift: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        jinterp.input_invariance(explain, *cnn(), x, 0, shift=shift)


@pytest.mark.usefixtures("as_user")
def test_tokens_cannot_be_shifted() -> None:
    explain = jinterp.at_layer(jinterp.gradient, "embed")
    with pytest.raises(TypeError, match="`x` is int32"):
        jinterp.input_invariance(explain, *networks.text(), TOKENS, 0, shift=1)


def test_another_structure_for_the_shifted_model() -> None:
    calls = iter([3, 2])

    def explain(apply_fn: Any, params: Any, x: Any, target: Any = None) -> Any:
        return x[:, : next(calls)]

    with pytest.raises(ValueError, match="expected the same shapes for every model"):
        jinterp.input_invariance(explain, *cnn(), IMAGES, 0, shift=1.0)
