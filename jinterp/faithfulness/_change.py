"""How far values are from others of the same inputs."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp.model.score import at_least_float32


@jax.jit
def relative_change(others: Any, values: Any) -> Float[Array, " batch"]:
    """‖others − values‖ / ‖values‖ over all arrays; infinite where values of 0 change."""
    values, others = (jax.tree.map(at_least_float32, each) for each in (values, others))
    moved = _norm(jax.tree.map(jnp.subtract, others, values))
    size = _norm(values)
    return jnp.where(moved == 0, 0, moved / size)


def _norm(values: Any) -> Array:
    """Of each example, over all arrays; in units of the largest, whose square may underflow."""
    leaves = [leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(values)]
    largest = functools.reduce(jnp.maximum, [jnp.abs(leaf).max(axis=1) for leaf in leaves])
    unit = jnp.where(largest > 0, largest, 1)
    squares = [jnp.square(leaf / unit[:, None]).sum(axis=1) for leaf in leaves]
    return largest * jnp.sqrt(functools.reduce(jnp.add, squares))
