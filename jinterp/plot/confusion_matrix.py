"""The confusion matrix as a picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, PowerNorm
from matplotlib.ticker import LogLocator

from jinterp import _check
from jinterp.plot._figures import (
    GREY,
    class_ticks,
    panel,
    points_per_class,
    shades,
    shades_without_white,
)
from jinterp.plot._labels import shorten

_SHARES = {
    None: "{unit}",
    "actual": "share of the actual class",
    "predicted": "share of the predicted class",
    "all": "share of all {unit}",
}
_LEAST_CELL, _LEAST_FONT = 14, 6.5  # points
_MOST_BLOCKS = 400  # cells a side that a figure of ordinary size shows without losing some


def confusion_matrix(
    matrix: Any,
    *,
    class_names: Sequence[str] | None = None,
    normalize: str | None = None,
    unit: str = "examples",
    ax: Axes | None = None,
) -> Axes:
    """How often each actual class (row) was predicted as each class (column).

    Where numbers have room in the cells they are written there, and the colour follows their
    square root, so that rare confusions show beside the diagonal. Otherwise the colour follows
    their logarithm, cells of 0 stay white, ticks are class numbers if names have no room either,
    and with more than 400 classes a block of cells shows its largest one, as the colour bar says.

    Args:
        matrix: `[classes, classes]` counts, rows actual, as `jinterp.confusion_matrix` returns.
        class_names: names of the classes; None numbers them.
        normalize: None shows the counts, "actual" makes rows sum to 1, "predicted" columns, and
            "all" the whole; what sums to 0 stays 0.
        unit: what was counted, such as "pixels".
        ax: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: the matrix is not square, `normalize` is none of these, or `class_names` has
            another length.

    >>> import numpy as np
    >>> ax = confusion_matrix(np.array([[3, 1], [2, 4]]), class_names=["cat", "dog"])
    >>> ax.get_ylabel(), [text.get_text() for text in ax.texts]
    ('actual', ['3', '1', '2', '4'])
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ValueError(f"`matrix` has the shape {matrix.shape}; expected [classes, classes].")
    names = _check.class_names_match(class_names, len(matrix))
    values = _normalized(matrix.astype(float), normalize)
    side = float(np.clip(2.2 + 0.4 * len(matrix), 3.5, 9))
    ax = panel(ax, (side, side))
    cell = points_per_class(ax, len(matrix), min(ax.bbox.width, ax.bbox.height))
    texts = _texts(values, normalize is not None) if cell > _LEAST_CELL else np.array([])
    size = _font_size(texts, cell)
    meaning = _SHARES[normalize].format(unit=unit)
    if size >= _LEAST_FONT:
        _draw_numbers(ax, values, texts, size)
        ax.set_title(meaning, fontsize=10)
    else:
        _draw_logarithms(ax, values, meaning)
    _label(ax, names, cell)
    return ax


def _normalized(matrix: np.ndarray, normalize: str | None) -> np.ndarray:
    axes: dict[str, int | None] = {"actual": 1, "predicted": 0, "all": None}
    if normalize is None:
        return matrix
    if normalize not in axes:
        raise ValueError(
            f"`normalize` is {normalize!r}; expected None, 'actual', 'predicted' or 'all'."
        )
    totals = np.broadcast_to(np.nansum(matrix, axis=axes[normalize], keepdims=True), matrix.shape)
    return np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals != 0)


def _texts(values: np.ndarray, shares: bool) -> np.ndarray:
    def text(value: float) -> str:
        if value == 0 or np.isnan(value):
            return f"{value:g}"
        if shares:
            return f"{value:.2f}" if value >= 0.005 else "<.01"
        return _short(value)

    return np.vectorize(text, otypes=[object])(values)


def _short(value: float) -> str:
    """Four digits, or three and a unit from ten thousand on."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= max(0.9995 * unit, 9999.5):
            return f"{value / unit:.3g}{name}"
    return f"{value:.4g}"


def _font_size(texts: np.ndarray, cell: float) -> float:
    """The points at which the longest text fills four fifths of a cell, 0 without texts."""
    longest = max((len(text) for text in texts.flat), default=np.inf)
    return min(10.0, 0.8 * cell / (0.64 * longest))  # a digit is 0.64 of its height wide


def _draw_numbers(ax: Axes, values: np.ndarray, texts: np.ndarray, size: float) -> None:
    colours, norm = shades(), PowerNorm(0.5, vmin=0, vmax=_largest(values))
    ax.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm)
    luminance = colours(norm(values))[..., :3] @ np.array([0.299, 0.587, 0.114])
    for (row, column), text in np.ndenumerate(texts):
        dark = luminance[row, column] < 0.55
        color = "white" if dark else GREY if values[row, column] == 0 else "black"
        ax.text(column, row, text, ha="center", va="center", color=color, fontsize=size)


def _draw_logarithms(ax: Axes, values: np.ndarray, meaning: str) -> None:
    block = -(-len(values) // _MOST_BLOCKS)
    blocks = _largest_of_blocks(np.nan_to_num(values), block)
    positive = blocks[blocks > 0]
    low = float(positive.min()) if positive.size else 1.0
    end = len(blocks) * block - 0.5
    image = ax.imshow(
        np.ma.masked_less_equal(blocks, 0),
        cmap=shades_without_white(),
        norm=LogNorm(low, max(_largest(values), 1.01 * low)),
        extent=(-0.5, end, end, -0.5),
        interpolation="nearest",
    )
    ax.set(xlim=(-0.5, len(values) - 0.5), ylim=(len(values) - 0.5, -0.5))
    label = meaning if block == 1 else f"{meaning}, largest of {block}×{block} cells"
    figure = ax.get_figure()
    assert figure is not None
    figure.colorbar(
        image,
        ax=ax,
        label=f"{label} (0 is white)",
        ticks=LogLocator(subs=(1, 2, 5)),
        format="{x:g}",
        fraction=0.046,
        pad=0.03,
    ).minorticks_off()


def _largest(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max(initial=0)) or 1.0


def _largest_of_blocks(values: np.ndarray, block: int) -> np.ndarray:
    missing = -len(values) % block
    padded = np.pad(values, (0, missing))
    num = len(padded) // block
    return padded.reshape(num, block, num, block).max((1, 3))


def _label(ax: Axes, class_names: list[str], cell: float) -> None:
    short = [shorten(name, 20) for name in class_names]
    slant = 45 if cell > _LEAST_CELL else 90
    class_ticks(ax.xaxis, short, cell, rotation=slant if max(map(len, short)) > 3 else 0)
    class_ticks(ax.yaxis, short, cell)
    ax.set(xlabel="predicted", ylabel="actual")
    ax.tick_params(length=2, color=GREY)
