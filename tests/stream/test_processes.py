"""Several processes of jax.distributed against one process with all the data, and when one dies."""

import functools
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jinterp
from tests import faults
from tests.attribution import test_explain_dataset as explained
from tests.problems import identity, labelled_logits
from tests.stream import test_checkpoint as checkpointed

NUM, CLASSES = 101, 4
LOGITS, TARGETS = labelled_logits(NUM, CLASSES)

EVALUATE = """
import json
import jinterp
from tests.problems import identity
from tests.stream.test_processes import LOGITS, TARGETS, CLASSES, part_of

for kind in sys.argv[4].split(","):
    part = part_of(process, num_processes)
    ds = (LOGITS[part], TARGETS[part])
    if kind == "stream":  # every so many, as grain and tf.data shard
        ds = iter(list(zip(LOGITS[process::num_processes], TARGETS[process::num_processes])))
    if kind == "cut":
        ds = jinterp.batches((LOGITS, TARGETS)).part(process, num_processes)
    model = identity(CLASSES)
    found = jinterp.evaluate(*model, jinterp.batches(ds, None if kind == "parts" else 8))
    top = found.top_losses
    if kind != "stream":
        top = jinterp.top_losses(*model, jinterp.batches(ds, 8), k=40)
    print(json.dumps({
        "kind": kind,
        "matrix": found.confusion_matrix.tolist(),
        "predictions": [column.tolist() for column in found.predictions],
        "top": [column.tolist() for column in top],
    }))
"""


def part_of(process: int, num_processes: int) -> slice:
    """Consecutive examples, 70 of 101 in the first part."""
    stops = [0, 70, 101] if num_processes == 2 else [0, 70, 71, 90, 101]
    return slice(stops[process], stops[process + 1])


KINDS = ["arrays", "parts", "stream", "cut"]


@functools.cache
def evaluated(num: int) -> list[dict[str, Any]]:
    """What each of so many processes finds, for every kind of dataset."""
    outputs = faults.outputs(faults.start_together(EVALUATE, num, ",".join(KINDS)))
    lines = [line for output in outputs for line in output.splitlines() if line.startswith("{")]
    assert len(lines) == num * len(KINDS)
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("num", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_several_processes_give_the_answer_of_one(kind: str, num: int) -> None:
    """`parts` are `arrays` for which the processes agree on a batch size."""
    k = 9 if kind == "stream" else 40
    one = jinterp.evaluate(*identity(CLASSES), (LOGITS, TARGETS), k=k)
    for found in evaluated(num):
        if found["kind"] != kind:
            continue
        assert found["matrix"] == one.confusion_matrix.tolist()
        for mine, expected in zip(found["predictions"], one.predictions, strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-6)
        for mine, expected in zip(found["top"], one.top_losses, strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-6)


CHECKPOINTED = """
import logging
import time
import numpy as np
from tests.stream import test_checkpoint as t

first, stop = (0, 120) if process == 0 else (120, t.NUM)
class Part(t.Items):
    def __len__(self):
        return stop - first
    def __getitem__(self, index):
        time.sleep(float(sys.argv[5]))
        return super().__getitem__(first + index)

logging.basicConfig(level=logging.INFO, stream=sys.stdout)
found = t.run(Part(), sys.argv[4], 8)
np.savez(f"{sys.argv[4]}/found-{process}.npz", *jax.tree.leaves(found))
"""


def test_a_pass_of_two_processes_goes_on_after_both_were_killed(tmp_path: Path) -> None:
    processes = faults.start_together(CHECKPOINTED, 2, str(tmp_path), "0.02")
    faults.wait_until(processes[1], lambda: (tmp_path / "states" / "2").exists())
    faults.kill(*processes)
    first_rows = (tmp_path / "rows" / "1").stat().st_mtime_ns
    first, second = faults.outputs(faults.start_together(CHECKPOINTED, 2, str(tmp_path), "0"))
    assert re.search(r"going on from example \d+ of 120\n", first)  # of its own part
    assert "going on" not in second
    assert (tmp_path / "rows" / "1").stat().st_mtime_ns == first_rows  # it did not begin anew
    whole = checkpointed.run(checkpointed.Items(), None)
    for process in range(2):
        with np.load(tmp_path / f"found-{process}.npz") as arrays:
            leaves = [arrays[name] for name in arrays.files]
        structure = jax.tree.structure(whole)
        found = jax.tree.unflatten(structure, leaves)
        checkpointed.assert_equal(found, whole, rounding=1e-7)


EXPLAINED = """
import time
from pathlib import Path
import jinterp
from tests.attribution import test_explain_dataset as t

class Slow(t.Items):
    def __getitem__(self, index):
        time.sleep(float(sys.argv[5]))
        return super().__getitem__(index)

ds = jinterp.batches(Slow()).part(process, num_processes)
t.run(ds, Path(sys.argv[4]), resume=True)
"""


def test_two_processes_write_one_store_also_after_both_were_killed(tmp_path: Path) -> None:
    """Their rows share chunks: the second part begins in the middle of one."""
    processes = faults.start_together(EXPLAINED, 2, str(tmp_path), "0.05")

    def is_half_way() -> bool:
        try:
            return len(jinterp.read_explanations(tmp_path).indices) >= 16
        except (FileNotFoundError, ValueError):  # not begun
            return False

    faults.wait_until(processes[1], is_half_way)
    faults.kill(*processes)
    assert len(jinterp.read_explanations(tmp_path).indices) < explained.NUM
    faults.outputs(faults.start_together(EXPLAINED, 2, str(tmp_path), "0"))
    explained.assert_whole(tmp_path)


GLOBAL = """
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import jinterp
from jax.experimental import multihost_utils
from tests.laws.explainers import CASES, PARAMS, X, TARGET
from tests.laws.test_transforms import SHARDED

mesh = jax.make_mesh((2, 2), ("data", "model"), (AxisType.Auto,) * 2)
def put(leaf, spec):
    return jax.make_array_from_callback(
        np.shape(leaf), NamedSharding(mesh, spec), lambda index: np.asarray(leaf)[index]
    )
params = {name: put(leaf, SHARDED[name]) for name, leaf in PARAMS.items()}
x, target = put(X, PartitionSpec("data")), put(TARGET.astype(np.int32), PartitionSpec("data"))
budget = 2 ** (4 if process else 30)  # they must cut alike all the same
for case in CASES:
    if case.name in sys.argv[4].split(","):
        with jinterp.memory_budget(num_bytes=budget):
            values = case(params, x, target)
        values = multihost_utils.process_allgather(values, tiled=True)
        np.testing.assert_allclose(values, np.asarray(case()), rtol=1e-4, atol=1e-6)
        print(case.name)
"""


def test_explainers_on_a_mesh_of_two_processes() -> None:
    """Inputs cut over the processes, and parameters over the devices of each.

    Of which one has less memory than the other.
    """
    names = "gradient,integrated_gradients,grad_cam"
    for output in faults.outputs(faults.start_together(GLOBAL, 2, names)):
        assert set(names.split(",")) <= set(output.split())


FAILING = """
import os, time
import numpy as np
import jinterp
from tests.problems import identity

class Items:
    def __len__(self):
        return 100
    def __getitem__(self, index):
        time.sleep(0.01)
        if process == 1 and index == 40:
            if sys.argv[4] == "dies":
                os.kill(os.getpid(), 9)
            raise ValueError("item 40 cannot be read")
        return np.zeros(4, np.float32), 0

jinterp.evaluate(*identity(4), jinterp.batches(Items(), 8))
"""


@pytest.mark.parametrize("how", ["dies", "fails"])
def test_a_process_that_ends_early_ends_the_others(how: str) -> None:
    processes = faults.start_together(FAILING, 2, how)
    start = time.monotonic()
    _, errors = processes[0].communicate(timeout=120)
    assert time.monotonic() - start < 60
    assert processes[0].returncode != 0
    assert "This most likely indicates that another task died" in errors
    _, errors = processes[1].communicate(timeout=60)
    assert ("item 40 cannot be read" in errors) == (how == "fails")


def flags(process: int, port: int) -> tuple[list[str], dict[str, str]]:
    together = ["--coordinator", f"localhost:{port}", "--num-processes", "2"]
    return [*together, "--process-id", str(process)], {}


def slurm(process: int, port: int) -> tuple[list[str], dict[str, str]]:
    """What SLURM sets in each task of a step with two; JAX takes the port from the job."""
    names = {"JOB_ID": port, "PROCID": process, "LOCALID": process, "NTASKS": 2}
    names |= {"STEP_NODELIST": "localhost", "STEP_NUM_NODES": 1}
    return [], {f"SLURM_{name}": str(value) for name, value in names.items()}


@pytest.mark.parametrize("cluster", [flags, slurm])
def test_the_command_line(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "import jax.numpy as jnp, jinterp\n"
        "def apply_fn(params, x): return x @ params\n"
        "def make(): return jinterp.Model(apply_fn, jnp.eye(4))\n"
    )
    np.savez(tmp_path / "data.npz", x=LOGITS, y=TARGETS)

    def command(more: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        arguments = ["--model", "model:make", "--data", "data.npz", *more]
        return subprocess.Popen(
            [sys.executable, "-m", "jinterp.cli", "evaluate", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**faults.ENVIRONMENT, **environment},
        )

    port = faults.free_port()
    together = [cluster(process, port) for process in range(2)]
    first, second = faults.outputs(
        [command(["--distributed", *more], environment) for more, environment in together]
    )
    (alone,) = faults.outputs([command([], {})])
    assert first == alone
    assert second == ""


def test_parts_of_a_dataset() -> None:
    whole = jinterp.batches((LOGITS, TARGETS), 16)
    parts = [whole.part(number, 3) for number in range(3)]
    assert [part.num_examples for part in parts] == [33, 34, 34]
    assert_parts(parts, np.arange(NUM))
    stream = [
        jinterp.batches(iter(list(zip(LOGITS, TARGETS, strict=True))), 16).part(n, 3)
        for n in range(3)
    ]
    assert_parts(stream, np.concatenate([np.arange(n, NUM, 3) for n in range(3)]))


def assert_parts(parts: list[Any], order: np.ndarray) -> None:
    found = [np.asarray(batch.x)[np.asarray(batch.mask)] for part in parts for batch in part]
    np.testing.assert_array_equal(np.concatenate(found), LOGITS[order])


@pytest.mark.parametrize(
    ("number", "num_parts", "message"),
    [(3, 3, "`number` is 3; expected 0 to 2"), (0, 102, "has 101 examples for 102 parts")],
)
def test_parts_that_are_none(number: int, num_parts: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jinterp.batches((LOGITS, TARGETS)).part(number, num_parts)
