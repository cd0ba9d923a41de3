"""The examples with the largest losses, as a grid of pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jinterp.evaluate import TopLosses
from jinterp.plot._figures import AnyFigure, grid
from jinterp.plot._heat import Captions, caption_lines, draw_panel, one_for_each, say_once
from jinterp.plot._labels import class_label, names_cover, share, title
from jinterp.plot._pictures import draw

_MOST_COLUMNS = 6  # of pictures with their explanations
_PERCENTILE = 99.0


def top_losses(
    top: TopLosses,
    images: Any,
    *,
    class_names: Sequence[str] | None = None,
    explanations: Mapping[str, Any] | None = None,
    captions: Captions | None = None,
    fig: AnyFigure | None = None,
) -> AnyFigure:
    """The examples of `jinterp.top_losses`, each titled with what the model said of it.

    Args:
        top: what `jinterp.top_losses` returned.
        images: k arrays in the order of `top`, such as `x_test[top.indices]`: `[height, width]`,
            with 1, 3 or 4 channels last, or with 1 or 3 channels first. uint8 is taken from 0 to
            255; other numbers from 0 to 1 if all are in it, and scaled to their own range
            otherwise, each image by itself. NaN and infinite pixels are orange. A signal
            `[length]`, or with up to 16 channels and 8 times as many steps, is drawn as lines; of
            anything else the shape is written.
        class_names: names of the classes; None numbers them.
        explanations: from a title to the attributions `[k, ...]` of these examples, each as
            `jinterp.plot.attribution` takes them; a map for each title is drawn beside each
            picture, clipped at the 99th percentile of its own |values|.
        captions: from the same titles to a text for each map, of one line or more, drawn above it,
            such as those of `jinterp.evidence(...).captions()`.
        fig: where to draw; None makes a figure.

    Returns:
        The figure.

    Raises:
        ValueError: there is another number of images, explanations or captions than of losses, a
            class without a name, or an explanation that `jinterp.plot.attribution` would refuse.

    >>> import numpy as np
    >>> one = np.array([1])
    >>> top = TopLosses(np.array([5.0]), one, one, 1 - one, np.array([0.007]), np.array([0.993]))
    >>> figure = top_losses(top, np.zeros((1, 8, 8)), class_names=["cat", "dog"])
    >>> print(figure.axes[0].get_title(loc="left"))
    prediction: cat
    actual: dog
    loss: 5
    p(prediction): 0.993
    p(actual): 0.007
    index: 1
    """
    num = len(top.losses)
    if len(images) != num:
        raise ValueError(
            f"`images` has {len(images)} images; `top` has {num} examples. Give theirs, in their "
            "order: images[top.indices]."
        )
    if num == 0:
        raise ValueError("`top` has no examples; expected at least one.")
    names_cover(class_names, np.asarray(top.targets), np.asarray(top.predictions))
    if explanations is None:
        fig, panels = grid(fig, num, (2.0, 3.05))
    else:
        one_for_each(explanations, num, "explanations", captions)
        fig, panels = _explained(fig, images, explanations, captions)
    for position, ax in enumerate(panels):
        draw(ax, images[position])
        title(ax, fig, _lines(top, position, class_names))
    return fig


def _explained(
    fig: AnyFigure | None,
    images: Any,
    explanations: Mapping[str, Any],
    captions: Captions | None,
) -> tuple[AnyFigure, list[Axes]]:
    """Draw the explanations; the panels left for the pictures, each before its explanations."""
    each, num = 1 + len(explanations), len(images)
    columns = each * min(max(_MOST_COLUMNS // each, 1), num)
    fig, panels = grid(fig, num * each, (2.0, 3.2), columns, below=0.3)
    for position in range(num):
        beside = panels[position * each + 1 : (position + 1) * each]
        for ax, (name, maps) in zip(beside, explanations.items(), strict=True):
            draw_panel(ax, maps[position], images[position], _PERCENTILE)
            title(ax, fig, [name, *caption_lines(captions, name, position)])
    say_once(fig, [maps[0] for maps in explanations.values()], images[0], _PERCENTILE)
    return fig, panels[::each]


def _lines(top: TopLosses, position: int, class_names: Sequence[str] | None) -> list[str]:
    return [
        f"prediction: {class_label(top.predictions[position], class_names)}",
        f"actual: {class_label(top.targets[position], class_names)}",
        f"loss: {top.losses[position]:.3g}",
        f"p(prediction): {share(top.prediction_probabilities[position])}",
        f"p(actual): {share(top.target_probabilities[position])}",
        f"index: {top.indices[position]}",
    ]
