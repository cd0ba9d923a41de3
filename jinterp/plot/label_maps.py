"""Images with what a model says of every pixel."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, to_rgb
from matplotlib.patches import Patch

from jinterp import _check
from jinterp.evaluate import PixelMaps
from jinterp.plot._figures import GREY, LIGHT_GREY, LINE_COLORS, AnyFigure, grid
from jinterp.plot._heat import SMALL
from jinterp.plot._labels import TITLE_SIZE, shorten, title
from jinterp.plot._pictures import draw

_IGNORED, _WRONG = "white", "#d3004c"  # neither a colour of a class
_MOST_IN_LEGEND = 40
# Far from Okabe and Ito's colours and from each other, after Trubetskoy's list of distinct ones.
_MORE_COLORS = (
    *("#ffe119", "#911eb4", "#bfef45", "#9a6324", "#fabed4", "#469990"),
    *("#800000", "#dcbeff", "#a9a9a9", "#000075", "#aaffc3", "#808000"),
)
_COLUMNS = ("image", "labels", "prediction", "errors", "loss")


def label_maps(
    images: Any,
    maps: PixelMaps,
    *,
    class_names: Sequence[str] | None = None,
    colors: Sequence[Any] | None = None,
    titles: Sequence[str] | None = None,
    fig: AnyFigure | None = None,
) -> AnyFigure:
    """A row for each image: it, its labels, the prediction, the errors, the loss at every pixel.

    Wrong pixels are red on the grey image. Pixels that are ignored, or without a prediction, are
    white. The losses have one scale, clipped at their 99th percentile.

    Args:
        images: n images, as `jinterp.plot.top_losses` takes them, in the order of `maps`.
        maps: what `jinterp.pixel_maps` returned for them, with two axes in space.
        class_names: names of the classes; None numbers them.
        colors: one for each class, as matplotlib takes them; None chooses.
        titles: a line above each row.
        fig: where to draw; None makes a figure.

    Returns:
        The figure, with a legend of the classes that occur.

    Raises:
        ValueError: there is another number of images, titles or colors, or maps that are no
            `[n, height, width]`.

    >>> import numpy as np
    >>> labels = np.array([[[0, 1], [1, 1]]])
    >>> maps = PixelMaps(labels, labels >= 0, 0 * labels, 0.6 + 0 * labels, 0.5 + 0.0 * labels)
    >>> figure = label_maps(np.zeros((1, 2, 2, 3)), maps, class_names=["sky", "road"])
    >>> [ax.get_title(loc="left") for ax in figure.axes[1:5]]
    ['labels', 'prediction', 'errors: 75.0 % of pixels', 'loss: mean 0.5']
    """
    _check_shapes(images, maps, titles)
    shown = np.where(maps.valid, maps.targets.astype(int), -1)
    num_classes = int(max(shown.max(), maps.predictions.max())) + 1
    if class_names is not None:
        num_classes = max(num_classes, len(class_names))
    names = _check.class_names_match(class_names, num_classes)
    palette = _palette(colors, num_classes)
    height, width = shown.shape[1:]
    # A panel has the shape of the picture, and room for two lines above it.
    panel_width = 2.3
    room = 0.34 if titles is None else 0.52
    num_columns = len(_COLUMNS)
    fig, panels = grid(
        fig,
        num_columns * len(shown),
        (panel_width, panel_width * height / width + room),
        num_columns,
        below=0.6,
    )
    known = maps.losses[np.isfinite(maps.losses)]
    limit = float(np.percentile(known, 99)) if known.size else 1.0
    mappable = None
    for row in range(len(shown)):
        axes = panels[num_columns * row : num_columns * (row + 1)]
        draw(axes[0], images[row])
        _draw_classes(axes[1], shown[row], palette)
        _draw_classes(axes[2], maps.predictions[row], palette)
        wrong = maps.valid[row] & (maps.predictions[row] != maps.targets[row])
        _draw_errors(axes[3], images[row], wrong, maps.valid[row])
        mappable = _draw_losses(axes[4], maps.losses[row], limit or 1.0)
        _write(fig, axes, wrong, maps, row, None if titles is None else titles[row])
    _legend(fig, np.unique([shown, maps.predictions]), names, palette, mappable, panels)
    return fig


def _check_shapes(images: Any, maps: PixelMaps, titles: Sequence[str] | None) -> None:
    if maps.targets.ndim != 3:
        raise ValueError(
            f"`maps` have the shape {maps.targets.shape}; expected [n, height, width]. Of a volume "
            "draw slices: jinterp.evaluate.PixelMaps(*(each[:, depth] for each in maps))."
        )
    if len(images) != len(maps.targets) or len(images) == 0:
        raise ValueError(
            f"`images` has {len(images)} images, `maps` {len(maps.targets)}; expected one for each "
            "and at least one."
        )
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"`titles` has {len(titles)} lines for {len(images)} images.")


def _palette(colors: Sequence[Any] | None, num_classes: int) -> Colormap:
    """A colour for each class, and white for −1."""
    if colors is None:
        chosen: list[Any] = [*LINE_COLORS, *_MORE_COLORS]
        while len(chosen) < num_classes:
            chosen.append(colormaps["hsv"]((0.618034 * len(chosen)) % 1.0))
    else:
        if len(colors) < num_classes:
            raise ValueError(
                f"`colors` has {len(colors)} colors; expected {num_classes}, one for each class."
            )
        chosen = list(colors)
    return ListedColormap([_IGNORED, *chosen[:num_classes]])


def _draw_classes(ax: Axes, classes: np.ndarray, palette: Colormap) -> None:
    norm = BoundaryNorm(np.arange(-1.5, palette.N - 0.5), palette.N)
    _frame(ax)
    ax.imshow(classes, cmap=palette, norm=norm, interpolation="nearest")


def _draw_errors(ax: Axes, image: Any, wrong: np.ndarray, valid: np.ndarray) -> None:
    draw(ax, image, grey=True)
    height, width = wrong.shape
    over = np.zeros((height, width, 4))
    over[~valid] = 1
    over[wrong] = (*to_rgb(_WRONG), 1)
    size = np.shape(image)
    tall, wide = size[:2] if len(size) == 2 or size[-1] <= 4 else size[1:]
    ax.imshow(over, extent=(-0.5, wide - 0.5, tall - 0.5, -0.5), interpolation="nearest")


def _draw_losses(ax: Axes, losses: np.ndarray, limit: float) -> Any:
    colours = colormaps["magma"].with_extremes(bad=_IGNORED)
    _frame(ax)
    return ax.imshow(
        np.ma.masked_invalid(losses), cmap=colours, vmin=0, vmax=limit, interpolation="nearest"
    )


def _frame(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_anchor("NW")
    ax.spines[:].set_color(LIGHT_GREY)


def _write(
    fig: AnyFigure,
    axes: Sequence[Axes],
    wrong: np.ndarray,
    maps: PixelMaps,
    row: int,
    above: str | None,
) -> None:
    num = int(maps.valid[row].sum())
    lines = dict(zip(_COLUMNS, _COLUMNS, strict=True))
    lines["errors"] += f": {100 * wrong.sum() / max(num, 1):.1f} % of pixels"
    mean = np.nanmean(maps.losses[row]) if num else np.nan
    lines["loss"] += f": mean {mean:.3g}"
    for ax, line in zip(axes, lines.values(), strict=True):
        title(ax, fig, [line], GREY)
    if above is not None:
        axes[0].set_title("")
        text = f"{above}\nimage"
        axes[0].set_title(text, loc="left", fontsize=TITLE_SIZE, parse_math=False)


def _legend(
    fig: AnyFigure,
    classes: np.ndarray,
    names: list[str],
    palette: Colormap,
    mappable: Any,
    panels: Sequence[Axes],
) -> None:
    occurring = [int(c) for c in classes if c >= 0]
    patches = [
        Patch(color=palette(c + 1), label=shorten(names[c], 20))
        for c in occurring[:_MOST_IN_LEGEND]
    ]
    left_out = len(occurring) - len(patches)
    fig.legend(
        handles=patches,
        loc="outside lower left",
        ncols=8,
        fontsize=SMALL,
        frameon=False,
        title=f"and {left_out} more classes" if left_out else None,
    )
    of_row = 0.05 * len(_COLUMNS) / len(panels)
    place: dict[str, Any] = {"location": "bottom", "aspect": 25, "shrink": 0.25}
    place |= {"fraction": of_row, "pad": of_row}
    place |= {"anchor": (0.99, 1.0), "panchor": False}  # pictures stay where their titles are
    bar = fig.colorbar(mappable, ax=list(panels), **place)
    bar.ax.set_xlabel("loss, clipped at the 99th percentile", fontsize=SMALL, color=GREY)
    bar.ax.tick_params(labelsize=SMALL, length=2, color=GREY, labelcolor=GREY)
    bar.outline.set_visible(False)
