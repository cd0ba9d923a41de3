"""Examples with what the model said of them, right or wrong."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jinterp import _check
from jinterp.plot._figures import AnyFigure, grid
from jinterp.plot._labels import class_label, marks, names_cover, share, title
from jinterp.plot._pictures import draw

# Green and vermillion, dark enough to read as text on white.
_RIGHT, _WRONG = "#006b4e", "#a84300"


def results(
    images: Any,
    targets: Any,
    predictions: Any,
    *,
    probabilities: Any | None = None,
    class_names: Sequence[str] | None = None,
    fig: AnyFigure | None = None,
) -> AnyFigure:
    r"""A grid of examples, each titled ✓ and its class, or ✗ with both classes.

    Args:
        images: n arrays, drawn as `top_losses` draws them: numbers outside [0, 1] that are not
            uint8 are scaled to their own range.
        targets: `[n]` actual classes.
        predictions: `[n]` predicted classes, −1 for none.
        probabilities: `[n]` the probability of each prediction, or `[n, classes]` those of all.
        class_names: names of the classes; None numbers them.
        fig: where to draw; None makes a figure.

    Returns:
        The figure.

    Raises:
        ValueError: there are no examples, the lengths differ, or a class has no name.

    >>> import numpy as np
    >>> figure = results(np.zeros((2, 8, 8)), [0, 1], [0, 0], class_names=["cat", "dog"])
    >>> [ax.get_title(loc="left") for ax in figure.axes]
    ['✓ cat', '✗ cat\nactual: dog']
    """
    targets, predictions = np.asarray(targets), np.asarray(predictions)
    if not len(images) == len(targets) == len(predictions) != 0:
        raise ValueError(
            f"`images` has {len(images)} examples, `targets` {len(targets)} and `predictions` "
            f"{len(predictions)}; expected equally many of each, and at least one."
        )
    names_cover(class_names, targets, predictions)
    chosen = _of_predictions(probabilities, predictions, class_names)
    fig, panels = grid(fig, len(images), (2.0, 2.4 if chosen is None else 2.6))
    for position, ax in enumerate(panels):
        draw(ax, images[position])
        correct = bool(np.all(predictions[position] == targets[position]))
        labels = [class_label(of[position], class_names) for of in (predictions, targets)]
        lines = _lines(correct, *labels)
        lines += [] if chosen is None else [f"p(prediction): {share(chosen[position])}"]
        title(ax, fig, lines, _RIGHT if correct else _WRONG)
    return fig


def _lines(correct: bool, prediction: str, actual: str) -> list[str]:
    right, wrong = marks()
    return [f"{right} {prediction}"] if correct else [f"{wrong} {prediction}", f"actual: {actual}"]


def _of_predictions(
    probabilities: Any | None, predictions: np.ndarray, class_names: Sequence[str] | None
) -> np.ndarray | None:
    """`[n]`, the probability of each prediction; NaN for no prediction."""
    if probabilities is None:
        return None
    probabilities = np.asarray(probabilities)
    if probabilities.ndim not in (1, 2) or len(probabilities) != len(predictions):
        raise ValueError(
            f"`probabilities` has the shape {probabilities.shape} for {len(predictions)} examples; "
            "expected [n], those of the predictions, or [n, classes]."
        )
    if probabilities.ndim == 1:
        return probabilities
    _check.class_names_match(class_names, probabilities.shape[1])
    rows = np.arange(len(predictions))
    return np.where(predictions < 0, np.nan, probabilities[rows, predictions])
