"""The report: numbers, tables and pictures of an `Evaluation` in one page."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jinterp import plot
from jinterp.evaluate import Evaluation, score_distributions
from jinterp.faithfulness import Evidence, RandomizationCheck
from jinterp.report.page import writable_folder, write_page

_NUM_PAIRS = 10
_NUM_INDICES = 30


class MapEvidence(NamedTuple):
    """What speaks for the heat maps of the top losses.

    Attributes:
        by_map: the evidence of the maps of one title, in the order of the top losses.
        explainer: what made them.
        check: whether they are maps of this model at all; None where that cannot be asked.
        missing: sentences that say what could not be asked, and why.
    """

    by_map: Mapping[str, Evidence]
    explainer: str
    check: RandomizationCheck | None
    missing: Sequence[str]


NO_EVIDENCE = MapEvidence({}, "", None, ())


def write_report(
    evaluation: Evaluation,
    out: str | os.PathLike[str],
    *,
    images: Sequence[Any] | None = None,
    explanations: Mapping[str, Any] | None = None,
    evidence: MapEvidence = NO_EVIDENCE,
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
        evidence: what speaks for these.
        remarks: sentences about the explanations, such as why there are none.
        title: the heading.
        notes: sentences to show below it.

    Returns:
        The path of `report.html`. It loads nothing, since every picture is inside it; each lies
        beside it as PNG, too.

    Raises:
        OSError: the folder cannot be written to.
    """
    writable_folder(out)
    return write_page(
        out,
        "classification.html.jinja",
        _figures(evaluation, images, explanations, evidence).items(),
        title=title,
        notes=notes,
        e=evaluation,
        remarks=[*remarks, *evidence.missing],
        maps=_map_rows(evaluation, evidence),
        randomization=_randomization(evidence),
        top=_top_rows(evaluation),
        classes=_class_rows(evaluation),
        pairs=evaluation.most_confused[:_NUM_PAIRS],
        errors=_error_kinds(evaluation),
        num_errors=int((~evaluation.predictions.correct).sum()),
    )


def _figures(
    evaluation: Evaluation,
    images: Sequence[Any] | None,
    explanations: Mapping[str, Any] | None,
    evidence: MapEvidence,
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
        captions = {name: found.captions() for name, found in evidence.by_map.items()}
        figures["top_losses"] = plot.top_losses(
            evaluation.top_losses,
            images,
            class_names=names,
            explanations=explanations or None,
            captions=captions or None,
        )
    return figures


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


def _map_rows(evaluation: Evaluation, evidence: MapEvidence) -> list[dict[str, Any]]:
    """A row for each heat map."""
    rows = []
    for number, index in enumerate(evaluation.top_losses.indices):
        for name, found in evidence.by_map.items():
            rows.append(
                {
                    "index": int(index),
                    "map": name,
                    "gap": _number(found.gaps[number], ".3g"),
                    "deletion": _number(found.deletions[number], ".3f"),
                    "random_deletion": _number(found.random_deletions[:, number].mean(), ".3f"),
                    "insertion": _number(found.insertions[number], ".3f"),
                    "random_insertion": _number(found.random_insertions[:, number].mean(), ".3f"),
                    "is_judged": bool(np.isfinite(found.deletions[number])),
                    "falls_faster": bool(found.falls_faster[number]),
                    "rises_faster": bool(found.rises_faster[number]),
                }
            )
    return rows


def _number(value: Any, form: str) -> str:
    return "" if np.isnan(value) else format(float(value), form)


def _randomization(evidence: MapEvidence) -> dict[str, Any] | None:
    """What the randomisation check says, for the page; None where there are no maps."""
    check = evidence.check
    if check is None:
        return None
    top = check.rank_correlations[0]
    return {
        "explainer": evidence.explainer,
        "num_failed": int(check.failed().sum()),
        "num_passed": int(check.passed().sum()),
        "num_of_sizes": int(check.failed(absolute=True).sum()),
        "num_examples": len(top),
        "layer": check.layers[0],
        "of_top": float(np.nanmean(top)) if np.isfinite(top).any() else None,
        "of_all": _mean_of_last(check),
    }


def _mean_of_last(check: RandomizationCheck) -> float | None:
    last = check.rank_correlations[-1]
    return float(np.nanmean(last)) if np.isfinite(last).any() else None


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
