"""A part of a model's output in space, as a model of `[batch, classes]` that explainers take."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Array

from jinterp._types import AnyArray, ApplyFn, Inputs, Params, Score, Target
from jinterp.model.attention import attention_probabilities
from jinterp.model.layers import Layer, layers
from jinterp.model.opened import HoldsLayers, Opened
from jinterp.model.region import Region
from jinterp.model.score import logit
from jinterp.model.tap import open_layers
from jinterp.stream.with_rows import WithRows


@dataclasses.dataclass(frozen=True)
class OfRegion(HoldsLayers):
    """A model of a part of another's output: `apply_fn(params, x) -> [batch, classes]`.

    Its layers are those of the whole model, under their names there.

    Attributes:
        apply_fn: the whole model.
        reduce: `reduce(logits, rows) -> [batch, classes]`.
        is_told: whether `params` is `WithRows`, and its rows tell the part.
    """

    apply_fn: ApplyFn
    reduce: Callable[[Array, Any], Array]
    is_told: bool

    def __call__(self, params: Params, x: Inputs) -> Array:
        apply_fn, weights = whole(self, params)
        return self.part(apply_fn(weights, x), params)

    def part(self, logits: Array, params: Params) -> Array:
        """The logits of the part, from those of all."""
        return self.reduce(logits, params.rows if self.is_told else None)

    def layers(self, params: Params, x: Inputs) -> list[Layer]:
        return layers(*whole(self, params), x)

    def opened(self, params: Params, x: Inputs, names: Sequence[str]) -> Opened:
        return _OpenedRegion(self, open_layers(*whole(self, params), x, names))

    def attention(self, params: Params, x: Inputs) -> dict[str, Any]:
        return attention_probabilities(*whole(self, params), x)


class _OpenedRegion(Opened):
    """The whole model with layers open, of whose logits the part is taken."""

    def __init__(self, model: OfRegion, opened: Opened):
        self._model, self._opened, self.shapes = model, opened, opened.shapes

    def _run(
        self, given: tuple[AnyArray, ...], params: Params, x: Inputs, *, replace: bool
    ) -> tuple[Any, tuple[AnyArray, ...]]:
        weights = whole(self._model, params)[1]
        logits, outputs = self._opened._run(given, weights, x, replace=replace)
        return self._model.part(logits, params), outputs


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
