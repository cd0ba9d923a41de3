"""The bare forward pass over images, in the shape that is fastest on this machine."""

import functools
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np

import jinterp
from benchmarks.timing import in_turn

BATCH_SIZES, THREADS = (8, 16, 32), (1, 2)


def fastest_forward(
    model: jinterp.Model, images: np.ndarray, preprocess: Callable[[jax.Array], jax.Array]
) -> Callable[[], list]:
    """The model over the images, in the batch size and threads that are fastest here."""

    @jax.jit
    def forward(params: object, x: jax.Array) -> jax.Array:
        return model.apply_fn(params, preprocess(x))

    def run(batch_size: int, threads: int) -> list:
        starts = range(0, len(images), batch_size)
        padded = np.resize(images, (len(starts) * batch_size, *images.shape[1:]))
        with ThreadPoolExecutor(threads) as pool:
            return list(
                pool.map(
                    lambda start: jax.block_until_ready(
                        forward(model.params, padded[start : start + batch_size])
                    ),
                    starts,
                )
            )

    shapes = {
        f"{size} in {threads}": functools.partial(run, size, threads)
        for size, threads in itertools.product(BATCH_SIZES, THREADS)
    }
    seconds = in_turn(shapes, rounds=2)
    best = min(shapes, key=lambda name: min(seconds[name]))
    print(f"the model alone: batches of {best} threads")
    return shapes[best]
