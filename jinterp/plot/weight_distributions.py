"""Histograms of the weights of each leaf."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jinterp.diagnose import LeafWeights, WeightDistributions
from jinterp.plot._figures import BLUE, GREY, AnyFigure, frameless, grid
from jinterp.plot._labels import TITLE_SIZE, title

_MOST = 20
_MOST_IN_TITLE = 32  # characters that fit above a panel


def weight_distributions(result: WeightDistributions, *, fig: AnyFigure | None = None) -> AnyFigure:
    r"""A histogram for each leaf, its spectral norm and power law above it.

    Each has axes of its own. Of more than 20 leaves the 20 with most elements are drawn, and the
    number of those left out stands below.

    Args:
        result: what `jinterp.weight_distributions` returned.
        fig: where to draw; None makes a figure.

    Returns:
        The figure.

    Raises:
        ValueError: there are no leaves.

    >>> import jinterp, numpy as np
    >>> found = jinterp.weight_distributions({"kernel": np.diag([3.0, 4.0])})
    >>> weight_distributions(found).axes[0].get_title(loc="left")
    'kernel\n‖W‖₂ 4, stable rank 1.56'
    """
    if not result.leaves:
        raise ValueError("`result` has no leaves; expected at least one.")
    drawn = _largest(result.leaves)
    fig, panels = grid(fig, len(drawn), (2.4, 2.0))
    for ax, leaf in zip(panels, drawn, strict=True):
        _draw(ax, leaf)
        title(ax, fig, [*_name(leaf.name), *_facts(leaf)])
    num_left_out = len(result.leaves) - len(drawn)
    if num_left_out:
        text = f"{num_left_out} smaller leaves are not drawn"
        fig.supxlabel(text, fontsize=TITLE_SIZE, color=GREY)
    return fig


def _largest(leaves: tuple[LeafWeights, ...]) -> list[LeafWeights]:
    """In the order of the tree."""
    order = sorted(range(len(leaves)), key=lambda number: -leaves[number].num_elements)
    return [leaves[number] for number in sorted(order[:_MOST])]


def _name(name: str) -> list[str]:
    """On two lines where one is too short, without its middle where two are."""
    most = _MOST_IN_TITLE
    if len(name) <= most:
        return [name]
    if len(name) > 2 * most:
        name = f"{name[: most - 1]}…{name[-most:]}"
    cut = max(name.rfind("/", 0, most) + 1, len(name) - most)
    return [name[:cut], name[cut:]]


def _draw(ax: Axes, leaf: LeafWeights) -> None:
    ax.set_yticks([])
    ax.tick_params(axis="x", labelsize=7)
    ax.locator_params(axis="x", nbins=4)
    frameless(ax, "top", "right", "left")
    if leaf.counts.sum():
        ax.stairs(leaf.counts, leaf.edges, fill=True, color=BLUE)
        ax.set_ylim(0, 1.05 * np.max(leaf.counts))
    else:
        ax.set_xticks([])
        place: dict[str, Any] = {"transform": ax.transAxes, "ha": "center", "va": "center"}
        ax.text(0.5, 0.5, "no finite value", color=GREY, **place)


def _facts(leaf: LeafWeights) -> list[str]:
    """At most two lines: of the spectrum, and how much is not finite."""
    spectrum = []
    if not math.isnan(leaf.spectral_norm):
        spectrum.append(f"‖W‖₂ {leaf.spectral_norm:.3g}")
    if not math.isnan(leaf.alpha):
        spectrum.append(f"α {leaf.alpha:.2f} ± {leaf.alpha_error:.2f}")
    elif not math.isnan(leaf.stable_rank):
        spectrum.append(f"stable rank {leaf.stable_rank:.3g}")
    facts = [", ".join(spectrum)] if spectrum else []
    return facts + ([f"{leaf.num_not_finite} not finite"] if leaf.num_not_finite else [])
