"""From an attribution to its colour."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap, Normalize

# From weak to strong. Blue and crimson differ for the colour-blind, and from the orange of NaN.
_FOR = LinearSegmentedColormap.from_list("for", ["#ff5c8a", "#d3004c", "#99003a"])
_AGAINST = LinearSegmentedColormap.from_list("against", ["#4aa3ff", "#0058d6", "#003aa0"])
_STEPS = 257  # odd, so that zero has a colour of its own


class Scale(NamedTuple):
    """Colours from −limit to limit, or from 0 if nothing is negative; a limit of 0 has none."""

    limit: float
    is_signed: bool
    is_clipped: bool
    percentile: float | None  # of |value|, where the limit is; None if it was given

    @property
    def norm(self) -> Normalize:
        limit = self.limit or 1.0
        return Normalize(-limit if self.is_signed else 0.0, limit)

    @property
    def note(self) -> str:
        if not self.is_clipped:
            return ""
        source = "" if self.percentile is None else f" ({ordinal(self.percentile)} percentile)"
        return f"clipped at {'±' if self.is_signed else ''}{self.limit:.3g}{source}"

    @property
    def colours(self) -> Colormap:
        return _fading(self.is_signed)


def scale_of(
    maps: Sequence[np.ndarray], percentile: float = 100.0, color_limit: float | None = None
) -> Scale:
    """One scale for all these maps; zeros do not make the limit 0 while something is not zero."""
    _check(percentile, color_limit)
    values = np.concatenate([values[np.isfinite(values)] for values in maps])
    largest = float(np.abs(values).max(initial=0))
    limit = color_limit
    if limit is None:
        limit = float(np.percentile(np.abs(values), percentile)) if values.size else 0.0
    found = float(limit) or largest
    source = percentile if color_limit is None else None
    return Scale(found, bool((values < 0).any()), largest > found, source)


def ordinal(number: float) -> str:
    """1st, 2nd, 99th, 99.5th."""
    ends = {1.0: "st", 2.0: "nd", 3.0: "rd"}
    teens = number % 100 in (11, 12, 13)
    return f"{number:g}{'th' if teens else ends.get(number % 10, 'th')}"


def _fading(is_signed: bool) -> ListedColormap:
    """Nothing at zero, and stronger as the value grows, whatever is below."""
    strength = np.linspace(-1 if is_signed else 0, 1, _STEPS)
    size = np.abs(strength)
    colours = np.where((strength < 0)[:, None], _AGAINST(size), _FOR(size))
    colours[:, 3] = 0.8 * size**0.7
    return ListedColormap(colours)


def _check(percentile: float, color_limit: float | None) -> None:
    if not 0 < percentile <= 100:
        raise ValueError(
            f"`percentile` is {percentile}; expected more than 0 and at most 100. Use 99, or 100 "
            "to clip nothing."
        )
    if color_limit is not None and not (np.isfinite(color_limit) and color_limit > 0):
        raise ValueError(
            f"`color_limit` is {color_limit}; expected a positive number, such as the largest "
            "|value| of all panels, or None."
        )
