"""The command line as a user meets it: a process, its output, its exit code."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest
from flax import serialization
from PIL import Image

from jinterp import cli, read_explanations
from jinterp.model.checkpoint import restore_params
from tests import faults
from tests.data import tiny
from tests.problems import labelled_logits

LOGITS, TARGETS = labelled_logits(40, 3)
NAMES = ["ant", "bee", "cat"]
LABELLED = np.arange(40) % 8 > 2
MAPS = np.where(LABELLED, TARGETS, 255).reshape(10, 2, 2)
SEGMENTATION = ("--model", "mine:make_every_pixel", "--data", "maps.npz", "--task", "segmentation")

COMMAND = [sys.executable, "-m", "jinterp.cli"]

MODULE = """
import os
import time
import jax, jax.numpy as jnp
import jinterp

def apply_fn(params, x):
    x = x.astype(jnp.float32).reshape(len(x), -1)
    return x[:, :3] @ params["dense"]["kernel"]

def make():
    return jinterp.Model(apply_fn, {"dense": {"kernel": jnp.eye(3)}})

def wrong():
    return 3

def slow(params, x):
    jax.debug.callback(lambda: time.sleep(float(os.environ["SECONDS_A_BATCH"])))
    return apply_fn(params, x)

def every_pixel(params, x):
    return x @ params

def make_every_pixel():
    return jinterp.Model(every_pixel, jnp.eye(3))

def seen(params, x):
    with jax.named_scope("seen"):
        x = jnp.tanh(x.astype(jnp.float32)) * params[None, None, None]
    return jnp.pad(x.mean((1, 2)), ((0, 0), (0, 2)))

def make_seen():
    return jinterp.Model(seen, jnp.ones(1))

def make_slow():
    return make()._replace(apply_fn=slow)
"""


class Done(NamedTuple):
    """How the command ended."""

    returncode: int
    stderr: str


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The command without a process of its own, which takes seconds to start."""

    def run(folder: Path, *arguments: str) -> Done:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["jinterp", *arguments])
        monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # it sets its own
        before = logging.getLogger().handlers[:]
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert logging.getLogger().handlers == before  # other libraries' messages are not shown
        return Done(caught.value.code, capsys.readouterr().err)

    return run


def jinterp(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "mine.py").write_text(MODULE)
    np.savez(folder / "data.npz", x=LOGITS, y=TARGETS, class_names=NAMES)
    np.savez(folder / "maps.npz", x=LOGITS.reshape(10, 2, 2, 3), y=MAPS, class_names=NAMES)
    np.savez(folder / "flipped.npz", **{"dense/kernel": -np.eye(3, dtype=np.float32)})
    for label in range(3):
        (folder / "images" / f"class {label}").mkdir(parents=True)
        for number in range(2):
            pixels = np.full((5, 5, 3), 40 * label, np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"class {label}" / f"{number}.png")
    return folder


def test_evaluate_prints_the_answer_as_json(folder: Path) -> None:
    done = jinterp(folder, "evaluate", "--model", "mine:make", "--data", "data.npz", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["accuracy"] == pytest.approx((LOGITS.argmax(1) == TARGETS).mean())
    assert found["class_names"] == NAMES
    assert sum(map(sum, found["confusion_matrix"])) == 40


def test_evaluate_writes_what_it_found(folder: Path) -> None:
    done = jinterp(
        folder, "evaluate", "--model", "mine:make", "--data", "data.npz", "--out", "numbers"
    )
    assert done.returncode == 0, done.stderr
    assert "40 examples: accuracy" in done.stdout
    assert "precision" in done.stdout
    with np.load(folder / "numbers/predictions.npz") as arrays:
        np.testing.assert_array_equal(arrays["predictions"], LOGITS.argmax(1))
    assert json.loads((folder / "numbers/evaluation.json").read_text())["num_examples"] == 40


def test_label_maps_are_evaluated(folder: Path) -> None:
    done = jinterp(folder, "evaluate", *SEGMENTATION, "--ignore-index", "255", "--out", "pixels")
    assert done.returncode == 0, done.stderr
    assert "10 images, 25 labelled pixels" in done.stdout
    assert "boundary F1" in done.stdout
    right = (LOGITS.argmax(1) == TARGETS)[LABELLED]
    found = json.loads((folder / "pixels/evaluation.json").read_text())
    assert found["pixel_accuracy"] == pytest.approx(right.mean())
    assert found["class_names"] == NAMES
    assert "images" not in found
    with np.load(folder / "pixels/images.npz") as arrays:
        np.testing.assert_array_equal(arrays["num_pixels"], 5 * [1, 4])


def test_the_report_knows_label_maps(folder: Path, in_this_process: Any) -> None:
    done = in_this_process(
        folder, "report", *SEGMENTATION, "--ignore-index", "255", "--out", "maps"
    )
    assert done.returncode is None, done.stderr
    assert "IoU" in (folder / "maps/report.html").read_text()


def test_report_writes_a_page_from_an_image_folder_and_a_checkpoint(folder: Path) -> None:
    done = jinterp(
        folder, "report", "--model", "mine:make", "--data", "images", "--image-size", "4",
        "--checkpoint", "flipped.npz", "--out", "page",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (folder / "page/report.html").read_text()
    assert "class 2" in page
    assert "Report: page/report.html" in done.stdout.replace(os.sep, "/")


def test_evaluate_reads_a_prepared_tfds_dataset(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.tfds_builder(folder / "tfds", "array_record")
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder / "tfds"))
    done = jinterp(folder, "evaluate", "--model", "mine:make", "--data", "tfds:tiny:test", "--json")
    assert done.returncode == 0, done.stderr
    matrix = np.array(json.loads(done.stdout)["confusion_matrix"])
    np.testing.assert_array_equal(matrix.sum(1), np.bincount(tiny.Y, minlength=3))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["evaluate", "--data", "data.npz"], 2, "Missing option '--model'"),
        (
            ["evaluate", "--model", "mine", "--data", "data.npz"],
            2,
            "expected package.module:factory",
        ),
        (["evaluate", "--model", "none:make", "--data", "data.npz"], 2, "No module named 'none'"),
        (["evaluate", "--model", "mine:none", "--data", "data.npz"], 2, "has no attribute 'none'"),
        (
            ["evaluate", "--model", "mine:wrong", "--data", "data.npz"],
            2,
            "returned a int; expected",
        ),
        (["evaluate", "--model", "mine:make", "--data", "none.npz"], 2, "does not exist"),
        (["evaluate", "--model", "mine:make", "--data", "mine.py"], 2, "is no .npz file, folder"),
        (
            ["evaluate", "--model", "mine:make", "--data", "data.npz", "--class-names", "a,b"],
            1,
            "`class_names` has 2 names; expected 3",
        ),
        (
            ["evaluate", "--model", "mine:make", "--data", "data.npz", "--inputs", "pixels"],
            1,
            "'pixels'",
        ),
        (
            ["evaluate", "--model", "mine:make", "--data", "data.npz", "--checkpoint", "no.npz"],
            1,
            "there is no checkpoint 'no.npz'",
        ),
        (
            ["report", "--model", "mine:make", "--data", "data.npz", "--out", "mine.py/report"],
            1,
            "which cannot be written to",
        ),
        (["demo", "--out", "mine.py"], 1, "which cannot be written to"),
        (["evaluate", *SEGMENTATION], 1, "255"),
        (
            ["evaluate", "--model", "mine:make", "--data", "data.npz", "--ignore-index", "255"],
            2,
            "--ignore-index is for --task segmentation.",
        ),
    ],
)
def test_errors_are_one_line_with_an_exit_code(
    folder: Path, arguments: list[str], code: int, message: str, in_this_process: Any
) -> None:
    done = in_this_process(folder, *arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()
    assert len(last) == 1 or last[0].startswith("Usage:")


def test_ctrl_c_says_what_was_done(folder: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "evaluate", "--model", "mine:make_slow", "--data", "data.npz", "--batch-size=1"],
        cwd=folder,
        env=os.environ | {"SECONDS_A_BATCH": "0.5"},
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(12)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 40 examples" in errors
    assert "Traceback" not in errors


# ---------------------------------------------------------------- checkpoints

PARAMS = {"dense": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3)}}


def save(kind: str, folder: Path) -> Path:
    path = folder / f"checkpoint.{kind}"
    if kind == "msgpack":
        path.write_bytes(serialization.to_bytes(PARAMS))
    elif kind == "npz":
        arrays = {f"dense/{name}": np.asarray(leaf) for name, leaf in PARAMS["dense"].items()}
        np.savez(path, **arrays)
    else:
        with orbax.checkpoint.StandardCheckpointer() as checkpointer:
            checkpointer.save(path.absolute(), PARAMS)
    return path


@pytest.mark.parametrize("kind", ["msgpack", "npz", "orbax"])
def test_checkpoints_are_restored(kind: str, tmp_path: Path) -> None:
    restored = restore_params(save(kind, tmp_path), jax.tree.map(jnp.zeros_like, PARAMS))
    jax.tree.map(np.testing.assert_array_equal, restored, PARAMS)


@pytest.mark.parametrize("kind", ["msgpack", "npz", "orbax"])
def test_a_corrupt_checkpoint_is_named(kind: str, tmp_path: Path) -> None:
    path = save(kind, tmp_path)
    for file in [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"checkpoint .* cannot be read into the model's"):
        restore_params(path, PARAMS)


@pytest.mark.parametrize("kind", ["msgpack", "npz"])
def test_another_models_checkpoint_is_named(kind: str, tmp_path: Path) -> None:
    wider = {"dense": {"kernel": jnp.zeros((2, 4)), "bias": jnp.zeros(3)}}
    with pytest.raises(ValueError, match=r"kernel.* has the shape \(2, 3\); the model's"):
        restore_params(save(kind, tmp_path), wider)
    other = {"conv": PARAMS["dense"]}
    with pytest.raises(ValueError, match=r"cannot be read into the model's parameters"):
        restore_params(save(kind, tmp_path), other)


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.touch()
    with pytest.raises(ValueError, match=r"expected an Orbax folder, a .msgpack or a .npz"):
        restore_params(path, PARAMS)


IMAGES = np.random.default_rng(0).integers(0, 255, (12, 6, 5, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    (folder / "mine.py").write_text(MODULE)
    np.savez(folder / "images.npz", x=IMAGES, y=np.arange(12) % 3)
    return folder


OF_IMAGES = ("explain", "--model", "mine:make_seen", "--data", "images.npz")


@pytest.mark.parametrize(
    ("method", "shape"),
    [("grad_cam", (3, 6, 5)), ("integrated_gradients", (3, 6, 5, 1))],
)
def test_explain_writes_values_and_a_picture(images: Path, method: str, shape: tuple) -> None:
    run = jinterp(images, *OF_IMAGES, "--method", method, "--indices", "4,0,11", "--out", method)
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"{method} of 3 examples: {method}/explanations.png\n"
    with np.load(images / method / "explanations.npz") as found:
        assert found["indices"].tolist() == [4, 0, 11]
        assert found["targets"].tolist() == [1, 0, 2]
        assert found["for_the_prediction"].shape == shape
        # Class 0 is the only logit that sees anything.
        at_class_0 = found["for_the_actual_class"][1]
        assert (at_class_0 != 0).any()
        assert not found["for_the_actual_class"][0].any()
    with Image.open(images / method / "explanations.png") as picture:
        assert min(picture.size) > 100


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--indices", "3,x"), "expected whole numbers separated by commas, such as 3,17."),
        (("--indices", "12"), "the dataset has the examples 0 to 11."),
        (("--layer", "sen"), "there is no layer 'sen'. Near it: 'seen'."),
        (("--layer", "seen", "--method", "saliency"), "not for saliency."),
        (("--method", "magic"), "'magic' is not one of 'grad_cam'"),
    ],
)
def test_explain_says_what_was_wrong(
    images: Path, arguments: tuple, says: str, in_this_process: Any
) -> None:
    run = in_this_process(images, *OF_IMAGES, *arguments)
    assert run.returncode != 0
    assert says in " ".join(run.stderr.split())
    assert "Traceback" not in run.stderr


def explain_dataset(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return jinterp(
        folder, "explain-dataset", *OF_IMAGES[1:], "--method", "saliency", "--out", *arguments
    )


def test_explain_dataset_writes_a_store_and_goes_on_with_it(images: Path) -> None:
    run = explain_dataset(images, "store")
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"saliency: {images / 'store'}\n"
    found = read_explanations(images / "store")
    assert found.values.shape == (12, 6, 5, 1)
    again = explain_dataset(images, "store")
    assert again.returncode == 1
    assert "which is not empty; expected a new folder" in again.stderr
    assert explain_dataset(images, "store", "--resume").returncode == 0
    other = explain_dataset(images, "store", "--resume", "--labels")
    assert "its target is 'None', that of this call" in other.stderr


def test_evaluate_goes_on_after_kill_9(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["evaluate", "--model", "mine:make_slow", "--data", "data.npz", "--batch-size", "1"]
    command += ["--checkpoint-dir", "kept", "--checkpoint-every", "4", "--json"]
    monkeypatch.setenv("SECONDS_A_BATCH", "0.2")
    process = subprocess.Popen([*COMMAND, *command], cwd=folder, stdout=subprocess.DEVNULL)
    faults.wait_until(process, (folder / "kept/states/2").exists)
    faults.kill(process)
    monkeypatch.setenv("SECONDS_A_BATCH", "0")
    done = jinterp(folder, *command)
    assert done.returncode == 0, done.stderr
    assert re.search(r"going on from example (8|12) of 40", done.stderr)
    found = json.loads(done.stdout)
    assert found["num_examples"] == 40
    assert found["accuracy"] == pytest.approx((LOGITS.argmax(1) == TARGETS).mean())


def test_compiled_programs_are_kept(folder: Path) -> None:
    command = ["evaluate", "--model", "mine:make", "--data", "data.npz", "--json"]
    first = jinterp(folder, *command, "--compilation-cache", "programs")
    kept = {path: path.stat().st_size for path in (folder / "programs").glob("*-cache")}
    assert first.returncode == 0, first.stderr
    assert kept
    second = jinterp(folder, *command, "--compilation-cache", "programs")
    assert second.stdout == first.stdout
    assert {path: path.stat().st_size for path in (folder / "programs").glob("*-cache")} == kept


def test_processes_that_cannot_join(folder: Path, in_this_process: Any) -> None:
    command = ["evaluate", "--model", "mine:make", "--data", "data.npz"]
    alone = jinterp(folder, *command, "--distributed")
    assert alone.returncode == 2
    assert "give --coordinator HOST:PORT, --num-processes and --process-id." in alone.stderr
    without = in_this_process(folder, *command, "--num-processes", "2")
    assert "--coordinator and its like are for --distributed." in without.stderr
