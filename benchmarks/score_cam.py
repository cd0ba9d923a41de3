"""Is Score-CAM as fast as the forward passes that it needs?

python -m benchmarks.score_cam; ResNet-20 on 16 images of CIFAR-10, all 64 channels of its last
layer, beside 64 bare passes over the images in the fastest of some shapes. Needs the pretrained
weights (`JINTERP_SHARED`). That its maps are right is checked by `python -m benchmarks`.
"""

import functools
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp

import jinterp
from benchmarks.networks import NETWORKS
from benchmarks.shapes import CORES
from benchmarks.timing import in_turn, machine, table

BATCH, NUM_CHANNELS = 16, 64


def main() -> None:
    print(machine("jinterp", "jax", "flax"))
    make, data = NETWORKS["resnet20"]
    network, (x, targets) = make(), data(BATCH)
    forward = jax.jit(network.apply_fn)
    shapes = {
        f"{NUM_CHANNELS} passes, {rows} images a program, {threads} side by side": bare(
            functools.partial(forward, network.params), x, rows, threads
        )
        for threads in (1, CORES)
        for rows in (BATCH, 2 * BATCH)
    }
    ours = functools.partial(jinterp.score_cam, network.apply_fn, network.params, x, targets)
    programs = shapes | {"**jinterp.score_cam**": lambda: jax.block_until_ready(ours())}
    seconds = in_turn(programs)
    fastest = min(shapes, key=lambda name: statistics.median(seconds[name]))
    print(table(seconds, fastest))


def bare(
    forward: Callable[[jax.Array], jax.Array], x: jax.Array, rows: int, threads: int
) -> Callable[[], object]:
    """As many passes as there are channels, over so many images at a time."""
    images = jnp.concatenate([x] * (rows // BATCH))
    num = NUM_CHANNELS * BATCH // rows // threads
    pool = ThreadPoolExecutor(threads)

    def some(number: int) -> None:
        for _ in range(num):
            jax.block_until_ready(forward(images))

    return lambda: list(pool.map(some, range(threads)))


if __name__ == "__main__":
    main()
