"""Attribution written by hand in plain JAX, in every shape of which one may be the fastest."""

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.networks import Network

Program = Callable[[], np.ndarray]
Fn = Callable[..., jax.Array]
"""`fn(params, x, targets) -> [batch, ...]`"""

POOL = ThreadPoolExecutor(2)
SLICE_SIZES = (4, 8, 16, 32)
ONE = "by hand, one program for the batch"
SCAN = "by hand, `lax.scan` over the points"


def total_logit(apply_fn: Fn, params: Any, x: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.take_along_axis(apply_fn(params, x), targets[:, None], axis=1).sum()


def gradient(network: Network) -> Fn:
    return jax.grad(functools.partial(total_logit, network.apply_fn), argnums=1)


def grad_cam(network: Network) -> Fn:
    def fn(params: Any, x: jax.Array, targets: jax.Array) -> jax.Array:
        activation = network.features(params, x)
        slopes = jax.grad(functools.partial(total_logit, network.head), argnums=1)(
            params, activation, targets
        )
        weights = slopes.mean(axis=(1, 2), keepdims=True)
        return jax.nn.relu((activation * weights).sum(-1))

    return fn


def forward(network: Network) -> Fn:
    return lambda params, x, targets: network.apply_fn(params, x)


def shapes(fn: Fn, params: Any, x: jax.Array, targets: jax.Array) -> dict[str, Program]:
    """The same function of a batch as programs of many shapes, by their names."""
    jitted = jax.jit(fn)
    programs: dict[str, Program] = {ONE: lambda: np.asarray(jitted(params, x, targets))}
    for num_parts in (2, 4, 8):
        if num_parts < len(x):
            split = jax.jit(functools.partial(in_parts, fn, num_parts))
            name = f"by hand, {num_parts} independent parts in one program"
            programs[name] = functools.partial(_waited, split, params, x, targets)
    for size in [each for each in SLICE_SIZES if each < len(x)]:
        one = functools.partial(jitted, params)
        name = f"by hand, slices of {size} in 2 threads"
        programs[name] = functools.partial(in_threads, one, size, x, targets)
        if size in (8, 16):
            ahead = jitted.lower(params, x[:size], targets[:size]).compile()
            one = functools.partial(ahead, params)
            programs[f"{name}, compiled ahead"] = functools.partial(
                in_threads, one, size, x, targets
            )
            closed = jax.jit(functools.partial(fn, params))
            programs[f"{name}, weights as constants"] = functools.partial(
                in_threads, closed, size, x, targets
            )
    return programs


def path_shapes(
    network: Network, x: jax.Array, targets: jax.Array, num_steps: int
) -> dict[str, Program]:
    """Integrated gradients from zero with midpoints, as programs of many shapes."""
    params, positions = network.params, midpoints(num_steps)
    step = jax.jit(functools.partial(add_points, gradient(network)), donate_argnums=4)
    in_four = jax.jit(
        functools.partial(add_points, functools.partial(in_parts, gradient(network), 4)),
        donate_argnums=4,
    )
    vmapped = jax.jit(functools.partial(add_vmapped, gradient(network)), donate_argnums=4)

    def loop(program: Fn, k: int, x: Any, targets: Any) -> np.ndarray:
        return integral(program, params, x, targets, chunked(positions, k)) / num_steps

    def in_slices(k: int, size: int) -> Program:
        one = functools.partial(loop, step, k)
        return functools.partial(in_threads, one, size, x, targets)

    def halves() -> np.ndarray:
        parts = chunked(positions, 1)
        run = functools.partial(integral, step, params, x, targets)
        return sum(POOL.map(run, (parts[::2], parts[1::2]))) / num_steps

    programs: dict[str, Program] = {
        "by hand, loop over points": functools.partial(loop, step, 1, x, targets),
        "by hand, loop, 5 points unrolled": functools.partial(loop, step, 5, x, targets),
        "by hand, loop, 10 points vmapped": functools.partial(loop, vmapped, 10, x, targets),
        "by hand, points shared by 2 threads": halves,
    }
    if len(x) > 4:
        name = "by hand, loop, 4 independent parts in one program"
        programs[name] = functools.partial(loop, in_four, 1, x, targets)
    for size in [each for each in SLICE_SIZES if each < len(x)]:
        programs[f"by hand, slices of {size} in 2 threads, loop"] = in_slices(1, size)
    for size in [each for each in (8, 16) if each < len(x)]:
        name = f"by hand, slices of {size} in 2 threads, loop, 5 points unrolled"
        programs[name] = in_slices(5, size)
    return programs


def scanned(network: Network, x: jax.Array, targets: jax.Array, num_steps: int) -> Program:
    """The mistake: a convolution inside a loop of XLA:CPU."""

    @jax.jit
    def program(params: Any, x: jax.Array, targets: jax.Array, positions: jax.Array) -> jax.Array:
        def add(total: jax.Array, position: jax.Array) -> tuple[jax.Array, None]:
            return total + gradient(network)(params, position * x, targets), None

        return x * jax.lax.scan(add, jnp.zeros_like(x), positions)[0] / num_steps

    positions = midpoints(num_steps)
    return functools.partial(_waited, program, network.params, x, targets, positions)


def midpoints(num_steps: int) -> np.ndarray:
    return ((np.arange(num_steps) + 0.5) / num_steps).astype(np.float32)


def chunked(positions: np.ndarray, k: int) -> list[np.ndarray]:
    return [positions[n : n + k] for n in range(0, len(positions), k)]


def integral(
    program: Fn, params: Any, x: Any, targets: Any, chunks: Sequence[np.ndarray]
) -> np.ndarray:
    total = jnp.zeros(x.shape, x.dtype)
    for chunk in chunks:
        total = program(params, x, targets, chunk, total)
        total.block_until_ready()
    return np.asarray(x) * np.asarray(total)


def add_points(fn: Fn, params: Any, x: Any, targets: Any, positions: Any, total: Any) -> jax.Array:
    """The points one by one, in one program."""
    return total + sum(fn(params, position * x, targets) for position in positions)


def add_vmapped(fn: Fn, params: Any, x: Any, targets: Any, positions: Any, total: Any) -> jax.Array:
    return total + jax.vmap(lambda position: fn(params, position * x, targets))(positions).sum(0)


def in_parts(fn: Fn, num_parts: int, params: Any, x: jax.Array, targets: jax.Array) -> jax.Array:
    """Parts of the batch that do not depend on each other, side by side inside a program."""
    pairs = zip(jnp.array_split(x, num_parts), jnp.array_split(targets, num_parts), strict=True)
    return jnp.concatenate([fn(params, *pair) for pair in pairs])


def in_threads(one: Callable[..., Any], size: int, x: jax.Array, targets: jax.Array) -> np.ndarray:
    """Slices of the batch, of which two threads compute one each at a time."""

    def slices() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        host, labels = np.asarray(x), np.asarray(targets)
        for start in range(0, len(host), size):
            yield host[start : start + size], labels[start : start + size]

    return np.concatenate(list(POOL.map(lambda pair: np.asarray(one(*pair)), slices())))


def _waited(program: Callable[..., Any], *arguments: Any) -> np.ndarray:
    return np.asarray(program(*arguments))
