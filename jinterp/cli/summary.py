"""An evaluation as JSON."""

import functools
from typing import Any

import numpy as np

from jinterp.evaluate import Evaluation, SegmentationEvaluation


def summary(evaluation: Evaluation | SegmentationEvaluation) -> dict[str, Any]:
    """An evaluation as strict JSON: NaN is null, and no number for each example."""
    found = evaluation._asdict()
    curve = found.pop("risk_coverage", None)
    if curve is not None:
        found["area_under_risk_coverage"] = curve.area
    return _plain({name: value for name, value in found.items() if name not in _OF_EXAMPLES})


_OF_EXAMPLES = ("predictions", "images")


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
