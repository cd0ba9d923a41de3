"""Where pictures are drawn, in which colours, and how many ticks have room."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.transforms import Bbox

AnyFigure = Figure | SubFigure

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
# Okabe and Ito's colours, without the yellow that white paper swallows.
LINE_COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
GREY, LIGHT_GREY = "#6b6b6b", "#e4e4e4"

_TICK_POINTS = 8.5  # a tick label at its smallest, with a little air
_MOST_COLUMNS = 5


def panel(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The axes given, or those of a new figure of this size in inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def grid(
    fig: AnyFigure | None,
    num_panels: int,
    size: tuple[float, float],
    columns: int | None = None,
    below: float = 0.0,
) -> tuple[AnyFigure, list[Axes]]:
    """Axes for each panel, in the figure given or in a new one.

    That has `size` inches a panel, and `below` them inches for what is said of all panels.
    """
    columns = columns or min(math.ceil(math.sqrt(num_panels)), _MOST_COLUMNS)
    rows = math.ceil(num_panels / columns)
    if fig is None:
        import matplotlib.pyplot as plt

        inches = (size[0] * columns, size[1] * rows + below)
        fig = plt.figure(figsize=inches, layout="constrained")
    return fig, [fig.add_subplot(rows, columns, number + 1) for number in range(num_panels)]


def shades() -> Colormap:
    """White for nothing to dark blue; grey where there is no number."""
    return colormaps["Blues"].with_extremes(bad=LIGHT_GREY)


def shades_without_white() -> Colormap:
    """Blues that all stand out from white, which is left to what is masked."""
    return ListedColormap(colormaps["Blues"](np.linspace(0.35, 1, 256))).with_extremes(bad="white")


def points_per_class(ax: Axes, num_classes: int, length: float) -> float:
    """The points (1/72 inch) that a class has along an axis of `length` pixels.

    Axes not laid out yet are taken to lose a fifth of their length to labels.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    return float(0.8 * length * 72 / figure.dpi / num_classes)


def class_ticks(axis: Axis, class_names: Sequence[str], points: float, rotation: int = 0) -> None:
    """A tick for every class where a label has room, else about ten numbers."""
    if points < _TICK_POINTS:
        step = _round_step(len(class_names))
        axis.set_ticks(range(0, len(class_names), step))
        return
    slanted: dict[str, Any] = {"rotation": rotation}
    if rotation:
        slanted |= {"ha": "right", "rotation_mode": "anchor"}
        slanted["va"] = "center" if rotation == 90 else "top"
    axis.set_ticks(
        range(len(class_names)),
        class_names,
        fontsize=min(9, 0.9 * points),
        parse_math=False,
        **slanted,
    )


def _round_step(num_classes: int) -> int:
    """1, 2 or 5 times a power of ten that gives at most ten ticks."""
    power = 10 ** math.floor(math.log10(max(num_classes / 10, 1)))
    return next(step * power for step in (1, 2, 5, 10) if step * power * 10 >= num_classes)


def frameless(ax: Axes, *sides: str) -> None:
    """Take away the lines around the axes on these sides; by default above and right."""
    ax.spines[list(sides or ("top", "right"))].set_visible(False)


class RoomBelow(Artist):
    """Nothing to see: keeps the room of what hangs below a picture, however small its axes.

    The layout engine takes the picture to fill its cell, and so what hangs below a picture that
    does not to need less room than it does once the cell has shrunk.
    """

    def __init__(self, ax: Axes, below: Axes) -> None:
        """Keep room in `ax` for its inset `below`."""
        super().__init__()
        self._ax, self._below = ax, below
        ax.add_artist(self)
        self.set_clip_on(False)

    def get_tightbbox(self, renderer: Any = None) -> Bbox | None:
        """Two pixels wide, from the cell's bottom down to where the inset would end."""
        figure, inset = self._ax.get_figure(), self._below.get_tightbbox(renderer)
        if figure is None or inset is None:
            return None
        cell = figure.transSubfigure.transform_bbox(self._ax.get_position(original=True))
        depth = self._ax.bbox.y0 - inset.y0
        return Bbox.from_extents(cell.x0, cell.y0 - depth, cell.x0 + 2, cell.y0)
