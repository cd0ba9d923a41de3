"""The command line: `jinterp demo`, `jinterp evaluate`, `jinterp explain`, `jinterp report`."""

import functools
import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import jax
import numpy as np

from jinterp import attribution, plot
from jinterp import demo as demonstration
from jinterp._types import PreprocessFn
from jinterp.data import Batches, batches
from jinterp.data.folders import ImageFolder
from jinterp.evaluate import Evaluation
from jinterp.interpretation import ClassificationInterpretation
from jinterp.model import Model
from jinterp.model.checkpoint import restore_params
from jinterp.report import writable_folder


class Data(NamedTuple):
    """A dataset named on the command line.

    Attributes:
        ds: what `batches` takes.
        class_names: the names that the data itself gives.
    """

    ds: Any
    class_names: list[str] | None


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="jinterp")
def cli() -> None:
    """Where a JAX model fails, why, and whether the why is true."""


@cli.command()
@click.option("--out", default="jinterp-demo", show_default=True, help="Folder to write to.")
def demo(out: str) -> None:
    """Train a small network on digits with flipped labels, and find the flips.

    Needs no network connection and about half a minute.
    """
    writable_folder(out)
    result = demonstration.run(out, say=click.echo)
    click.echo(f"Report: {result.report}")


def _interpretation_options(command: Callable[..., None]) -> Callable[..., None]:
    """What `evaluate` and `report` share."""
    options = [
        click.option(
            "--model",
            "model_path",
            required=True,
            metavar="PACKAGE.MODULE:FACTORY",
            help="A function without arguments that returns a jinterp.Model.",
        ),
        click.option("--checkpoint", help="Parameters: an Orbax folder, .msgpack or .npz."),
        click.option(
            "--data",
            required=True,
            metavar="DATA",
            help="A .npz, a folder with a subfolder of images a class, or tfds:NAME[:SPLIT].",
        ),
        click.option("--inputs", help="The key of the inputs, where it is not a usual one."),
        click.option("--targets", help="The key of the labels, where it is not a usual one."),
        click.option("--class-names", help="Names of the classes, separated by commas."),
        click.option("--batch-size", type=click.IntRange(min=1), help="Default: by memory."),
        click.option("--image-size", type=click.IntRange(min=1), help="Resize a folder's images."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@_interpretation_options
@click.option("--out", help="Folder for evaluation.json and predictions.npz.")
@click.option("--json", "as_json", is_flag=True, help="Print the evaluation as JSON.")
def evaluate(out: str | None, as_json: bool, **options: Any) -> None:
    """Say where a model fails on a dataset."""
    folder = writable_folder(out) if out else None
    interpretation = _interpret(**options)
    text = json.dumps(summary(interpretation.evaluation), indent=2)
    if folder:
        (folder / "evaluation.json").write_text(text + "\n")
        predictions = interpretation.evaluation.predictions
        np.savez_compressed(folder / "predictions.npz", **predictions._asdict())
    if as_json:
        click.echo(text)
        return
    for sentence in demonstration.answer(interpretation):
        click.echo(sentence)
    click.echo()
    interpretation.print_classification_report()


_MAPS = (
    attribution.grad_cam,
    attribution.grad_cam_plus_plus,
    attribution.xgrad_cam,
    attribution.hires_cam,
    attribution.layer_cam,
    attribution.eigen_cam,
    attribution.score_cam,
    attribution.ablation_cam,
)
_AT_INPUT = (
    attribution.gradient,
    attribution.saliency,
    attribution.input_x_gradient,
    attribution.integrated_gradients,
    attribution.idgi,
    attribution.blur_integrated_gradients,
    attribution.guided_integrated_gradients,
)
_EXPLAINERS = {explainer.__name__: explainer for explainer in (*_MAPS, *_AT_INPUT)}


@cli.command()
@_interpretation_options
@click.option(
    "--method", type=click.Choice(list(_EXPLAINERS)), default="grad_cam", show_default=True
)
@click.option("--layer", help="Where a class activation map lies. Default: the last in space.")
@click.option("--indices", help="Dataset indices, separated by commas. Default: the top losses.")
@click.option("--top", type=click.IntRange(min=1), default=9, show_default=True)
@click.option("--out", default="jinterp-explain", show_default=True, help="Folder to write to.")
def explain(
    method: str, layer: str | None, indices: str | None, top: int, out: str, **options: Any
) -> None:
    """Show what speaks for the class predicted, and for the actual one.

    Writes explanations.png, and explanations.npz with the values.
    """
    folder = writable_folder(out)
    explainer = _EXPLAINERS[method]
    if layer is not None:
        if explainer not in _MAPS:
            raise click.UsageError(f"--layer is for class activation maps, not for {method}.")
        explainer = functools.partial(explainer, layer=layer)
    chosen = None if indices is None else _numbers(indices)
    preprocess = None if explainer in _MAPS or layer else _as_float
    interpretation = _interpret(**options, preprocess=preprocess)
    if chosen is None:
        top = min(top, interpretation.evaluation.num_examples)
        chosen = interpretation.top_losses(top).indices.tolist()
    _all_exist(chosen, interpretation.evaluation.num_examples)
    rows = interpretation.evaluation.predictions.rows(np.asarray(chosen))
    found = interpretation.explain_both(chosen, explainer)
    columns: dict[str, Any] = {name.replace(" ", "_"): values for name, values in found.items()}
    columns |= {name: getattr(rows, name) for name in ("indices", "predictions", "targets")}
    np.savez_compressed(folder / "explanations.npz", **columns)
    figure = interpretation.plot_explanations(chosen, found)
    (folder / "explanations.png").write_bytes(plot.png(figure))
    click.echo(f"{method} of {len(chosen)} examples: {folder / 'explanations.png'}")


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.UsageError(
            f"--indices is {text!r}; expected whole numbers separated by commas, such as 3,17."
        ) from None


def _all_exist(indices: list[int], num_examples: int) -> None:
    wrong = [index for index in indices if not 0 <= index < num_examples]
    if wrong:
        raise click.UsageError(
            f"--indices has {wrong[0]}; the dataset has the examples 0 to {num_examples - 1}."
        )


def _as_float(x: Any) -> Any:
    """Integer images as floats of the same values, by which a gradient exists."""
    return jax.tree.map(
        lambda leaf: leaf.astype(jax.numpy.promote_types(leaf.dtype, jax.numpy.float32)), x
    )


@cli.command()
@_interpretation_options
@click.option("--out", default="jinterp-report", show_default=True, help="Folder to write to.")
@click.option("--title", default="Where does the model fail?", show_default=True)
def report(out: str, title: str, **options: Any) -> None:
    """Write one HTML page that says where a model fails on a dataset."""
    writable_folder(out)
    interpretation = _interpret(**options)
    for sentence in demonstration.answer(interpretation):
        click.echo(sentence)
    note = f"Model {options['model_path']}, data {options['data']}."
    click.echo(f"Report: {interpretation.write_report(out, title=title, notes=[note])}")


def _interpret(
    *,
    model_path: str,
    checkpoint: str | None,
    data: str,
    inputs: str | None,
    targets: str | None,
    class_names: str | None,
    batch_size: int | None,
    image_size: int | None,
    preprocess: PreprocessFn | None = None,
) -> ClassificationInterpretation:
    model = load_model(model_path)
    if checkpoint:
        model = model._replace(params=restore_params(checkpoint, model.params))
    loaded = load_data(data, image_size)
    ds: Batches = batches(
        loaded.ds, batch_size, inputs=inputs, targets=targets, preprocess=preprocess
    )
    names = class_names.split(",") if class_names else loaded.class_names
    return ClassificationInterpretation.from_model(*model, ds, class_names=names)


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


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as strict JSON: NaN is null, and no number for each example."""
    without = evaluation._asdict()
    for name in ("predictions", "risk_coverage"):
        del without[name]
    if evaluation.risk_coverage is not None:
        without["area_under_risk_coverage"] = evaluation.risk_coverage.area
    return _plain(without)


@functools.singledispatch
def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return value


@_plain.register
def _(value: dict) -> Any:
    return {name: _plain(each) for name, each in value.items()}


@_plain.register
def _(value: list) -> Any:
    return [_plain(each) for each in value]


@_plain.register
def _(value: float) -> float | None:
    return value if np.isfinite(value) else None


def main() -> None:
    """Run the command line: errors and warnings are one line, Ctrl-C says what was done."""
    warnings.formatwarning = lambda message, *_, **__: f"jinterp: warning: {message}\n"
    try:
        sys.exit(cli.main(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort) as error:
        reason = str(error.__cause__ or error) or "stopped"  # click wraps what it catches
        click.echo(f"jinterp: {reason}", err=True)
        sys.exit(130)
    except Exception as error:
        if os.environ.get("JINTERP_TRACEBACK"):
            raise
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        named = isinstance(error, ValueError | LookupError | OSError)
        hint = "" if named else " (JINTERP_TRACEBACK=1 shows where)"
        line = " ".join(str(message).split()) or type(error).__name__
        click.echo(f"jinterp: error: {line}{hint}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
