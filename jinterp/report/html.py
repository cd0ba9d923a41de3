"""The report: numbers, tables and pictures of an `Evaluation` in one page."""

import base64
import datetime
import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jinja2
import numpy as np

from jinterp import plot
from jinterp.evaluate import Evaluation, score_distributions

_NUM_PAIRS = 10
_NUM_INDICES = 30


def write_report(
    evaluation: Evaluation,
    out: str | os.PathLike[str],
    *,
    images: Sequence[Any] | None = None,
    explanations: Mapping[str, Any] | None = None,
    remarks: Sequence[str] = (),
    title: str = "Where does the model fail?",
    notes: Sequence[str] = (),
) -> Path:
    """Write `report.html` and its pictures.

    Args:
        evaluation: what `evaluate` returned.
        out: the folder to write to; it is made if need be.
        images: the inputs of the top losses, in their order; None leaves the pictures out.
        explanations: attributions of the top losses by title, as `jinterp.plot.top_losses` takes
            them.
        remarks: sentences about the explanations, such as why there are none.
        title: the heading.
        notes: sentences to show below it.

    Returns:
        The path of `report.html`. It loads nothing, since every picture is inside it; each lies
        beside it as PNG, too.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder = writable_folder(out)
    figures = _figures(evaluation, images, explanations)
    pictures = {name: plot.png(figure) for name, figure in figures.items()}
    page = _page(evaluation, pictures, title, notes, remarks)
    for name, png in pictures.items():
        (folder / f"{name}.png").write_bytes(png)
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def writable_folder(out: str | os.PathLike[str]) -> Path:
    """The folder, made if need be, or a named error before any work is done."""
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".jinterp"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise type(error)(
            f"`out` is {str(folder)!r}, which cannot be written to ({error.strerror}). "
            "Name a folder that can."
        ) from error
    return folder


def _figures(
    evaluation: Evaluation, images: Sequence[Any] | None, explanations: Mapping[str, Any] | None
) -> dict[str, Any]:
    names = evaluation.class_names
    spread = score_distributions(evaluation.predictions, len(names))
    axes: dict[str, Any] = {
        "confusion_matrix": plot.confusion_matrix(evaluation.confusion_matrix, class_names=names),
        "score_distributions": plot.score_distributions(spread, class_names=names),
    }
    if evaluation.calibration is not None and evaluation.risk_coverage is not None:
        axes["reliability"] = plot.reliability(evaluation.calibration)
        axes["risk_coverage"] = plot.risk_coverage(evaluation.risk_coverage)
    figures = {name: ax.figure for name, ax in axes.items()}
    if images is not None:
        figures["top_losses"] = plot.top_losses(
            evaluation.top_losses, images, class_names=names, explanations=explanations or None
        )
    return figures


def _page(
    evaluation: Evaluation,
    pictures: dict[str, bytes],
    title: str,
    notes: Sequence[str],
    remarks: Sequence[str],
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jinterp.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        e=evaluation,
        title=title,
        notes=notes,
        remarks=remarks,
        pictures={name: base64.b64encode(png).decode() for name, png in pictures.items()},
        top=_top_rows(evaluation),
        classes=_class_rows(evaluation),
        pairs=evaluation.most_confused[:_NUM_PAIRS],
        errors=_error_kinds(evaluation),
        num_errors=int((~evaluation.predictions.correct).sum()),
        versions=f"jinterp {metadata.version('jinterp')}, jax {jax.__version__}",
        device=jax.devices()[0].device_kind,
        date=datetime.date.today().isoformat(),
    )


def _top_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    names = evaluation.class_names
    return [
        {
            "index": int(index),
            "loss": float(loss),
            "actual": names[target],
            "predicted": names[predicted] if predicted >= 0 else "none",
            "actual_probability": float(of_target),
            "predicted_probability": float(of_predicted),
        }
        for loss, index, target, predicted, of_target, of_predicted in zip(
            *evaluation.top_losses, strict=True
        )
    ]


def _class_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    report = evaluation.report
    columns = (report.class_names, report.precision, report.recall, report.f1, report.support)
    rows = zip(*columns, strict=True)
    return [
        {"name": name, "precision": p, "recall": r, "f1": f, "support": int(n)}
        for name, p, r, f, n in rows
    ]


def _error_kinds(evaluation: Evaluation) -> list[dict[str, Any]]:
    analysis = evaluation.error_analysis
    kinds: list[tuple[str, str, np.ndarray]] = [
        (
            "Likely label errors",
            "as sure of the prediction as of a typical example of that class, and the label "
            "given less than a tenth of chance",
            analysis.likely_label_errors,
        ),
        (
            "Confident errors",
            "as sure of the prediction, and the label possible",
            analysis.confident_errors,
        ),
        ("Uncertain", "less sure than of a typical example", analysis.uncertain),
    ]
    return [
        {
            "name": name,
            "rule": rule,
            "num": len(indices),
            "indices": indices[:_NUM_INDICES].tolist(),
            "more": max(0, len(indices) - _NUM_INDICES),
        }
        for name, rule, indices in kinds
    ]
