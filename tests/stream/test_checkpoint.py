"""A pass goes on where it was stopped, and refuses what it cannot go on from."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from jinterp.stream import collect, counts, mean, moments, top_k
from tests import faults
from tests.problems import identity, labelled_logits

NUM, CLASSES, BATCH = 203, 4, 8
LOGITS, TARGETS = labelled_logits(NUM, CLASSES)


def losses(batch: Any, logits: jax.Array) -> jax.Array:
    return jinterp.cross_entropy(logits, batch.targets)


def classes(batch: Any, logits: jax.Array) -> jax.Array:
    return logits.argmax(-1)


def firsts(batch: Any, logits: jax.Array) -> dict[str, jax.Array]:
    return {"first": logits[:, 0], "index": batch.indices}


REDUCERS = {
    "mean": mean(losses),
    "moments": moments(losses),
    "counts": counts(classes, CLASSES),
    "top": top_k(losses, 20, firsts),
    "rows": collect(firsts),
}


def doubled(params: jax.Array, x: jax.Array) -> jax.Array:
    return 2 * x @ params


class Items(faults.Items):
    def __init__(self, stop: int | None = None, num: int = NUM) -> None:
        super().__init__(LOGITS[:num], TARGETS[:num], stop)


class Stream(faults.Stream):
    def __init__(self, stop: int | None = None) -> None:
        super().__init__(Items(stop))


def run(ds: Any, folder: Path | None, batch_size: int = BATCH, **keywords: Any) -> dict[str, Any]:
    return jinterp.fold(
        keywords.pop("reducers", REDUCERS),
        *keywords.pop("model", identity(CLASSES)),
        jinterp.batches(ds, batch_size),
        checkpoint_dir=folder,
        checkpoint_every=keywords.pop("every", 5),
        **keywords,
    )


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return run(Items(), None)


def assert_equal(found: dict[str, Any], expected: dict[str, Any], rounding: float = 0.0) -> None:
    for name in REDUCERS:
        rtol = rounding if name in ("mean", "moments") else 0.0
        for mine, its in zip(*map(jax.tree.leaves, (found[name], expected[name])), strict=True):
            np.testing.assert_allclose(mine, its, rtol)


def stopped(folder: Path, ds: Any) -> Path:
    """A folder in which a pass was left after fifteen batches."""
    with pytest.raises(faults.Crash):
        run(ds, folder)
    return folder


@pytest.mark.parametrize("kind", [Items, Stream])
def test_a_pass_goes_on_where_it_was_stopped(
    kind: Any, tmp_path: Path, whole: dict[str, Any]
) -> None:
    stopped(tmp_path, kind(stop=130))
    assert_equal(run(kind(), tmp_path), whole)


def test_it_reads_and_computes_only_what_is_left(tmp_path: Path) -> None:
    stopped(tmp_path, Items(stop=130))
    rest = Items()
    run(rest, tmp_path)
    again = [index for index in range(120) if index in rest.read]
    assert sorted(rest.read[-(NUM - 120) :]) == list(range(120, NUM))
    assert len(again) <= 16 * BATCH  # the blocks that are compared


def test_a_pass_that_is_done_is_not_run_again(tmp_path: Path, whole: dict[str, Any]) -> None:
    run(Items(), tmp_path, every=1)
    assert_equal(run(Items(), tmp_path), whole)


@pytest.mark.parametrize(("num_devices", "batch_size"), [(1, 16), (2, 6), (4, 8)])
def test_it_goes_on_with_other_devices_and_batches(
    num_devices: int, batch_size: int, tmp_path: Path, whole: dict[str, Any]
) -> None:
    stopped(tmp_path, Items(stop=130))
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:num_devices]), ("data",))
    assert_equal(run(Items(), tmp_path, batch_size, mesh=mesh), whole, rounding=1e-7)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_stopped_again_and_again(number: int, tmp_path: Path, whole: dict[str, Any]) -> None:
    for stop in (50, 100, 199)[:number]:
        stopped(tmp_path, Stream(stop))
    assert_equal(run(Stream(), tmp_path, every=2), whole)


def test_evaluate_goes_on_too(tmp_path: Path) -> None:
    def evaluate(ds: Any, **keywords: Any) -> Any:
        return jinterp.evaluate(*identity(CLASSES), jinterp.batches(ds, BATCH), **keywords)

    with pytest.raises(faults.Crash):
        evaluate(Items(stop=130), checkpoint_dir=tmp_path, checkpoint_every=3)
    found = evaluate(Items(), checkpoint_dir=tmp_path)
    jax.tree.map(np.testing.assert_array_equal, found, evaluate(Items()))


KILLED = """
import sys, time
import tests.conftest  # the functions of jinterp are those of the tests, checked ones
from tests.stream import test_checkpoint as t
class Slow(t.Items):
    def __getitem__(self, index):
        time.sleep(0.01)
        return super().__getitem__(index)
t.run(Slow(), sys.argv[1])
"""


def test_kill_9(tmp_path: Path, whole: dict[str, Any]) -> None:
    process = faults.start(KILLED, str(tmp_path))
    faults.wait_until(process, lambda: (tmp_path / "states" / "2").exists())
    with pytest.raises(ValueError, match="another run is writing to"):
        run(Items(), tmp_path)
    faults.kill(process)
    rest = Items()
    assert_equal(run(rest, tmp_path), whole)
    assert len(rest.read) <= 1 + 10 * BATCH + (NUM - 10 * BATCH)  # compared, and computed


# ---------------------------------------------------------------- what is refused


def other_order() -> Any:
    order = np.arange(NUM)
    order[[17, 42]] = order[[42, 17]]
    return list(zip(LOGITS[order], TARGETS[order], strict=True))


def other_labels() -> Any:
    return list(zip(LOGITS, (TARGETS + (np.arange(NUM) == 77)) % CLASSES, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ds": Items(num=150)}, r"number of examples is \[203\], that of this call \[150\]"),
        ({"ds": other_order()}, r"`ds` has changed .* its examples 16 to 23 are not the same"),
        ({"ds": other_labels()}, r"`ds` has changed .* its examples 72 to 79 are not the same"),
        (
            {"ds": Items(), "model": (identity(CLASSES).apply_fn, 2 * jnp.eye(CLASSES))},
            "of another pass: the parameters had other values or shapes than those of this call. "
            "Call with what it was",
        ),
        ({"ds": Items(), "reducers": {"mean": mean(losses)}}, r"its reducers is \['mean: Reducer"),
        ({"ds": Items(), "reducers": REDUCERS | {"mean": mean(firsts)}}, "its reducers is"),
        ({"ds": Items(), "reducers": REDUCERS | {"top": top_k(losses, 9)}}, "its reducers is"),
        (
            {"ds": Items(), "model": (doubled, identity(CLASSES).params)},
            "its apply_fn is 'linear #",
        ),
        ({"ds": jinterp.batches(Items(), preprocess=jnp.tanh)}, "its preprocess is 'None', that"),
    ],
    ids=[
        "length",
        "order",
        "labels",
        "params",
        "reducers",
        "of another number",
        "of fewer",
        "model",
        "preprocess",
    ],
)
def test_another_pass_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    stopped(tmp_path, Items(stop=130))
    with pytest.raises(ValueError, match=message):
        run(change.pop("ds"), tmp_path, **change)


def test_arrays_in_memory_are_compared_as_a_whole(tmp_path: Path) -> None:
    """Sixteen of fifty batches would leave it out."""
    run((LOGITS, TARGETS), tmp_path, batch_size=4)
    targets = (TARGETS + (np.arange(NUM) == 40)) % CLASSES
    with pytest.raises(ValueError, match="`ds` has changed"):
        run((LOGITS, targets), tmp_path, batch_size=4)


def test_a_folder_of_other_things(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").touch()
    with pytest.raises(ValueError, match=r"which holds 'zarr.json'; expected a new folder, or"):
        run(Items(), tmp_path)
    with pytest.raises(NotADirectoryError, match=r"zarr.json' is a file; expected a folder"):
        run(Items(), tmp_path / "zarr.json")


def test_a_file_that_was_put_beside_the_checkpoints(tmp_path: Path, whole: dict[str, Any]) -> None:
    stopped(tmp_path, Items(stop=130))
    (tmp_path / "notes.txt").touch()
    assert_equal(run(Items(), tmp_path), whole)


def test_it_is_told_where_a_pass_goes_on(tmp_path: Path, caplog: Any) -> None:
    stopped(tmp_path, Items(stop=130))
    with caplog.at_level("INFO", "jinterp"):
        run(Items(), tmp_path)
    assert caplog.messages == ["going on from example 120 of 203"]


def test_a_stream_in_another_order_is_refused(tmp_path: Path) -> None:
    stopped(tmp_path, Stream(130))
    changed = other_order()
    with pytest.raises(ValueError, match="its examples 16 to 23 are not the same"):
        run(iter(changed), tmp_path)


def test_a_stream_that_ends_early_is_refused(tmp_path: Path) -> None:
    stopped(tmp_path, Stream(130))
    with pytest.raises(ValueError, match="its examples 96 to 103 are not the same"):
        run(iter(other_order()[:17] + other_order()[:0] + list(Stream())[17:100]), tmp_path)


def data_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 40]


def test_a_truncated_checkpoint_is_left_out(tmp_path: Path, whole: dict[str, Any]) -> None:
    stopped(tmp_path, Items(stop=130))
    for path in data_files(tmp_path / "states" / "3"):
        faults.cut_short(path)
    with pytest.warns(UserWarning, match=r"checkpoint 3 in .* cannot be read and is left out"):
        found = run(Items(), tmp_path)
    assert_equal(found, whole)


def test_no_checkpoint_that_can_be_read(tmp_path: Path) -> None:
    stopped(tmp_path, Items(stop=130))
    for path in data_files(tmp_path / "states"):
        faults.cut_short(path)
    with (
        pytest.warns(UserWarning, match="cannot be read"),
        pytest.raises(ValueError, match=r"no checkpoint in .* Delete the folder to begin anew"),
    ):
        run(Items(), tmp_path)


def test_rows_that_are_lost_are_not_left_out(tmp_path: Path) -> None:
    stopped(tmp_path, Items(stop=130))
    for path in data_files(tmp_path / "rows" / "1"):
        faults.cut_short(path)
    with (
        pytest.warns(UserWarning, match="cannot be read"),
        pytest.raises(ValueError, match="no checkpoint"),
    ):
        run(Items(), tmp_path)


def test_two_writers(tmp_path: Path, whole: dict[str, Any]) -> None:
    def nested() -> Iterator[Any]:
        with pytest.raises(ValueError, match=r"another run is writing to .* expected one at a"):
            run(Items(), tmp_path)
        yield from Stream()

    assert_equal(run(nested(), tmp_path), whole)


def test_a_crash_before_the_first_accumulators_were_saved(
    tmp_path: Path, whole: dict[str, Any]
) -> None:
    with pytest.raises(faults.Crash):
        run(Items(stop=50), tmp_path)
    shutil.rmtree(tmp_path / "states")
    for _ in range(2):  # the second one goes on from what the first one saved
        assert_equal(run(Items(), tmp_path), whole)


FULL_DISK = """
import sys
import numpy as np
from tests.stream import test_checkpoint as t
from jinterp.stream import collect
reducers = {"rows": collect(t.wide)}
for _ in range(2):
    try:
        t.run(t.Items(), sys.argv[1], reducers=reducers, every=2)
    except OSError as error:
        print(error)
"""


def wide(batch: Any, logits: jax.Array) -> jax.Array:
    key = jax.random.key(0)
    return jax.random.normal(key, (len(batch.indices), 20_000)) + logits[:, :1]


def test_a_full_disk(tmp_path: Path) -> None:
    said = faults.on_a_disk_of(4, tmp_path, FULL_DISK, str(tmp_path))
    assert said.count("the pass cannot be saved in") == 2
    assert said.count("What was saved before is whole: make room, and call again") == 2
    assert "exists" not in said
