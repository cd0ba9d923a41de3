"""Attributions over a picture, and the colour bar below it."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.transforms import BboxTransformTo, ScaledTranslation, blended_transform_factory

from jinterp.plot._figures import BLACK, GREY, AnyFigure, RoomBelow
from jinterp.plot._maps import Map, map_of
from jinterp.plot._pictures import NOT_FINITE, draw
from jinterp.plot._scale import Scale, ordinal, scale_of

SMALL = 7  # points, of what stands below a picture

Values = Mapping[str, Any]  # attributions of several examples, by the name of their method
Captions = Mapping[str, Sequence[str]]


def draw_map(ax: Axes, heat: Map, image: Any, scale: Scale) -> ScalarMappable:
    """The map over the whole extent of the image, however coarse it is."""
    extent = _draw_below(ax, heat, image)
    finite = np.isfinite(heat.values)
    is_coarse = finite.shape[0] < extent[2] - extent[3] or finite.shape[1] < extent[1] - extent[0]
    mappable = ax.imshow(
        np.where(finite, heat.values, 0),
        cmap=scale.colours,
        norm=scale.norm,
        extent=extent,
        interpolation="bilinear" if is_coarse and not heat.is_signal else "nearest",
        aspect="auto" if heat.is_signal else "equal",
    )
    if not finite.all():
        orange = np.concatenate([np.full((*finite.shape, 3), NOT_FINITE), ~finite[..., None]], -1)
        ax.imshow(orange, extent=extent, interpolation="nearest", aspect=ax.get_aspect())
    if not np.any(heat.values):
        _say(ax, "all zero")
    elif not finite.any():
        _say(ax, "no finite value")
    return mappable


def _draw_below(ax: Axes, heat: Map, image: Any) -> tuple[float, float, float, float]:
    """Draw the image, or the signal, or the values as one; where the map goes."""
    height, width = heat.values.shape
    if not heat.is_signal:
        draw(ax, np.ones((height, width)) if image is None else image, grey=True)
        left, right, bottom, top = ax.images[-1].get_extent()
        return left, right, bottom, top
    draw(ax, heat.values if image is None else image, grey=True)
    length = np.size(ax.lines[-1].get_xdata())
    low, high = ax.get_ylim()
    return -0.5, length - 0.5, low, high


def _say(ax: Axes, text: str) -> None:
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 2}
    place: dict[str, Any] = {"transform": ax.transAxes, "ha": "center", "va": "center"}
    ax.text(0.5, 0.5, text, color=BLACK, fontsize=8, bbox=box, **place)


def bar_below(
    ax: Axes, mappable: ScalarMappable, scale: Scale, lines: Sequence[str], width: float = 1.0
) -> None:
    """A bar below a panel, of this share of its width, with these lines.

    If all is zero, there are only the lines.
    """
    text = "\n".join(line for line in lines if line)
    if not scale.limit:
        below: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False}
        ax.annotate(
            text, (0, 0), (0, -5), "axes fraction", fontsize=SMALL, color=GREY, va="top", **below
        )
        return
    figure = ax.get_figure()
    assert figure is not None
    inches = figure.dpi_scale_trans + ScaledTranslation(0, 0, BboxTransformTo(ax.bbox))
    place = blended_transform_factory(ax.transAxes, inches)
    inset = ax.inset_axes((0, -0.13, width, 0.07), transform=place)
    bar = figure.colorbar(mappable, cax=inset, orientation="horizontal")
    end_ticks(bar, scale)
    bar.ax.set_xlabel(text, fontsize=SMALL, loc="left", color=GREY, labelpad=1)
    RoomBelow(ax, inset)


def end_ticks(bar: Colorbar, scale: Scale) -> None:
    """The ends of the scale and zero, written within the bar's width."""
    low = [-scale.limit] if scale.is_signed else []
    ticks = [*low, 0.0, scale.limit]
    bar.set_ticks(ticks, labels=[f"{tick:.3g}".replace("-", "−") for tick in ticks])
    bar.ax.tick_params(labelsize=SMALL, length=2, pad=1, color=GREY, labelcolor=GREY)
    bar.outline.set_visible(False)
    labels = bar.ax.get_xticklabels()
    labels[0].set_horizontalalignment("left")
    labels[-1].set_horizontalalignment("right")


def bar_of_all(
    fig: AnyFigure,
    panels: Sequence[Axes],
    mappable: ScalarMappable,
    scale: Scale,
    lines: Sequence[str],
) -> None:
    """One bar for all panels below them, or only the lines if all is zero."""
    text = "; ".join(line for line in lines if line)
    if not scale.limit:
        fig.supxlabel(text, fontsize=SMALL, color=GREY)
        return
    place: dict[str, Any] = {"location": "bottom", "aspect": 50, "fraction": 0.05, "shrink": 0.8}
    place["panchor"] = False  # pictures stay where their titles are
    bar = fig.colorbar(mappable, ax=list(panels), **place)
    end_ticks(bar, scale)
    bar.ax.set_xlabel(text, fontsize=SMALL, color=GREY, labelpad=1)


def one_for_each(values: Values, num: int, name: str, captions: Captions | None) -> None:
    """Maps for `num` examples under each name, and a text for each where there are any."""
    if not values or num == 0:
        raise ValueError(
            f"`{name}` has {len(values)} names and `images` {num} examples; expected at least one "
            "of each, such as {'saliency': [examples, height, width]}."
        )
    for method, maps in values.items():
        if len(maps) != num:
            raise ValueError(
                f"`{name}` has {len(maps)} maps under {method!r}; `images` has {num} examples. "
                "Give one for each, in their order."
            )
    if captions is not None:
        _one_caption_each(captions, values, num)


def caption_lines(captions: Captions | None, name: str, row: int) -> list[str]:
    """The lines of one map."""
    return captions[name][row].splitlines() if captions is not None else []


def _one_caption_each(captions: Captions, values: Values, num: int) -> None:
    if not isinstance(captions, Mapping):
        raise TypeError(
            f"`captions` is a {type(captions).__name__}; expected a dict of the names of the maps, "
            f"{list(values)}, to a text for each example."
        )
    found = {name: len(texts) for name, texts in captions.items()}
    if found != dict.fromkeys(values, num):
        raise ValueError(
            f"`captions` has {found} texts; expected {num} for each of {list(values)}, such as "
            "those of jinterp.evidence(...).captions()."
        )


def notes(heat: Map, scale: Scale) -> list[str]:
    """What a reader must know of a map to read it."""
    summed = f"sum of {heat.num_summed} channels" if heat.num_summed > 1 else ""
    found = [summed, scale.note, not_finite(heat.values)]
    return found if any(found) else ["attribution"]


def not_finite(values: np.ndarray) -> str:
    """How many values are orange, if any."""
    missing = int((~np.isfinite(values)).sum())
    return f"{missing} of {values.size} not finite (orange)" if missing else ""


def draw_panel(ax: Axes, values: Any, image: Any, percentile: float) -> None:
    """A map among many: on its own scale, with as few words as will do."""
    heat = map_of(values, image)
    scale = scale_of([heat.values], percentile)
    bar_below(ax, draw_map(ax, heat, image, scale), scale, [not_finite(heat.values)])


def say_once(fig: AnyFigure, maps: Sequence[Any], image: Any, percentile: float) -> None:
    """Below the whole figure what holds for every panel of it."""
    is_summed = any(map_of(values, image).num_summed > 1 for values in maps)
    text = "attributions" + (" (channels summed)" if is_summed else "")
    if percentile < 100:
        text += f"; colours are clipped at the {ordinal(percentile)} percentile of each panel"
    width = int(fig.bbox.width * 72 / fig.dpi / (0.55 * SMALL))
    fig.supxlabel(fill(text, width), fontsize=SMALL, color=GREY, x=0.01, ha="left")
