"""What speaks for each of several classes, in one example."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jinterp.plot._figures import AnyFigure, grid
from jinterp.plot._heat import bar_of_all, draw_map, notes
from jinterp.plot._labels import class_label, names_cover, title
from jinterp.plot._maps import map_of
from jinterp.plot._pictures import draw
from jinterp.plot._scale import scale_of


def class_attributions(
    values: Any,
    image: Any,
    *,
    classes: Any = None,
    class_names: Sequence[str] | None = None,
    percentile: float = 99.0,
    fig: AnyFigure | None = None,
) -> AnyFigure:
    """The input and a map for each class, all in the same colours, so that they compare.

    Args:
        values: `[num_classes_shown, ...]` the attributions of one example to each class shown,
            each as `attribution` takes them.
        image: the input, as `attribution` takes it.
        classes: `[num_classes_shown]` the classes, in the order of `values`; None is 0, 1, 2, ...
        class_names: names of all classes of the model; None numbers them.
        percentile: of |value| over all panels, above which colours no longer change, 0 to 100.
        fig: where to draw; None makes a figure.

    Returns:
        The figure; its last axes are the colour bar's.

    Raises:
        ValueError: there are no classes, another number of them than of maps, a class without a
            name, or a map that `attribution` would refuse.

    >>> import numpy as np
    >>> values = np.stack([np.full((8, 8), 0.5), np.full((8, 8), -0.25)])
    >>> names = ["cat", "dog", "fox"]
    >>> figure = class_attributions(values, np.zeros((8, 8)), classes=[2, 0], class_names=names)
    >>> [ax.get_title(loc="left") for ax in figure.axes]
    ['input', 'fox', 'cat', '']
    """
    classes = range(len(values)) if classes is None else classes
    if not len(values) == len(classes) != 0:
        raise ValueError(
            f"`values` has {len(values)} maps and `classes` {len(classes)} classes; expected as "
            "many of each, and at least one. Give values[i] for classes[i]."
        )
    names_cover(class_names, np.asarray(classes))
    maps = [map_of(value, image) for value in values]
    scale = scale_of([heat.values for heat in maps], percentile)
    fig, panels = grid(fig, 1 + len(maps), (1.7, 2.0), min(1 + len(maps), 5), below=0.55)
    draw(panels[0], image)
    title(panels[0], fig, ["input"])
    for ax, heat, number in zip(panels[1:], maps, classes, strict=True):
        mappable = draw_map(ax, heat, image, scale)
        label = class_label(number, class_names)
        title(ax, fig, [f"class {label}" if class_names is None else label])
    everywhere = maps[0]._replace(values=np.stack([heat.values for heat in maps]))
    bar_of_all(fig, panels, mappable, scale, notes(everywhere, scale))
    return fig
