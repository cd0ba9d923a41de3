"""What a gradient by one leaf is called, and what the leaves tell together."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

VANISHING = 1e-3
EXPLODING = 100.0
LARGE = 30.0
LARGE_UPDATE = 1.0
_MOST_NAMES = 4


class LeafGradient(NamedTuple):
    """The gradient by one leaf of the parameters.

    Attributes:
        name: the path to the leaf, such as `conv1/kernel`.
        shape: of the leaf.
        gradient_norm: ‖g‖.
        weight_norm: ‖θ‖.
        ratio: ‖g‖/‖θ‖; infinite for weights that are all 0, NaN where both norms are 0.
        root_mean_square: √mean(g²).
        zero_share: the share of entries of g that are exactly 0.
        num_nan: entries of g that are NaN.
        num_inf: entries that are infinite.
        update_norm: ‖u‖ of the optimizer's update u; None without an optimizer.
        update_ratio: ‖u‖/‖θ‖; None without an optimizer.
        verdict: "healthy", "no gradient" (exactly 0 everywhere), "not finite" (NaN or infinite, the
            gradient or the update), or "frozen" (the update is exactly 0, the gradient is not).
    """

    name: str
    shape: tuple[int, ...]
    gradient_norm: float
    weight_norm: float
    ratio: float
    root_mean_square: float
    zero_share: float
    num_nan: int
    num_inf: int
    update_norm: float | None
    update_ratio: float | None
    verdict: str


def leaf_gradient(
    name: str, shape: tuple[int, ...], measures: dict[str, np.ndarray]
) -> LeafGradient:
    """The row of a leaf, from what was measured of it."""
    size = math.prod(shape)
    gradient, weights = float(measures["gradient_norm"]), float(measures["weight_norm"])
    num_nan, num_inf = int(measures["num_nan"]), int(measures["num_inf"])
    update = float(measures["update_norm"]) if "update_norm" in measures else None
    if num_nan or num_inf or not math.isfinite(update or 0):
        verdict = "not finite"
    elif int(measures["num_zero"]) == size:
        verdict = "no gradient"
    else:
        verdict = "frozen" if update == 0 else "healthy"
    return LeafGradient(
        name,
        shape,
        gradient,
        weights,
        _ratio(gradient, weights),
        gradient / math.sqrt(size),
        int(measures["num_zero"]) / size,
        num_nan,
        num_inf,
        update,
        None if update is None else _ratio(update, weights),
        verdict,
    )


def _ratio(above: float, below: float) -> float:
    if below:
        return above / below
    return math.inf if above > 0 else math.nan


def early_to_late(rows: Sequence[LeafGradient]) -> float:
    """The gradient in the first third of the weight matrices, as a multiple of the last third's.

    Entries that are 0 do not count: of an embedding most rows were not looked up.
    """
    matrices = _matrices(rows)
    if len(matrices) < 2:
        return math.nan
    sizes = [row.root_mean_square / math.sqrt(1 - row.zero_share) for row in matrices]
    third = max(1, len(sizes) // 3)
    late = float(np.median(sizes[-third:]))
    return float(np.median(sizes[:third])) / late


def _matrices(rows: Sequence[LeafGradient]) -> list[LeafGradient]:
    """The weight matrices with a gradient that is a number."""
    return [
        row
        for row in rows
        if sum(length > 1 for length in row.shape) > 1 and 0 < row.gradient_norm < math.inf
    ]


class Problem(NamedTuple):
    """Something wrong.

    Attributes:
        found: what was seen, in a sentence.
        advice: what to do.
    """

    found: str
    advice: str

    def __str__(self) -> str:
        """Both."""
        return f"{self.found} {self.advice}"


def flow_problems(rows: Sequence[LeafGradient], loss: float) -> dict[str, Problem]:
    """What is wrong, by its name, the worst first."""
    of = {each: [row for row in rows if row.verdict == each] for each in _ADVICE}
    found = {}
    if of["not finite"] or not math.isfinite(loss):
        where = f" by {_listed(of['not finite'])}" if of["not finite"] else ""
        found["not finite"] = Problem(
            f"The loss is {loss:.4g} and the gradient or the update{where} is NaN or infinite.",
            _ADVICE["not finite"],
        )
    found |= _by_depth(_matrices(rows), early_to_late(rows))
    found |= _of_updates(_matrices(rows))
    if of["no gradient"]:
        found["no gradient"] = Problem(
            f"The gradient by {_listed(of['no gradient'])} is exactly 0.", _ADVICE["no gradient"]
        )
    if of["frozen"]:
        found["frozen"] = Problem(
            f"The optimizer leaves {_listed(of['frozen'])} as it is, though the gradient is not 0.",
            _ADVICE["frozen"],
        )
    return found


_ADVICE = {
    "not finite": (
        "Look for log(0), 0/0 and roots of 0, lower the learning rate, or find the operation with "
        'jax.config.update("jax_debug_nans", True).'
    ),
    "no gradient": (
        "The loss does not read it, or only through stop_gradient, units that are never active, "
        "or weights of 0. Where such weights are meant to begin at 0, as the last scale of a "
        "residual block, look again after a few steps."
    ),
    "frozen": (
        "Where this is not meant, look at the optimizer's masks and labels, and at a learning rate "
        "that begins at 0."
    ),
}


def _by_depth(matrices: Sequence[LeafGradient], depth: float) -> dict[str, Problem]:
    third = max(1, len(matrices) // 3)
    compared = (
        f"In {_listed(matrices[:third])} its root mean square is {depth:.2g} times that in "
        f"{_listed(matrices[-third:])}."
    )
    ratios = [row.ratio for row in matrices if row.weight_norm > 0]
    relative = float(np.median(ratios)) if ratios else 0.0
    if depth > EXPLODING:
        return {
            "exploding": Problem(
                "The gradient explodes on its way back.",
                f"{compared} Begin with smaller weights, normalise between layers, add residual "
                "connections, or clip the gradient.",
            )
        }
    if relative > LARGE:
        return {
            "exploding": Problem(
                f"The gradient is {relative:.2g} times as large as the weights (median over "
                f"{_listed(matrices)}).",
                "Scale inputs and targets to about 1, begin with smaller weights, take the mean of "
                "the losses and not their sum, or clip the gradient.",
            )
        }
    if depth < VANISHING:
        return {
            "vanishing": Problem(
                "The gradient vanishes on its way back.",
                f"{compared} Use ReLU or GELU for sigmoid and tanh, residual connections, "
                "normalisation, or larger initial weights.",
            )
        }
    return {}


def _of_updates(matrices: Sequence[LeafGradient]) -> dict[str, Problem]:
    ratios = [row.update_ratio for row in matrices if row.update_ratio and row.weight_norm > 0]
    if not ratios or (median := float(np.median(ratios))) <= LARGE_UPDATE:
        return {}
    return {
        "large update": Problem(
            f"One step changes the weights by {median:.2g} times their norm (median over "
            f"{_listed(matrices)}).",
            "Lower the learning rate, or warm it up.",
        )
    }


def _listed(rows: Sequence[LeafGradient]) -> str:
    more = f" and {len(rows) - _MOST_NAMES} more" if len(rows) > _MOST_NAMES else ""
    return ", ".join(f"`{row.name}`" for row in rows[:_MOST_NAMES]) + more
