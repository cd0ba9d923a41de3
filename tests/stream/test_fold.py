"""One pass: the same answer on every layout, compiled once, wrong models named."""

import os
import signal
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import jinterp
from jinterp import stream
from jinterp.stream.lanes import Lane
from tests.problems import count_compiles, identity, labelled_logits, linear

LOGITS, TARGETS = labelled_logits(50, 4)
X = np.random.default_rng(1).normal(size=(12, 5)).astype(np.float32)
Y = np.arange(12) % 3


def logit_0(batch: jinterp.Batch, logits: jax.Array) -> jax.Array:
    return logits[:, 0]


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return nn.Dense(3)(nn.BatchNorm(use_running_average=not train)(x))


MODULE = Normalised()
VARIABLES = MODULE.init(jax.random.key(0), X)


def in_training(variables, x):
    return MODULE.apply(variables, x, train=True, mutable=["batch_stats"])[0]


# ---------------------------------------------------------------- the same answer


@pytest.mark.parametrize("batch_size", [None, 1, 7, 64])
def test_the_batch_size_changes_nothing(batch_size: int | None) -> None:
    ds = jinterp.batches((LOGITS, TARGETS), batch_size)
    found = jinterp.confusion_matrix(*identity(4), ds)
    expected = np.zeros((4, 4), int)
    np.add.at(expected, (TARGETS, LOGITS.argmax(1)), 1)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("axes", [("data",), ("model", "data"), ("anything",)])
def test_a_mesh_changes_nothing(axes: tuple[str, ...]) -> None:
    shape = (2,) if len(axes) == 1 else (2, 2)
    devices = jax.devices()[: 2 * len(axes)]
    one = jinterp.evaluate(*identity(4), (LOGITS, TARGETS))
    many = jinterp.evaluate(
        *identity(4), (LOGITS, TARGETS), mesh=jax.make_mesh(shape, axes, devices=devices)
    )
    np.testing.assert_array_equal(one.confusion_matrix, many.confusion_matrix)
    for column in one.predictions._fields:
        np.testing.assert_allclose(
            getattr(one.predictions, column), getattr(many.predictions, column), rtol=1e-6
        )
    np.testing.assert_array_equal(one.top_losses.indices, many.top_losses.indices)


def test_sharded_parameters_stay_sharded() -> None:
    mesh = jax.make_mesh((4,), ("model",))
    sharding = NamedSharding(mesh, PartitionSpec(None, "model"))
    params = jax.device_put(jnp.eye(4), sharding)
    placed = stream.mesh.place(None, params)
    assert placed.put_params(params).sharding.spec == sharding.spec
    found = jinterp.confusion_matrix(linear, params, (LOGITS, TARGETS))
    np.testing.assert_array_equal(found, jinterp.confusion_matrix(*identity(4), (LOGITS, TARGETS)))


def slopes(params: jax.Array, batch: jinterp.Batch, logits: jax.Array) -> jax.Array:
    """The gradient of the first logit by the parameters, of each example."""
    return jax.vmap(jax.grad(lambda weights, x: (x @ weights)[0]), (None, 0))(params, batch.x)


def mean_of_prepared(batch: jinterp.Batch, prepared: jax.Array) -> jax.Array:
    return prepared


@pytest.mark.parametrize("sharded", [False, True])
def test_what_is_prepared_may_depend_on_the_parameters(sharded: bool) -> None:
    mesh = jax.make_mesh((2, 2), ("data", "model"))
    weights = jnp.eye(4)
    if sharded:
        weights = jax.device_put(weights, NamedSharding(mesh, PartitionSpec(None, "model")))
    found = jinterp.fold(
        {"it": stream.mean(mean_of_prepared)}, linear, weights, (LOGITS, TARGETS), prepare=slopes
    )["it"]
    expected = np.outer(LOGITS.mean(0), np.eye(4)[0])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_x64_and_half_precision_work() -> None:
    single = jinterp.top_losses(*identity(4), (LOGITS, TARGETS))
    with jax.enable_x64(True):
        model = jinterp.Model(linear, jnp.eye(4, dtype=jnp.float64))
        double = jinterp.top_losses(*model, (LOGITS.astype(np.float64), TARGETS))
    assert double.losses.dtype == np.float64
    np.testing.assert_array_equal(single.indices, double.indices)
    np.testing.assert_allclose(single.losses, double.losses, rtol=1e-6)
    half = jinterp.Model(linear, jnp.eye(4, dtype=jnp.bfloat16))
    logits = jnp.asarray(LOGITS, jnp.bfloat16)
    assert jinterp.top_losses(*half, (logits, TARGETS)).losses.dtype == np.float32


def test_inputs_may_be_a_pytree() -> None:
    def apply_fn(params, x):
        return x["a"] @ params + x["b"]

    ds = {"a": LOGITS, "b": np.zeros_like(LOGITS), "label": TARGETS}
    found = jinterp.top_losses(apply_fn, jnp.eye(4), jinterp.batches(ds, inputs=("a", "b")))
    expected = jinterp.top_losses(*identity(4), (LOGITS, TARGETS))
    np.testing.assert_array_equal(found.indices, expected.indices)


def test_preprocessing_is_part_of_the_step() -> None:
    ds = jinterp.batches((LOGITS, TARGETS), preprocess=lambda x: -x)
    found = jinterp.confusion_matrix(*identity(4), ds)
    expected = jinterp.confusion_matrix(*identity(4), (-LOGITS, TARGETS))
    np.testing.assert_array_equal(found, expected)


def test_probabilities_in_place_of_logits_are_noticed() -> None:
    def softmax(params, x):
        return jax.nn.softmax(x @ params)

    with pytest.warns(UserWarning, match="rows from 0 to 1 that sum to 1; expected logits"):
        jinterp.evaluate(softmax, jnp.eye(4), (LOGITS, TARGETS))

    def maps(params, x):
        return jax.nn.softmax((x @ params)[:, None, :])

    with pytest.warns(UserWarning, match="return jnp.log of its result"):
        jinterp.evaluate_segmentation(maps, jnp.eye(4), (LOGITS, TARGETS[:, None]))


# ---------------------------------------------------------------- compiles


@pytest.mark.parametrize(
    "function", [jinterp.top_losses, jinterp.evaluate], ids=lambda f: f.__name__
)
def test_one_trace_a_pass_and_none_on_the_second_call(function) -> None:
    traces = []

    def apply_fn(params, x):
        traces.append(x.shape)
        return x @ params

    ds = jinterp.batches((LOGITS, TARGETS), 16)  # three full batches and one padded
    function(apply_fn, jnp.eye(4), ds)
    assert set(traces) == {(16, 4)}
    seen = len(traces)
    with count_compiles() as counter:
        function(apply_fn, jnp.eye(4), ds)
    assert len(traces) == seen
    assert counter.compiled == 0


def test_the_model_is_compiled_once_a_pass() -> None:
    def apply_fn(params, x):
        return jnp.tanh(x @ params)

    params, ds = jnp.eye(4), jinterp.batches((LOGITS, TARGETS), 16)
    jinterp.top_losses(lambda p, x: x @ p, params, ds)  # what every pass shares is compiled
    with count_compiles() as counter:
        jinterp.top_losses(apply_fn, params, ds)
    assert counter.compiled <= 2  # the step, and the merge of the accumulators


def test_a_function_made_anew_warns_once_with_the_fix() -> None:
    def call() -> None:
        jinterp.confusion_matrix(lambda p, x: x @ p, jnp.eye(4), (LOGITS, TARGETS))

    call()
    with pytest.warns(UserWarning, match="`apply_fn` .*made anew for every call.*from_linen"):
        call()
    call()


def test_methods_and_adapters_do_not_warn() -> None:
    for _ in range(2):
        jinterp.confusion_matrix(MODULE.apply, VARIABLES, (X, Y))
        jinterp.confusion_matrix(*jinterp.from_linen(Normalised(), VARIABLES), (X, Y))


# ---------------------------------------------------------------- wrong models


@pytest.mark.parametrize(
    ("apply_fn", "params", "error", "message"),
    [
        (
            lambda p, x: (x, {}),
            None,
            TypeError,
            r"returned a tuple of 2; expected one array.*\[0\]",
        ),
        (lambda p, x: x[:, None], None, ValueError, r"logits of shape \(12, 1, 5\) for a batch"),
        (lambda p, x: x.sum(), None, ValueError, r"logits of shape \(\) for a batch of 12;"),
        (
            lambda p, x: x.argmax(1, keepdims=True),
            None,
            TypeError,
            "returned int32; expected float",
        ),
        (lambda p, x: x[:, :1], None, ValueError, "one logit an example.*jnp.pad"),
        (
            MODULE.apply,
            VARIABLES["params"],
            ValueError,
            "did not find all its variables.*params'. alone",
        ),
        (
            lambda v, x: MODULE.apply(v, x, train=True),
            VARIABLES,
            ValueError,
            "tried to change its own variables.*evaluation mode",
        ),
        (
            lambda v, x: nn.Dropout(0.5, deterministic=False).apply({}, x),
            None,
            ValueError,
            "asked for randomness, as dropout does in training.*evaluation mode",
        ),
        (in_training, VARIABLES, ValueError, "mixes the examples of a batch.*evaluation mode"),
    ],
)
@pytest.mark.usefixtures("as_user")
def test_a_wrong_model_is_named(apply_fn, params, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        jinterp.confusion_matrix(apply_fn, params, (X, Y))


def test_a_model_in_evaluation_mode_passes() -> None:
    assert jinterp.confusion_matrix(MODULE.apply, VARIABLES, (X, Y)).sum() == 12


# ---------------------------------------------------------------- wrong targets


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        (
            np.where(np.arange(50) == 17, 4, 0),
            ValueError,
            "target of example 17 is 4; expected 0 to 3",
        ),
        (
            np.where(np.arange(50) == 20, -1, 0),
            ValueError,
            "target of example 20 is -1.*unlabelled",
        ),
        (TARGETS.astype(np.float32), TypeError, r"`targets` are float32 of shape \[batch\]"),
        (np.eye(4, dtype=int)[TARGETS], TypeError, r"`targets` are int32 of shape .*argmax"),
        (
            np.zeros((50, 3), np.float32),
            ValueError,
            r"`targets` have the shape \[batch, 3\] for logits",
        ),
        (TARGETS[:, None], ValueError, r"shape \[batch, 1\] .* Use targets\[:, 0\]"),
        (np.zeros((50, 2, 2), int), ValueError, r"`targets` have the shape \[batch, 2, 2\]"),
    ],
)
@pytest.mark.parametrize(
    "function", [jinterp.top_losses, jinterp.evaluate], ids=lambda f: f.__name__
)
@pytest.mark.usefixtures("as_user")
def test_wrong_targets_are_named(function, targets, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        function(*identity(4), jinterp.batches((LOGITS, targets), 16))


# ---------------------------------------------------------------- the pass


def test_ctrl_c_says_what_was_done_and_keeps_it() -> None:
    def stop_after_20():
        for position in range(50):
            if position == 20:
                threading.Timer(0, os.kill, (os.getpid(), signal.SIGINT)).start()
                threading.Event().wait(5)
            yield LOGITS[position], TARGETS[position]

    ds = jinterp.batches(stop_after_20(), 4)
    with pytest.raises(jinterp.Interrupted, match="stopped after 20 examples") as caught:
        jinterp.fold({"mean": stream.mean(logit_0)}, *identity(4), ds)
    assert caught.value.num_examples == 20
    assert caught.value.results["mean"] == pytest.approx(LOGITS[:20, 0].mean(), rel=1e-5)


def test_ctrl_c_before_the_first_batch_is_a_plain_one() -> None:
    def stopped():
        yield LOGITS[0], TARGETS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        jinterp.evaluate(*identity(4), jinterp.batches(stopped(), 4))
    assert not isinstance(caught.value, jinterp.Interrupted)


def test_a_stream_may_fill_one_buffer_again_and_again() -> None:
    def refilled():
        buffer = np.empty(4, np.float32)
        for label in range(40):
            buffer[:] = 9 * np.eye(4, dtype=np.float32)[label % 4]
            yield buffer, label % 4

    matrix = jinterp.confusion_matrix(*identity(4), jinterp.batches(refilled(), 16))
    assert np.trace(matrix) == matrix.sum() == 40


def test_a_check_that_proved_nothing_is_made_again() -> None:
    def apply_fn(variables, x):
        return in_training(variables, x)

    jinterp.confusion_matrix(apply_fn, VARIABLES, jinterp.batches((X[:1], Y[:1]), 16))
    with pytest.raises(ValueError, match="mixes the examples"):
        jinterp.confusion_matrix(apply_fn, VARIABLES, jinterp.batches((X, Y), 16))


def test_preprocessing_that_mixes_examples_is_named() -> None:
    ds = jinterp.batches((LOGITS, TARGETS), 16, preprocess=lambda x: x - x.mean(0, keepdims=True))
    with pytest.raises(ValueError, match="mixes the examples"):
        jinterp.confusion_matrix(*identity(4), ds)


def test_the_users_mesh_context_changes_nothing() -> None:
    expected = jinterp.confusion_matrix(*identity(4), (LOGITS, TARGETS))
    with jax.set_mesh(jax.make_mesh((4,), ("data",))):
        found = jinterp.confusion_matrix(*identity(4), (LOGITS, TARGETS))
    np.testing.assert_array_equal(found, expected)


def test_parameters_sharded_on_another_mesh_are_named() -> None:
    sharding = NamedSharding(jax.make_mesh((4,), ("model",)), PartitionSpec(None, "model"))
    params = jax.device_put(jnp.eye(4), sharding)
    with pytest.raises(ValueError, match="`params` are sharded on a mesh with the axes"):
        jinterp.confusion_matrix(
            linear, params, (LOGITS, TARGETS), mesh=jax.make_mesh((4,), ("data",))
        )


def test_an_error_in_the_data_reaches_the_caller() -> None:
    def broken():
        yield LOGITS[0], TARGETS[0]
        raise OSError("disk on fire")

    with pytest.raises(OSError, match="disk on fire"):
        jinterp.confusion_matrix(*identity(4), broken())


def test_progress_is_silent_without_a_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jinterp.confusion_matrix(*identity(4), (LOGITS, TARGETS), progress=True)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    jinterp.confusion_matrix(*identity(4), (LOGITS, TARGETS), progress=True)
    assert "50/50" in capfd.readouterr().err


def test_the_batch_size_falls_to_the_memory_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = jinterp.Model(
        lambda params, x: jnp.tanh(x @ params[0]) @ params[1],
        (jnp.ones((4, 50_000)), jnp.ones((50_000, 4))),
    )
    monkeypatch.setattr(stream.memory, "budget_of", lambda device: 4 * 50_000 * 4 * 20)
    seen = []
    rows = stream.collect(lambda batch, logits: batch.mask)
    fold = sys.modules["jinterp.stream.fold"]
    original = fold.choose_batch_size

    def spy(*args, **kwargs):
        seen.append(original(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(fold, "choose_batch_size", spy)
    logits = np.tile(LOGITS, (4, 1))
    assert len(jinterp.fold({"r": rows}, *wide, (logits, np.tile(TARGETS, 4)))["r"]) == 200
    assert 1 <= seen[0] < 64


@pytest.mark.parametrize(("operations", "size"), [(1e12, 64), (1.0, 8)])
def test_batches_are_smaller_where_a_program_has_much_to_do(
    operations: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream.memory, "_LARGE_STEPS", ((operations, 8),))
    sizes = []

    def record(batch, logits):
        sizes.append(len(batch.mask))
        return batch.mask

    jinterp.fold(
        {"sizes": stream.collect(record)},
        *identity(4),
        (np.tile(LOGITS, (4, 1)), np.tile(TARGETS, 4)),
    )
    assert sizes[-1] == size


def test_what_follows_a_batch_that_failed_is_left_as_it_is() -> None:
    """The next batch of its lane, which is waiting already."""
    begun = []

    def fail_once(x: np.ndarray) -> np.ndarray:
        begun.append(int(x[0, 0]))
        time.sleep(0.1)  # until the next is waiting
        if int(x[0, 0]) == 16 and begun.count(16) == 1:
            raise FloatingPointError("only the first time")
        return x

    def apply_fn(params: jax.Array, x: jax.Array) -> jax.Array:
        return jax.pure_callback(fail_once, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    rows = np.arange(64, dtype=np.float32)[:, None] + np.zeros(2, np.float32)
    ds = jinterp.batches((rows, np.zeros(64, np.int32)), 8)
    with pytest.raises(jax.errors.JaxRuntimeError, match="only the first time"):
        jinterp.fold({"n": stream.mean(lambda batch, logits: logits[:, 0])}, apply_fn, None, ds)
    assert begun.count(16) == 1
    assert 32 not in begun


def test_a_batch_keeps_the_program_that_it_was_cut_for(as_user: None) -> None:
    """Also where the one before it in its lane still runs, with a larger one."""
    began, may_end, taken = threading.Event(), threading.Event(), []

    def larger(params: Any, states: Any, batch: str) -> Any:
        began.set()
        may_end.wait()
        taken.append(("larger", batch))
        return states, None, None

    def smaller(params: Any, states: Any, batch: str) -> Any:
        taken.append(("smaller", batch))
        return states, None, None

    with ThreadPoolExecutor(1) as thread:
        lane: Any = Lane(None, thread)
        run = types.SimpleNamespace(params=None)
        lane.begin([("whole", 8)], larger, run)
        began.wait()
        lane.begin([("half", 4), ("rest", 4)], smaller, run)
        may_end.set()
    assert taken == [("larger", "whole"), ("smaller", "half"), ("smaller", "rest")]
    assert lane.num_done == 16
