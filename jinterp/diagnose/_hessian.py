"""Products of a loss's Hessian with vectors."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp._types import BatchLossFn, Params
from jinterp.model.leaves import hessian_times, trained_leaves, with_leaves, working_dtype


def times(loss_fn: BatchLossFn, params: Params, batch: Any, tangents: list[Array]) -> list[Array]:
    """Hv, by all trained leaves."""

    def loss(leaves: list[Any]) -> Array:
        return loss_fn(with_leaves(params, leaves), batch)

    return hessian_times(loss, trained_leaves(params), tangents)


class Hessian:
    """Products with the Hessian, as NumPy vectors over all trained parameters, counted."""

    def __init__(self, loss_fn: BatchLossFn, params: Params, batch: Any):
        leaves = trained_leaves(params)
        there = jax.device_put((params, batch))  # once, and not for every product
        self.product = functools.partial(_product, *there, loss_fn=loss_fn)
        self.size = sum(map(np.size, leaves))
        self.dtype = working_dtype(leaves)
        self.num_products = 0

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        self.num_products += 1
        return np.asarray(self.product(vector.reshape(-1).astype(self.dtype)))


@functools.partial(jax.jit, static_argnames="loss_fn")
def _product(params: Params, batch: Any, vector: Array, *, loss_fn: BatchLossFn) -> Array:
    leaves = trained_leaves(params)
    cuts = np.cumsum([leaf.size for leaf in leaves])[:-1]
    tangents = [
        part.reshape(leaf.shape).astype(leaf.dtype)
        for part, leaf in zip(jnp.split(vector, cuts), leaves, strict=True)
    ]
    product = times(loss_fn, params, batch, tangents)
    return jnp.concatenate([leaf.reshape(-1).astype(vector.dtype) for leaf in product])
