"""An evaluation as JSON."""

import functools
from typing import Any

import numpy as np

from jinterp.evaluate import Evaluation


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
