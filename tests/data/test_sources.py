"""Every kind of dataset gives the same examples as the arrays it was made from."""

import os
import pathlib
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest

import jinterp
from tests.data import tiny
from tests.data.tiny import KINDS, X, Y, hugging_face

ONCE = [name for name, kind in KINDS.items() if kind.readable_once]
AGAIN = [name for name in KINDS if name not in ONCE]


def valid_rows(dataset: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """The inputs, targets and indices of all batches, without padding."""
    parts = [
        jax.tree.map(lambda leaf, mask=batch.mask: np.asarray(leaf)[mask], batch)
        for batch in jax.device_get(list(dataset))
    ]
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return whole.x, whole.targets, whole.indices


@pytest.mark.parametrize("name", KINDS)
def test_examples_dtype_and_indices_are_those_of_the_arrays(
    name: str, tmp_path: pathlib.Path
) -> None:
    dataset = jinterp.batches(KINDS[name].make(tmp_path), 5)
    x, targets, indices = valid_rows(dataset)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(targets, Y)
    np.testing.assert_array_equal(indices, np.arange(13))
    assert (x.dtype, targets.dtype, indices.dtype) == (np.uint8, np.int32, np.int32)
    assert dataset.num_examples == (13 if KINDS[name].sized else None)


@pytest.mark.parametrize("name", AGAIN)
def test_take_fetches_inputs_again(name: str, tmp_path: pathlib.Path) -> None:
    dataset = jinterp.batches(KINDS[name].make(tmp_path), 5)
    order = np.array([7, 12, 0, 7])
    taken = dataset.take(order)
    np.testing.assert_array_equal(np.stack(taken), X[order])
    assert {example.dtype for example in taken} == {np.dtype(np.uint8)}
    np.testing.assert_array_equal(valid_rows(dataset)[0], X)
    assert dataset.take([]) == []


@pytest.mark.parametrize("name", AGAIN)
@pytest.mark.parametrize("wrong", [13, -1])
def test_take_names_an_index_that_is_not_there(
    name: str, wrong: int, tmp_path: pathlib.Path
) -> None:
    dataset = jinterp.batches(KINDS[name].make(tmp_path))
    with pytest.raises(IndexError, match=f"holds {wrong}; the dataset has 13 examples, .* 0 to 12"):
        dataset.take([2, wrong])


@pytest.mark.parametrize("name", KINDS)
def test_reading_from_the_middle(name: str, tmp_path: pathlib.Path) -> None:
    dataset = jinterp.batches(KINDS[name].make(tmp_path), 5)
    blocks = list(dataset.source.blocks(5, 7))
    np.testing.assert_array_equal(np.concatenate([block.x for block in blocks]), X[7:])
    np.testing.assert_array_equal(np.concatenate([block.targets for block in blocks]), Y[7:])


@pytest.mark.parametrize("name", AGAIN)
@pytest.mark.parametrize("num_parts", [1, 3])
def test_parts_hold_each_example_once(name: str, num_parts: int, tmp_path: pathlib.Path) -> None:
    dataset = jinterp.batches(KINDS[name].make(tmp_path), 2)
    rows = [valid_rows(dataset.part(number, num_parts))[0] for number in range(num_parts)]
    is_sized = dataset.num_examples is not None
    wanted = [
        X[13 * n // num_parts : 13 * (n + 1) // num_parts] if is_sized else X[n::num_parts]
        for n in range(num_parts)
    ]
    for number, (found, expected) in enumerate(zip(rows, wanted, strict=True)):
        np.testing.assert_array_equal(found, expected)
        own = dataset.part(number, num_parts).take([0, len(expected) - 1])
        np.testing.assert_array_equal(np.stack(own), expected[[0, -1]])


@pytest.mark.parametrize("name", ONCE)
def test_an_iterator_cannot_be_read_again(name: str, tmp_path: pathlib.Path) -> None:
    dataset = jinterp.batches(KINDS[name].make(tmp_path), 2)
    next(iter(dataset))
    with pytest.raises(ValueError, match=r"fetched again\. Give the list or loader"):
        dataset.take([0])
    with pytest.raises(ValueError, match="used up by an earlier pass"):
        next(iter(dataset))


@pytest.mark.parametrize("kind", ["array", "torch-like"])
def test_a_dataset_of_python_numbers(kind: str) -> None:
    columns = ([[1.0, 2.0], [3.0, 4.0]], [0, 1])
    ds = columns if kind == "array" else tiny.Loader([([1.0, 2.0], 0), ([3.0, 4.0], 1)])
    x, targets, _ = valid_rows(jinterp.batches(ds))
    np.testing.assert_array_equal(x, columns[0])
    np.testing.assert_array_equal(targets, columns[1])


def test_named_keys_and_places() -> None:
    columns = {"a": X, "b": Y.astype(float), "id": ["text"] * 13, "class": Y}
    dataset = jinterp.batches(columns, inputs=("a", "b"), targets="class")
    x, targets, _ = valid_rows(dataset)
    assert set(x) == {"a", "b"}
    np.testing.assert_array_equal(x["a"], X)
    np.testing.assert_array_equal(x["b"], Y)
    np.testing.assert_array_equal(targets, Y)
    np.testing.assert_array_equal(dataset.take([4])[0]["a"], X[4])
    items = [(y, "text", x) for x, y in tiny.ITEMS]
    x, targets, _ = valid_rows(jinterp.batches(items, inputs=2, targets=0))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(targets, Y)


@pytest.mark.parametrize("inputs", ["image", "x", "inputs", "img"])
@pytest.mark.parametrize("targets", ["label", "y", "targets", "labels"])
def test_keys_guessed_by_convention(inputs: str, targets: str) -> None:
    x, found, _ = valid_rows(jinterp.batches({"id": Y, targets: Y, inputs: X}))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(found, Y)


def test_hugging_face_keeps_the_declared_dtype_exactly() -> None:
    import datasets

    values = [[0.1, 1e-300], [0.2, 1.0]]
    features = {"x": datasets.List(datasets.Value("float64")), "y": datasets.Value("int64")}
    ds = datasets.Dataset.from_dict(
        {"x": values, "y": [0, 1]}, features=datasets.Features(features)
    )
    for kind in (ds, ds.to_iterable_dataset()):
        taken = np.stack(jinterp.batches(kind).take([0, 1]))
        assert taken.dtype == np.float64
        np.testing.assert_array_equal(taken, values)


def test_hugging_face_format_of_the_user_is_kept() -> None:
    scaled = hugging_face().with_transform(
        lambda rows: {
            "img": [np.asarray(x, np.float32) / 255 for x in rows["img"]],
            "labels": rows["labels"],
        }
    )
    x, _, _ = valid_rows(jinterp.batches(scaled))
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, X / 255.0, rtol=1e-6)


def torch_datasets() -> Any:
    torch = pytest.importorskip("torch", reason="PyTorch is installed for benchmarks only")

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self) -> Any:
            return iter(tiny.ITEMS)

    data = torch.utils.data
    tensors = data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    return {
        "dataset": (tensors, 13),
        "loader": (data.DataLoader(tensors, batch_size=4), None),
        "loader of examples": (data.DataLoader(tensors, batch_size=None), None),
        "loader of dicts": (data.DataLoader(tiny.DICTS, batch_size=4), None),
        "iterable dataset": (Stream(), None),
        "loader of iterable": (data.DataLoader(Stream(), batch_size=4), None),
        "tensors": ((torch.tensor(X), torch.tensor(Y)), 13),
    }


def test_pytorch() -> None:
    for name, (ds, num_examples) in torch_datasets().items():
        dataset = jinterp.batches(ds, 5)
        x, targets, indices = valid_rows(dataset)
        np.testing.assert_array_equal(x, X, err_msg=name)
        np.testing.assert_array_equal(targets, Y, err_msg=name)
        np.testing.assert_array_equal(indices, np.arange(13), err_msg=name)
        assert x.dtype == np.uint8
        assert dataset.num_examples == num_examples
        np.testing.assert_array_equal(np.stack(dataset.take([9, 2])), X[[9, 2]], err_msg=name)


def test_pytorch_loader_that_shuffles_is_refused() -> None:
    data = pytest.importorskip("torch", reason="PyTorch is for benchmarks only").utils.data
    sampler = data.BatchSampler(data.RandomSampler(tiny.ITEMS), 4, drop_last=False)
    for options in (
        {"shuffle": True, "batch_size": 4},
        {"batch_sampler": sampler},
        {"sampler": data.WeightedRandomSampler([1.0] * 13, 13)},
    ):
        with pytest.raises(ValueError, match=r"DataLoader that shuffles.*shuffle=False"):
            jinterp.batches(data.DataLoader(tiny.ITEMS, **options))


def imported(program: str) -> set[str]:
    """The data frameworks that a program, run in a process of its own, has imported."""
    frameworks = "{'tensorflow', 'torch', 'grain', 'datasets', 'tensorflow_datasets'}"
    run = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*({frameworks} & set(sys.modules)))"],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        cwd=pathlib.Path(__file__).parents[2],
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.splitlines()[-1].split())


def test_arrays_import_no_framework() -> None:
    program = """
import jinterp, numpy as np
dataset = jinterp.batches((np.zeros((5, 2)), np.arange(5)), 2)
assert len(list(dataset)) == 3 and len(dataset.take([4, 1])) == 2
assert len(list(jinterp.batches([(np.zeros(2), i) for i in range(5)], 2))) == 3"""
    assert imported(program) == set()


def test_a_tfds_data_source_imports_no_tensorflow(tmp_path: pathlib.Path) -> None:
    program = f"""
import pathlib, jinterp
from tests.data.tiny import KINDS
dataset = jinterp.batches(KINDS["tfds data source"].make(pathlib.Path({str(tmp_path)!r})), 5)
assert len(list(dataset)) == 3"""
    assert imported(program) == {"tensorflow_datasets"}


def test_arrays_in_a_file_are_not_held_in_memory(tmp_path: pathlib.Path) -> None:
    assert jinterp.batches(KINDS["arrays"].make(tmp_path)).source.is_held
    assert not jinterp.batches(KINDS["memmap"].make(tmp_path)).source.is_held
