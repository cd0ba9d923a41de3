"""The budget that users give, and what happens when it was wrong: memory that really runs out."""

import types
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from jinterp.stream import cut, memory
from tests import faults


def test_the_budget_is_half_of_what_is_free_unless_said() -> None:
    device = jax.devices()[0]
    free = memory._free_bytes(device)
    assert memory.budget_of(device) == pytest.approx(free / 2, rel=0.2)
    with jinterp.memory_budget(memory_fraction=0.125):
        assert memory.budget_of(device) == pytest.approx(free / 8, rel=0.2)
        with jinterp.memory_budget(num_bytes=1000):
            assert memory.budget_of(device) == 1000
        assert memory.budget_of(device) > 1000
    assert memory.budget_of(device) == pytest.approx(free / 2, rel=0.2)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({}, "expected one of `num_bytes` and `memory_fraction`"),
        ({"num_bytes": 1, "memory_fraction": 0.5}, "expected one of `num_bytes` and"),
        ({"num_bytes": 0}, r"`num_bytes` is 0; expected at least 1\. Try"),
        ({"memory_fraction": 0.0}, r"`memory_fraction` is 0\.0; expected more than 0 and at"),
        ({"memory_fraction": 1.5}, r"`memory_fraction` is 1\.5; expected more than 0 and at"),
    ],
)
def test_a_budget_that_is_none(keywords: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message), jinterp.memory_budget(**keywords):
        pass


def wide(params: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ params) @ params.T


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda *model: jinterp.gradient(*model, np.ones((4, 3), np.float32), 0), "one example"),
        (
            lambda *model: jinterp.evaluate(
                *model, (np.ones((4, 3), np.float32), np.zeros(4, np.int32))
            ),
            "batches of 1",
        ),
        (
            lambda *model: jinterp.evaluate(
                *model, jinterp.batches((np.ones((4, 3), np.float32), np.zeros(4, np.int32)), 3)
            ),
            "batches of 3",
        ),
    ],
    ids=["explainer", "pass", "batch size"],
)
def test_a_budget_that_cannot_be_kept_is_said(call: Callable[..., Any], message: str) -> None:
    expected = (
        rf"{message} take \d+\.\d MiB of temporaries, more than the memory budget of 0\.1 MiB"
    )
    params = jnp.ones((3, 50_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(wide, params)
    with pytest.warns(UserWarning, match=expected), jinterp.memory_budget(num_bytes=100_000):
        call(wide, params)


OUT_OF_MEMORY = """
import resource, warnings
import jax, jax.numpy as jnp, numpy as np, psutil
import jinterp
from jinterp.stream import cut, memory

jax.config.update("jax_disable_most_optimizations", False)  # a cumsum would take ten times as long
memory._LARGE_PROGRAM = 1e30  # XLA counts 10^12 operations for a cumsum

def apply_fn(params, x):  # several times 4 MB an example
    wide = jnp.cumsum(jnp.sin(x[:, :1] * jnp.linspace(0, 1, 1_000_000)), axis=1)
    return params * wide[:, -3:] + x

x = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
ds = jinterp.batches((x, np.zeros(32, int)), 32)
params = jnp.float32(1e-6)
parts = [np.asarray(jinterp.gradient(apply_fn, params, x[n : n + 1], 0)) for n in range(32)]
logits = np.concatenate([np.asarray(apply_fn(params, x[n : n + 1])) for n in range(32)])
taken = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (taken + 100 * 2**20,) * 2)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    found = jinterp.gradient(apply_fn, params, x, 0)
    np.testing.assert_allclose(found, np.concatenate(parts), rtol=1e-4)
    num_told = len(told)
    evaluation = jinterp.evaluate(apply_fn, params, ds)
    np.testing.assert_array_equal(evaluation.predictions.predictions, logits.argmax(1))
    assert evaluation.num_examples == evaluation.confusion_matrix.sum() == 32
    print(told[0].message)
    print(told[num_told].message)
"""


def test_memory_that_runs_out_on_the_first_try() -> None:
    """The address space of the process is limited, of which the budget does not know."""
    process = faults.start(OUT_OF_MEMORY)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-3000:]
    first, second = output.splitlines()
    expected = "the device ran out of memory with programs of 16 examples or points; going on with"
    assert first.startswith(expected)
    assert second.startswith("the device ran out of memory with a batch of 32; going on with")


NO_ROOM = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm"  # as XLA:TPU compiles


def test_a_compiler_that_finds_no_room_for_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, original = [], cut.Cut.compile

    def compile_few(self: Any) -> Any:
        tried.append(self.slice_size)
        if self.slice_size > 4:
            raise jax.errors.JaxRuntimeError(NO_ROOM)
        return original(self)

    x = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    expected = jinterp.gradient(wide, jnp.ones((3, 7)), x, 0)
    monkeypatch.setattr(cut.Cut, "compile", compile_few)
    with jinterp.memory_budget(num_bytes=2**30):  # another one, so that nothing is known yet
        found = jinterp.gradient(wide, jnp.ones((3, 7)), x, 0)
    assert tried == [16, 8, 4]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("error", [NO_ROOM, "INTERNAL: another one"])
def test_a_compiler_that_finds_no_room_for_a_batch(error: str, as_user: None) -> None:
    def lower_at(size: int) -> Any:
        lowered = jax.jit(jnp.sin).lower(jnp.ones(size))
        if size <= 8:
            return lowered
        return types.SimpleNamespace(compile=fail, cost_analysis=lowered.cost_analysis)

    def fail() -> None:
        raise jax.errors.JaxRuntimeError(error)

    def choose() -> int:
        return memory.choose_batch_size(
            lower_at,
            jax.devices()[0],
            budget=2**30,
            num_shards=1,
            num_lanes=1,
            num_examples=None,
            output_bytes=4,
        )

    if error == NO_ROOM:
        assert choose() == 8
        return
    with pytest.raises(jax.errors.JaxRuntimeError, match="another one"):
        choose()
