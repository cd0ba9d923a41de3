"""Histograms of a value's size and sign beside each other, and the axis that they share."""

from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, FuncNorm

from jinterp.plot._figures import LIGHT_GREY

_NEAR_ZERO = 3 / 64  # no row around 0 reaches further
_PER_MILLE = 1000.0
_ROOM = 14  # tick labels along a small axis
_PARTS = {-1: "½", -2: "¼", -3: "⅛"}
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Rows(NamedTuple):
    """Histograms cut to what occurs.

    Attributes:
        shares: `[layers, columns, rows]`, of a column's finite values; NaN where it has none.
        edges: `[rows + 1]`, of the values.
    """

    shares: np.ndarray
    edges: np.ndarray


def rows_of(counts: np.ndarray, edges: np.ndarray) -> Rows:
    """What of the histograms `[layers, columns, bins]` to draw.

    The bins around 0 that hold less than a tenth of any layer's other values become one row.
    """
    middle = counts.shape[-1] // 2
    below, above = counts[..., :middle][..., ::-1], counts[..., middle + 1 :]
    sizes = edges[middle + 1 :]
    least = min(_least((below + above).sum(1)), int(np.searchsorted(sizes, _NEAR_ZERO)))
    around = counts[..., middle - least : middle + least + 1].sum(-1, keepdims=True)
    lowest, highest = (max(_extent(side), least + 1) for side in (below, above))
    kept = [below[..., least:lowest][..., ::-1], around, above[..., least:highest]]
    cut = np.concatenate(kept, axis=-1).astype(float)
    total = counts.sum(-1, keepdims=True)
    shares = np.divide(cut, total, out=np.full(cut.shape, np.nan), where=total > 0)
    return Rows(shares, np.append(-sizes[least : lowest + 1][::-1], sizes[least : highest + 1]))


def _least(counts: np.ndarray) -> int:
    """The lowest of the bins where the smallest tenth of a layer's values ends."""
    known = counts[counts.any(1)]
    if not len(known):
        return counts.shape[1]
    reached = known.cumsum(1) >= 0.1 * known.sum(1, keepdims=True)
    return int(reached.argmax(1).min())


def _extent(counts: np.ndarray) -> int:
    return int(np.flatnonzero(counts.any((0, 1))).max(initial=-1)) + 1


def value_ticks(ax: Axes, edges: np.ndarray) -> None:
    """0, and powers of two at equal steps, 1 among them; rows of the picture have a height of 1."""
    powers = {
        place: round(np.log2(abs(edge)))
        for place, edge in enumerate(edges.tolist())
        if np.isfinite(edge) and np.log2(abs(edge)) % 1 == 0
    }
    zero = np.searchsorted(edges, 0) - 0.5
    apart = len(edges) / _ROOM
    step = next(step for step in (1, 2, 4, 8, 16) if 2 * step >= apart)
    ticks = {
        place: _power("−" if edges[place] < 0 else "", power)
        for place, power in powers.items()
        if power % step == 0 and abs(place - zero) >= apart
    }
    ax.set_yticks([*ticks, zero], [*ticks.values(), "0"])


def _power(sign: str, exponent: int) -> str:
    if exponent > 13 or exponent < -6:
        return f"{sign}2{str(exponent).translate(_RAISED)}"
    if exponent >= 0:
        return f"{sign}{2**exponent}"
    return sign + _PARTS.get(exponent, f"1/{2**-exponent}")


def colours() -> Colormap:
    """Dark for nothing; grey where there is no number."""
    return colormaps["viridis"].with_extremes(bad=LIGHT_GREY)


def share_norm() -> FuncNorm:
    """log(1 + share in ‰), as fastai's log(1 + count) of a thousand values."""

    def forward(share: np.ndarray) -> np.ndarray:
        return np.log1p(_PER_MILLE * share)

    def inverse(colour: np.ndarray) -> np.ndarray:
        return np.expm1(colour) / _PER_MILLE

    return FuncNorm((forward, inverse), 0, 1)
