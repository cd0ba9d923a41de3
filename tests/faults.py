"""Real faults: processes that are killed, disks that are full, files that are cut short."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


def start(script: str, *arguments: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A fresh interpreter that runs a script; `before` is a command that starts it."""
    return subprocess.Popen(
        [*before, sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def kill_when(process: subprocess.Popen[str], ready: Callable[[], bool], seconds: int = 90) -> None:
    """Kill it (SIGKILL) as soon as something is so."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.01)
    process.kill()
    process.communicate()


def on_a_disk_of(megabytes: int, folder: Path, script: str, *arguments: str) -> str:
    """What a script prints that runs with a small file system mounted at `folder`."""
    mount = f'mount -t tmpfs -o size={megabytes}m tmpfs "{folder}" && exec "$@"'
    before = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    process = start(script, *arguments, before=before)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-3000:]
    return output


def cut_short(path: Path) -> None:
    """Leave the first half of a file."""
    os.truncate(path, path.stat().st_size // 2)
