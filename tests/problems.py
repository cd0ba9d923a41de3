"""Toy models whose answers are known, and helpers that count what JAX does."""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

import jinterp


def linear(params: jax.Array, x: jax.Array) -> jax.Array:
    """Logits x · W: with W = I the inputs are the logits."""
    return x @ params


def identity(num_classes: int) -> jinterp.Model:
    """A model whose logits are its inputs."""
    return jinterp.Model(linear, jnp.eye(num_classes))


def labelled_logits(num: int, num_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random logits, which `identity` returns, and random labels that they favour a little."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, num_classes, num)
    logits = rng.normal(size=(num, num_classes)).astype(np.float32)
    logits[np.arange(num), targets] += 1
    return logits, targets


class Counter:
    """How many programs XLA compiled since it was made or reset."""

    def __init__(self) -> None:
        self.compiled = 0

    def __call__(self, event: str, duration: float, **metadata: object) -> None:
        self.compiled += event.endswith("backend_compile_duration")


@contextlib.contextmanager
def count_compiles() -> Iterator[Counter]:
    counter = Counter()
    jax.monitoring.register_event_duration_secs_listener(counter)
    try:
        yield counter
    finally:
        jax.monitoring.unregister_event_duration_listener(counter)
