"""The command line: `jinterp demo`, `evaluate`, `explain`, `report`, `check`, `summary` ..."""

import functools
import json
import logging
import operator
import os
import sys
import warnings
from typing import Any

import click
import jax
import numpy as np

from jinterp import attribution, plot
from jinterp import demo as demonstration
from jinterp._types import Explainer, LossFn, PreprocessFn
from jinterp.cli.loading import (
    data_options,
    inputs_of,
    interpret,
    load,
    model_of,
    model_options,
    names_option,
    task_options,
)
from jinterp.cli.processes import distributed_options, is_first
from jinterp.cli.show import show
from jinterp.cli.summary import summary
from jinterp.diagnose import check_model
from jinterp.diagnose import summary as summary_of
from jinterp.evaluate import cross_entropy, sigmoid_cross_entropy, squared_error
from jinterp.report import writable_folder


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="jinterp")
def cli() -> None:
    """Where a JAX model fails, why, and whether the why is true."""


@cli.command()
@click.option(
    "--task",
    type=click.Choice(list(demonstration.TASKS)),
    default="classification",
    show_default=True,
    help="Digits with flipped labels, drawn shapes with wrong label maps, or a table.",
)
@click.option("--out", default="jinterp-demo", show_default=True, help="Folder to write to.")
def demo(task: str, out: str) -> None:
    """Train a small network on data at hand, and say where it fails or what it reads.

    Needs no network connection and about half a minute.
    """
    writable_folder(out)
    run: Any = demonstration.TASKS[task]
    result = run(out, say=click.echo)
    click.echo(f"Report: {result.report}")


@cli.command()
@data_options
@task_options
@click.option(
    "--out", help="Folder for evaluation.json, and predictions.npz or, of label maps, images.npz."
)
@click.option("--json", "as_json", is_flag=True, help="Print the evaluation as JSON.")
@click.option(
    "--checkpoint-dir",
    metavar="FOLDER",
    help="Save the pass there as it goes; the same command goes on from it after a stop.",
)
@click.option(
    "--checkpoint-every",
    metavar="BATCHES",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="How often; what is less than that is not saved.",
)
@distributed_options
def evaluate(out: str | None, as_json: bool, **options: Any) -> None:
    """Say where a model fails on a dataset."""
    folder = writable_folder(out) if out else None
    interpretation = interpret(**options)
    text = json.dumps(summary(interpretation.evaluation), indent=2)
    if folder and is_first():
        (folder / "evaluation.json").write_text(text + "\n")
        name = "images" if options["task"] == "segmentation" else "predictions"
        rows = getattr(interpretation.evaluation, name)
        np.savez_compressed(folder / f"{name}.npz", **rows._asdict())
    if as_json:
        click.echo(text)
        return
    for sentence in interpretation.answer():
        click.echo(sentence)
    click.echo(f"\n{interpretation.evaluation}")


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
    attribution.xrai,
    attribution.feature_ablation,
    attribution.lrp,
    attribution.deep_lift,
    attribution.guided_backprop,
    attribution.deconvolution,
)
_EXPLAINERS = {explainer.__name__: explainer for explainer in (*_MAPS, *_AT_INPUT)}


@cli.command()
@data_options
@names_option
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
    explainer, preprocess = _explainer(method, layer)
    chosen = None if indices is None else _numbers(indices)
    interpretation = interpret(**options, preprocess=preprocess)
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


@cli.command(name="explain-dataset")
@data_options
@click.option(
    "--method",
    type=click.Choice(list(_EXPLAINERS)),
    default="integrated_gradients",
    show_default=True,
)
@click.option("--layer", help="Where a class activation map lies. Default: the last in space.")
@click.option("--labels", is_flag=True, help="Explain the label and not the predicted class.")
@click.option("--dtype", type=click.Choice(["float16", "float32"]), default="float32")
@click.option("--resume", is_flag=True, help="Go on with what is in --out.")
@click.option("--out", required=True, metavar="FOLDER", help="A Zarr v3 group to write.")
@distributed_options
def explain_dataset(
    method: str,
    layer: str | None,
    labels: bool,
    dtype: str,
    resume: bool,
    out: str,
    **options: Any,
) -> None:
    """Explain every example of a dataset, and write the values to a Zarr group."""
    explainer, preprocess = _explainer(method, layer)
    loaded = load(**options, preprocess=preprocess)
    target = operator.attrgetter("targets") if labels else None
    written = attribution.explain_dataset(
        explainer, *loaded.model, loaded.ds, out=out, target=target, dtype=dtype, resume=resume
    )
    click.echo(f"{method}: {written}")


def _explainer(method: str, layer: str | None) -> tuple[Explainer, PreprocessFn | None]:
    """An explainer by its name, and what makes floats of integer images where it needs them."""
    explainer = _EXPLAINERS[method]
    if layer is None:
        return explainer, None if explainer in _MAPS else _as_float
    if explainer not in _MAPS:
        raise click.UsageError(f"--layer is for class activation maps, not for {method}.")
    return functools.partial(explainer, layer=layer), None


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
@data_options
@task_options
@click.option("--out", default="jinterp-report", show_default=True, help="Folder to write to.")
@click.option("--title", default="Where does the model fail?", show_default=True)
def report(out: str, title: str, **options: Any) -> None:
    """Write one HTML page that says where a model fails on a dataset."""
    writable_folder(out)
    interpretation = interpret(**options)
    for sentence in interpretation.answer():
        click.echo(sentence)
    note = f"Model {options['model_path']}, data {options['data']}."
    click.echo(f"Report: {interpretation.write_report(out, title=title, notes=[note])}")


_LOSSES: dict[str, LossFn] = {
    "cross_entropy": cross_entropy,
    "squared_error": squared_error,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
}


@cli.command()
@data_options
@click.option(
    "--untrained", is_flag=True, help="The parameters are those of the start, not of a training."
)
@click.option(
    "--loss",
    type=click.Choice(list(_LOSSES)),
    default="cross_entropy",
    show_default=True,
    help="Of classes, of numbers, or of several labels an example.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def check(untrained: bool, loss: str, as_json: bool, **options: Any) -> None:
    """Look for what usually goes wrong with a network; exit with 1 where a check fails."""
    loaded = load(**options)
    checks = check_model(*loaded.model, loaded.ds, loss_fn=_LOSSES[loss], is_trained=not untrained)
    if as_json:
        click.echo(json.dumps([each._asdict() for each in checks.checks], indent=2))
    else:
        show(checks)
    if checks.failed:
        sys.exit(1)


@cli.command(name="summary")
@model_options
@click.option("--data", metavar="DATA", help="A dataset, as `jinterp evaluate` takes it.")
@click.option(
    "--shape",
    metavar="SHAPE",
    help="In place of --data: of the inputs, with the batch, such as 1,32,32,3.",
)
@click.option("--dtype", default="float32", show_default=True, help="Of the inputs of --shape.")
def summarize(
    model_path: str, checkpoint: str | None, data: str | None, shape: str | None, dtype: str
) -> None:
    """Show the layers of a model: shapes, parameters, operations."""
    model = model_of(model_path, checkpoint)
    show(summary_of(*model, inputs_of(data, shape, dtype)))


def main() -> None:
    """Run the command line: errors and warnings are one line, Ctrl-C says what was done."""
    handler, logger = logging.StreamHandler(), logging.getLogger("jinterp")
    handler.setFormatter(logging.Formatter("jinterp: %(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
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
