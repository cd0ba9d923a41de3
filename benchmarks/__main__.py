"""python -m benchmarks: what every method costs, beside plain JAX by hand and beside a peer.

Each row is measured in processes of its own and written when it is done; a row whose numbers are
not those of the oracle is an error, and is not written.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results, table
from benchmarks.networks import NETWORKS, NETWORKS_AND_TINY
from benchmarks.rows import ROWS

Measured = Callable[[str, str, int, float], dict[str, Any]]
"""`measured(row, network, rounds, budget)`: the numbers of a row."""


class Failed(RuntimeError):
    """A row could not be measured."""


def main(argv: Sequence[str] | None = None, measured: Measured | None = None) -> int:
    arguments = _arguments(argv)
    path = results.file_of(arguments.out)
    if arguments.render:
        table.render(arguments.out)
        return 0
    failed = []
    for network in arguments.models:
        for row in arguments.rows:
            begin = time.perf_counter()
            print(f"{row}, {network} ...", end=" ", flush=True)
            try:
                numbers = (measured or in_fresh_processes)(
                    row, network, arguments.rounds, arguments.budget
                )
            except Failed as error:
                failed.append(f"{row}, {network}")
                print(f"FAILED\n{error}", flush=True)
                continue
            names = {"name": f"{ROWS[row].title(network)}, {network}", "row": row, "model": network}
            results.write_row(path, names | numbers)
            print(f"{line(numbers)} [{time.perf_counter() - begin:.0f} s]", flush=True)
    if arguments.out == results.FOLDER:
        table.render(arguments.out)
    print(f"{path}" + (f"; failed: {'; '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def line(numbers: dict[str, Any]) -> str:
    peer = "no peer: torch, torchmetrics or captum is not installed, or it has no such network"
    if numbers["peer"]:
        peer = f"{numbers['peer_ratio']:.2f} times as long in {numbers['peer']}"
    return (
        f"{numbers['seconds']:.4g} s, {numbers['limit_ratio']:.2f} of {numbers['limit']}; {peer}; "
        f"compiles {numbers['compile_seconds']:.1f} s, "
        f"peak {numbers['peak_bytes'] / 2**20:,.0f} MiB"
    )


def in_fresh_processes(row: str, network: str, rounds: int, budget: float) -> dict[str, Any]:
    """One process for jinterp alone, whose memory is its own, and one for all in turn."""
    given = ("--rounds", str(rounds), "--budget", str(budget))
    found = {}
    for what in ("first", "turns"):
        command = [sys.executable, "-m", "benchmarks.measure", row, network, what, *given]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        if child.returncode:
            raise Failed(child.stderr[-2000:])
        found |= json.loads(child.stdout.splitlines()[-1])
    return found


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=_names(ROWS), default=list(ROWS), help=", ".join(ROWS))
    parser.add_argument(
        "--models",
        type=_names(NETWORKS_AND_TINY),
        default=list(NETWORKS),
        help=", ".join(NETWORKS_AND_TINY),
    )
    parser.add_argument("--rounds", type=int, default=7, help="at most so many")
    parser.add_argument("--budget", type=float, default=15, help="seconds of rounds, at least 3")
    parser.add_argument("--out", type=Path, default=results.FOLDER, help="the results' folder")
    parser.add_argument("--render", action="store_true", help="write the docs, measure nothing")
    return parser.parse_args(argv)


def _names(known: Any) -> Callable[[str], list[str]]:
    def parsed(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: none of {', '.join(known)}")
        return names

    return parsed


if __name__ == "__main__":
    sys.exit(main())
