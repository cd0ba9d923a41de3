"""XRAI: integrated gradients gathered over regions, the densest first."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._question import answer, ask, report_blank, with_predictions
from jinterp._trace import under_transform
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._paths import baselines_of, mean_of, rule_points
from jinterp.attribution._segments import segments_of
from jinterp.attribution.integrated_gradients import path_gradient_at
from jinterp.model import logit
from jinterp.stream.rows import map_rows


def xrai(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
    baseline: Baseline = None,
    segments: Any = None,
    num_steps: int = 50,
    min_area: float = 0.001,
    channel_axis: int = -1,
) -> Array:
    """Regions of an image in the order of how dense integrated gradients lie in them.

    Starting from nothing, the region is added whose pixels that are new have the largest mean
    attribution, and each of these pixels gets that mean; then the next. The attribution of a pixel
    is the maximum over its channels of integrated gradients, averaged over the baselines.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: images `[batch, height, width, channels]`, one array, floating point; with `segments`
            anything with axes in space.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        baseline: a list, as in `integrated_gradients`; None takes black and white as each image has
            them: its least and its largest value.
        segments: regions `[batch, num, *space]` bool, which may overlap and cover each image; None
            makes them of the image at six scales, on the host.
        num_steps: gradients for each example and baseline.
        min_area: regions with fewer new pixels, as a share of the image, are not added. What is
            left in the end gets its own mean.
        channel_axis: of `x`.

    Returns:
        As `x` in shape and dtype, each channel with the value of its pixel, signed, in units of
        the score. Where it is largest the region was added first, but for regions that were
        narrowed by others.

    Raises:
        TypeError: `x` is not one array of floats, `segments` are not bool, or there are none under
            jit, vmap or grad.
        ValueError: as `integrated_gradients` does; segments have another shape or leave pixels out.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return (x * params[None]).sum((1, 2))
    >>> x = jnp.array([[[[1.0], [3.0], [1.0], [1.0]]]])
    >>> halves = np.array([[[[1, 1, 0, 0]], [[0, 0, 1, 1]]]], bool)
    >>> values = xrai(apply_fn, jnp.ones((1, 4, 1)), x, 0, baseline=0.0, segments=halves)
    >>> print(values[0, 0, :, 0].round(2))
    [2. 2. 1. 1.]

    Source: Kapishnikov et al. 2019, algorithm 1. As in their code, the gain of a region is the mean
    over its new pixels, and black and white are the image's own.
    """
    positions, weights = rule_points("midpoint", num_steps)
    _check.within("min_area", min_area, 0, 1)
    question = with_predictions(ask(apply_fn, params, x, target, score))
    x = question.x
    _check.one_array(x)
    _check.has_space(x, "x")
    masks = _masks(segments, x, channel_axis)
    attributions = mean_of(
        [
            answer(path_gradient_at, question, rows=each, points=(positions, weights))
            for each in (_black_and_white(x) if baseline is None else baselines_of(baseline, x))
        ]
    )
    num_more = attributions.ndim - x.ndim  # the axis of several targets
    axis = channel_axis % x.ndim + num_more
    pixels = attributions.max(axis=axis)
    masks = jnp.zeros_like(x.max(axis=channel_axis), bool)[:, None] | masks  # on its devices
    least = math.ceil(min_area * math.prod(masks.shape[2:]))
    values = map_rows(_grown, max(least, 1), (), (pixels, masks))
    values = jnp.zeros_like(attributions, x.dtype) + jnp.expand_dims(values, axis).astype(x.dtype)
    report_blank(values, "xrai", "the score does not change along the paths.")
    return values


def _black_and_white(x: Array) -> list[Array]:
    axes = tuple(range(1, x.ndim))
    empty = jnp.zeros_like(x)
    return [empty + x.min(axis=axes, keepdims=True), empty + x.max(axis=axes, keepdims=True)]


def _masks(segments: Any, x: Array, channel_axis: int) -> Array:
    """`[batch, num, *space]`, or a named error."""
    space = list(x.shape[1:])
    del space[channel_axis % x.ndim - 1]
    if segments is None:
        return jnp.asarray(_made(x, channel_axis))
    segments = _check.array("segments", segments)
    if segments.dtype != bool:
        raise TypeError(
            f"`segments` are {segments.dtype}; expected bool masks [batch, num, *space]. Of label "
            "maps [batch, *space] make them: labels[:, None] == np.arange(num)[:, None, None]."
        )
    if segments.ndim != x.ndim or [len(segments), *segments.shape[2:]] != [len(x), *space]:
        raise ValueError(
            f"`segments` have the shape {segments.shape}; expected (batch, num, *space), "
            f"({len(x)}, num, {', '.join(map(str, space))})."
        )
    if not under_transform(segments):
        missing = 1 - np.asarray(segments).any(axis=1).reshape(len(x), -1).mean(axis=1)
        if missing.any():
            worst = int(missing.argmax())
            raise ValueError(
                f"`segments` leave out {missing[worst]:.1%} of the pixels of example {worst}; "
                "expected masks that cover each image. Add one of the rest: "
                "~segments.any(axis=1, keepdims=True)."
            )
    return segments


def _made(x: Array, channel_axis: int) -> np.ndarray:
    """Segments of the images themselves."""
    if under_transform(x):
        raise TypeError(
            "`xrai` makes segments on the host, which jit, vmap and grad do not allow; expected "
            "`segments`. Give them, or call it from outside."
        )
    _check.is_on_this_host("xrai", x)
    if x.ndim != 4:
        raise ValueError(
            f"`x` has the shape {x.shape}; expected images [batch, height, width, channels], of "
            "which segments can be made. Give `segments`."
        )
    return segments_of(np.moveaxis(np.asarray(x), channel_axis, -1))


def _grown(least: Any, params: tuple[()], rows: Any, point: None) -> Array:
    """The value of each pixel: `[batch, *space]`, or `[batch, targets, *space]`."""
    attributions, masks = rows
    lead = attributions.shape[: attributions.ndim - masks.ndim + 2]
    flat, flat_masks = attributions.reshape(*lead, -1), masks.reshape(*masks.shape[:2], -1)

    def one(attributions: Array, masks: Array) -> Array:
        if attributions.ndim == 1:
            return _grown_one(attributions, masks, least)
        return jax.vmap(lambda each: _grown_one(each, masks, least))(attributions)

    return jax.vmap(one)(flat, flat_masks).reshape(attributions.shape)


def _grown_one(attributions: Array, masks: Array, least: int) -> Array:
    """The value of each pixel `[pixels]` of one image, of masks `[num, pixels]`."""
    zero = jnp.zeros((), attributions.dtype)

    def of_new(covered: Array) -> tuple[Array, Array]:
        """How many pixels of each mask are new, and the sum of their attributions."""
        new = masks & ~covered[None]
        return new.sum(axis=1), jnp.where(new, attributions[None], zero).sum(axis=1)

    def is_open(state: Any) -> Array:
        (areas, _), _, _ = state
        return areas.max() >= least

    def add(state: Any) -> Any:
        (areas, sums), covered, values = state
        means = sums / jnp.maximum(areas, 1).astype(sums.dtype)
        gains = jnp.where(areas >= least, means, jnp.array(-jnp.inf, sums.dtype))
        best = gains.argmax()
        values = jnp.where(masks[best] & ~covered, gains[best], values)
        covered = covered | masks[best]
        return of_new(covered), covered, values

    nothing = jnp.zeros_like(attributions, bool)
    start = of_new(nothing), nothing, jnp.zeros_like(attributions)
    _, covered, values = jax.lax.while_loop(is_open, add, start)
    num_left = (~covered).sum()
    left = jnp.where(covered, zero, attributions).sum()
    mean = left / jnp.maximum(num_left, 1).astype(left.dtype)
    return jnp.where(covered, values, mean)
