"""Mean and squared deviations of an explainer's values, kept as the samples come (Welford)."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp._trace import under_transform
from jinterp._types import Inputs
from jinterp.model.score import at_least_float32


class Moments(NamedTuple):
    """Of some samples, at least float32.

    Attributes:
        number: of samples.
        mean: in the structure of the values.
        deviations: the sum of squared deviations from the mean.
    """

    number: Array
    mean: Any
    deviations: Any

    def variance(self, ddof: int) -> Any:
        """The sum of squared deviations over the number of samples less `ddof`."""
        return jax.tree.map(
            lambda leaf: leaf / (self.number - ddof).astype(leaf.dtype), self.deviations
        )


def moments_of(
    first: Any, sample: Callable[[Array], Any], keys: Array, x: Inputs, *, squared: bool = False
) -> Moments:
    """Mean and squared deviations of samples.

    Args:
        first: the values for the first keys.
        sample: the values for some keys, one batch behind the other.
        keys: `[calls, samples of a call]`.
        x: the inputs, `[batch, ...]`.
        squared: of the squares of the values.
    """

    def add(state: Moments, some: Any) -> tuple[Moments, None]:
        return _added(state, sample(some), keys.shape[1], squared), None

    state = _started(first, keys.shape[1], squared)
    if under_transform((first, x)):
        return jax.lax.scan(add, state, keys[1:])[0]
    for some in keys[1:]:
        state, _ = add(state, some)
    return state


@functools.partial(jax.jit, static_argnames=("together", "squared"))
def _started(values: Any, together: int, squared: bool) -> Moments:
    samples = _samples(values, together, squared)
    nothing = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), samples)
    return jax.lax.scan(_add, Moments(jnp.int32(0), nothing, nothing), samples)[0]


@functools.partial(jax.jit, static_argnames=("together", "squared"))
def _added(state: Moments, values: Any, together: int, squared: bool) -> Moments:
    return jax.lax.scan(_add, state, _samples(values, together, squared))[0]


def _add(state: Moments, values: Any) -> tuple[Moments, None]:
    number, mean, deviations = state
    number = number + 1
    shift = jax.tree.map(jnp.subtract, values, mean)
    mean = jax.tree.map(lambda m, s: m + s / number.astype(s.dtype), mean, shift)
    deviations = jax.tree.map(lambda d, s, v, m: d + s * (v - m), deviations, shift, values, mean)
    return Moments(number, mean, deviations), None


def _samples(values: Any, together: int, squared: bool) -> Any:
    """`[samples, batch, ...]` of what lies one batch behind the other, at least float32."""

    def one(leaf: Array) -> Array:
        leaf = at_least_float32(leaf)
        leaf = jnp.square(leaf) if squared else leaf
        if together == 1:
            return leaf[None]
        return leaf.reshape(together, len(leaf) // together, *leaf.shape[1:])

    return jax.tree.map(one, values)
