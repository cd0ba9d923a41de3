"""Axes whose places are the values of a table's column."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis

from jinterp.plot._figures import BLUE, GREY, frameless, panel
from jinterp.plot._labels import shorten

_MOST_CHARACTERS = 40


def column_axes(
    ax: Axes | None, name: str, grid: np.ndarray, categories: Sequence[str] | None, ylabel: str
) -> Axes:
    """Axes for curves over a column, in a new figure where none are given."""
    ax = panel(ax, (5.0, 3.6))
    ax.set_ylabel(ylabel)
    axis_of_column(ax.xaxis, name, grid, categories)
    frameless(ax)
    return ax


def axis_of_column(
    axis: Axis, name: str, grid: np.ndarray, categories: Sequence[str] | None
) -> None:
    """The column's name, and of a categorical one its categories as ticks."""
    axis.set_label_text(shorten(name, _MOST_CHARACTERS), parse_math=False)
    if categories is None:
        return
    labels = [shorten(categories[int(code)], 24) for code in grid]
    long = isinstance(axis, XAxis) and sum(map(len, labels)) > 50
    slanted: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axis.set_ticks(places(grid, categories), labels, parse_math=False, **(slanted if long else {}))


def places(grid: np.ndarray, categories: Sequence[str] | None) -> np.ndarray:
    """Where values stand: numbers at themselves, categories side by side."""
    return grid if categories is None else np.arange(len(grid))


def band(
    ax: Axes,
    at: np.ndarray,
    middle: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    *,
    as_points: bool,
    label: str,
    color: str = BLUE,
) -> None:
    """A range around a curve; around single points, as bars."""
    if not as_points:
        ax.fill_between(at, lower, upper, color=color, alpha=0.2, linewidth=0, label=label)
        return
    around = np.abs(np.stack([middle - lower, upper - middle]))
    ax.errorbar(at, middle, around, fmt="none", ecolor=color, alpha=0.5, capsize=4, label=label)


def rug(ax: Axes, deciles: np.ndarray, *, along: str = "x") -> None:
    """A mark at each decile of the data, at the edge of the axes."""
    for value in deciles:
        mark = ax.axvline if along == "x" else ax.axhline
        mark(value, 0, 0.03, color=GREY, linewidth=1)


def legend(ax: Axes) -> None:
    """What is drawn, above the axes, where it hides nothing."""
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        frameon=False,
        fontsize=8,
        ncols=3,
        borderaxespad=0.2,
        handlelength=1.4,
        columnspacing=1.2,
    )
