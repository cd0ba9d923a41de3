"""The examples with the largest losses, as a grid of pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jinterp.evaluate import TopLosses
from jinterp.plot._figures import AnyFigure, grid
from jinterp.plot._labels import class_label, names_cover, share, title
from jinterp.plot._pictures import draw


def top_losses(
    top: TopLosses,
    images: Any,
    *,
    class_names: Sequence[str] | None = None,
    fig: AnyFigure | None = None,
) -> AnyFigure:
    """The examples of `jinterp.top_losses`, each titled with what the model said of it.

    Args:
        top: what `jinterp.top_losses` returned.
        images: k arrays in the order of `top`, such as `x_test[top.indices]`: `[height, width]`,
            with 1, 3 or 4 channels last, or with 1 or 3 channels first. uint8 is taken from 0 to
            255; other numbers from 0 to 1 if all are in it, and scaled to their own range
            otherwise, each image by itself. NaN and infinite pixels are orange. A signal
            `[length]` is drawn as a line; of anything else the shape is written.
        class_names: names of the classes; None numbers them.
        fig: where to draw; None makes a figure.

    Returns:
        The figure.

    Raises:
        ValueError: there is another number of images than of losses, or a class without a name.

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
    fig, panels = grid(fig, num, (2.0, 3.05))
    for position, ax in enumerate(panels):
        draw(ax, images[position])
        title(ax, fig, _lines(top, position, class_names))
    return fig


def _lines(top: TopLosses, position: int, class_names: Sequence[str] | None) -> list[str]:
    return [
        f"prediction: {class_label(top.predictions[position], class_names)}",
        f"actual: {class_label(top.targets[position], class_names)}",
        f"loss: {top.losses[position]:.3g}",
        f"p(prediction): {share(top.prediction_probabilities[position])}",
        f"p(actual): {share(top.target_probabilities[position])}",
        f"index: {top.indices[position]}",
    ]
