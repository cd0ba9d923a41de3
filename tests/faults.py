"""Real processes, several too, and real faults: kills, full disks, files that are cut short."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


class Crash(Exception):
    """A run ends here."""


class Items:
    """Examples that can be indexed; it notes which were read, and crashes at one of them."""

    def __init__(self, x: np.ndarray, y: np.ndarray, stop: int | None) -> None:
        self.x, self.y, self.stop, self.read = x, y, stop, []

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if index == self.stop:
            raise Crash
        self.read.append(index)
        return self.x[index], int(self.y[index])


class Stream:
    """The same without indices."""

    def __init__(self, items: Items) -> None:
        self.items = items

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        return (self.items[index] for index in range(len(self.items)))


def start(script: str, *arguments: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A fresh interpreter that runs a script; `before` is a command that starts it."""
    return subprocess.Popen(
        [*before, sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


JOIN = """
import sys
import jax
process, num_processes, port = map(int, sys.argv[1:4])
jax.config.update("jax_num_cpu_devices", 4 // num_processes)
jax.distributed.initialize(
    f"localhost:{port}",
    num_processes=num_processes,
    process_id=process,
    heartbeat_timeout_seconds=10,
    shutdown_timeout_seconds=10,
)
"""


def start_together(script: str, num: int, *arguments: str) -> list[subprocess.Popen[str]]:
    """Processes of one run, with four devices together; the script finds `process`."""
    port = str(free_port())
    return [
        start(JOIN + script, str(process), str(num), port, *arguments) for process in range(num)
    ]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def outputs(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """What they print, where all end well."""
    found = [process.communicate(timeout=180) for process in processes]
    for process, (_, errors) in zip(processes, found, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [output for output, _ in found]


def wait_until(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    """Wait while it runs until something is so."""
    deadline = time.monotonic() + 90
    while not ready():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.01)


def kill(*processes: subprocess.Popen[str]) -> None:
    """Kill -9, all at once."""
    for process in processes:
        process.kill()
    for process in processes:
        process.communicate()


def on_a_disk_of(megabytes: int, folder: Path, script: str, *arguments: str) -> str:
    """What a script prints that runs with a small file system mounted at `folder`."""
    unshare = ["unshare", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"]).returncode:
        # As on systems that are not Linux; .ci/run fails where this is skipped.
        pytest.skip("a full disk needs the right to mount one")
    mount = f'mount -t tmpfs -o size={megabytes}m tmpfs "{folder}" && exec "$@"'
    before = [*unshare, "sh", "-c", mount, "sh"]
    process = start(script, *arguments, before=before)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-3000:]
    return output


def cut_short(path: Path) -> None:
    """Leave the first half of a file."""
    os.truncate(path, path.stat().st_size // 2)
