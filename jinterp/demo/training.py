"""A training loop for the demo's small networks."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinterp._types import Params

Loss = Callable[[Params, Any, Any], jax.Array]


def trained(
    params: Params,
    loss: Loss,
    data: tuple[np.ndarray, np.ndarray],
    *,
    optimizer: optax.GradientTransformation,
    num_epochs: int,
    batch_size: int,
    key: jax.Array,
) -> Params:
    """The parameters after so many epochs over the data, which is on the device.

    Args:
        params: to begin with.
        loss: `loss(params, x, y)`, the mean over a batch.
        data: inputs and targets, `[n, ...]`.
        optimizer: of optax.
        num_epochs: over the data, in another order each time.
        batch_size: examples a step; what is left over is dropped.
        key: for the orders.
    """
    x, y = map(jnp.asarray, data)
    state = jax.jit(optimizer.init)(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Params, state: Any, rows: jax.Array) -> tuple[Params, Any]:
        gradient = jax.grad(loss)(params, x[rows], y[rows])
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    num_batches = len(y) // batch_size
    for epoch_key in jax.random.split(key, num_epochs):
        order = np.asarray(jax.random.permutation(epoch_key, len(y)))
        for rows in order[: num_batches * batch_size].reshape(num_batches, -1):
            params, state = step(params, state, rows)
    return params
