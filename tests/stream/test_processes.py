"""Two processes of jax.distributed, with unequal shards, against one process with all the data."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jinterp
from tests.problems import identity, labelled_logits

ROOT = Path(__file__).parents[2]
NUM, CLASSES = 101, 4

PROCESS = """
import json, sys
import jax
process, port, kind = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=process)
import jinterp
from tests.problems import identity, labelled_logits
logits, targets = labelled_logits(101, 4)
if kind != "stream":  # contiguous, unequal parts
    part = slice(0, 70) if process == 0 else slice(70, 101)
    ds = (logits[part], targets[part])
else:  # every second example, as grain and tf.data shard
    ds = iter(list(zip(logits[process::2], targets[process::2])))
model = identity(4)
found = jinterp.evaluate(*model, jinterp.batches(ds, None if kind == "parts" else 8))
top = found.top_losses
if kind != "stream":
    top = jinterp.top_losses(*model, jinterp.batches(ds, 8), k=40)
print(json.dumps({
    "matrix": found.confusion_matrix.tolist(),
    "predictions": [column.tolist() for column in found.predictions],
    "top": [column.tolist() for column in top],
}))
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def run_processes(kind: str) -> list[dict[str, Any]]:
    port = str(free_port())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(process), port, kind],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for process in range(2)
    ]
    results = []
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors[-3000:]
        results.append(json.loads(output.splitlines()[-1]))
    return results


@pytest.mark.parametrize("kind", ["arrays", "parts", "stream"])
def test_two_processes_give_the_answer_of_one(kind: str) -> None:
    """`parts` are `arrays` for which the processes agree on a batch size."""
    k = 9 if kind == "stream" else 40
    one = jinterp.evaluate(*identity(CLASSES), labelled_logits(NUM, CLASSES), k=k)
    for found in run_processes(kind):
        assert found["matrix"] == one.confusion_matrix.tolist()
        for mine, expected in zip(found["predictions"], one.predictions, strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-6)
        for mine, expected in zip(found["top"], one.top_losses, strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-6)
