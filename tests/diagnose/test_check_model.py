"""Planted faults are each found and named; healthy networks raise no alarm."""

import functools
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import jinterp
from jinterp import demo
from jinterp.diagnose import ModelChecks
from tests import networks

KEY = jax.random.key(0)


@pytest.fixture(scope="module", autouse=True)
def promotion() -> Any:
    with jax.numpy_dtype_promotion("standard"):
        yield


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    return demo.digits().train


@functools.cache
def trained() -> jinterp.Model:
    return demo.train(digits(), key=KEY)


def data(labels: np.ndarray | None = None) -> jinterp.data.Batches:
    images, known = digits()
    return jinterp.batches(
        (images, known if labels is None else labels), preprocess=demo.preprocess
    )


def changed(path: tuple[str, ...], change: Any) -> Any:
    """The trained parameters with another leaf."""
    params = jax.tree.map(np.array, trained().params)
    node = functools.reduce(lambda tree, key: tree[key], path[:-1], params["params"])
    node[path[-1]] = change(node[path[-1]])
    return params


def failed(checks: ModelChecks) -> list[str]:
    assert all(check.advice for check in checks.failed)
    return [check.name for check in checks.failed]


def test_a_trained_network_raises_no_alarm() -> None:
    optimizer = optax.adam(1e-3)
    checks = jinterp.check_model(*trained(), data(), optimizer=optimizer)
    assert failed(checks) == []
    skipped = [check.name for check in checks.checks if check.status == "skipped"]
    assert skipped == ["saturated units", "loss at the start"]
    assert len(checks.checks) == 12
    assert "10 passed, 0 failed, 2 skipped" in str(checks)


def test_a_network_before_training_raises_no_alarm() -> None:
    module = demo.classification.DigitNet()
    model = jinterp.from_linen(module, module.init(KEY, jnp.zeros((1, 8, 8, 1))))
    checks = jinterp.check_model(*model, data(), is_trained=False)
    assert failed(checks) == []
    assert checks["loss at the start"].status == "passed"
    assert "chance is ln 10 = 2.3" in checks["loss at the start"].found


@pytest.mark.parametrize("library", networks.CNNS)
def test_each_library_is_checked_by_the_same_means(library: str) -> None:
    """Random weights: only what they say of themselves can fail."""
    x = np.random.default_rng(0).normal(size=(40, 8, 12, 3)).astype(np.float32)
    y = np.arange(40) % 5
    checks = jinterp.check_model(*networks.CNNS[library](), (x, y), is_trained=False)
    for name in ("finite numbers", "dtypes", "examples alone", "gradient", "input channels"):
        assert checks[name].status == "passed", checks[name]


def test_the_callers_parameters_stay_as_they_are() -> None:
    model = trained()
    before = jax.tree.map(np.array, model.params)
    jinterp.check_model(*model, data(), optimizer=optax.adam(1e-3))
    jax.tree.map(np.testing.assert_array_equal, before, model.params)


def test_a_rectifier_with_a_bias_of_minus_1000() -> None:
    """Case 27."""
    params = changed(("Dense_0", "bias"), lambda bias: bias - 1000)
    checks = jinterp.check_model(trained().apply_fn, params, data())
    assert "units are never active: 100% of 'Dense_0'" in checks["dead units"].found
    assert "by `Conv_0/kernel`" in checks["gradient"].found
    assert "is exactly 0" in checks["gradient"].found
    assert {"dead units", "gradient"} <= set(failed(checks))


class WithLogarithm(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Dense(8, name="first")(x.reshape(len(x), -1))
        with jax.named_scope("logs"):
            x = jnp.log(x)
        return nn.Dense(10, name="head")(x)


def test_a_nan_made_in_one_layer() -> None:
    module = WithLogarithm()
    model = jinterp.from_linen(module, module.init(KEY, jnp.zeros((1, 8, 8, 1))))
    checks = jinterp.check_model(*model, data())
    assert failed(checks) == ["finite numbers"]
    assert "NaN is made by `log` in the layer 'logs' (line" in checks["finite numbers"].found
    assert checks["gradient"].found == "the check 'finite numbers' failed."
    params = changed(("Conv_0", "kernel"), lambda kernel: kernel * np.nan)
    checks = jinterp.check_model(trained().apply_fn, params, data())
    assert "the parameter 'Conv_0/kernel'" in checks["finite numbers"].found


def test_a_frozen_leaf_that_moves() -> None:
    trainable = jax.tree.map(lambda leaf: True, trained().params)
    trainable["params"]["Conv_0"] = {"kernel": False, "bias": False}
    checks = jinterp.check_model(
        *trained(), data(), optimizer=optax.adam(1e-3), trainable=trainable
    )
    assert failed(checks) == ["trained and frozen"]
    assert "Conv_0/bias, Conv_0/kernel" in checks["trained and frozen"].found
    labels = jax.tree.map(lambda flag: "adam" if flag else "frozen", trainable["params"])
    parts = {"adam": optax.adam(1e-3), "frozen": optax.set_to_zero()}
    checks = jinterp.check_model(
        *trained(), data(), optimizer=optax.multi_transform(parts, labels), trainable=trainable
    )
    assert failed(checks) == []
    assert checks["trained and frozen"].found == "one step moves 6 leaves; 2 are frozen."


def test_a_leaf_that_the_optimizer_forgets() -> None:
    mask = jax.tree.map(lambda leaf: True, trained().params["params"])
    mask["Dense_1"]["bias"] = False
    optimizer = optax.multi_transform({True: optax.sgd(0.1), False: optax.set_to_zero()}, mask)
    checks = jinterp.check_model(*trained(), data(), optimizer=optimizer)
    assert failed(checks) == ["trained and frozen"]
    assert "one step leaves Dense_1/bias as it is" in checks["trained and frozen"].found


def test_a_learning_rate_that_is_far_too_large() -> None:
    checks = jinterp.check_model(*trained(), data(), optimizer=optax.adam(10.0))
    assert failed(checks) == ["trained and frozen"]
    assert checks["trained and frozen"].found.startswith("One step changes the weights by ")
    assert checks["trained and frozen"].advice.startswith("Lower the learning rate")


class WithBatchNorm(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Dense(8)(x.reshape(len(x), -1))
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(10)(nn.relu(x))


def test_batchnorm_in_training_mode() -> None:
    module = WithBatchNorm()
    variables = module.init(KEY, jnp.zeros((2, 8, 8, 1)), train=False)

    def apply_fn(params: Any, x: Any) -> Any:
        return module.apply(params, x, train=True, mutable=["batch_stats"])[0]

    checks = jinterp.check_model(apply_fn, variables, data(), is_trained=False)
    assert failed(checks) == ["examples alone"]
    assert "training mode" in checks["examples alone"].advice
    assert checks["dead units"].found == "the check 'examples alone' failed."
    model = jinterp.from_linen(module, variables, train=False)
    assert failed(jinterp.check_model(*model, data(), is_trained=False)) == []


class Branched(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(len(x), -1)
        kept, cut = nn.Dense(16, name="kept")(x), nn.Dense(16, name="cut")(x)
        return nn.Dense(10, name="head")(nn.relu(kept + jax.lax.stop_gradient(cut)))


def test_a_detached_branch() -> None:
    module = Branched()
    model = jinterp.from_linen(module, module.init(KEY, jnp.zeros((1, 8, 8, 1))))
    checks = jinterp.check_model(*model, data(), is_trained=False)
    assert failed(checks) == ["gradient"]
    assert "`cut/kernel`" in checks["gradient"].found
    assert "kept" not in checks["gradient"].found
    trainable = {"params": {"kept": True, "cut": False, "head": True}}
    checks = jinterp.check_model(*model, data(), is_trained=False, trainable=trainable)
    assert failed(checks) == []


class Deep(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(len(x), -1)
        for _ in range(12):
            x = nn.sigmoid(nn.Dense(16)(x))
        return nn.Dense(10)(x)


def test_a_gradient_that_vanishes_in_a_deep_network_of_sigmoids() -> None:
    module = Deep()
    model = jinterp.from_linen(module, module.init(KEY, jnp.zeros((1, 8, 8, 1))))
    checks = jinterp.check_model(*model, data(), is_trained=False)
    assert "vanishes" in checks["gradient"].found
    assert "overfits a batch" in failed(checks)


def test_saturated_units() -> None:
    module = Deep()
    params = module.init(KEY, jnp.zeros((1, 8, 8, 1)))
    model = jinterp.from_linen(module, jax.tree.map(lambda leaf: 100 * leaf, params))
    checks = jinterp.check_model(*model, data(), is_trained=False)
    assert "saturated units" in failed(checks)
    assert "flat" in checks["saturated units"].found


def test_shuffled_labels() -> None:
    labels = np.random.default_rng(0).permutation(digits()[1])
    checks = jinterp.check_model(*trained(), data(labels))
    assert failed(checks) == ["labels"]
    assert "same order" in checks["labels"].advice


def test_a_class_that_is_never_predicted() -> None:
    def change(bias: np.ndarray) -> np.ndarray:
        bias = bias.copy()
        bias[3] = -100
        return bias

    params = changed(("Dense_1", "bias"), change)
    checks = jinterp.check_model(trained().apply_fn, params, data())
    assert "classes" in failed(checks)
    num = (digits()[1] == 3).sum()
    assert checks["classes"].found == f"never predicted: 3 ({num} examples)."


def test_dead_and_ignored_input_channels() -> None:
    module = networks.Cnn()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 8, 12, 3)).astype(np.float32)
    y = np.arange(40) % 5
    x[..., 1] = 0.5
    model = jinterp.from_linen(module, module.init(KEY, x[:1]))
    checks = jinterp.check_model(*model, (x, y), is_trained=False)
    assert checks["input channels"].found == "channel 1 is constant in the data."
    params = jax.tree.map(np.array, model.params)
    params["params"]["conv1"]["kernel"][:, :, 2] = 0
    x = rng.normal(size=x.shape).astype(np.float32)
    checks = jinterp.check_model(model.apply_fn, params, (x, y), is_trained=False)
    assert checks["input channels"].found == "channel 2 is not read."


def test_parameters_of_several_precisions() -> None:
    params = changed(("Dense_0", "bias"), lambda bias: bias.astype(np.float16))
    checks = jinterp.check_model(trained().apply_fn, params, data())
    assert failed(checks) == ["dtypes"]
    assert "Cast Dense_0/bias (float16)" in checks["dtypes"].advice

    def half(params: Any, x: Any) -> Any:
        return trained().apply_fn(params, x).astype(jnp.bfloat16)

    checks = jinterp.check_model(half, trained().params, data())
    assert "outputs bfloat16" in checks["dtypes"].found
    assert "dtypes" in failed(checks)


def test_a_first_loss_far_from_chance() -> None:
    module = demo.classification.DigitNet()
    params = module.init(KEY, jnp.zeros((1, 8, 8, 1)))
    large = jax.tree.map(lambda leaf: 5 * leaf, params)
    model = jinterp.from_linen(module, large)
    checks = jinterp.check_model(*model, data(), is_trained=False)
    assert "loss at the start" in failed(checks)
    assert "smaller weights" in checks["loss at the start"].advice
    checks = jinterp.check_model(*trained(), data(), is_trained=False)
    assert "leak" in checks["loss at the start"].advice


def test_a_network_that_cannot_learn() -> None:
    module = demo.classification.DigitNet()
    params = module.init(KEY, jnp.zeros((1, 8, 8, 1)))
    images, labels = digits()
    checks = jinterp.check_model(
        *jinterp.from_linen(module, params), (np.float32(0 * images), labels), is_trained=False
    )
    assert "overfits a batch" in failed(checks)
    assert "steps of Adam" in checks["overfits a batch"].found


def test_another_loss_and_a_stream() -> None:
    """Numbers as targets, and a dataset without a length."""
    images, labels = digits()
    items = list(zip(np.float32(images) / 255, np.float32(labels), strict=True))

    def squared(outputs: Any, targets: Any) -> Any:
        return (outputs.mean(-1) - targets) ** 2

    class Stream:
        def __iter__(self) -> Any:
            return iter(items)

    checks = jinterp.check_model(
        *trained(), jinterp.batches(Stream(), batched=False), loss_fn=squared
    )
    assert checks["classes"].status == checks["loss at the start"].status == "skipped"
    assert checks["overfits a batch"].status == "passed"


def test_few_large_examples_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their outputs count: 1,024 label maps of 512 × 512 in 20 classes would take 20 GB."""
    held: list[int] = []
    module = sys.modules["jinterp.diagnose.check_model"]

    def subject(*args: Any) -> Any:
        held.append(len(args[5]))
        raise InterruptedError

    monkeypatch.setattr(module, "Subject", subject)
    for size, expected in ((8, 300), (512, 64), (128, 204)):
        shape = (300, size, size)
        ds = (np.broadcast_to(np.float32(0), shape), np.broadcast_to(np.int32(0), shape))
        with pytest.raises(InterruptedError):
            jinterp.check_model(to_maps, {}, ds)
        assert held.pop() == expected


def to_maps(params: Any, x: jax.Array) -> jax.Array:
    return jnp.stack([x] * 18, axis=-1)


def test_how_it_is_shown() -> None:
    from rich.console import Console

    checks = jinterp.check_model(*trained(), data())
    console = Console(width=120)
    with console.capture() as captured:
        console.print(checks)
    assert "examples alone" in captured.get()
    assert checks._repr_html_().count("<tr>") == 13
    with pytest.raises(KeyError, match="there is no check 'x'; there are 'finite numbers', "):
        checks["x"]


def test_what_is_asked_wrongly() -> None:
    with pytest.raises(TypeError, match="apply_fn"):
        jinterp.check_model(None, {}, data())
    with pytest.raises(ValueError, match="`trainable` is not built as `params` are"):
        jinterp.check_model(*trained(), data(), trainable={"params": [True]})
    with pytest.raises(ValueError, match="`ds` is empty"):
        jinterp.check_model(*trained(), (np.zeros((0, 8, 8, 1)), np.zeros(0, int)))


def rows(num: int = 300) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(num, 8)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int32)


class Normed(nn.Module):
    """A LayerNorm by hand, whose variance holds a NaN that nothing chooses."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Dense(16)(x)
        with jax.named_scope("norm"):
            x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return nn.Dense(2)(nn.gelu(x))


class FromZero(nn.Module):
    """A residual block whose last scale begins at 0, and a head that does."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Dense(16, name="first")(x)
        y = nn.relu(nn.Dense(16, name="wide")(x))
        x = x + nn.Dense(16, kernel_init=nn.initializers.zeros, name="last")(y)
        return nn.Dense(2, kernel_init=nn.initializers.zeros, name="head")(x)


@pytest.mark.parametrize(
    "module", [Normed(), FromZero(), nn.Dense(2, kernel_init=nn.initializers.zeros)]
)
def test_healthy_networks_that_look_sick(module: nn.Module) -> None:
    x, y = rows()
    model = jinterp.from_linen(module, module.init(KEY, x[:1]))
    assert failed(jinterp.check_model(*model, (x, y), is_trained=False)) == []


def test_a_nan_that_is_not_chosen_is_none() -> None:
    module = Normed()
    x = rows()[0]
    model = jinterp.from_linen(module, module.init(KEY, x[:1]))
    assert jinterp.layer_outputs(*model, x[:4]).first_nan is None


def test_weights_of_0_are_frozen_or_not_like_others() -> None:
    params = {"backbone": {"w": np.ones((8, 4), np.float32), "b": np.zeros(4, np.float32)}}
    params["head"] = {"w": np.ones((4, 2), np.float32) * np.array([1, -1], np.float32)[None]}

    def apply_fn(params: Any, x: Any) -> Any:
        x = x @ params["backbone"]["w"] + params["backbone"]["b"][None]
        return jax.nn.relu(x) @ params["head"]["w"]

    labels = {"backbone": {"w": "frozen", "b": "frozen"}, "head": {"w": "sgd"}}
    optimizer = optax.multi_transform(
        {"sgd": optax.sgd(0.1), "frozen": optax.set_to_zero()}, labels
    )
    for trainable, status in (({"backbone": False, "head": True}, "passed"), (None, "failed")):
        checks = jinterp.check_model(
            apply_fn, params, rows(), is_trained=False, optimizer=optimizer, trainable=trainable
        )
        assert checks["trained and frozen"].status == status


def test_rare_classes_soft_labels_and_numbers() -> None:
    x, _ = rows(600)
    rare = (x[:, 0] > np.sort(x[:, 0])[-4]).astype(np.int32)
    threshold = np.sort(x[:, 0])[-5:-3].mean()

    def apply_fn(params: Any, x: Any) -> Any:
        return jnp.stack([jnp.zeros(len(x)), (x[:, 0] - threshold) * params["scale"]], -1)

    checks = jinterp.check_model(apply_fn, {"scale": jnp.float32(50)}, (x, rare))
    assert checks["labels"].status == "passed"
    soft = np.stack([0.7 - 0.4 * (x[:, 1] > 0), 0.3 + 0.4 * (x[:, 1] > 0)], -1).astype(np.float32)
    module = nn.Sequential((nn.Dense(64), nn.relu, nn.Dense(2)))
    params = module.init(KEY, x[:1])

    def network(params: Any, x: Any) -> Any:
        return module.apply(params, x)

    checks = jinterp.check_model(network, params, (x, soft), is_trained=False)
    assert checks["overfits a batch"].status == "passed"

    def fitted(params: Any, x: Any) -> Any:
        return x[:, :1] * params

    numbers = (x, x[:, :1])
    checks = jinterp.check_model(fitted, jnp.ones(()), numbers, loss_fn=jinterp.squared_error)
    assert failed(checks) == []
    assert checks["gradient"].found.startswith("the loss is 0")
    with pytest.raises(ValueError, match=r"give loss_fn=jinterp\.squared_error"):
        jinterp.check_model(fitted, jnp.ones(()), numbers)


def test_inputs_that_are_scaled_otherwise_than_in_training() -> None:
    """Labels still score better than shuffled ones, but guessing would score better."""
    images, labels = digits()
    checks = jinterp.check_model(*trained(), (np.float32(images) * 40, labels))
    assert "labels" in failed(checks)
    assert "worse than guessing" in checks["labels"].advice
    assert "input scaled as in training" in checks["labels"].advice


def test_a_model_that_returns_a_dict_is_refused() -> None:
    x, y = rows()
    with pytest.raises(TypeError, match="returned a dict of 1; expected one array"):
        jinterp.check_model(lambda params, x: {"logits": x @ params}, jnp.ones((8, 2)), (x, y))
