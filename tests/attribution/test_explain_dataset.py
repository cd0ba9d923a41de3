"""Attributions of a dataset on disk: the values of the explainer, whatever happens on the way."""

import functools
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from tests import faults

NUM, CLASSES, BATCH = 45, 3, 8
RNG = np.random.default_rng(0)
X = RNG.integers(0, 255, (NUM, 4, 5), dtype=np.uint8)
Y = RNG.integers(0, CLASSES, NUM)
PARAMS = jnp.asarray(RNG.normal(size=(20, CLASSES)), jnp.float32)


def apply_fn(params: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.tanh(x.reshape(len(x), -1) @ params)


def preprocess(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32) / 255


computed: list[int] = []  # how many examples each call explained


def integrated(apply_fn: Any, params: Any, x: Any, target: Any) -> Any:
    computed.append(len(x))
    return jinterp.integrated_gradients(apply_fn, params, x, target, num_steps=4)


class Items(faults.Items):
    def __init__(self, stop: int | None = None, x: np.ndarray = X, y: np.ndarray = Y) -> None:
        super().__init__(x, y, stop)


class Stream(faults.Stream):
    def __init__(self, stop: int | None = None) -> None:
        super().__init__(Items(stop))


def run(
    ds: Any, out: Path, explain: Any = integrated, batch_size: int = BATCH, **keys: Any
) -> Path:
    dataset = jinterp.batches(ds, batch_size, preprocess=preprocess)
    params = keys.pop("params", PARAMS)
    return jinterp.explain_dataset(explain, apply_fn, params, dataset, out=out, **keys)


@functools.cache
def expected() -> np.ndarray:
    x = preprocess(jnp.asarray(X))
    return np.asarray(jinterp.integrated_gradients(apply_fn, PARAMS, x, num_steps=4))


def assert_whole(out: Path) -> None:
    found = jinterp.read_explanations(out)
    np.testing.assert_array_equal(found.indices, np.arange(NUM))
    np.testing.assert_allclose(found.values, expected(), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- what is written


@pytest.mark.parametrize("kind", [Items, Stream])
def test_the_values_of_the_explainer(kind: Any, tmp_path: Path) -> None:
    out = run(kind(), tmp_path / "a")
    assert_whole(out)
    found = jinterp.read_explanations(out)
    logits = apply_fn(PARAMS, preprocess(jnp.asarray(X)))
    np.testing.assert_array_equal(found.targets, logits.argmax(1))
    assert found.values.dtype == np.float32


@pytest.mark.parametrize("num_devices", [2, 4])
def test_on_a_mesh(num_devices: int, tmp_path: Path) -> None:
    mesh = jax.make_mesh((num_devices,), ("data",), devices=jax.devices()[:num_devices])
    assert_whole(run(Items(), tmp_path, mesh=mesh))


def test_devices_that_cannot_share_the_batches_it_was_begun_with(tmp_path: Path) -> None:
    mesh = jax.make_mesh((3,), ("data",), devices=jax.devices()[:3])
    run((X, Y), tmp_path)
    dataset = jinterp.batches((X, Y), preprocess=preprocess)
    with pytest.raises(ValueError, match="batches of 8, which 3 devices cannot share"):
        jinterp.explain_dataset(
            integrated, apply_fn, PARAMS, dataset, out=tmp_path, resume=True, mesh=mesh
        )


def test_any_reader_of_zarr_opens_it(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(run(Items(), tmp_path), mode="r")
    assert sorted(group.array_keys()) == ["digest", "indices", "targets", "values"]
    np.testing.assert_allclose(group["values"][7:12], expected()[7:12], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(group["indices"][:], np.arange(NUM))
    assert group["values"].metadata.dimension_names[0] == "example"


def test_some_of_them(tmp_path: Path) -> None:
    found = jinterp.read_explanations(run(Items(), tmp_path), [30, 2])
    assert found.indices.tolist() == [30, 2]
    np.testing.assert_allclose(found.values, expected()[[30, 2]], rtol=1e-5, atol=1e-6)


def test_indices_that_are_none(tmp_path: Path) -> None:
    run(Items(), tmp_path)
    for indices in ([3, 45], [-1]):
        with pytest.raises(IndexError, match="the dataset has 45 examples, so expected 0 to 44"):
            jinterp.read_explanations(tmp_path, indices)
    for indices in (np.ones(45, bool), [1.5], ["a"]):
        with pytest.raises(TypeError, match=r"expected whole numbers\. Use np.flatnonzero"):
            jinterp.read_explanations(tmp_path, indices)


def test_nothing_is_complete(tmp_path: Path) -> None:
    with pytest.raises(faults.Crash):
        run(Items(stop=3), tmp_path)
    with pytest.raises(ValueError, match=r"no explanation in .* is complete; expected one at"):
        jinterp.read_explanations(tmp_path)


@pytest.mark.parametrize(
    ("target", "classes"),
    [(1, np.full(NUM, 1)), (operator.attrgetter("targets"), Y)],
    ids=["one", "labels"],
)
def test_what_is_explained(target: Any, classes: np.ndarray, tmp_path: Path) -> None:
    found = jinterp.read_explanations(run(Items(), tmp_path, target=target))
    np.testing.assert_array_equal(found.targets, classes)
    values = integrated(apply_fn, PARAMS, preprocess(jnp.asarray(X)), classes)
    np.testing.assert_allclose(found.values, values, rtol=1e-5, atol=1e-6)


def test_half_precision(tmp_path: Path) -> None:
    found = jinterp.read_explanations(run(Items(), tmp_path, dtype="float16"))
    assert found.values.dtype == np.float16
    np.testing.assert_array_equal(found.values, expected().astype(np.float16))


def large(apply_fn: Any, params: Any, x: Any, target: Any) -> Any:
    return jnp.where(jnp.arange(len(x))[:, None] == 3, 1e6, 1.0)


def test_values_too_large_for_half_precision_are_told(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"values of 1 of 8 examples are too large for float16"):
        run(Items(), tmp_path, large, dtype="float16")


def test_an_explainer_that_returns_several_arrays(tmp_path: Path) -> None:
    explain = functools.partial(jinterp.adaptive_integrated_gradients, max_steps=21)
    found = jinterp.read_explanations(run(Items(), tmp_path, explain))
    assert set(found.values) == {"values", "errors", "gaps", "num_steps", "converged"}
    assert found.values["converged"].dtype == bool
    np.testing.assert_allclose(found.values["values"], expected(), rtol=0.1, atol=0.01)


def test_inputs_that_are_a_pytree(tmp_path: Path) -> None:
    ds = ({"a": X[:9, 0].astype(np.float32), "b": {"c": X[:9, 1].astype(np.float32)}}, Y[:9])

    def model(params: Any, x: Any) -> Any:
        return jnp.concatenate([x["a"], x["b"]["c"]], 1) @ params

    out = jinterp.explain_dataset(jinterp.gradient, model, PARAMS[:10], ds, out=tmp_path, target=0)
    found = jinterp.read_explanations(out).values
    np.testing.assert_allclose(found["b/c"], np.broadcast_to(PARAMS[5:10, 0], (9, 5)), rtol=1e-6)


def test_it_is_readable_while_it_is_written(tmp_path: Path) -> None:
    seen = []

    class Watched(Items):
        def __getitem__(self, index: int) -> Any:
            if index == 32:
                seen.append(jinterp.read_explanations(tmp_path))
            return super().__getitem__(index)

    run(Watched(), tmp_path)
    (found,) = seen
    assert 8 <= len(found.indices) <= 24
    np.testing.assert_allclose(found.values, expected()[: len(found.indices)], rtol=1e-5, atol=1e-6)


def test_the_second_run_compiles_nothing(tmp_path: Path) -> None:
    from tests.problems import count_compiles

    run(Items(), tmp_path / "a")
    with count_compiles() as counter:
        run(Items(), tmp_path / "b")
    assert counter.compiled == 0


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize("kind", [Items, Stream])
def test_it_goes_on_where_it_was_stopped(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(faults.Crash):
        run(kind(stop=30), tmp_path)
    assert len(jinterp.read_explanations(tmp_path).indices) == 24
    computed.clear()
    assert_whole(run(kind(), tmp_path, resume=True))
    assert computed == [8, 8, 8]  # the 21 that are left


def test_what_is_whole_is_not_computed_again(tmp_path: Path) -> None:
    run(Items(), tmp_path)
    computed.clear()
    assert_whole(run(Items(), tmp_path, resume=True))
    assert computed == []


def test_resume_begins_where_there_is_nothing(tmp_path: Path) -> None:
    assert_whole(run(Items(), tmp_path / "new", resume=True))


KILLED = """
import sys, time
import tests.conftest  # the functions of jinterp are those of the tests, checked ones
from pathlib import Path
from tests.attribution import test_explain_dataset as t
class Slow(t.Items):
    def __getitem__(self, index):
        time.sleep(0.05)
        return super().__getitem__(index)
t.run(Slow(), Path(sys.argv[1]))
"""


def test_kill_9(tmp_path: Path) -> None:
    process = faults.start(KILLED, str(tmp_path))

    def is_half_way() -> bool:
        try:
            return len(jinterp.read_explanations(tmp_path).indices) >= 16
        except (FileNotFoundError, ValueError):  # not begun
            return False

    faults.wait_until(process, is_half_way)
    with pytest.raises(ValueError, match="another run is writing to"):
        run(Items(), tmp_path, resume=True)
    faults.kill(process)
    done = len(jinterp.read_explanations(tmp_path).indices)
    assert 16 <= done < NUM
    computed.clear()
    assert_whole(run(Items(), tmp_path, resume=True))
    assert sum(computed) == -(-(NUM - done) // BATCH) * BATCH


# ---------------------------------------------------------------- what is damaged


@pytest.mark.parametrize(
    ("name", "chunk", "num"),
    [
        ("values", "c.2.0.0", 8),
        ("indices", "c.0", 48),
        ("targets", "c.0", 48),
        ("digest", "c.0", 48),
    ],
)
def test_a_truncated_chunk(name: str, chunk: str, num: int, tmp_path: Path) -> None:
    run(Items(), tmp_path)
    faults.cut_short(tmp_path / name / chunk)
    if name in ("values", "indices"):
        with pytest.raises(ValueError, match=r"is damaged: .* resume=True"):
            jinterp.read_explanations(tmp_path)
    computed.clear()
    with pytest.warns(UserWarning, match=r"explanations in .* are damaged and are computed again"):
        run(Items(), tmp_path, resume=True)
    assert_whole(tmp_path)
    assert sum(computed) == num


def test_a_group_that_is_damaged(tmp_path: Path) -> None:
    run(Items(), tmp_path)
    faults.cut_short(tmp_path / "zarr.json")
    with pytest.raises(ValueError, match="is damaged, or was not written by jinterp"):
        run(Items(), tmp_path, resume=True)


# ---------------------------------------------------------------- what is refused


def test_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    run(Items(), tmp_path)
    with pytest.raises(ValueError, match=r"not empty; expected a new folder\. .* resume=True"):
        run(Items(), tmp_path)


def swapped(a: int, b: int) -> np.ndarray:
    order = np.arange(NUM)
    order[[a, b]] = order[[b, a]]
    return order


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ds": Items(x=X[:40], y=Y[:40])}, "its num_examples is 45, that of this call 40"),
        ({"ds": Items(x=X[swapped(1, 17)], y=Y[swapped(1, 17)])}, "its examples 0 to 7 are not"),
        ({"params": PARAMS.at[7, 1].add(1)}, "the parameters had other values or shapes than"),
        ({"explain": jinterp.gradient}, r"explainer is 'integrated #\w+', that of this call 'gra"),
        ({"dtype": "float16"}, "its dtype is 'float32', that of this call 'float16'"),
        ({"target": 2}, "its target is 'None', that of this call '2'"),
        ({"batch_size": 4}, "its batch_size is 8, that of this call 4"),
    ],
    ids=["length", "order", "params", "explainer", "dtype", "target", "batch_size"],
)
def test_another_job_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(faults.Crash):
        run(Items(stop=30), tmp_path)
    with pytest.raises(ValueError, match=message):
        run(change.pop("ds", Items()), tmp_path, resume=True, **change)


def test_a_kill_before_anything_was_written(tmp_path: Path) -> None:
    with pytest.raises(faults.Crash):
        run(Items(stop=1), tmp_path)
    (tmp_path / "zarr.json").unlink()
    assert_whole(run(Items(), tmp_path, resume=True))


def test_a_kill_while_damage_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(Items(), tmp_path)
    for chunk in ("c.1.0.0", "c.3.0.0"):
        faults.cut_short(tmp_path / "values" / chunk)
    unlink, killed = Path.unlink, []

    def crash(path: Path) -> None:
        unlink(path)
        killed.append(path)
        raise faults.Crash

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", crash)
        with pytest.raises(faults.Crash):
            run(Items(), tmp_path, resume=True)
    assert len(killed) == 1
    with pytest.warns(UserWarning, match="are damaged"):
        run(Items(), tmp_path, resume=True)
    assert_whole(tmp_path)


def test_two_writers(tmp_path: Path) -> None:
    def nested() -> Iterator[Any]:
        with pytest.raises(ValueError, match="another run is writing to"):
            run(Items(), tmp_path, resume=True)
        yield from Stream()

    assert_whole(run(nested(), tmp_path))


def test_no_explanations(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there are no explanations in"):
        jinterp.read_explanations(tmp_path)


def test_targets_that_are_no_classes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`target` gives an array of shape \(3,\) for 8 examples"):
        run(Items(), tmp_path, target=lambda batch: jnp.zeros(3, int))


def test_an_unknown_dtype(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`dtype` is 'int8'; expected one of 'float16', 'float32'"):
        run(Items(), tmp_path, dtype="int8")


def reduced(apply_fn: Any, params: Any, x: Any, target: Any) -> Any:
    return jnp.zeros(())


def test_an_explainer_without_rows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"returned arrays of shape \(\) for 8 examples"):
        run(Items(), tmp_path, reduced)


FULL_DISK = """
import sys
from pathlib import Path
import numpy as np
import jinterp
from tests.attribution import test_explain_dataset as t
out, noise = Path(sys.argv[1]) / "out", np.random.default_rng(0)
def wide(apply_fn, params, x, target):
    return noise.normal(size=(len(x), 20_000)).astype(np.float32)
try:
    t.run(t.Items(), out, wide)
except OSError as error:
    print(error)
print(len(jinterp.read_explanations(out).indices))
"""


def test_a_full_disk(tmp_path: Path) -> None:
    said, num = faults.on_a_disk_of(2, tmp_path, FULL_DISK, str(tmp_path)).splitlines()
    assert "cannot be written to" in said
    assert "make room, and go on with resume=True" in said
    assert int(num) % BATCH == 0
    assert 0 < int(num) < NUM
