"""Thirteen small images with labels, as every kind of dataset that people bring."""

import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

X = np.random.default_rng(0).integers(0, 256, (13, 6, 5, 3), dtype=np.uint8)
Y = np.random.default_rng(1).integers(0, 3, 13)
ITEMS = list(zip(X, Y, strict=True))
DICTS = [{"image": x, "label": y} for x, y in ITEMS]
BATCHES = [(X[i : i + 4], Y[i : i + 4]) for i in range(0, 13, 4)]


class Kind(NamedTuple):
    """How to make a dataset, and whether it says how many examples it has."""

    make: Callable[[pathlib.Path], Any]
    sized: bool = True
    readable_once: bool = False


class Loader:
    """A plain iterable, of any items."""

    def __init__(self, items: list[Any]):
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


def memmap(path: pathlib.Path) -> Any:
    np.save(path / "x.npy", X)
    return np.load(path / "x.npy", mmap_mode="r"), Y


def npz(path: pathlib.Path) -> Any:
    np.savez(path / "data.npz", x=X, y=Y)
    return np.load(path / "data.npz")


def tensorflow(make: Callable[[Any], Any]) -> Any:
    tf = pytest.importorskip("tensorflow", reason="tf.data needs TensorFlow")
    return make(tf.data.Dataset)


@functools.cache  # tfds registers each class by its name
def tfds_class() -> Any:
    import tensorflow_datasets as tfds

    class Tiny(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            image = tfds.features.Tensor(shape=X.shape[1:], dtype=np.uint8)
            label = tfds.features.ClassLabel(num_classes=3)
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict({"image": image, "label": label}),
                supervised_keys=("image", "label"),
                disable_shuffling=True,
            )

        def _split_generators(self, _: Any) -> Any:
            return {"test": self._generate_examples()}

        def _generate_examples(self) -> Iterator[Any]:
            return enumerate(DICTS)

    return Tiny


def tfds_builder(path: pathlib.Path, file_format: str) -> Any:
    """A tiny tfds dataset, written to disk."""
    builder = tfds_class()(data_dir=path, file_format=file_format)
    builder.download_and_prepare()
    return builder


def tfds_dataset(path: pathlib.Path, **options: Any) -> Any:
    pytest.importorskip("tensorflow", reason="tfds as tf.data needs TensorFlow")
    return tfds_builder(path, "tfrecord").as_dataset(split="test", **options)


def grain_map() -> Any:
    import grain

    return grain.MapDataset.source(ITEMS)


def grain_loader(batch_size: int | None, num_epochs: int | None = 1) -> Any:
    import grain

    sampler = grain.samplers.IndexSampler(num_records=13, num_epochs=num_epochs)
    operations = [] if batch_size is None else [grain.transforms.Batch(batch_size)]
    return grain.DataLoader(data_source=ITEMS, sampler=sampler, operations=operations)


def hugging_face(image: str = "Array3D") -> Any:
    import datasets

    shaped = datasets.Array3D(X.shape[1:], "uint8") if image == "Array3D" else datasets.Image()
    features = datasets.Features({"img": shaped, "labels": datasets.ClassLabel(num_classes=3)})
    return datasets.Dataset.from_dict({"img": list(X), "labels": Y}, features=features)


def hugging_face_generator(*, declared: bool) -> Any:
    import datasets

    features = hugging_face().features if declared else None

    def rows() -> Iterator[Any]:
        for x, y in ITEMS:
            yield {"img": x, "labels": y}

    return datasets.IterableDataset.from_generator(rows, features=features)


def transformed(rows: Any) -> Any:
    return {"img": [np.asarray(x, np.uint8) for x in rows["img"]], "labels": rows["labels"]}


KINDS = {
    "arrays": Kind(lambda path: (X, Y)),
    "jax arrays": Kind(lambda path: (jnp.asarray(X), jnp.asarray(Y))),
    "memmap": Kind(memmap),
    "npz": Kind(npz),
    "lists of arrays": Kind(lambda path: {"image": X, "label": Y.tolist()}),
    "dict of arrays": Kind(lambda path: {"inputs": X, "targets": Y}),
    "list of tuples": Kind(lambda path: ITEMS),
    "tuple of tuples": Kind(lambda path: tuple(ITEMS)),
    "list of dicts": Kind(lambda path: DICTS),
    "list of batches": Kind(lambda path: BATCHES, sized=False),
    "iterable": Kind(lambda path: Loader(DICTS), sized=False),
    "iterable of batches": Kind(lambda path: Loader(BATCHES), sized=False),
    "generator": Kind(lambda path: (i for i in ITEMS), sized=False, readable_once=True),
    "generator of batches": Kind(lambda path: iter(BATCHES), sized=False, readable_once=True),
    "tf.data": Kind(lambda path: tensorflow(lambda tf: tf.from_tensor_slices((X, Y)))),
    "tf.data batches": Kind(
        lambda path: tensorflow(lambda tf: tf.from_tensor_slices({"x": X, "y": Y}).batch(4)),
        sized=False,
    ),
    "tfds": Kind(tfds_dataset),
    "tfds supervised": Kind(lambda path: tfds_dataset(path, as_supervised=True)),
    "tfds batches": Kind(lambda path: tfds_dataset(path, batch_size=4), sized=False),
    "tfds data source": Kind(
        lambda path: tfds_builder(path, "array_record").as_data_source(split="test")
    ),
    "grain map": Kind(lambda path: grain_map()),
    "grain map batches": Kind(lambda path: grain_map().batch(4), sized=False),
    "grain iter": Kind(lambda path: grain_map().to_iter_dataset(), sized=False),
    "grain iter batches": Kind(lambda path: grain_map().to_iter_dataset().batch(4), sized=False),
    "grain loader": Kind(lambda path: grain_loader(None), sized=False),
    "grain loader batches": Kind(lambda path: grain_loader(4), sized=False),
    "hugging face": Kind(lambda path: hugging_face()),
    "hugging face images": Kind(lambda path: hugging_face("Image")),
    "hugging face transform": Kind(lambda path: hugging_face().with_transform(transformed)),
    "hugging face stream": Kind(lambda path: hugging_face().to_iterable_dataset(), sized=False),
    "hugging face image stream": Kind(
        lambda path: hugging_face("Image").to_iterable_dataset(), sized=False
    ),
    "hugging face generator": Kind(lambda path: hugging_face_generator(declared=True), sized=False),
    "hugging face generator, undeclared": Kind(
        lambda path: hugging_face_generator(declared=False), sized=False
    ),
}
