"""One row on one network, in this process: `python -m benchmarks.measure ROW NETWORK first|turns`.

`first` is jinterp alone, without torch: what the first call costs, and the memory it takes. `turns`
checks every program against the oracle, and times them in turn. Prints JSON.
"""

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from benchmarks import rows
from benchmarks.rows import Case, Row
from benchmarks.shapes import shapes_of
from benchmarks.timing import in_turn, peak_resident_kib

Programs = dict[str, Callable[[], Any]]

OURS = "jinterp"
LIMITS = 2  # so many of the programs by hand are timed: those that were fastest when tried
SLOW = 4.0  # seconds of a program from which only one is
LEAST_ROUNDS = 3


class Disagreement(AssertionError):
    """A program does not give what the oracle gives."""


def first(row: Row, case: Case) -> dict[str, float | int]:
    """What the first call costs more than the next, and the peak of memory."""
    seconds = []
    for _ in range(2):
        begin = time.perf_counter()
        rows.waited(row.ours(case))
        seconds.append(time.perf_counter() - begin)
    return {"compile_seconds": max(0.0, seconds[0] - seconds[1]), "peak_bytes": _peak_bytes()}


def _peak_bytes() -> int:
    """Of an accelerator's memory, or what this process had resident."""
    device = jax.devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    return stats["peak_bytes_in_use"] if stats else 1024 * peak_resident_kib()


def turns(row: Row, case: Case, *, rounds: int, budget: float) -> dict[str, Any]:
    """Times of jinterp, of the fastest programs by hand and of the peer, once they agree."""
    parts = row.parts(case)
    expected = row.expected(case, rows.plain(case, parts))
    error = agree(OURS, row.values(row.ours(case)), expected, rows.TOLERANCE)

    limits = fastest_by_hand(row, case, parts)
    for name, program in limits.items():
        agree(name, row.expected(case, program()), expected, rows.TOLERANCE)

    peers, peer_error = fastest_peer(row, case, expected)
    # The peer comes last: torch's threads spin for a while after a call.
    programs = {**limits, OURS: lambda: rows.waited(row.ours(case)), **peers}
    seconds = in_turn(
        programs, rounds=rounds, budget=budget, least_rounds=LEAST_ROUNDS, pause=0.2, warm=True
    )
    return summary(seconds, list(limits), list(peers)) | {
        "batch": len(case.x),
        "error": error,
        "peer_error": peer_error,
    }


def agree(name: str, values: np.ndarray, expected: np.ndarray, tolerance: float) -> float:
    """The relative difference in L2, or a `Disagreement`."""
    values, expected = np.asarray(values, np.float64), np.asarray(expected, np.float64)
    if values.shape != expected.shape:
        raise Disagreement(f"{name}: the shape {values.shape}, expected {expected.shape}")
    error = float(np.linalg.norm(values - expected) / np.linalg.norm(expected))
    if not error <= tolerance:
        raise Disagreement(f"{name}: differs by {error:.1e}, more than {tolerance:.0e}")
    return error


def fastest_by_hand(row: Row, case: Case, parts: list[rows.Part]) -> Programs:
    found = {}
    for shape in shapes_of(parts[0][1], case.network.params, len(case.x)):
        program, tried = rows.joined(case, parts, shape)
        found[f"by hand, {shape}"] = tried, program
    ordered = sorted(found.items(), key=lambda item: item[1][0])
    num = 1 if ordered[0][1][0] > SLOW else LIMITS
    return {name: program for name, (_, program) in ordered[:num]}


def fastest_peer(row: Row, case: Case, expected: np.ndarray) -> tuple[Programs, float | None]:
    """The peer's fastest program, and its error; none where torch is not installed."""
    if not all(map(importlib.util.find_spec, ("torch", "torchmetrics", "captum"))):
        return {}, None
    from benchmarks.peers import programs_of

    wanted = row.like_peer(case) if row.like_peer else expected
    tolerance = row.peer_tolerance
    tolerance = tolerance(case, expected) if callable(tolerance) else tolerance
    tried = []
    for name, program in programs_of(row, case).items():
        begin = time.perf_counter()
        values = program()
        seconds = time.perf_counter() - begin
        tried.append((seconds, name, program, agree(name, values, wanted, tolerance)))
    if not tried:
        return {}, None
    _, name, program, error = min(tried, key=lambda each: each[0])
    return {name: program}, error


def summary(
    seconds: Mapping[str, list[float]], limits: list[str], peers: list[str]
) -> dict[str, Any]:
    """What is written of the times: medians, and medians of the ratios within a round."""
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ours = seconds[OURS]
    limit = min(limits, key=lambda name: medians[name])
    peer = peers[0] if peers else None
    return {
        "seconds": medians[OURS],
        "range": [min(ours), max(ours)],
        "rounds": len(ours),
        "limit": limit,
        "limit_ratio": _ratio(ours, seconds[limit]),
        "peer": peer,
        "peer_ratio": _ratio(seconds[peer], ours) if peer else None,
        "programs": medians,
    }


def _ratio(a: list[float], b: list[float]) -> float:
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("row", choices=rows.ROWS)
    parser.add_argument("network", choices=rows.NETWORKS_AND_TINY)
    parser.add_argument("what", choices=("first", "turns"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--budget", type=float, default=20)
    arguments = parser.parse_args()
    row = rows.ROWS[arguments.row]
    case = row.case(arguments.network)
    if arguments.what == "first":
        found = first(row, case)
    else:
        found = turns(row, case, rounds=arguments.rounds, budget=arguments.budget)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
