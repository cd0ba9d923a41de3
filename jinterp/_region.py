"""A part of a model's output in space, as a model of `[batch, classes]` that explainers take."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxtyping import Array

from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.model.region import Region
from jinterp.model.score import logit
from jinterp.stream.with_rows import WithRows


@dataclasses.dataclass(frozen=True)
class OfRegion:
    """A model of a part of another's output: `apply_fn(params, x) -> [batch, classes]`.

    Attributes:
        apply_fn: the whole model.
        reduce: `reduce(logits, rows) -> [batch, classes]`.
        is_told: whether `params` is `WithRows`, and its rows tell the part.
    """

    apply_fn: ApplyFn
    reduce: Callable[[Array, Any], Array]
    is_told: bool

    def __call__(self, params: Params, x: Inputs) -> Array:
        rows = params.rows if self.is_told else None
        return self.reduce(self.apply_fn(params.params if self.is_told else params, x), rows)


def of_region(
    apply_fn: ApplyFn, params: Params, score: Region, logits: Any, target: Target
) -> tuple[OfRegion, Params, Score]:
    """The model of the part that the score is of, its parameters, and its score."""
    rows = score.rows(logits)
    if score.where is None and target is None:
        raise ValueError(
            "`score` is jinterp.region() of the pixels predicted as a class; expected `target` to "
            "say which. For a region of your own give a mask: jinterp.region(mask)."
        )
    is_told = rows is not None
    told = WithRows(params, rows) if is_told else params
    return OfRegion(apply_fn, score.reduce, is_told), told, logit


def whole(apply_fn: ApplyFn, params: Params) -> tuple[ApplyFn, Params]:
    """The model of which this one is a part, or itself."""
    if not isinstance(apply_fn, OfRegion):
        return apply_fn, params
    return apply_fn.apply_fn, params.params if apply_fn.is_told else params
