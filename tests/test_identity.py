"""Equal things are told alike in every process, others apart."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from jinterp._identity import identity
from jinterp.stream import mean, top_k
from tests import faults


def adder(number: Any) -> Callable[[Any], Any]:
    return lambda x: x + number


def looped(n: int) -> int:
    return n and inner(n)


def inner(n: int) -> int:
    return n


@dataclasses.dataclass(frozen=True)
class Scaled:
    scale: float
    name: str = dataclasses.field(default="", compare=False)

    def __call__(self, x: Any) -> Any:
        return self.scale * x


DIFFERENT = [
    lambda: None,
    lambda: 3,
    lambda: np.int64(3),
    lambda: adder(1),
    lambda: adder(2),
    lambda: adder(np.arange(3)),
    lambda: adder(np.arange(1, 4)),
    lambda: jax.jit(adder(1)),
    lambda: looped,
    lambda: inner,
    lambda: Scaled(1.0),
    lambda: Scaled(2.0),
    lambda: Scaled(2.0).__call__,
    lambda: functools.partial(jinterp.integrated_gradients, num_steps=4),
    lambda: functools.partial(jinterp.integrated_gradients, num_steps=5),
    lambda: functools.partial(jinterp.integrated_gradients, baseline=np.zeros(2)),
    lambda: functools.partial(jinterp.integrated_gradients, baseline=np.ones(2)),
    lambda: jinterp.smooth(jinterp.gradient, key=jax.random.key(0)),
    lambda: jinterp.smooth(jinterp.gradient, key=jax.random.key(1)),
    lambda: jinterp.smooth(jinterp.saliency, key=jax.random.key(0)),
    lambda: jinterp.at_layer(jinterp.gradient, "a"),
    lambda: jinterp.at_layer(jinterp.gradient, "b"),
    lambda: jinterp.loss,
    lambda: jinterp.neuron(3),
    lambda: mean(looped),
    lambda: mean(inner),
    lambda: top_k(inner, 3),
    lambda: top_k(inner, 4),
    lambda: {"a": 1, "b": jnp.ones(2)},
    lambda: {"a": 1, "b": jnp.zeros(2)},
]


def identities() -> list[str]:
    return [identity(make()) for make in DIFFERENT]


def test_different_things_are_told_apart() -> None:
    found = identities()
    assert len(set(found)) == len(found)


def test_another_process_tells_the_same() -> None:
    script = (
        "import tests.conftest as _, tests.test_identity as t; print(*t.identities(), sep='\\n')"
    )
    (output,) = faults.outputs([faults.start(script)])
    assert output.splitlines() == identities()


def test_what_does_not_count() -> None:
    assert identity(Scaled(1.0, "a")) == identity(Scaled(1.0, "b"))


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (
            functools.partial(jinterp.integrated_gradients, num_steps=4),
            r"integrated_gradients(num_steps=4)",
        ),
        (functools.partial(jinterp.gradient, score=jinterp.loss), "gradient(score=loss)"),
        (np.zeros((2, 3)), "array[2, 3]"),
    ],
)
def test_the_name_is_readable(thing: Any, name: str) -> None:
    assert identity(thing).startswith(f"{name} #")
