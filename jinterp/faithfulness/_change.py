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
    moved = _norm(jax.tree.map(jnp.subtract, others, values))
    size = _norm(values)
    return jnp.where(moved == 0, 0, moved / size)


def _norm(values: Any) -> Array:
    """Of each example, over all arrays."""
    leaves = [at_least_float32(leaf) for leaf in jax.tree.leaves(values)]
    squares = [jnp.square(leaf).reshape(len(leaf), -1).sum(axis=1) for leaf in leaves]
    return jnp.sqrt(functools.reduce(jnp.add, squares))
