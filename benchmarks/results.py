"""The results of a machine: one JSON file, whose rows are replaced one by one."""

import json
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from benchmarks.networks import NETWORKS
from benchmarks.rows import ROWS
from benchmarks.shapes import CORES

FOLDER = Path(__file__).parent / "results"
PACKAGES = ("jinterp", "jax", "jaxlib", "flax", "numpy", "torch", "torchmetrics", "captum")


def machine() -> str:
    """The accelerator, or the processor and its cores."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((each.split(":")[1] for each in lines if each.startswith("model name")), name)
    return f"{name.strip()}, {CORES} cores"


def file_of(folder: Path) -> Path:
    return folder / (re.sub(r"[^a-z0-9]+", "-", machine().lower()).strip("-") + ".json")


def versions() -> dict[str, str]:
    """Of Python and of what is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def read(path: Path) -> dict[str, Any]:
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    return {"machine": machine(), "versions": {}, "rows": []}


def write_row(path: Path, row: dict[str, Any]) -> None:
    """Put a row into the file, in the place of the same method on the same network."""
    found = read(path)
    rows = [each for each in found["rows"] if _key(each) != _key(row)]
    write(path, found | {"versions": versions(), "rows": sorted([*rows, row], key=_place)})


def write(path: Path, found: dict[str, Any]) -> None:
    """At once or not at all, so that a run that is stopped leaves a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, path)


def _key(row: dict[str, Any]) -> tuple[str, str]:
    return row["row"], row["model"]


def _place(row: dict[str, Any]) -> tuple[int, int]:
    """Methods and networks in the order of their tables; others after them."""
    places = []
    for name, order in zip(_key(row), (list(ROWS), list(NETWORKS)), strict=True):
        places.append(order.index(name) if name in order else len(order))
    return places[0], places[1]
