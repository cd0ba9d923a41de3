"""The methods in plain JAX, as `benchmarks.shapes` cuts and runs them. None uses jinterp."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.networks import Network
from benchmarks.shapes import Work


def total_logit(
    apply_fn: Callable[..., Any], params: Any, x: jax.Array, targets: jax.Array
) -> jax.Array:
    return jnp.take_along_axis(apply_fn(params, x), targets[:, None], axis=1).sum()


def slopes_of(apply_fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn(params, x, targets)`: the gradient of the logit by the input."""
    return jax.grad(functools.partial(total_logit, apply_fn), argnums=1)


def summed(at: Callable[..., Any]) -> Callable[..., Any]:
    """The sum over points of a function of one."""

    def fn(params: Any, rows: Any, points: Any) -> Any:
        if len(jax.tree.leaves(points)[0]) == 1:
            return at(params, rows, jax.tree.map(lambda leaf: leaf[0], points))
        return jax.vmap(functools.partial(at, params, rows))(points).sum(0)

    return fn


def midpoints(num_steps: int) -> np.ndarray:
    return ((np.arange(num_steps) + 0.5) / num_steps).astype(np.float32)


def forward(network: Network) -> Work:
    return Work(lambda params, rows, points: network.apply_fn(params, rows[0]))


def gradient(network: Network) -> Work:
    slopes = slopes_of(network.apply_fn)
    return Work(lambda params, rows, points: slopes(params, *rows))


def integrated_gradients(network: Network, num_steps: int) -> Work:
    """From zero, with midpoints."""
    slopes = slopes_of(network.apply_fn)
    return Work(
        summed(lambda params, rows, position: slopes(params, position * rows[0], rows[1])),
        points=midpoints(num_steps),
        finish=lambda params, rows, total: rows[0] * total / num_steps,
    )


def smoothgrad(network: Network, key: jax.Array, num_samples: int, noise: float) -> Work:
    """With the noise that jinterp.smooth draws from the key for one array."""
    slopes = slopes_of(network.apply_fn)

    def at(params: Any, rows: Any, own: jax.Array) -> jax.Array:
        x, targets = rows
        axes = tuple(range(1, x.ndim))
        spread = x.max(axes, keepdims=True) - x.min(axes, keepdims=True)
        drawn = jax.random.normal(jax.random.split(own, 1)[0], x.shape[1:])
        return slopes(params, x + noise * drawn * spread, targets)

    return Work(
        summed(at),
        points=jax.random.split(key, num_samples),
        finish=lambda params, rows, total: total / num_samples,
    )


def grad_cam(network: Network) -> Work:
    slopes = slopes_of(network.head)

    def fn(params: Any, rows: Any, points: None) -> jax.Array:
        x, targets = rows
        activation = network.features(params, x)
        by_channel = network.in_space(slopes(params, activation, targets)).mean((1, 2))
        return jax.nn.relu(jnp.einsum("bhwc,bc->bhw", network.in_space(activation), by_channel))

    return Work(fn)


def score_cam(network: Network, num_channels: int | None) -> Work:
    """With the channels that vary most over space; None takes all."""

    def start(params: Any, x: jax.Array, targets: jax.Array) -> Any:
        activation = network.in_space(network.features(params, x))
        spread = activation.std((1, 2))
        channels = jax.lax.top_k(spread, num_channels or spread.shape[1])[1]
        return x, targets, jnp.take_along_axis(activation, channels[:, None, None], axis=3)

    def fn(params: Any, rows: Any, numbers: jax.Array) -> jax.Array:
        x, targets, activation = rows
        batch, height, width, channels = x.shape
        masks = jnp.moveaxis(activation[..., numbers], 3, 1)
        masks = jax.image.resize(masks, (*masks.shape[:2], height, width), "linear")
        low, high = masks.min((2, 3), keepdims=True), masks.max((2, 3), keepdims=True)
        masks = (masks - low) / jnp.where(high == low, 1, high - low)
        seen = (x[:, None] * masks[..., None]).reshape(-1, height, width, channels)
        logits = network.apply_fn(params, seen).reshape(batch, len(numbers), -1)
        return jnp.take_along_axis(logits, targets[:, None, None], axis=2)[..., 0]

    def finish(params: Any, rows: Any, gains: jax.Array) -> jax.Array:
        return jax.nn.relu(jnp.einsum("bhwc,bc->bhw", rows[2], jax.nn.softmax(gains, axis=1)))

    shape = jax.eval_shape(network.features, network.params, jnp.zeros((1, *network.shape))).shape
    numbers = np.arange(min(num_channels or shape[-1], shape[-1]))
    return Work(fn, points=numbers, start=start, finish=finish, stack=True)


def conductance(network: Network, num_steps: int) -> Work:
    """From zero, with midpoints; the ends that neighbouring steps share are computed once."""
    slopes = slopes_of(network.head)

    def fn(params: Any, rows: Any, points: Any) -> jax.Array:
        x, targets = rows
        inside, start, end = points

        def activation(position: jax.Array) -> jax.Array:
            return network.features(params, position * x)

        def slope(position: jax.Array) -> jax.Array:
            return slopes(params, activation(position), targets)

        ends = jax.vmap(activation)(jnp.append(start, end[-1]))
        return (jax.vmap(slope)(inside) * jnp.diff(ends, axis=0)).sum(0)

    edges = (np.arange(num_steps + 1) / num_steps).astype(np.float32)
    return Work(fn, points=(midpoints(num_steps), edges[:-1], edges[1:]))
