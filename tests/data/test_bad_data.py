"""What is wrong with a dataset is said in a sentence: given, expected, what to do."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import jinterp
from tests.data import tiny

X = np.zeros((6, 4), np.float32)
Y = np.array([0, 1, 2, 0, 1, 2])
ITEMS = list(zip(X, Y, strict=True))


def message(error: type[Exception], ds: Any, **names: Any) -> str:
    """What is said when the dataset is read."""
    with pytest.raises(error) as raised:
        list(jinterp.batches(ds, 4, **names))
    return str(raised.value.args[0])


@pytest.mark.parametrize(
    "ds", [[], (X[:0], Y[:0]), {"x": X[:0], "y": Y[:0]}, tiny.Loader([]), [(X[:0], Y[:0])]]
)
def test_empty(ds: Any) -> None:
    assert message(ValueError, ds) == "`ds` is empty; expected at least one example."


def test_empty_hugging_face() -> None:
    assert "`ds` is empty" in message(ValueError, tiny.hugging_face().select([]))


def test_an_iterator_used_up() -> None:
    iterator = iter(ITEMS)
    list(iterator)
    said = message(ValueError, iterator)
    assert "an iterator (list_iterator) that yields nothing: it was used up" in said
    assert "Give something that can be iterated again" in said


@pytest.mark.parametrize("where", ["x", "y"])
@pytest.mark.parametrize("wrap", [list, tiny.Loader, iter])
def test_ragged_examples(where: str, wrap: Any) -> None:
    x, y = np.zeros(3, np.float32), np.ones(2)
    items = [(X[0], 0), (x, 0)] if where == "x" else [(X[0], np.ones(3)), (X[0], y)]
    said = message(ValueError, wrap(items))
    given = "float32[3]" if where == "x" else "float64[2]"
    expected = "float32[4]" if where == "x" else "float64[3]"
    assert said.startswith("item 1 of `ds` has inputs ")
    assert given in said
    assert expected in said
    assert "expected one shape and dtype for all. Resize, pad" in said


@pytest.mark.parametrize(
    "x",
    [[[1.0, 2.0], [3.0]], np.array([np.zeros(2), np.zeros(3)], object)],
)
def test_ragged_arrays(x: Any) -> None:
    said = message(ValueError, (x, [0, 1]))
    assert "the inputs of `ds` are a" in said
    assert "of dtype object; expected numbers, of one shape" in said
    assert "resize or pad ragged arrays" in said


def test_ragged_hugging_face_images() -> None:
    import datasets

    features = datasets.Features({"img": datasets.Image(), "label": datasets.Value("int64")})
    images = [np.zeros((6, 5, 3), np.uint8), np.zeros((5, 5, 3), np.uint8)]
    ds = datasets.Dataset.from_dict({"img": images, "label": [0, 1]}, features=features)
    assert "resize or pad ragged arrays" in message(ValueError, ds)
    said = message(ValueError, ds.to_iterable_dataset())
    assert "item 1 of `ds` has inputs uint8[5,5,3]" in said


@pytest.mark.parametrize("wrap", [list, tiny.Loader, iter])
def test_a_batch_shape_that_changes_in_the_middle(wrap: Any) -> None:
    said = message(ValueError, wrap([(X, Y), (X, Y), (X[:, :3], Y)]))
    assert "item 2 of `ds` has inputs float32[3] and targets int64[]" in said
    assert "item 0 float32[4] and int64[]; expected one shape and dtype" in said


def test_a_dtype_or_a_structure_that_changes() -> None:
    assert "inputs float64[4]" in message(ValueError, [(X, Y), (X.astype(float), Y)])
    assert "targets float64[]" in message(ValueError, [(X[0], 0), (X[1], 0.5)])
    said = message(ValueError, [({"a": X}, Y), ({"b": X}, Y)])
    assert "inputs {'b': 'float32[4]'}" in said


def test_a_batch_whose_lengths_differ() -> None:
    said = message(ValueError, [(X, Y), (X, Y[:5])])
    assert "item 1 of `ds` has inputs of shape (6, 4) and targets of shape (5,)" in said


@pytest.mark.parametrize("ds", [(X, Y[:5]), {"x": X, "y": Y[:5]}])
def test_lengths_that_differ(ds: Any) -> None:
    said = message(ValueError, ds)
    assert "`ds` has inputs of shape (6, 4) and targets of shape (5,)" in said
    assert "expected the same first axis, one entry for each example" in said


@pytest.mark.parametrize("ds", [{"pixels": X, "label": Y}, [{"pixels": X[0], "label": 0}]])
def test_missing_inputs_name_the_keys_there_are(ds: Any) -> None:
    said = message(KeyError, ds)
    assert "has the keys ['pixels', 'label']; none is 'image', 'x', 'inputs'" in said
    assert "for the inputs. Name both: jinterp.batches(ds, inputs=..., targets=...)" in said


def test_missing_targets_name_the_keys_there_are() -> None:
    said = message(KeyError, [{"image": X[0], "species": 0}])
    assert "item 0 of `ds` has the keys ['image', 'species']; none is 'label', 'y'" in said
    assert "for the targets. Name both: jinterp.batches(ds" in said
    said = message(KeyError, [{"image": X[0], "label": 0}, {"image": X[0]}])
    assert "item 1 of `ds` has the keys ['image']" in said


def test_a_key_named_wrongly() -> None:
    said = message(KeyError, {"image": X, "label": Y}, inputs="imgae")
    assert "none is 'imgae'" in said
    assert "none is 'x'" in message(KeyError, (X, Y), inputs="x")


@pytest.mark.parametrize("split", [ITEMS[0], {"x": X, "y": Y}, tiny.Loader(ITEMS)])
def test_splits_in_a_dict(split: Any) -> None:
    said = message(TypeError, {"train": split, "test": split})
    assert "with the keys ['train', 'test']; expected arrays" in said
    assert "If these are splits, give one of them, such as ds['train']." in said


def test_splits_of_hugging_face() -> None:
    import datasets

    split = tiny.hugging_face()
    said = message(TypeError, datasets.DatasetDict(train=split, test=split))
    assert "a mapping of Dataset with the keys ['train', 'test']" in said
    said = message(TypeError, datasets.IterableDatasetDict(test=split.to_iterable_dataset()))
    assert "give one of them, such as ds['test']" in said


@pytest.mark.parametrize("wrap", [list, tuple])
def test_splits_in_a_sequence(wrap: Any) -> None:
    said = message(TypeError, wrap([tiny.hugging_face(), tiny.hugging_face()]))
    assert "item 0 of `ds` is a Dataset; expected an (x, y) tuple or a dict" in said
    assert "If `ds` holds splits, give one of them." in said


@pytest.mark.parametrize("ds", [(X, Y, X), [(X[0], 0, X[0])], [(X[0],)]])
def test_a_tuple_that_is_not_a_pair(ds: Any) -> None:
    said = message(ValueError, ds)
    assert "; expected (x, y). Say which are which, such as inputs=0, targets=1." in said
    assert "of 3" in said or "of 1" in said


@pytest.mark.parametrize("ds", [object(), 3, None])
def test_an_unknown_kind(ds: Any) -> None:
    said = message(TypeError, ds)
    assert said.startswith(f"`ds` is a {type(ds).__name__}; expected (x, y) arrays, a dict")


@pytest.mark.parametrize("ds", [X, [X, Y], "cifar10", [3, 4]])
def test_items_of_an_unknown_kind(ds: Any) -> None:
    said = message(TypeError, ds)
    assert "item 0 of `ds` is a " in said
    assert "expected an (x, y) tuple or a dict with inputs and targets" in said


def endless_grain() -> dict[str, Any]:
    return {
        "map": tiny.grain_map().repeat(),
        "batches": tiny.grain_map().repeat().batch(4),
        "iter": tiny.grain_map().repeat().to_iter_dataset(),
        "iter batches": tiny.grain_map().repeat().to_iter_dataset().batch(4),
        "loader": tiny.grain_loader(4, num_epochs=None),
    }


@pytest.mark.parametrize("name", ["map", "batches", "iter", "iter batches", "loader"])
def test_a_grain_dataset_that_repeats_for_ever(name: str) -> None:
    with pytest.raises(ValueError, match="that repeats for ever; expected one pass") as raised:
        jinterp.batches(endless_grain()[name])
    assert "Leave out the repeat(), or give a Grain sampler num_epochs=1." in str(raised.value)


def test_a_grain_dataset_that_repeats_twice_is_read() -> None:
    assert len(list(jinterp.batches(tiny.grain_map().repeat(2), 13))) == 2


def test_a_filtered_grain_map() -> None:
    filtered = tiny.grain_map().filter(lambda item: item[1] > 0)
    said = message(ValueError, filtered)
    assert said.startswith("item ")
    assert "is None; expected an (x, y) tuple or a dict. If it is a filtered Grain" in said
    assert "give ds.to_iter_dataset()" in said
    batches = list(jinterp.batches(filtered.to_iter_dataset(), 4))
    assert sum(int(batch.mask.sum()) for batch in batches) == int((tiny.Y > 0).sum())


def test_tf_data_that_shuffles_or_repeats() -> None:
    tf = pytest.importorskip("tensorflow", reason="tf.data needs TensorFlow")
    ds = tf.data.Dataset.from_tensor_slices((X, Y))
    for shuffled in (ds.shuffle(6), ds.shuffle(6).batch(2).prefetch(1)):
        said = message(ValueError, shuffled)
        assert "that shuffles: its order changes with every pass" in said
        assert "leave out the shuffle()" in said
    stable = ds.shuffle(6, seed=0, reshuffle_each_iteration=False)
    assert len(list(jinterp.batches(stable, 4))) == 2
    with pytest.raises(ValueError, match="that repeats for ever"):
        jinterp.batches(ds.repeat())
    assert "is a mapping of" in message(TypeError, {"train": ds, "test": ds})


class SequentialSampler:
    pass


class RandomSampler:
    pass


def test_a_loader_that_shuffles() -> None:
    class DataLoader(tiny.Loader):
        sampler: Any = RandomSampler()

    said = message(ValueError, DataLoader(ITEMS))
    assert "`ds` is a DataLoader that shuffles: its order changes with every pass" in said
    assert "Make it with shuffle=False" in said
    DataLoader.sampler = SequentialSampler()
    assert len(list(jinterp.batches(DataLoader(ITEMS), 4))) == 2


@pytest.mark.parametrize(
    ("y", "dtype"),
    [
        (np.array(["cat", "dog"]), "<U3"),
        (["cat", "dog"], "<U3"),
        (np.array(["cat", "dog"], object), "object"),
        (np.array([b"cat", b"dog"]), "|S3"),
        ([None, None], "object"),
    ],
)
def test_labels_that_are_no_numbers(y: Any, dtype: str) -> None:
    said = message(ValueError, (X[:2], y))
    assert "the targets of `ds` are a " in said
    assert f"of dtype {dtype}; expected numbers" in said
    assert "Map strings to class numbers" in said
    said = message(ValueError, tiny.Loader([(X[0], label) for label in y]))
    assert "the targets of item 0 of `ds` are a " in said


def test_strings_as_inputs() -> None:
    said = message(ValueError, [("a sentence", 0)])
    assert "the inputs of item 0 of `ds` are a str of dtype <U10" in said


@pytest.mark.parametrize("wrap", [list, tiny.Loader, iter])
def test_items_of_none(wrap: Any) -> None:
    assert "item 0 of `ds` is None; expected" in message(ValueError, wrap([None, None]))
    assert "the inputs of item 0 of `ds` are a NoneType" in message(ValueError, wrap([(None, 0)]))


def test_an_error_in_the_middle_comes_with_its_place() -> None:
    def items() -> Iterator[Any]:
        yield from ITEMS
        yield X[0]

    assert "item 6 of `ds` is a ndarray" in message(TypeError, items())
