"""How the benchmarks time: everything in turn, medians, ratios within one round."""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import numpy as np


def in_turn(
    programs: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 7,
    least_rounds: int = 3,
    budget: float = math.inf,
    pause: float = 0.0,
    warm: bool = False,
) -> dict[str, list[float]]:
    """Seconds of each program in each round.

    The programs take turns, so that a machine whose speed drifts slows all of them alike. Each
    must wait for its result.

    Args:
        programs: by their names.
        rounds: at most so many.
        least_rounds: rounds that are run although the budget is spent.
        budget: seconds, after which no round begins.
        pause: seconds before each round, for threads of the last program that still spin.
        warm: whether each has run already; else there is one round more, which is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    begin = time.perf_counter()
    for number in range(warm, rounds + 1):
        if number > least_rounds and time.perf_counter() - begin > budget:
            break
        time.sleep(pause)
        for name, program in programs.items():
            start = time.perf_counter()
            program()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def of_equal_results(programs: Mapping[str, Callable[[], np.ndarray]]) -> dict[str, float]:
    """Median seconds of programs whose results are those of the last, to a relative 1e-4."""
    results = [program() for program in programs.values()]
    for name, found in zip(programs, results, strict=True):
        error = np.linalg.norm(found - results[-1]) / np.linalg.norm(results[-1])
        if not error < 1e-4:
            raise AssertionError(f"{name} differs by {error:.1e}")
    seconds = in_turn(programs, rounds=15, warm=True)
    return {name: statistics.median(each) for name, each in seconds.items()}


def table(seconds: Mapping[str, list[float]], reference: str) -> str:
    """A Markdown table: the median, its range, and the median of the ratios to `reference`."""
    lines = ["| program | median | range | ratio |", "|---|---|---|---|"]
    for name, times in seconds.items():
        ratios = [a / b for a, b in zip(times, seconds[reference], strict=True)]
        median, low, high = statistics.median(times), min(times), max(times)
        ratio = f"{statistics.median(ratios):.2f}"
        lines.append(f"| {name} | {_short(median)} | {_short(low)} to {_short(high)} | {ratio} |")
    return "\n".join(lines)


def _short(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def machine(*packages: str) -> str:
    """The processor, the cores and the versions, as a sentence."""
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    processor = names[0] if names else platform.machine()
    return f"{processor}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def peak_of(module: str, num: int) -> float:
    """MiB that a process of its own takes at most, whose last line of output says so as JSON."""
    command = [sys.executable, "-m", f"benchmarks.{module}", str(num)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def peak_resident_kib() -> int:
    """The most memory this process had resident, on Linux.

    `ru_maxrss` is not that: a process takes over the figure of the one that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
