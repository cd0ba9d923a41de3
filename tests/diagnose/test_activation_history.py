"""Activations recorded during training: a pure update in an optax loop, and a callback."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import jinterp
from jinterp.diagnose import ActivationHistory, Recorded
from tests import networks
from tests.problems import count_compiles

LAYERS = ("conv1", "conv2", "head")
TARGETS = jnp.arange(4, dtype=jnp.int32)


class State(NamedTuple):
    """As much of Flax's TrainState as the callback looks at."""

    params: Any


def trained(history: ActivationHistory, num_steps: int, room: int) -> tuple[Recorded, list[Any]]:
    """Some steps of SGD with the history in the step, and the parameters before each."""
    params, x = networks.cnn().params, jnp.asarray(networks.IMAGES)
    optimizer = optax.sgd(0.1)
    records = history.init(params, x, num_steps=room)

    @jax.jit
    def step(params: Any, state: Any, records: Any) -> Any:
        def loss(params: Any) -> Any:
            logits, rows = history.apply(params, x)
            return jinterp.cross_entropy(logits, TARGETS).mean(), rows

        gradient, rows = jax.grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, history.update(records, rows)

    state, seen = optimizer.init(params), []
    for _ in range(num_steps):
        seen.append(params)
        params, state, records = step(params, state, records)
    return history.read(records), seen


def check(recorded: Recorded, seen: list[Any]) -> None:
    """Every row against NumPy on the activations of those parameters."""
    model = networks.cnn()
    for row, params in enumerate(seen):
        found = jinterp.activations(model.apply_fn, params, networks.IMAGES, LAYERS)
        for place, name in enumerate(LAYERS):
            values = np.float64(found[name])
            seen = networks.on_grid(name, values)
            expected = {
                "mean": values.mean(),
                "deviation": values.std(),
                "minimum": values.min(),
                "maximum": values.max(),
                "near_zero": (np.abs(seen) < 3 / 64).mean(),
                "dead": (values.reshape(-1, values.shape[-1]).max(0) <= 0).mean()
                if name != "head"
                else 0,
            }
            for field, value in expected.items():
                given = getattr(recorded, field)[row, place]
                assert given == pytest.approx(value, rel=1e-4, abs=1e-5), field
        assert recorded.counts[row, 2].sum() == 4 * networks.CLASSES


def test_a_pure_update_in_a_training_step() -> None:
    recorded, seen = trained(ActivationHistory(networks.cnn().apply_fn), 3, 5)
    assert recorded.layers == LAYERS
    assert recorded.steps.tolist() == [0, 1, 2]
    check(recorded, seen)
    assert not np.allclose(recorded.mean[0], recorded.mean[-1])


def test_only_the_last_steps_have_room() -> None:
    recorded, seen = trained(ActivationHistory(networks.cnn().apply_fn, LAYERS), 5, 2)
    assert recorded.steps.tolist() == [3, 4]
    check(recorded, seen[3:])


def test_training_is_as_without_it() -> None:
    """The history adds nothing to the gradient."""
    model, x = networks.cnn(), jnp.asarray(networks.IMAGES)
    history = ActivationHistory(model.apply_fn)

    def loss(params: Any, apply: Any) -> Any:
        return jinterp.cross_entropy(apply(params, x), TARGETS).mean()

    plain = jax.jit(jax.grad(lambda params: loss(params, model.apply_fn)))(model.params)
    seen = jax.jit(jax.grad(lambda params: loss(params, lambda *a: history.apply(*a)[0])))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(seen(model.params)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_model_that_returns_more_than_logits() -> None:
    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("hidden"):
            x = x @ params
        return x.sum(1), {"batch_stats": x.mean(0)}

    history = ActivationHistory(apply_fn)
    records = history.init(jnp.eye(3), jnp.ones((2, 3)))
    (outputs, updates), rows = history.apply(jnp.eye(3), jnp.ones((2, 3)))
    assert outputs.shape == (2,)
    assert updates["batch_stats"].shape == (3,)
    assert history.read(history.update(records, rows)).mean.tolist() == [[1.0]]


def test_the_callback_takes_every_nth_step() -> None:
    model = networks.cnn()
    callback = ActivationHistory(model.apply_fn, LAYERS).callback(every=3, num_steps=2)
    states = [
        State(jax.tree.map(lambda leaf, n=n: leaf * (1 + n / 10), model.params)) for n in range(14)
    ]
    for state in states[:4]:
        callback(state, networks.IMAGES)
    check(callback.recorded(), [states[n].params for n in (0, 3)])
    with count_compiles() as counter:
        for state in states[4:]:
            callback(state, networks.IMAGES)
        assert counter.compiled == 0
    recorded = callback.recorded()
    assert recorded.steps.tolist() == [0, 3, 6, 9, 12]
    check(recorded, [states[n].params for n in (0, 3, 6, 9, 12)])


def test_parameters_that_the_state_holds_in_parts() -> None:
    model = networks.cnn()
    history = ActivationHistory(model.apply_fn, LAYERS)
    callback = history.callback(params_fn=lambda state: {"params": state["inner"]})
    callback({"inner": model.params["params"]}, networks.IMAGES)
    check(callback.recorded(), [model.params])


def test_what_is_asked_wrongly() -> None:
    history = ActivationHistory(networks.cnn().apply_fn, ("conv9",))
    with pytest.raises(ValueError, match="there is no layer 'conv9'"):
        history.init(networks.cnn().params, networks.IMAGES)
    with pytest.raises(ValueError, match="`every` is 0; expected at least 1"):
        history.callback(every=0)
    with pytest.raises(ValueError, match="`num_steps` is 0; expected at least 1"):
        history.init(networks.cnn().params, networks.IMAGES, num_steps=0)
    with pytest.raises(ValueError, match="nothing was recorded"):
        history.callback().recorded()


class WithStatistics(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.BatchNorm(use_running_average=False, name="norm")(nn.Dense(4, name="dense")(x))
        return nn.Dense(2, name="head")(nn.relu(x))


def test_layers_that_return_their_statistics_as_well() -> None:
    """BatchNorm in training mode: what it puts out counts, not its new statistics."""
    module, x = WithStatistics(), jnp.asarray(networks.ROWS)
    with jax.numpy_dtype_promotion("standard"):
        variables = module.init(jax.random.key(0), x)

        def apply_fn(params: Any, x: Any) -> Any:
            return module.apply(params, x, mutable=["batch_stats"])

        history = ActivationHistory(apply_fn)
        variables["params"]["norm"]["bias"] = jnp.array([0.0, -1000, 0, 0])
        records = history.init(variables, x, num_steps=2)
        (_, updates), rows = history.apply(variables, x)
    recorded = history.read(history.update(records, rows))
    assert recorded.layers == ("dense", "norm", "head")
    assert recorded.maximum[0, 1] > 0.5
    assert recorded.dead[0].tolist() == [0, 0.25, 0]  # read by a ReLU
    assert "batch_stats" in updates
    assert "1 steps recorded; these are of step 0" in str(recorded)
