"""Does the memory of integrated gradients grow with the batch and the steps?

python -m benchmarks.attribution_memory

Each row is a process of its own, on the CNN of `benchmarks.networks` and made-up images. It
reports the temporaries of the program that jinterp compiled, times the programs in flight, and the
peak resident memory; beside them one program for all points at once (vmap), which runs only where
its temporaries fit half of the free memory.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jinterp
from benchmarks import by_hand
from benchmarks.networks import Network, cnn
from benchmarks.timing import machine, peak_resident_kib
from jinterp.stream import memory
from jinterp.stream.cut import Cut

CASES = [(batch, steps) for batch in (1, 16, 64, 256) for steps in (10, 50, 200)]
BUDGETS = (64, 16, 8)  # MiB, for 64 examples and 50 steps; one row a program needs 2.4
MIB = 2**20


def report() -> list[dict[str, Any]]:
    """Print the tables."""
    print("\n### Memory of integrated gradients, cnn\n")
    print(
        "| examples | steps | rows a program | programs in flight | temporaries | peak resident | "
        "vmap over all points: temporaries | peak resident |\n|---|---|---|---|---|---|---|---|"
    )
    found = []
    for batch, steps in CASES:
        ours = in_process("jinterp", batch, steps)
        vmapped = in_process("vmap", batch, steps)
        found.append({"batch": batch, "steps": steps, "jinterp": ours, "vmap": vmapped})
        peak = f"{vmapped['peak']:,.0f} MiB" if vmapped["ran"] else "not run"
        print(
            f"| {batch} | {steps} | {_cut(ours)} | {ours['temporaries']:,.1f} MiB | "
            f"{ours['peak']:,.0f} MiB | {vmapped['temporaries']:,.0f} MiB | {peak} |",
            flush=True,
        )
    print("\n64 examples, 50 steps, under a smaller budget:\n")
    print(
        "| budget | rows a program | programs in flight | temporaries | peak resident |\n"
        "|---|---|---|---|---|"
    )
    for budget in BUDGETS:
        ours = in_process("jinterp", 64, 50, budget)
        found.append({"batch": 64, "steps": 50, "budget": budget, "jinterp": ours})
        print(
            f"| {budget} MiB | {_cut(ours)} | {ours['temporaries']:.1f} MiB | "
            f"{ours['peak']:,.0f} MiB |",
            flush=True,
        )
    return found


def _cut(found: dict[str, Any]) -> str:
    return f"{found['slice_size']} × {found['chunk']} | {found['in_flight']}"


def in_process(way: str, batch: int, steps: int, budget: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.attribution_memory"]
    numbers = map(str, (batch, steps, budget))
    output = subprocess.run(
        [*command, way, *numbers], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return json.loads(output.splitlines()[-1])


def run(way: str, batch: int, steps: int, budget: int) -> None:
    """One row, in this process."""
    if budget:
        memory.budget_of = lambda device: budget * MIB
    images = np.random.default_rng(0).normal(size=(batch, 28, 28, 1)).astype(np.float32)
    targets = np.arange(batch, dtype=np.int32) % 10
    one = with_jinterp if way == "jinterp" else with_vmap
    found = one(cnn(), jnp.asarray(images), jnp.asarray(targets), steps)
    peak = peak_resident_kib() / 1024
    print(json.dumps(found | {"peak": peak}))


def with_jinterp(network: Network, x: jax.Array, targets: jax.Array, steps: int) -> dict[str, Any]:
    """Run, and look at the cut that was chosen."""
    cuts = []
    compile_cut = Cut.compile

    def seen(cut: Cut) -> Any:
        cuts.append((cut, compile_cut(cut)))
        return cuts[-1][1]

    Cut.compile = seen
    values = jinterp.integrated_gradients(
        network.apply_fn, network.params, x, targets, num_steps=steps
    )
    assert np.isfinite(np.asarray(values)).all()
    cut, program = cuts[-1]
    in_flight = min(cut.num_lanes, len(cut.slices) * cut.num_groups)
    temporaries = in_flight * memory._temporary_bytes(program)
    budget = memory.budget_of(next(iter(x.devices())))
    smallest = cut.slice_size == cut.chunk == 1
    assert temporaries <= budget or smallest, (temporaries, budget)
    return {
        "slice_size": cut.slice_size,
        "chunk": cut.chunk,
        "in_flight": in_flight,
        "temporaries": temporaries / MIB,
    }


def with_vmap(network: Network, x: jax.Array, targets: jax.Array, steps: int) -> dict[str, Any]:
    """All points at once, as the mistake goes."""
    work = by_hand.integrated_gradients(network, steps)
    arguments = network.params, (x, targets), work.points
    compiled = jax.jit(work.fn).lower(*arguments).compile()
    temporaries = compiled.memory_analysis().temp_size_in_bytes
    fits = temporaries <= memory.budget_of(next(iter(x.devices())))
    if fits:
        compiled(*arguments).block_until_ready()
    return {"temporaries": temporaries / MIB, "ran": bool(fits)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("way", nargs="?", choices=("jinterp", "vmap"))
    parser.add_argument("numbers", nargs="*", type=int)
    arguments = parser.parse_args()
    if arguments.way:
        run(arguments.way, *arguments.numbers)
        return
    print(machine("jinterp", "jax", "flax"))
    report()


if __name__ == "__main__":
    main()
