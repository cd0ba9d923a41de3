"""Scores of each class as bars."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jinterp import _check
from jinterp.plot._figures import BLUE, GREY, LINE_COLORS, frameless, panel
from jinterp.plot._labels import shorten

_MARKERS = "os^Dvp"


def class_scores(
    scores: Mapping[str, Any],
    *,
    class_names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Bars of the first score of each class, the smallest first, and signs for the others.

    Args:
        scores: from a name to `[classes]` numbers from 0 to 1, such as
            `{"IoU": found.ious, "accuracy": found.per_class_accuracy}`; NaN where a class has
            none.
        class_names: names of the classes; None numbers them.
        ax: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: there is no score, or they have different lengths.

    >>> import numpy as np
    >>> ax = class_scores({"IoU": np.array([0.9, 0.4])}, class_names=["sky", "pole"])
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['pole', 'sky']
    """
    columns = {name: np.asarray(values, float) for name, values in scores.items()}
    lengths = {values.shape for values in columns.values()}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1:
        shapes = {name: values.shape for name, values in columns.items()}
        raise ValueError(f"`scores` have the shapes {shapes}; expected [classes], at least one.")
    (name, first), *others = columns.items()
    names = _check.class_names_match(class_names, len(first))
    order = np.argsort(first, kind="stable")  # NaN last
    rows = np.arange(len(order))
    ax = panel(ax, (6.5, 1.2 + 0.26 * max(len(order), 3)))
    ax.barh(rows, np.nan_to_num(first[order]), color=BLUE, label=name)
    for row in rows[np.isnan(first[order])]:
        ax.text(0.01, row, "does not occur", va="center", fontsize=8, color=GREY)
    for (other, values), color, marker in zip(others, LINE_COLORS[1:], _MARKERS, strict=False):
        ax.plot(values[order], rows, marker, color=color, markersize=5, label=other)
    ax.set_yticks(rows, [shorten(names[c], 28) for c in order], parse_math=False)
    ax.set(xlim=(0, 1), ylim=(len(order) - 0.4, -0.6))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#e4e4e4", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=4,
        frameon=False,
        fontsize=9,
        borderaxespad=0.2,
    )
    frameless(ax)
    return ax
