"""Loss curves of several runs."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from jinterp.plot._figures import LINE_COLORS, frameless, panel
from jinterp.plot._labels import shorten

_STYLES = ("-", "--", ":", "-.")
_MOST_INSIDE = 8  # runs in a legend that still fits among the curves


def multi_losses(losses_list: Any, labels: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """The losses of several runs, a line each.

    Args:
        losses_list: the losses `[steps]` of each run, which may differ in length; NaN and
            infinite ones are left out of the line.
        labels: names of the runs.
        ax: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: there are no runs, the lengths differ, or the losses of a run are not `[steps]`.

    >>> ax = multi_losses([[2.0, 1.0], [2.0, 1.5, 1.2]], ["adam", "sgd"])
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['adam', 'sgd']
    """
    if len(losses_list) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"`losses_list` has {len(losses_list)} runs and `labels` {len(labels)} names; expected "
            "one name for each run, and at least one run."
        )
    curves = [_curve(losses, label) for losses, label in zip(losses_list, labels, strict=True)]
    ax = panel(ax, (6.5, 4.0))
    lines = [_draw(ax, curve, number) for number, curve in enumerate(curves)]
    _name(ax, lines, labels)
    ax.set(xlabel="step", ylabel="loss")
    frameless(ax)
    return ax


def _curve(losses: Any, label: str) -> np.ndarray:
    curve = np.asarray(losses, np.float64)
    if curve.ndim != 1:
        raise ValueError(
            f"the losses of {label!r} have the shape {curve.shape}; expected [steps]. Average over "
            "the other axes first."
        )
    return np.where(np.isfinite(curve), curve, np.nan)


def _alone(curve: np.ndarray) -> np.ndarray:
    """Where a loss has no neighbour to draw a line to."""
    missing = np.isnan(np.pad(curve, 1, constant_values=np.nan))
    return ~missing[1:-1] & missing[:-2] & missing[2:]


def _draw(ax: Axes, curve: np.ndarray, number: int) -> Line2D:
    styles = list(product(_STYLES, LINE_COLORS))
    style, color = styles[number % len(styles)]
    alone = np.flatnonzero(_alone(curve)).tolist()
    marked: dict[str, Any] = {"marker": ".", "markevery": alone} if alone else {}
    return ax.plot(curve, style, color=color, linewidth=1.5, **marked)[0]


def _name(ax: Axes, lines: list[Line2D], labels: Sequence[str]) -> None:
    place: dict[str, Any] = {"loc": "best"}
    if len(labels) > _MOST_INSIDE:
        place = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
    legend = ax.legend(lines, [shorten(str(label), 30) for label in labels], frameon=False, **place)
    for text in legend.get_texts():
        text.set_parse_math(False)
