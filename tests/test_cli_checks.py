"""`jinterp check` and `jinterp summary` as a shell and CI meet them."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jinterp import demo
from tests.test_cli import in_this_process, jinterp

MODULE = """
import jax, jax.numpy as jnp
import jinterp
from jinterp import demo
from jinterp.demo.classification import DigitNet

network = DigitNet()

def apply_fn(params, x):
    return network.apply(params, demo.preprocess(x))

def make():
    x = jnp.zeros((1, 8, 8, 1))
    return jinterp.Model(apply_fn, network.init(jax.random.key(0), x))
"""

__all__ = ["in_this_process"]  # a fixture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    (folder / "mine.py").write_text(MODULE)
    images, labels = demo.digits().train
    np.savez(folder / "digits.npz", x=images, y=labels)
    np.savez(folder / "shuffled.npz", x=images, y=labels[::-1])
    with jax.numpy_dtype_promotion("standard"):
        params = demo.train((images, labels), key=jax.random.key(0)).params
    np.savez(folder / "trained.npz", **flatten_dict(params, sep="/"))
    return folder


OF_DIGITS = ("--model", "mine:make", "--checkpoint", "trained.npz", "--data")


def test_a_healthy_network_exits_with_0(folder: Path) -> None:
    run = jinterp(folder, "check", *OF_DIGITS, "digits.npz")
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == "ok      finite numbers      parameters, inputs and outputs are finite."
    assert lines[-1].endswith(" 0 failed, 4 skipped")


def test_a_sick_one_exits_with_1_and_says_what_to_do(folder: Path) -> None:
    run = jinterp(folder, "check", *OF_DIGITS, "shuffled.npz")
    assert run.returncode == 1
    assert "FAILED  labels" in run.stdout
    assert "are inputs and labels in the same order" in run.stdout
    assert run.stderr == ""


def test_checks_as_json(folder: Path) -> None:
    run = jinterp(
        folder, "check", "--model", "mine:make", "--data", "digits.npz", "--untrained", "--json"
    )
    assert run.returncode == 0, run.stdout + run.stderr
    checks = {check["name"]: check for check in json.loads(run.stdout)}
    assert checks["loss at the start"]["status"] == "passed"
    assert set(checks["labels"]) == {"name", "status", "found", "advice"}


def test_the_layers_as_a_table(folder: Path) -> None:
    of_shape = jinterp(folder, "summary", "--model", "mine:make", "--shape", "1,8,8,1")
    assert of_shape.returncode == 0, of_shape.stderr
    lines = of_shape.stdout.splitlines()
    header = "output parameters trainable multiply-adds FLOPs bytes"
    assert " ".join(lines[0].split()) == header
    assert lines[1].split()[:2] == ["Conv_0", "(1,"]
    assert lines[-1].startswith("total")
    of_data = jinterp(folder, "summary", "--model", "mine:make", "--data", "digits.npz")
    assert of_data.stdout.splitlines()[1].split()[:6] == lines[1].split()[:6]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "expected either --data or --shape"),
        (("--shape", "1,a"), "--shape is '1,a' of --dtype 'float32'; expected whole numbers"),
        (("--shape", "1,8,8,1", "--dtype", "floats"), "and a dtype of NumPy"),
    ],
)
def test_what_is_asked_wrongly(
    folder: Path, arguments: tuple[str, ...], says: str, in_this_process: Any
) -> None:
    done = in_this_process(folder, "summary", "--model", "mine:make", *arguments)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
