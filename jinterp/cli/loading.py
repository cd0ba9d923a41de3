"""A model and a dataset that are named on the command line."""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import jax
import numpy as np

from jinterp._types import PreprocessFn
from jinterp.data import Batches, batches
from jinterp.data.folders import ImageFolder
from jinterp.interpretation import ClassificationInterpretation, SegmentationInterpretation
from jinterp.model import Model
from jinterp.model.checkpoint import restore_params


class Data(NamedTuple):
    """A dataset named on the command line.

    Attributes:
        ds: what `batches` takes.
        class_names: the names that the data itself gives.
    """

    ds: Any
    class_names: list[str] | None


names_option = click.option("--class-names", help="Names of the classes, separated by commas.")
_INTERPRETATIONS: dict[str, Any] = {
    "classification": ClassificationInterpretation,
    "segmentation": SegmentationInterpretation,
}


def task_options(command: Callable[..., None]) -> Callable[..., None]:
    """What the model says of an example."""
    task = click.option(
        "--task",
        type=click.Choice(list(_INTERPRETATIONS)),
        default="classification",
        show_default=True,
        help="Whether a label is a class or a map of classes.",
    )
    ignored = click.option(
        "--ignore-index", type=int, help="The label of pixels that count for nothing."
    )
    return task(ignored(names_option(command)))


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """The model."""
    model = click.option(
        "--model",
        "model_path",
        required=True,
        metavar="PACKAGE.MODULE:FACTORY",
        help="A function without arguments that returns a jinterp.Model.",
    )
    checkpoint = click.option("--checkpoint", help="Parameters: an Orbax folder, .msgpack or .npz.")
    return model(checkpoint(command))


def data_options(command: Callable[..., None]) -> Callable[..., None]:
    """The model and the data, which all commands but the demo take."""
    options = [
        click.option(
            "--data",
            required=True,
            metavar="DATA",
            help="A .npz, a folder with a subfolder of images a class, or tfds:NAME[:SPLIT].",
        ),
        click.option("--inputs", help="The key of the inputs, where it is not a usual one."),
        click.option("--targets", help="The key of the labels, where it is not a usual one."),
        click.option("--batch-size", type=click.IntRange(min=1), help="Default: by memory."),
        click.option("--image-size", type=click.IntRange(min=1), help="Resize a folder's images."),
        click.option(
            "--compilation-cache",
            metavar="FOLDER",
            help="Keep compiled programs there, for the next run.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return model_options(command)


def interpret(
    *,
    class_names: str | None,
    task: str = "classification",
    ignore_index: int | None = None,
    checkpoint_dir: str | None = None,
    checkpoint_every: int = 100,
    preprocess: PreprocessFn | None = None,
    **options: Any,
) -> Any:
    """One pass over the data, with what `data_options` and `task_options` say."""
    of_pixels = {} if ignore_index is None else {"ignore_index": ignore_index}
    if of_pixels and task != "segmentation":
        raise click.UsageError("--ignore-index is for --task segmentation.")
    loaded = load(preprocess=preprocess, **options)
    names = class_names.split(",") if class_names else loaded.class_names
    return _INTERPRETATIONS[task].from_model(
        *loaded.model,
        loaded.ds,
        class_names=names,
        **of_pixels,
        checkpoint_dir=checkpoint_dir,
        checkpoint_every=checkpoint_every,
    )


class Loaded(NamedTuple):
    """A model and the data of this process.

    Attributes:
        model: with the parameters of the checkpoint.
        ds: all of the dataset, or the part of this process.
        class_names: the names that the data itself gives.
    """

    model: Model
    ds: Batches
    class_names: list[str] | None


def load(
    *,
    model_path: str,
    checkpoint: str | None,
    data: str,
    inputs: str | None,
    targets: str | None,
    batch_size: int | None,
    image_size: int | None,
    compilation_cache: str | None,
    preprocess: PreprocessFn | None = None,
) -> Loaded:
    """What the options name."""
    if compilation_cache:
        keep_programs(compilation_cache)
    model = model_of(model_path, checkpoint)
    loaded = load_data(data, image_size)
    ds = batches(loaded.ds, batch_size, inputs=inputs, targets=targets, preprocess=preprocess)
    if jax.process_count() > 1:
        ds = ds.part(jax.process_index(), jax.process_count())
    return Loaded(model, ds, loaded.class_names)


def keep_programs(folder: str) -> None:
    """Keep every compiled program in a folder; JAX itself keeps those that took a second."""
    if Path(folder).is_file():
        raise click.UsageError(f"--compilation-cache is {folder!r}, a file; expected a folder.")
    jax.config.update("jax_compilation_cache_dir", str(Path(folder).absolute()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def model_of(path: str, checkpoint: str | None) -> Model:
    """The model of a factory, with the parameters of a checkpoint where one is given."""
    model = load_model(path)
    if checkpoint:
        model = model._replace(params=restore_params(checkpoint, model.params))
    return model


def inputs_of(data: str | None, shape: str | None, dtype: str) -> Any:
    """One example of a dataset, or the shape of inputs that is given."""
    if (data is None) == (shape is None):
        raise click.UsageError("expected either --data or --shape, such as --shape 1,32,32,3.")
    if data is not None:
        return next(iter(batches(load_data(data, None).ds, 1))).x
    assert shape is not None
    try:
        sizes = tuple(int(size) for size in shape.strip("()[]").split(",") if size.strip())
        return jax.ShapeDtypeStruct(sizes, np.dtype(dtype))
    except (ValueError, TypeError) as error:
        raise click.UsageError(
            f"--shape is {shape!r} of --dtype {dtype!r}; expected whole numbers separated by "
            f"commas, such as 1,32,32,3, and a dtype of NumPy ({error})."
        ) from None


def load_model(path: str) -> Model:
    """The `Model` that the factory `package.module:factory` returns; the module may be here."""
    module_name, _, factory_name = path.partition(":")
    if not factory_name:
        raise click.UsageError(f"--model is {path!r}; expected package.module:factory.")
    sys.path.insert(0, os.getcwd())
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
    except (ImportError, AttributeError) as error:
        raise click.UsageError(f"--model {path!r} cannot be imported: {error}.") from error
    model = factory()
    if not (isinstance(model, tuple) and len(model) == 2 and callable(model[0])):
        raise click.UsageError(
            f"--model {path!r} returned a {type(model).__name__}; expected a "
            "jinterp.Model(apply_fn, params), such as jinterp.from_linen(module, variables)."
        )
    return Model(*model)


def load_data(spec: str, image_size: int | None) -> Data:
    """A dataset from a .npz file, an image folder, or tfds:NAME[:SPLIT]."""
    if spec.startswith("tfds:"):
        return _tfds(*spec.removeprefix("tfds:").partition(":")[::2])
    path = Path(spec)
    if path.is_dir():
        folder = ImageFolder(path, size=image_size)
        return Data(folder, folder.class_names)
    if not path.exists():
        raise click.UsageError(f"--data {spec!r} does not exist.")
    if path.suffix != ".npz":
        raise click.UsageError(f"--data {spec!r} is no .npz file, folder or tfds:NAME.")
    with np.load(path) as arrays:
        ds = dict(arrays)
    names = ds.pop("class_names", None)
    return Data(ds, None if names is None else [str(name) for name in names])


def _tfds(name: str, split: str) -> Data:
    """A prepared tfds dataset: array_record without TensorFlow where it can be, else tf.data."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise click.UsageError(f"{error}. Install it: pip install 'jinterp[tfds]'.") from error
    builder = tfds.builder(name)
    split = split or "test"
    if str(builder.info.file_format).lower().endswith("array_record"):
        ds = builder.as_data_source(split=split)
    else:
        ds = builder.as_dataset(split=split)
    features = dict(builder.info.features)
    return Data(ds, getattr(features.get("label"), "names", None))
