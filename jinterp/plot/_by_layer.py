"""What pictures of layers share: their names at an axis, their colours by depth, their legend."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from jinterp.diagnose import ActivationStats, Recorded
from jinterp.plot._figures import GREY, LINE_COLORS, class_ticks, points_per_class

_MOST_IN_LEGEND = 9
_FEW = 20  # steps


def check_not_empty(result: ActivationStats | Recorded) -> None:
    """Something to draw."""
    if not result.layers:
        raise ValueError("`result` has no layers; expected at least one.")
    if isinstance(result, Recorded) and not len(result.steps):
        raise ValueError(
            "`result` has no steps; expected at least one. Call `update` in each step of the "
            "training before `read`."
        )


def layer_ticks(ax: Axes, names: Sequence[str]) -> None:
    """The names below the axes, upright where they are many or long."""
    points = points_per_class(ax, len(names), ax.get_window_extent().width)
    is_wide = max(map(len, names)) * 5.5 > points
    class_ticks(ax.xaxis, names, points, rotation=90 if is_wide else 0)


def layer_rows(ax: Axes, names: Sequence[str]) -> None:
    """The names at the left, the first at the top."""
    ax.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(axis="y", color=GREY, alpha=0.2, linewidth=0.6)


def depth_colours(num_layers: int) -> list[str]:
    """Colours that stand apart for a few layers; dark to light by depth for many."""
    if num_layers <= len(LINE_COLORS):
        return list(LINE_COLORS[:num_layers])
    return [to_hex(colormaps["plasma"](place)) for place in np.linspace(0, 0.9, num_layers)]


def by_step(ax: Axes, steps: np.ndarray, values: np.ndarray, style: dict[str, Any]) -> None:
    """A line over the steps, with points where there are few."""
    marker = "." if len(steps) <= _FEW else ""
    ax.plot(steps, values, marker=marker, **style)
    ax.locator_params(axis="x", integer=True)


def layer_legend(ax: Axes) -> None:
    """At the right of the axes; of many layers some by depth, the first and the last among them."""
    lines, names = ax.get_legend_handles_labels()
    num_layers = len(lines)
    shown = range(num_layers)
    if num_layers > _MOST_IN_LEGEND:
        shown = np.linspace(0, num_layers - 1, _MOST_IN_LEGEND).round().astype(int).tolist()
    legend = ax.legend(
        [lines[number] for number in shown],
        [names[number] for number in shown],
        title=f"{len(shown)} of {num_layers} layers" if len(shown) < num_layers else None,
        frameon=False,
        fontsize=8,
        title_fontsize=8,
        loc="upper left",
        bbox_to_anchor=(1, 1),
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
