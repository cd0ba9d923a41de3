"""Does memory grow with the data? python -m benchmarks.memory

Each length runs in a process of its own, on a stream of made-up 16×16×3 images, and reports its
peak resident memory.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator

import numpy as np

import jinterp
from benchmarks.timing import machine, peak_resident_kib

LENGTHS = (10_000, 100_000, 1_000_000)
BLOCK = 500


class Stream:
    """Batches made as they are asked for; the example with the largest loss is known."""

    def __init__(self, length: int):
        self.length = length
        self.worst = length // 2 + 7

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng(0)
        for start in range(0, self.length, BLOCK):
            images = rng.integers(0, 100, (BLOCK, 16, 16, 3), dtype=np.uint8)
            if start <= self.worst < start + BLOCK:
                images[self.worst - start] = 255
            yield images, np.zeros(BLOCK, np.int32)


def apply_fn(params, x):
    return x.astype(np.float32).reshape(len(x), -1) @ params


def run(length: int) -> None:
    stream = Stream(length)
    params = np.concatenate([np.zeros((768, 9)), np.full((768, 1), 1e-4)], 1).astype(np.float32)
    top = jinterp.top_losses(apply_fn, params, jinterp.batches(stream, 256))
    assert top.indices[0] == stream.worst, top
    print(peak_resident_kib())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--length", type=int)
    arguments = parser.parse_args()
    if arguments.length:
        run(arguments.length)
        return
    print(machine("jinterp", "jax"))
    print("\n| examples | peak resident memory | growth |\n|---|---|---|")
    first = None
    for length in LENGTHS:
        command = [sys.executable, "-m", "benchmarks.memory", "--length", str(length)]
        peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        first = first or peak
        print(f"| {length:,} | {peak / 1024:.0f} MiB | {100 * (peak / first - 1):+.1f} % |")


if __name__ == "__main__":
    main()
