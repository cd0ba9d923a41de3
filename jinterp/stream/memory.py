"""How work is cut to the machine: the batch size, and how many batches are in flight."""

import contextlib
import contextvars
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import psutil
from jax.experimental import multihost_utils
from jax.stages import Compiled, Lowered

from jinterp._trace import warn

# Measured on XLA:CPU with 2 cores, two batches side by side, ms an image at 8, 16, 32 and 64: a
# 6-convolution network -, 0.49, 0.41, 0.48; ResNet-20 -, 0.79, 0.76, 0.77; ResNet-56 2.59, 2.46,
# 2.46, 2.88; ViT-S/16 70, 75, 92, -. A batch costs the host a millisecond, which is much for a
# small model. An accelerator wants larger batches.
_DEFAULT_BATCH_SIZE = {"cpu": 64}
_LARGE_STEPS = ((3e9, 32), (8e9, 8))  # with more operations a batch is halved, but not below this
# Logits at every pixel that do not stay in the caches are read slowly by what counts them: a U-Net
# on images of 120 × 90 and 240 × 180 with 11 classes, batches of 4, 8, 16, 32, 64 over its forward
# pass: 1.20, 1.13, 1.20, 1.37, 1.50 and 1.09, 1.22, -, -, -.
_LARGE_OUTPUTS, _LEAST_IMAGES = 2**22, 4  # bytes, with more a batch is halved, but not below this
_ACCELERATOR_BATCH_SIZE = 256
# Input gradients of ResNet-20 and a 6-convolution network, 2 cores: two programs of 8 to 16 rows
# side by side take 0.56 of the time of one of 64.
_ROWS_PER_PROGRAM = {"cpu": 16}
# Of a large model fewer, ms a gradient with 1, 2, 4, 8 and 16 rows: ViT-S/16 213, 204, 216, 224,
# 290; ResNet-50 192, 168, 152, 145, -; ResNet-56 with 8 and 16 9.0, 10.3.
_LARGE_PROGRAM, _LEAST_ROWS = 6e9, 4  # operations, from which rows are halved, but not below these
_ACCELERATOR_ROWS = 256
_USUAL_FRACTION = 0.5
NUM_CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def num_lanes(device: jax.Device) -> int:
    """How many batches are computed side by side, each with accumulators of its own.

    XLA:CPU parallelises one convolution poorly but runs several programs side by side; on an
    accelerator the second lane only keeps the device fed.
    """
    return max(2, min(NUM_CORES, 8)) if device.platform == "cpu" else 2


@contextlib.contextmanager
def memory_budget(
    *, num_bytes: int | None = None, memory_fraction: float | None = None
) -> Iterator[None]:
    """Inside this `with`, programs are cut so that their temporaries take at most so much.

    Without it they take at most half of the memory that is free on the device. Inputs, parameters
    and results come on top. A program for one example cannot be cut further: if it takes more, it
    runs all the same, with a warning.

    Args:
        num_bytes: bytes on each device.
        memory_fraction: a share of the memory that is free on each device, above 0 and at most 1.

    Raises:
        ValueError: neither or both are given, or one is out of range.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> with jinterp.memory_budget(num_bytes=2**20):
    ...     jinterp.saliency(apply_fn, jnp.eye(2), jnp.ones((3, 2)), 0).shape
    (3, 2)
    """
    if (num_bytes is None) == (memory_fraction is None):
        raise ValueError("expected one of `num_bytes` and `memory_fraction`, such as 2**30 or 0.5.")
    if num_bytes is not None and num_bytes < 1:
        raise ValueError(f"`num_bytes` is {num_bytes}; expected at least 1. Try 2**30.")
    if memory_fraction is not None and not 0 < memory_fraction <= 1:
        raise ValueError(
            f"`memory_fraction` is {memory_fraction}; expected more than 0 and at most 1. Try 0.5."
        )
    token = _budget.set(_Budget(None if num_bytes is None else int(num_bytes), memory_fraction))
    try:
        yield
    finally:
        _budget.reset(token)


class _Budget(NamedTuple):
    num_bytes: int | None
    memory_fraction: float | None


_budget: contextvars.ContextVar[_Budget | None] = contextvars.ContextVar("budget", default=None)


def budget_of(device: jax.Device) -> int:
    """Bytes that the temporaries of all lanes may take: half of what is free, or as asked."""
    asked = _budget.get() or _Budget(None, _USUAL_FRACTION)
    if asked.num_bytes is not None:
        return asked.num_bytes
    return int((asked.memory_fraction or _USUAL_FRACTION) * _free_bytes(device))


def _free_bytes(device: jax.Device) -> int:
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return psutil.virtual_memory().available


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a program could not have the memory it asked for, so that a smaller one may run."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def usual_batch_size(device: jax.Device) -> int:
    """Examples that a device is given at a time, where nothing else is known."""
    return _DEFAULT_BATCH_SIZE.get(device.platform, _ACCELERATOR_BATCH_SIZE)


def choose_batch_size(
    lower_at: Callable[[int], Lowered],
    device: jax.Device,
    *,
    budget: int,
    num_shards: int,
    num_lanes: int,
    num_examples: int | None,
    output_bytes: int,
) -> int:
    """The usual batch size of the backend, less where the compiled program would not fit.

    Args:
        lower_at: the step for a batch size, not compiled.
        device: one of the devices; the others are like it.
        budget: bytes that the temporaries of all lanes may take.
        num_shards: devices that share a batch; the answer is a multiple of it.
        num_lanes: batches in flight.
        num_examples: no batch is larger than the dataset.
        output_bytes: of the largest array that the model returns for one example.
    """
    size = usual_batch_size(device)
    if num_examples is not None:
        # A power of two, so that small datasets of different lengths share programs.
        size = min(size, 1 << (-(-num_examples // num_shards) - 1).bit_length())
    if device.platform == "cpu":
        while size * output_bytes > _LARGE_OUTPUTS and size > _LEAST_IMAGES:
            size //= 2
        size = _with_less_to_do(size, _operations(lower_at(size * num_shards)) / num_shards)
    while size > 1:
        program = compile_within(lower_at(size * num_shards).compile)
        if program is not None and fits(program, budget, num_lanes):
            break
        size = (size + 1) // 2
    return size * num_shards


def _with_less_to_do(size: int, operations: float) -> int:
    for most, least in _LARGE_STEPS:
        while operations > most and size > least:
            size, operations = size // 2, operations / 2
    return size


def num_row_lanes(device: jax.Device) -> int:
    """Programs that run side by side; an accelerator takes a queue of them as well."""
    return num_lanes(device) if device.platform == "cpu" else 1


def rows_per_program(device: jax.Device) -> int:
    """Examples, or points of a path, that one program computes at a time."""
    return _ROWS_PER_PROGRAM.get(device.platform, _ACCELERATOR_ROWS)


def num_halvings(lower: Callable[[], Lowered], device: jax.Device, num_rows: int) -> int:
    """How often the rows of a program are to be halved, so that it has no more to do than is fast.

    On a CPU what a large program computes does not stay in its caches; an accelerator wants all.
    """
    if device.platform != "cpu" or num_rows <= _LEAST_ROWS:
        return 0
    wanted = math.ceil(math.log2(max(_operations(lower()), 1) / _LARGE_PROGRAM))
    return max(0, min(wanted, int(math.log2(num_rows / _LEAST_ROWS))))


def rows_per_call(device: jax.Device) -> int:
    """Examples that keep all programs side by side busy for longer than a call costs the host."""
    num_programs = 4 * num_row_lanes(device) if device.platform == "cpu" else 1
    return num_programs * rows_per_program(device)


def compile_within(compile_: Callable[[], Compiled]) -> Compiled | None:
    """The program; None where the compiler says that the memory is too small, as XLA:TPU does."""
    try:
        return compile_()
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None


def fits(compiled: Compiled, budget: int, num_lanes: int) -> bool:
    """Whether the temporaries of all lanes fit the budget, in bytes."""
    return _temporary_bytes(compiled) * num_lanes <= budget


def warn_if_over_budget(compiled: Compiled, budget: int, num_lanes: int, what: str) -> None:
    """Tell that a program which cannot be smaller, or should not be, takes more than the budget."""
    needed = _temporary_bytes(compiled) * num_lanes
    if needed > budget:
        warn(
            f"{what} take {needed / 2**20:,.1f} MiB of temporaries, more than the memory budget "
            f"of {budget / 2**20:,.1f} MiB; they run all the same."
        )


def rounded_budget(device: jax.Device, *, of_all: bool) -> int:
    """The budget rounded down to a power of two, with `of_all` the least of all processes.

    So what is free at the moment seldom changes the cut, and with it the program.
    """
    power = max(budget_of(device).bit_length() - 1, 0)
    if of_all:  # they must cut alike
        power = int(multihost_utils.process_allgather(np.int32(power)).min())
    return 1 << power


def _operations(lowered: Lowered) -> float:
    """Floating-point operations, as the compiler estimates them; 0 where it does not."""
    try:
        analysis: Any = lowered.cost_analysis()
    except jax.errors.JaxRuntimeError:  # an exported program has its shapes once it is compiled
        analysis = lowered.compile().cost_analysis()
    return analysis.get("flops", 0.0) if isinstance(analysis, dict) else 0.0


def _temporary_bytes(compiled: Compiled) -> int:
    analysis: Any = compiled.memory_analysis()
    return 0 if analysis is None else analysis.temp_size_in_bytes + analysis.output_size_in_bytes
