"""The learning-rate finder: fastai's rules against its own loops, and a training that is copied."""

import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

import jinterp
from jinterp.diagnose._suggestions import (
    Suggestions,
    longest_valley,
    slide,
    smooth,
    stop,
    suggestions,
)
from tests import networks
from tests.problems import count_compiles

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int32)
START = {"kernel": np.zeros((3, 2), np.float32)}
ADAMW = functools.partial(optax.adamw, weight_decay=0.1)


def linear(params: Any, x: Any) -> Any:
    return x @ params["kernel"]


LOSS = jinterp.mean_loss(linear)


def squares(params: Any, batch: Any) -> Any:
    """Gradient θ whatever the batch, so that training has a closed form."""
    return 0.5 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


def fastai_valley(losses: list[float]) -> tuple[int, int, int]:
    n = len(losses)
    lengths, start, end = [1] * n, 0, 0
    for i in range(1, n):
        for j in range(i):
            if losses[i] < losses[j] and lengths[i] < lengths[j] + 1:
                lengths[i] = lengths[j] + 1
            if lengths[end] < lengths[i]:
                end = i
                start = end - lengths[end]
    third = (end - start) / 3
    return start, end, start + int(third) + int(third / 2)


def fastai_slide(rates: np.ndarray, losses: np.ndarray) -> float:
    slopes = np.gradient(losses)
    right, left = -1, -16
    rate = rates[left]
    while left >= -len(losses) and abs(slopes[right] - slopes[left]) > 0.005:
        rate = rates[left]
        right, left = right - 1, left - 1
    return float(rate)


def test_valley_of_a_known_curve() -> None:
    losses = np.r_[np.ones(20), np.linspace(0.99, 0.1, 40), np.linspace(0.2, 5, 25)]
    assert longest_valley(losses) == (18, 59, 37)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=40))
def test_valley_is_that_of_fastais_double_loop(losses: list[int]) -> None:
    assert longest_valley(np.array(losses, float)) == fastai_valley([float(x) for x in losses])


@given(st.lists(st.floats(0, 0.1), min_size=16, max_size=60))
def test_slide_is_that_of_fastais_loop(losses: list[float]) -> None:
    rates, values = np.geomspace(1e-7, 1, len(losses)), np.array(losses)
    assert slide(rates, values) == fastai_slide(rates, values)


def fastai_suggestions(rates: np.ndarray, losses: np.ndarray, num_steps: int) -> Suggestions:
    """`losses` as fastai records them, with NaN up to the end."""
    rates, losses = rates[num_steps // 10 : -5], losses[num_steps // 10 : -5]
    if np.isnan(losses).any():
        cut = int(np.isnan(losses).argmax())
        rates, losses = rates[:cut], losses[:cut]
    slopes = (losses[1:] - losses[:-1]) / (np.log(rates[1:]) - np.log(rates[:-1]))
    return Suggestions(
        float(rates[fastai_valley(losses.tolist())[2]]),
        fastai_slide(rates, losses),
        float(rates[losses.argmin()] / 10),
        float(rates[slopes.argmin()]),
    )


@given(st.integers(0, 1000), st.integers(40, 100))
def test_suggestions_are_fastais_also_where_a_nan_ends_the_run(seed: int, nan_at: int) -> None:
    rates = 1e-7 * 1e8 ** (np.arange(100) / 100)
    losses = np.random.default_rng(seed).normal(size=100).cumsum() / 50
    losses[nan_at:] = np.nan
    made = slice(min(nan_at + 1, 100))
    assert suggestions(rates[made], losses[made], 100) == fastai_suggestions(rates, losses, 100)


@pytest.mark.parametrize("num_losses", range(30))
def test_a_short_curve_has_no_suggestions(num_losses: int) -> None:
    losses = -np.arange(num_losses, dtype=float)
    found = suggestions(np.geomspace(1e-7, 1, num_losses + 1)[:-1], losses, 40)
    num_left = num_losses - 4 - 5
    assert np.isnan(found.valley) == (num_left < 10)
    assert np.isnan(found.slide) == (num_left < 16)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_losses_that_are_never_finite_have_no_suggestions(value: float) -> None:
    losses = np.full(100, value)
    assert all(map(math.isnan, suggestions(np.geomspace(1e-7, 1, 100), losses, 100)))
    assert stop(losses) == (1, "not finite")


def test_smoothing_is_debiased() -> None:
    np.testing.assert_allclose(smooth(np.full(5, 3.0)), 3)
    average = (0.98 * 0.02 * 1 + 0.02 * 2) / (1 - 0.98**2)
    np.testing.assert_allclose(smooth(np.array([1.0, 2.0])), [1, average])


def test_the_run_stops_beyond_four_times_the_least() -> None:
    assert stop(np.array([2.0, 1.0, 4.0, 4.01, 9.0])) == (4, "diverged")
    assert stop(np.array([2.0, 1.0, np.nan])) == (3, "not finite")
    assert stop(np.array([2.0, 1.0, 3.0])) == (3, "")
    assert stop(np.array([-1.0, -2.0, 4.0, 4.1])) == (4, "diverged")


def test_steps_are_those_of_a_training_with_the_learning_rates_of_the_schedule() -> None:
    """θ ← θ − r·θ from 2: the loss of step t is ½(2 Π_{s<t} (1 − r_s))²."""
    found = jinterp.lr_find(squares, jnp.full((), 2.0), optax.sgd, (X, Y), start=1e-3, end=0.5)
    rates = 1e-3 * 500 ** (np.arange(100) / 100)
    np.testing.assert_allclose(found.learning_rates, rates)
    before = 2 * np.r_[1, np.cumprod(1 - rates)[:-1]]
    np.testing.assert_allclose(found.losses, before**2 / 2, rtol=1e-3)
    np.testing.assert_allclose(found.smoothed_losses, smooth(found.losses))
    assert (found.num_steps, found.stopped) == (100, "")
    expected = suggestions(found.learning_rates, found.smoothed_losses, 100)
    assert tuple(found.suggested().values()) == expected


@pytest.mark.parametrize("looked", [1, 7, 1000])
def test_when_it_is_looked_at_changes_nothing(monkeypatch: pytest.MonkeyPatch, looked: int) -> None:
    arguments = squares, jnp.ones(2), optax.sgd, (X, Y)
    usual = jinterp.lr_find(*arguments, start=0.1, end=1000.0, num_steps=57)
    assert usual.stopped == "diverged"
    assert len(usual.losses) < 57
    assert stop(usual.smoothed_losses) == (len(usual.losses), "diverged")
    monkeypatch.setattr("jinterp.diagnose._training._STEPS_A_LOOK", looked)
    other = jinterp.lr_find(*arguments, start=0.1, end=1000.0, num_steps=57)
    np.testing.assert_array_equal(usual.losses, other.losses)
    assert str(usual) == str(other)


def test_the_device_is_waited_for_every_ten_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    real = jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda values: looks.append(len(values)) or real(values))
    jinterp.lr_find(LOSS, START, optax.sgd, (X, Y), num_steps=25)
    assert looks == [10, 10, 5]


def logarithm(params: Any, batch: Any) -> Any:
    return jnp.log(params).sum()


def test_a_nan_ends_the_run_and_is_in_the_result() -> None:
    found = jinterp.lr_find(logarithm, jnp.full(1, 0.5), optax.sgd, (X, Y), start=1e-2)
    assert found.stopped == "not finite"
    assert np.isnan(found.losses[-1])
    assert np.isfinite(found.losses[:-1]).all()
    assert f"not finite at step {len(found.losses) - 1}" in str(found)


def test_the_table_names_what_there_is_not() -> None:
    found = jinterp.lr_find(LOSS, START, optax.sgd, (X, Y), num_steps=22)
    lines = str(found).splitlines()
    assert lines[0].split() == ["learning", "rate"]
    assert [line.split()[0] for line in lines[1:5]] == ["valley", "slide", "minimum", "steep"]
    assert lines[2].split()[1] == "none"
    assert lines[5] == "22 of 22 steps"


def test_the_callers_arrays_stay_and_nothing_compiles_twice() -> None:
    params = {"kernel": jnp.zeros((3, 2)), "steps": jnp.array(3), "note": np.ones(2, np.int8)}
    before = jax.tree.map(np.array, params)
    first = jinterp.lr_find(LOSS, params, ADAMW, (X, Y), num_steps=30)
    with count_compiles() as counter:
        second = jinterp.lr_find(LOSS, params, ADAMW, (X, Y), num_steps=30, start=1e-5, end=1.0)
    assert counter.compiled == 0
    jax.tree.map(np.testing.assert_array_equal, before, params)
    assert not np.array_equal(first.losses, second.losses)


def test_one_compile_for_all_steps_from_numpy_and_python_numbers() -> None:
    def loss_fn(params: Any, batch: Any) -> Any:
        return (batch[0] @ params["kernel"] + params["bias"]).mean() ** 2

    params = {"kernel": np.ones((3,)), "bias": 1.0}
    with count_compiles() as counter:
        jinterp.lr_find(loss_fn, params, optax.adam, (X, Y), num_steps=1)
        compiled = counter.compiled
        jinterp.lr_find(loss_fn, params, optax.adam, (X, Y), num_steps=25)
    assert counter.compiled == compiled


def remembering(learning_rate: Any) -> optax.GradientTransformation:
    """Its state is a Python number after the first step, which has another type on the device."""

    def update(updates: Any, state: Any, params: Any) -> Any:
        return updates, learning_rate

    return optax.GradientTransformation(lambda params: jnp.zeros(()), update)


def test_a_state_of_a_number_compiles_once() -> None:
    with count_compiles() as counter:
        jinterp.lr_find(squares, jnp.ones(4), remembering, (X, Y), num_steps=1)
        compiled = counter.compiled
        jinterp.lr_find(squares, jnp.ones(4), remembering, (X, Y), num_steps=3)
    assert counter.compiled == compiled


def test_batches_are_full_preprocessed_in_order_and_start_over() -> None:
    seen = []

    def loss_fn(params: Any, batch: Any) -> Any:
        jax.debug.callback(lambda rows: seen.append(rows.tolist()), batch[0], ordered=True)
        return params.sum() * 0 + 1

    ds = jinterp.batches((np.arange(7, dtype=np.uint8), np.zeros(7)), 3, preprocess=tenths)
    jinterp.lr_find(loss_fn, jnp.ones(1), optax.sgd, ds, num_steps=3)
    jax.effects_barrier()
    expected = np.array([[0, 1, 2], [3, 4, 5], [0, 1, 2]], np.float32) / np.float32(10)
    np.testing.assert_allclose(seen, expected, rtol=1e-6)


def tenths(x: Any) -> Any:
    return x.astype(jnp.float32) / 10


def test_a_dataset_smaller_than_a_batch_is_one_batch() -> None:
    few = jinterp.lr_find(LOSS, START, optax.sgd, (X[:5], Y[:5]), num_steps=10)
    exact = jinterp.lr_find(LOSS, START, optax.sgd, (X[:5], Y[:5]), num_steps=10, batch_size=5)
    np.testing.assert_array_equal(few.losses, exact.losses)


def test_an_iterator_is_read_no_further_than_needed() -> None:
    def pairs() -> Iterator[Any]:
        for _ in range(4):
            yield X, Y

    assert len(jinterp.lr_find(LOSS, START, optax.sgd, pairs(), num_steps=3).losses) == 3
    with pytest.raises(ValueError, match="used up by an earlier pass"):
        jinterp.lr_find(LOSS, START, optax.sgd, pairs(), num_steps=30, batch_size=48)


def test_running_statistics_and_counters_are_left_alone() -> None:
    """A loss that would fall fastest by changing them."""

    def loss_fn(variables: Any, batch: Any) -> Any:
        statistic = variables["batch_stats"]["mean"].sum()
        return (variables["params"]["w"] ** 2).sum() + 100 * (statistic - 1) ** 2

    variables = {"params": {"w": jnp.ones(2)}, "batch_stats": {"mean": jnp.zeros(1)}}
    found = jinterp.lr_find(loss_fn, variables, optax.sgd, (X, Y), start=0.1, end=0.4, num_steps=90)
    assert found.losses.min() == pytest.approx(100, abs=1e-3)


def test_an_nnx_network_of_images() -> None:
    model = networks.cnn_nnx()
    loss_fn = jinterp.mean_loss(model.apply_fn)
    ds = networks.IMAGES, np.arange(4)
    found = jinterp.lr_find(loss_fn, model.params, optax.adam, ds, start=1e-3, num_steps=25)
    assert found.losses.min() < found.losses[0] / 2
    assert isinstance(model.params, nnx.State)


def test_an_optimizer_sees_the_names_of_the_leaves() -> None:
    def optimizer(learning_rate: Any) -> Any:
        def is_kernel(params: Any) -> Any:
            return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key == "w", params)

        return optax.masked(optax.sgd(learning_rate), is_kernel)

    variables = {"params": {"w": jnp.ones(2), "n": np.int32(3)}, "state": {"b": jnp.zeros(1)}}
    found = jinterp.lr_find(only_w, variables, optimizer, (X, Y), start=0.1, num_steps=5)
    assert found.losses[-1] < found.losses[0]


def only_w(variables: Any, batch: Any) -> Any:
    return (variables["params"]["w"] ** 2).sum()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_stays_so(dtype: Any) -> None:
    def loss_fn(params: Any, batch: Any) -> Any:
        assert params.dtype == dtype
        return (params**2).sum()

    found = jinterp.lr_find(loss_fn, jnp.ones(3, dtype), optax.adam, (X, Y), num_steps=12)
    assert np.isfinite(found.losses).all()


def test_an_optimizer_with_a_random_key_in_its_state() -> None:
    def optimizer(learning_rate: Any) -> Any:
        return optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(0)), optax.sgd(learning_rate))

    assert len(jinterp.lr_find(LOSS, START, optimizer, (X, Y), num_steps=4).losses) == 4


def test_float64() -> None:
    with jax.enable_x64(True):
        found = jinterp.lr_find(squares, np.ones(2), optax.adam, (X, Y), num_steps=12)
    assert len(found.losses) == 12


def test_the_suggested_rate_teaches_the_digits_in_an_epoch_and_the_first_does_not() -> None:
    from jinterp import demo
    from jinterp.demo.classification import DigitNet
    from jinterp.demo.training import trained

    images, labels = demo.digits().train
    x = demo.preprocess(jnp.asarray(images))
    module = DigitNet()
    model = jinterp.from_linen(module, jax.jit(module.init)(jax.random.key(0), x[:1]))
    loss_fn = jinterp.mean_loss(model.apply_fn)
    found = jinterp.lr_find(loss_fn, model.params, optax.adam, (x, labels))

    def loss_after(rate: float) -> float:
        copy = jax.tree.map(jnp.array, model.params)
        with jax.numpy_dtype_promotion("standard"):
            params = trained(
                copy,
                lambda params, x, y: loss_fn(params, (x, y)),
                (np.asarray(x), labels),
                optimizer=optax.adam(rate),
                num_epochs=1,
                batch_size=64,
                key=jax.random.key(0),
            )
        return float(loss_fn(params, (x, jnp.asarray(labels))))

    assert loss_after(found.valley) < 0.6 * loss_after(float(found.learning_rates[0]))


def test_optimizers_that_cannot_be_used(as_user: None) -> None:
    find = functools.partial(jinterp.lr_find, LOSS, START, ds=(X, Y))
    with pytest.raises(TypeError, match=r"`optimizer` is made already.*Pass optax.adam itself"):
        find(optimizer=optax.adam(0.1))
    with pytest.raises(TypeError, match=r"returned a float; expected an optax.GradientTransf"):
        find(optimizer=doubled)
    with pytest.raises(TypeError, match="decides by the value of the learning rate"):
        find(optimizer=deciding)
    with pytest.raises(ValueError, match="keeps the learning rate in its state"):
        find(optimizer=injected)


def test_an_optimizer_made_anew_for_every_call_is_warned_of() -> None:
    def find() -> None:
        jinterp.lr_find(LOSS, START, lambda rate: optax.sgd(rate), (X, Y), num_steps=2)

    find()
    with pytest.warns(UserWarning, match="`optimizer` .* is made anew for every call"):
        find()


def doubled(learning_rate: Any) -> Any:
    return 2.0


def deciding(learning_rate: Any) -> Any:
    return optax.sgd(learning_rate) if learning_rate > 1 else optax.adam(learning_rate)


def injected(learning_rate: Any) -> Any:
    return optax.inject_hyperparams(optax.adam)(learning_rate)


def test_arguments_that_cannot_be_used(as_user: None) -> None:
    find = functools.partial(jinterp.lr_find, LOSS, START, optax.sgd, (X, Y))
    with pytest.raises(TypeError, match=r"`optimizer` is a str; expected a function of the learni"):
        jinterp.lr_find(LOSS, START, "adam", (X, Y))
    with pytest.raises(ValueError, match=r"`start` is 0 and `end` is 10.0; expected 0 < start"):
        find(start=0)
    with pytest.raises(ValueError, match=r"`start` is 2.0 and `end` is 1.0; expected 0 < start"):
        find(start=2.0, end=1.0)
    with pytest.raises(ValueError, match=r"`num_steps` is 0; expected at least 1. Try 100."):
        find(num_steps=0)
    with pytest.raises(ValueError, match=r"`batch_size` is 0"):
        find(batch_size=0)
    with pytest.raises(ValueError, match="`ds` is empty"):
        jinterp.lr_find(LOSS, START, optax.sgd, (X[:0], Y[:0]))
    with pytest.raises(ValueError, match=r"returned float32\[48\]; expected one floating-point"):
        jinterp.lr_find(lambda params, batch: linear(params, batch[0])[:, 0], *find.args[1:])
