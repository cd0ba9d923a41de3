"""What does the first call of an explainer cost, and does the second one compile?

python -m benchmarks.attribution_calls [--batch N]; each row is a fresh process.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

import jinterp
from benchmarks.networks import NETWORKS
from benchmarks.timing import machine
from tests.problems import count_compiles

NAMES = ("cnn", "resnet20")
METHODS = ("gradient", "integrated_gradients", "grad_cam")


class Clock:
    """Seconds that JAX spends in tracing, lowering and compiling, by their last word."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, event: str, duration: float, **metadata: object) -> None:
        if event.startswith("/jax/core/compile/"):
            name = event.split("/")[-1].removesuffix("_duration")
            self.seconds[name] = self.seconds.get(name, 0.0) + duration


def report(networks: Sequence[str], batch: int) -> list[dict[str, Any]]:
    """Print the table."""
    print(f"\n### First and second call, batch {batch}\n")
    print(
        "| network | method | first call | of which XLA compiles | programs | second call | "
        "compiles |\n|---|---|---|---|---|---|---|"
    )
    found = []
    for network in networks:
        for method in METHODS:
            one = in_process(network, method, batch)
            found.append({"network": network, "method": method, "batch": batch, **one})
            print(
                f"| {network} | {method} | {one['first']:.2f} s | {one['compiling']:.2f} s | "
                f"{one['programs']} | {one['second']:.3f} s | {one['second_programs']} |",
                flush=True,
            )
            assert one["second_programs"] == 0, one
    return found


def in_process(network: str, method: str, batch: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.attribution_calls", "--batch", str(batch)]
    output = subprocess.run(
        [*command, "--of", network, method], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return json.loads(output.splitlines()[-1])


def run(name: str, method: str, batch: int) -> None:
    """One row, in this process."""
    make, data = NETWORKS[name]
    network, (x, targets) = make(), data(batch)
    keywords = {"grad_cam": {"layer": network.layer}, "integrated_gradients": {"num_steps": 50}}
    explain: Callable[..., Any] = getattr(jinterp, method)

    def call() -> float:
        start = time.perf_counter()
        values = explain(network.apply_fn, network.params, x, targets, **keywords.get(method, {}))
        jax.block_until_ready(values)
        return time.perf_counter() - start

    clock = Clock()
    jax.monitoring.register_event_duration_secs_listener(clock)
    with count_compiles() as counter:
        first = call()
        programs, counter.compiled = counter.compiled, 0
        stages = dict(clock.seconds)
        second = call()
    found = {"first": first, "programs": programs, "compiling": stages["backend_compile"]}
    found |= {"second": second, "second_programs": counter.compiled, "stages": stages}
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--of", nargs=2, metavar=("NETWORK", "METHOD"))
    arguments = parser.parse_args()
    if arguments.of:
        run(*arguments.of, arguments.batch)
        return
    print(machine("jinterp", "jax", "flax"))
    report(NAMES, arguments.batch)


if __name__ == "__main__":
    main()
