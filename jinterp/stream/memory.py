"""How work is cut to the machine: the batch size, and how many batches are in flight."""

import os
import sys
from collections.abc import Callable
from typing import Any

import jax
import psutil
from jax.stages import Compiled

# Measured on ResNet-20, CIFAR-10, XLA:CPU with 2 cores: 0.69 ms an image at 64 with two batches
# in flight, 0.83 at 256; 0.91 at 64 with one. An accelerator wants larger batches.
_DEFAULT_BATCH_SIZE = {"cpu": 64}
_ACCELERATOR_BATCH_SIZE = 256
# Input gradients of ResNet-20 and a 6-convolution network, 2 cores: two programs of 8 to 16 rows
# side by side take 0.56 of the time of one of 64.
_ROWS_PER_PROGRAM = {"cpu": 16}
_ACCELERATOR_ROWS = 256
_MEMORY_SHARE = 0.5
NUM_CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def num_lanes(device: jax.Device) -> int:
    """How many batches are computed side by side, each with accumulators of its own.

    XLA:CPU parallelises one convolution poorly but runs several programs side by side; on an
    accelerator the second lane only keeps the device fed.
    """
    return max(2, min(NUM_CORES, 8)) if device.platform == "cpu" else 2


def memory_budget(device: jax.Device) -> int:
    """Bytes that the temporaries of all lanes may take: half of what is free."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(_MEMORY_SHARE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))
    return int(_MEMORY_SHARE * psutil.virtual_memory().available)


def choose_batch_size(
    compile_at: Callable[[int], Compiled],
    device: jax.Device,
    *,
    num_shards: int,
    num_lanes: int,
    num_examples: int | None,
) -> int:
    """The usual batch size of the backend, less where the compiled program would not fit.

    Args:
        compile_at: compiles the step for a batch size.
        device: one of the devices; the others are like it.
        num_shards: devices that share a batch; the answer is a multiple of it.
        num_lanes: batches in flight.
        num_examples: no batch is larger than the dataset.
    """
    size = _DEFAULT_BATCH_SIZE.get(device.platform, _ACCELERATOR_BATCH_SIZE)
    if num_examples is not None:
        # A power of two, so that small datasets of different lengths share programs.
        size = min(size, 1 << (-(-num_examples // num_shards) - 1).bit_length())
    budget = memory_budget(device)
    while size > 1 and _temporary_bytes(compile_at(size * num_shards)) * num_lanes > budget:
        size = (size + 1) // 2
    return size * num_shards


def num_row_lanes(device: jax.Device) -> int:
    """Programs that run side by side; an accelerator takes a queue of them as well."""
    return num_lanes(device) if device.platform == "cpu" else 1


def rows_per_program(device: jax.Device) -> int:
    """Examples, or points of a path, that one program computes at a time."""
    return _ROWS_PER_PROGRAM.get(device.platform, _ACCELERATOR_ROWS)


def fits(compiled: Compiled, budget: int, num_lanes: int) -> bool:
    """Whether the temporaries of all lanes fit the budget, in bytes."""
    return _temporary_bytes(compiled) * num_lanes <= budget


def rounded_budget(device: jax.Device) -> int:
    """The budget rounded down to a power of two.

    So what is free at the moment seldom changes the cut, and with it the program.
    """
    return 1 << max(memory_budget(device).bit_length() - 1, 0)


def _temporary_bytes(compiled: Compiled) -> int:
    analysis: Any = compiled.memory_analysis()
    return 0 if analysis is None else analysis.temp_size_in_bytes + analysis.output_size_in_bytes
