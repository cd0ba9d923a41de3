"""The curves of a training: losses and metrics over its steps."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from jinterp.plot._figures import LINE_COLORS, AnyFigure, frameless, grid
from jinterp.plot._labels import TITLE_SIZE, shorten, title

History = Mapping[str, Any] | Sequence[Mapping[str, Any]]

_SPLIT = re.compile(r"(train|training|valid|val|validation|test|eval)[_/ ](.+)")
_MOST_POINTS = 60  # that stand apart along a curve
_AXES = ("step", "epoch")
_LESS_IS_BETTER = {"loss", "error", "mse", "mae", "rmse", "nll", "entropy", "perplexity", "brier"}
_MORE_IS_BETTER = {"accuracy", "acc", "auc", "auroc", "precision", "recall", "f1", "iou", "dice"}
_MORE_IS_BETTER |= {"r2"}


class _Curve(NamedTuple):
    """One name's numbers, with their places on the x axis; `split` is "" where it names none."""

    metric: str
    split: str
    x: np.ndarray
    y: np.ndarray


def metrics(history: History, *, fig: AnyFigure | None = None) -> AnyFigure:
    """A panel for each metric, with a curve for each split of the data.

    `train_loss`, `val_loss`, `test/loss` and `loss` share a panel. The best of a curve that is not
    of training is marked where its name says what is better: the least loss, error, mse, mae, rmse,
    nll, entropy, perplexity or brier, the largest accuracy, acc, auc, auroc, precision, recall, f1,
    iou, dice or r2. NaN and infinite numbers are gaps, counted in the legend.

    Args:
        history: from each name to its numbers `[steps]`, or a list with a dict of numbers for each
            step, where a name may be missing or None. A name before whose first "_" or "/" stands
            train, valid, val, validation, test or eval is of that split. The x axis is "step" or
            "epoch" where every step has it, else the numbers of the steps from 0 on.
        fig: where to draw; None makes a figure.

    Returns:
        The figure.

    Raises:
        ValueError: there is nothing to draw, the lengths differ, or something is not a number.

    >>> figure = metrics({"train_loss": [2.0, 1.0], "val_loss": [2.0, 1.5], "val_accuracy": [0, 1]})
    >>> [ax.get_title(loc="left") for ax in figure.axes]
    ['loss', 'accuracy']
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['train', 'val, best 1.5 at 1']
    """
    columns = _columns(history)
    axis = next((name for name in _AXES if name in columns and _is_whole(columns[name])), "")
    curves = [
        _curve(name, values, columns.get(axis))
        for name, values in columns.items()
        if name not in _AXES
    ]
    if not curves:
        raise ValueError(
            "`history` has no metric; expected numbers by name, such as "
            "{'train_loss': [2.0, 1.0]} or [{'step': 0, 'train_loss': 2.0}]."
        )
    names = list(dict.fromkeys(curve.metric for curve in curves))
    splits = list(dict.fromkeys(curve.split for curve in curves))
    fig, panels = grid(fig, len(names), (3.6, 2.8))
    for ax, name in zip(panels, names, strict=True):
        for curve in curves:
            if curve.metric == name:
                _draw(ax, curve, LINE_COLORS[splits.index(curve.split) % len(LINE_COLORS)])
        _finish(ax, axis or "step")
        title(ax, fig, [name])
    return fig


def _columns(history: History) -> dict[str, np.ndarray]:
    """Numbers of equal length by name; what is missing is None, which stands in an object array."""
    if not isinstance(history, Mapping):
        for number, step in enumerate(history):
            if not isinstance(step, Mapping):
                raise ValueError(
                    f"`history` has a {type(step).__name__} at step {number}; expected a dict of "
                    "numbers for each step, or one dict of lists."
                )
        names = dict.fromkeys(name for step in history for name in step)
        history = {name: [step.get(name) for step in history] for name in names}
    columns = {str(name): _objects(name, values) for name, values in history.items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"`history` has numbers of the lengths {lengths}; expected equally many of each name. "
            "Give a list of dicts, one for each step, where some come less often."
        )
    return columns


def _objects(name: str, values: Any) -> np.ndarray:
    is_listed = isinstance(values, Sequence) and not isinstance(values, str)
    if not is_listed and getattr(values, "ndim", 0) == 0:
        raise ValueError(
            f"`history` has for {name!r} a {type(values).__name__}; expected a list of numbers "
            "[steps]. Give a list of dicts, one for each step, or join the names of dicts in it."
        )
    objects = np.empty(len(values), object)
    for number, value in enumerate(values):
        try:
            objects[number] = None if value is None else float(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"`history` has for {name!r} at step {number} a {type(value).__name__} "
                f"{np.shape(value)}; expected one number. Take its mean, or leave it out."
            ) from None
    return objects


def _is_whole(values: np.ndarray) -> bool:
    return None not in values.tolist() and bool(np.isfinite(values.astype(float)).all())


def _curve(name: str, values: np.ndarray, steps: np.ndarray | None) -> _Curve:
    is_there = np.array([value is not None for value in values], bool)
    x = np.arange(len(values)) if steps is None else steps.astype(float)
    y = values[is_there].astype(float)
    found = _SPLIT.fullmatch(name)
    split, metric = found.groups() if found else ("", name)
    return _Curve(metric, split, x[is_there], np.where(np.isfinite(y), y, np.nan))


def _draw(ax: Axes, curve: _Curve, color: str) -> None:
    label = curve.split or shorten(curve.metric, 30)
    best = _best(curve)
    if best is not None:
        x, y = curve.x[best], curve.y[best]
        label += f", best {y:.4g} at {x:g}"
        ax.plot(x, y, "*", color=color, markersize=11, markeredgecolor="white", zorder=3)
    num_gaps = int(np.isnan(curve.y).sum())
    label += f", {num_gaps} not finite" if num_gaps else ""
    marks = list(range(len(curve.y))) if len(curve.y) <= _MOST_POINTS else _alone(curve.y)
    ax.plot(curve.x, curve.y, ".-", color=color, markevery=marks, linewidth=1.3, label=label)


def _alone(y: np.ndarray) -> list[int]:
    """The numbers between two gaps, which no line would show."""
    missing = np.isnan(np.pad(y, 1, constant_values=np.nan))
    return np.flatnonzero(~missing[1:-1] & missing[:-2] & missing[2:]).tolist()


def _best(curve: _Curve) -> int | None:
    words = set(re.split(r"[^a-z0-9]+", curve.metric.lower()))
    is_known = words & (_LESS_IS_BETTER | _MORE_IS_BETTER)
    if curve.split in ("", "train", "training") or not is_known or np.isnan(curve.y).all():
        return None
    return int(np.nanargmin(curve.y) if words & _LESS_IS_BETTER else np.nanargmax(curve.y))


def _finish(ax: Axes, label: str) -> None:
    ax.set_xlabel(label, fontsize=TITLE_SIZE)
    ax.tick_params(labelsize=7)
    if all(np.equal(np.mod(line.get_xdata(), 1), 0).all() for line in ax.lines):
        ax.locator_params(axis="x", integer=True)
    legend = ax.legend(frameon=False, loc="best", fontsize=7)
    for text in legend.get_texts():
        text.set_parse_math(False)
    frameless(ax)
