"""The gradient by depth."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from jinterp.diagnose import GradientFlow
from jinterp.plot._figures import BLUE, GREEN, GREY, VERMILLION, frameless, panel

_HEALTHY_UPDATES = (1e-4, 1e-2)


def gradient_flow(result: GradientFlow, *, ax: Axes | None = None) -> Axes:
    """The gradient's root mean square, ‖g‖/‖θ‖ and ‖u‖/‖θ‖ of every leaf, first read at the top.

    The axis is logarithmic, and has no point for 0 or NaN. At its right stand the verdict of a leaf
    that is not healthy, and the share of zeros where it is a half or more. The band is where the
    updates of most healthy networks lie.

    Args:
        result: what `jinterp.gradient_flow` returned.
        ax: where to draw; None makes a figure that grows with the leaves.

    Returns:
        The axes.

    >>> import jinterp, jax.numpy as jnp
    >>> flow = jinterp.gradient_flow(lambda w, x: (x @ w).sum(), jnp.ones(2), jnp.ones((3, 2)))
    >>> [line.get_label() for line in gradient_flow(flow).lines]
    ['root mean square of g', '‖g‖ / ‖θ‖']
    """
    rows = result.rows
    ax = panel(ax, (7.5, 1.4 + 0.19 * len(rows)))
    ax.set_xscale("log")
    _line(ax, [row.root_mean_square for row in rows], "o-", BLUE, "root mean square of g")
    _line(ax, [row.ratio for row in rows], "s", VERMILLION, "‖g‖ / ‖θ‖")
    if rows[0].update_ratio is not None:
        ax.axvspan(*_HEALTHY_UPDATES, color=GREEN, alpha=0.12, linewidth=0)
        updates = [np.nan if row.update_ratio is None else row.update_ratio for row in rows]
        _line(ax, updates, "^", GREEN, "‖u‖ / ‖θ‖ (band: usual)")
    for number, row in enumerate(rows):
        is_healthy = row.verdict == "healthy"
        word = f"{row.zero_share:.0%} zeros" * (row.zero_share >= 0.5)
        color = GREY if is_healthy else VERMILLION
        _beside(ax, number, word if is_healthy else row.verdict, color)
    ax.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8, parse_math=False)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_title(f"loss {result.loss:.4g}: {result.verdict}", fontsize=10, loc="left")
    ax.grid(axis="y", color=GREY, alpha=0.2, linewidth=0.6)
    ax.legend(
        frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=2.5
    )
    frameless(ax)
    return ax


def _line(ax: Axes, values: Sequence[float], style: str, color: str, label: str) -> None:
    drawn = [value if 0 < value < np.inf else np.nan for value in values]
    ax.plot(drawn, range(len(drawn)), style, color=color, label=label, markersize=4, linewidth=1)


def _beside(ax: Axes, number: int, word: str, color: str) -> None:
    ax.annotate(
        word,
        (1.01, number),
        xycoords=ax.get_yaxis_transform(),
        color=color,
        fontsize=7.5,
        va="center",
        annotation_clip=False,
    )
