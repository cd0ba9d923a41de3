"""What do explanations cost beside the best JAX written by hand, and beside Captum?

python -m benchmarks.attribution [--batch N] [--rounds N] [--network cnn|resnet20|both]
[--skip methods scan rows memory calls] [--json FILE]; needs the `bench` extra, and the data that
tests/real/conftest.py names.
"""

import argparse
import functools
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import torch

import jinterp
from benchmarks import attribution_calls, attribution_memory, by_hand
from benchmarks.captum_rows import INTERNAL_BATCH_SIZES, Peer
from benchmarks.networks import NETWORKS, Network
from benchmarks.timing import in_turn, machine, table
from jinterp.stream import memory

Programs = dict[str, Callable[[], Any]]
Seconds = dict[str, list[float]]

TOLERANCE = 5e-3  # relative, L2, float32
NUM_STEPS = 50
SCAN_ROUNDS = 2
SECTIONS = ("methods", "scan", "rows", "memory", "calls")


# In every round torch comes last: its threads spin for a while after a call and would slow the
# program after it, which is then the one program for the batch, never the fastest shape.


class Case(NamedTuple):
    """A network, a batch and what to run."""

    network: Network
    x: jax.Array
    targets: jax.Array
    peer: Peer
    rounds: int

    @property
    def batch(self) -> tuple[Any, jax.Array, jax.Array]:
        return self.network.params, self.x, self.targets

    def title(self, what: str) -> str:
        return f"\n### {self.network.name}, {what}, batch {len(self.x)}, {self.rounds} rounds\n"


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(2)
    heading = machine("jinterp", "jax", "flax", "torch", "captum")
    print(heading)
    found: dict[str, Any] = {"machine": heading, "batch": arguments.batch}
    names = list(NETWORKS) if arguments.network == "both" else [arguments.network]
    if {"methods", "scan", "rows"} - set(arguments.skip):
        for name in names:
            make, data = NETWORKS[name]
            network, batch = make(), data(arguments.batch)
            case = Case(network, *batch, Peer(network, *batch), arguments.rounds)
            found[name] = of_network(case, arguments.skip)
    if "memory" not in arguments.skip:
        found["memory"] = attribution_memory.report()
    if "calls" not in arguments.skip:
        found["calls"] = attribution_calls.report(names, arguments.batch)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--network", choices=[*NETWORKS, "both"], default="both")
    parser.add_argument("--skip", nargs="*", choices=SECTIONS, default=[])
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def of_network(case: Case, skip: list[str]) -> dict[str, Seconds]:
    found = {}
    if "methods" not in skip:
        found = {
            "gradient": gradient(case),
            "grad_cam": grad_cam(case),
            "integrated_gradients": integrated_gradients(case),
        }
    if "scan" not in skip:
        found["scan"] = scan(case)
    if "rows" not in skip:
        found["rows"] = rows_per_program(case)
    return found


def gradient(case: Case) -> Seconds:
    print(case.title("gradient"))
    programs: Programs = {
        **by_hand.shapes(by_hand.gradient(case.network), *case.batch),
        "**jinterp.gradient**": ours(case)["gradient"],
        "Captum": case.peer.gradient,
    }
    agree(programs)
    seconds = in_turn(programs, rounds=case.rounds)
    print(table(seconds, fastest(seconds, "by hand")), flush=True)
    return seconds


def integrated_gradients(case: Case) -> Seconds:
    print(case.title(f"integrated gradients, {NUM_STEPS} steps"))
    programs: Programs = {
        **by_hand.path_shapes(case.network, case.x, case.targets, NUM_STEPS),
        "**jinterp.integrated_gradients**": ours(case)["integrated_gradients"],
    }
    for size in INTERNAL_BATCH_SIZES:
        programs[f"Captum, internal_batch_size={size}"] = functools.partial(
            case.peer.integrated_gradients, NUM_STEPS, size
        )
    agree(programs)
    agree(with_gauss_legendre(case), note="Gauss-Legendre points: ")
    seconds = in_turn(programs, rounds=case.rounds)
    print(table(seconds, fastest(seconds, "by hand")), flush=True)
    return seconds


def grad_cam(case: Case) -> Seconds:
    """Two tables of one run: beside the same work, and beside the forward pass alone."""
    name = "**jinterp.grad_cam**"
    cams: Programs = {
        **by_hand.shapes(by_hand.grad_cam(case.network), *case.batch),
        name: ours(case)["grad_cam"],
        "Captum": case.peer.grad_cam,
    }
    passes: Programs = {
        each.replace("by hand", "forward pass"): program
        for each, program in by_hand.shapes(by_hand.forward(case.network), *case.batch).items()
    }
    passes["torch forward"] = case.peer.forward
    print(case.title(f"Grad-CAM at {case.network.layer}"))
    agree(cams)
    agree(passes, note="Forward passes: ")
    seconds = in_turn(cams | passes, rounds=case.rounds)
    print(table({each: seconds[each] for each in cams}, fastest(seconds, "by hand")))
    print(case.title(f"Grad-CAM at {case.network.layer} beside the forward pass"))
    reference = fastest(seconds, "forward pass")
    print(table({each: seconds[each] for each in (name, *passes)}, reference), flush=True)
    return seconds


def scan(case: Case) -> Seconds:
    print(case.title("the known mistake")[:-1] + f" (of which {SCAN_ROUNDS} were run)\n")
    programs: Programs = {
        "**jinterp.integrated_gradients**": ours(case)["integrated_gradients"],
        by_hand.SCAN: by_hand.scanned(case.network, case.x, case.targets, NUM_STEPS),
    }
    agree(programs)
    seconds = in_turn(programs, rounds=SCAN_ROUNDS)
    print(table(seconds, "**jinterp.integrated_gradients**"), flush=True)
    return seconds


def rows_per_program(case: Case) -> dict[str, Seconds]:
    """Is `jinterp.stream.memory` right about how many rows one program takes?"""
    found = {}
    chosen = memory._ROWS_PER_PROGRAM["cpu"]
    for method, program in ours(case).items():
        programs: Programs = {
            f"**jinterp.{method}**, {num} rows a program": functools.partial(_with, num, program)
            for num in (4, 8, 16, 32)
        }
        print(case.title(f"{method}, rows a program"))
        agree(programs)
        seconds = in_turn(programs, rounds=case.rounds)
        print(table(seconds, f"**jinterp.{method}**, {chosen} rows a program"), flush=True)
        found[method] = seconds
    return found


def _with(num_rows: int, program: Callable[[], Any]) -> Any:
    usual = memory._ROWS_PER_PROGRAM
    memory._ROWS_PER_PROGRAM = {**usual, "cpu": num_rows}
    try:
        return program()
    finally:
        memory._ROWS_PER_PROGRAM = usual


def ours(case: Case) -> Programs:
    network = case.network
    arguments = network.apply_fn, network.params, case.x, case.targets

    def waited(explain: Callable[..., Any], **keywords: Any) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(explain(*arguments, **keywords))

    return {
        "gradient": waited(jinterp.gradient),
        "grad_cam": waited(jinterp.grad_cam, layer=network.layer),
        "integrated_gradients": waited(jinterp.integrated_gradients, num_steps=NUM_STEPS),
    }


def with_gauss_legendre(case: Case) -> Programs:
    network = case.network
    return {
        "jinterp": lambda: jinterp.integrated_gradients(
            network.apply_fn,
            network.params,
            case.x,
            case.targets,
            num_steps=NUM_STEPS,
            rule="gauss_legendre",
        ),
        "Captum": lambda: case.peer.integrated_gradients(NUM_STEPS, 64, "gausslegendre"),
    }


def agree(programs: Programs, note: str = "") -> None:
    """The numbers before the time: all results are those of the first program."""
    errors = {}
    expected = None
    for name, program in programs.items():
        values = np.asarray(program(), np.float64)
        expected = values if expected is None else expected
        assert values.shape == expected.shape, (name, values.shape, expected.shape)
        errors[name] = np.linalg.norm(values - expected) / np.linalg.norm(expected)
        assert errors[name] <= TOLERANCE, f"{name}: differs by {errors[name]:.1e}"
    largest = max(errors, key=lambda each: errors[each])
    print(
        f"{note}{len(programs)} programs agree within {errors[largest]:.0e} (relative, L2; the "
        f"largest difference is that of {largest}).\n",
        flush=True,
    )


def fastest(seconds: Seconds, kind: str) -> str:
    """The program with the smallest median among those whose names start so."""
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return min((name for name in medians if name.startswith(kind)), key=lambda name: medians[name])


if __name__ == "__main__":
    main()
