"""Does more hardware change an answer, and what does more data cost? python -m benchmarks.scaling

Writes the key `scaling` of the machine's results. Simulated devices share the cores, so their
answers are compared, and their times only tell that nothing is lost; every number is from a process
of its own.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import jinterp
from benchmarks import results
from benchmarks.memory import Stream
from benchmarks.networks import NETWORKS
from benchmarks.timing import peak_resident_kib

DEVICES = (1, 2, 4, 8)
EVALUATED, EXPLAINED, NUM_STEPS = 2048, 32, 20
LENGTHS = (1_000, 10_000, 100_000, 1_000_000)
LEAST_SECONDS = 2.0
LINEAR = 0.1  # how far the time of an example may be from that in the longest stream
TOLERANCE = 1e-4  # relative, L2


def on_devices(num: int, file: Path) -> dict[str, float]:
    """Evaluate and integrated gradients over so many simulated devices."""
    jax.config.update("jax_num_cpu_devices", num)
    make, data = NETWORKS["cnn"]
    network, (x, y) = make(), data(EVALUATED)
    mesh = jax.make_mesh((num,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    params = jax.device_put(network.params, NamedSharding(mesh, PartitionSpec()))
    few = jax.device_put((x[:EXPLAINED], y[:EXPLAINED]), NamedSharding(mesh, PartitionSpec("data")))
    ds = np.asarray(x), np.asarray(y)

    found, evaluate_seconds = _timed(
        lambda: jinterp.evaluate(network.apply_fn, network.params, ds, mesh=mesh)
    )
    values, seconds = _timed(
        lambda: np.asarray(
            jinterp.integrated_gradients(network.apply_fn, params, *few, num_steps=NUM_STEPS)
        )
    )
    losses = found.predictions.losses
    np.savez(file, counts=found.confusion_matrix, losses=losses, values=values)
    return {"evaluate_seconds": evaluate_seconds, "integrated_gradients_seconds": seconds}


def _timed(program: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and the median of some calls after the first."""
    result, seconds = program(), []
    while len(seconds) < 3 or sum(seconds) < LEAST_SECONDS:
        begin = time.perf_counter()
        program()
        seconds.append(time.perf_counter() - begin)
    return result, statistics.median(seconds)


def devices(folder: Path) -> list[dict[str, Any]]:
    print("| devices | evaluate | integrated gradients | counts | largest difference |")
    print("|---|---|---|---|---|")
    rows: list[dict[str, Any]] = []
    for num in DEVICES:
        file = folder / f"{num}.npz"
        found = _child("--devices", str(num), "--file", str(file))
        with np.load(folder / f"{DEVICES[0]}.npz") as one, np.load(file) as own:
            equal = bool(np.array_equal(one["counts"], own["counts"]))
            difference = max(_relative(own[name], one[name]) for name in ("losses", "values"))
        rows.append(
            {"devices": num, "counts_equal": equal, "largest_difference": difference} | found
        )
        print(
            f"| {num} | {found['evaluate_seconds']:.3f} s | "
            f"{found['integrated_gradients_seconds']:.3f} s | {'equal' if equal else 'DIFFERENT'} "
            f"| {difference:.1e} |",
            flush=True,
        )
        assert equal, num
        assert difference <= TOLERANCE, (num, difference)
    return rows


def _relative(values: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(values - expected) / np.linalg.norm(expected))


def apply_fn(params: Any, x: jax.Array) -> jax.Array:
    """A small perceptron of which an example costs some microseconds."""
    x = x.astype(jnp.float32).reshape(len(x), -1) / 255
    for kernel in params[:-1]:
        x = jax.nn.relu(x @ kernel)
    return x @ params[-1]


def of_length(length: int) -> dict[str, float]:
    """A pass over a stream that is made while it is read."""
    rng = np.random.default_rng(0)
    widths = (768, 256, 10)
    params = [
        (rng.normal(size=(a, b)) / np.sqrt(a)).astype(np.float32)
        for a, b in itertools.pairwise(widths)
    ]

    def program() -> Any:
        return jinterp.top_losses(apply_fn, params, jinterp.batches(Stream(length), 256))

    jinterp.top_losses(apply_fn, params, jinterp.batches(Stream(LENGTHS[0]), 256))  # compiles
    seconds: list[float] = []
    while sum(seconds) < LEAST_SECONDS:
        begin = time.perf_counter()
        program()
        seconds.append(time.perf_counter() - begin)
    return {"seconds": statistics.median(seconds), "peak_bytes": 1024 * peak_resident_kib()}


def lengths() -> list[dict[str, Any]]:
    rows = [{"examples": length} | _child("--length", str(length)) for length in LENGTHS]
    last = rows[-1]["seconds"] / rows[-1]["examples"]
    print("\n| examples | time | of an example | against the longest | peak memory |")
    print("|---|---|---|---|---|")
    for row in rows:
        one = row["seconds"] / row["examples"]
        row["over_longest"] = one / last
        print(
            f"| {row['examples']:,} | {row['seconds']:.3f} s | {1e6 * one:.2f} µs | "
            f"{one / last:.2f} | {row['peak_bytes'] / 2**20:.0f} MiB |"
        )
    off = [row["examples"] for row in rows if abs(row["over_longest"] - 1) > LINEAR]
    if off:
        print(f"Not within {LINEAR:.0%}: {off}")
    return rows


def _child(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scaling", *arguments]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--length", type=int)
    parser.add_argument("--out", type=Path, default=results.FOLDER)
    arguments = parser.parse_args()
    if arguments.devices:
        print(json.dumps(on_devices(arguments.devices, arguments.file)))
        return
    if arguments.length:
        print(json.dumps(of_length(arguments.length)))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = {"devices": devices(Path(folder)), "lengths": lengths()}
    path = results.file_of(arguments.out)
    results.write(path, results.read(path) | {"scaling": found})


if __name__ == "__main__":
    main()
