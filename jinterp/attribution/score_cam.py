"""Score-CAM."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp import _check
from jinterp._question import answer, ask, scores_of, with_predictions
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._cam import Map, report, space_axes, weighted
from jinterp.attribution._layer import activation_of
from jinterp.attribution._paths import one_baseline
from jinterp.attribution._space import Grid, view_of
from jinterp.attribution.normalize import normalize
from jinterp.attribution.upsample import upsample
from jinterp.model import logit
from jinterp.stream.rows import map_rows


def score_cam(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    layer: str | None = None,
    score: Score = logit,
    baseline: Baseline = 0.0,
    channel_softmax: bool = True,
    max_channels: int | None = None,
    relu: bool = True,
    channel_axis: int = -1,
    grid: Grid | None = None,
) -> Map:
    """Score-CAM: channels weighted by the score of the input seen through them.

    ReLU(Σ_k α_k A_k) with α = softmax_k(C), C_k = s(x ⊙ H_k) − s(b), and H_k the channel k
    up-sampled to the input and scaled to 0..1. It needs no gradient, but a forward pass a channel.
    A constant channel hides everything: its H_k is 0.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: images or signals `[batch, *space, channels]`, one array; integers are multiplied as
            float32.
        target: one class an example, as in `gradient`; None is the one predicted for `x`.
        layer: a name that `layers` lists, or None, as in `grad_cam`.
        score: which number of the logits; the paper argues for `probability`, too.
        baseline: b; with `channel_softmax` it has no effect.
        channel_softmax: False takes α = C.
        max_channels: only so many channels, those that vary most over space; None takes all.
        relu: keep only what speaks for the class.
        channel_axis: of the layer's output and of `x`; 1 for channels first.
        grid: how tokens are laid out, or None, as in `grad_cam`.

    Returns:
        `[batch, *space]` at the layer's resolution.

    Raises:
        TypeError: `x` is not one array.
        ValueError: as `grad_cam` does, or there are several targets an example or baselines.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("conv"):
    ...         x = x * params
    ...     return x.mean((1, 2))
    >>> x = jnp.array([[[[1.0, 2.0]], [[0.0, 1.0]]]])
    >>> print(score_cam(apply_fn, jnp.ones(2), x, 1).round(2))
    [[[1.5]
      [0.5]]]

    Source: Wang et al. 2020, algorithm 1.
    """
    question = with_predictions(ask(apply_fn, params, x, target, score, differentiable=False))
    _check.one_target(question.target)
    _check.one_array(question.x)
    view = view_of(question, layer, grid, channel_axis)
    activation = map_rows(_activation, (apply_fn, view), params, question.x)
    channels = _most_varied(activation, max_channels)
    numbers = jnp.arange(channels.shape[1])
    gains = answer(
        _seen_through,
        question,
        channel_axis,
        rows=(activation, channels),
        points=numbers,
        kind="stack",
    )
    empty = one_baseline(baseline, question.x)
    if channel_softmax:  # of which no shift changes anything
        weights = jax.nn.softmax(gains, axis=1)
    else:
        weights = gains - scores_of(question._replace(x=empty))[:, None]
    maps = weighted(_picked(activation, channels), weights.astype(activation.dtype))
    maps = jax.nn.relu(maps) if relu else maps
    report(maps, "score_cam", view.layer)
    return maps


def _activation(static: Any, params: Params, x: Inputs, point: None) -> Array:
    apply_fn, view = static
    return view.in_space(activation_of(apply_fn, view.layer, params, x))


def _most_varied(activation: Array, max_channels: int | None) -> Array:
    """`[batch, channels]`: which channels are looked through."""
    num_channels = activation.shape[-1]
    if max_channels is None:
        return jnp.broadcast_to(jnp.arange(num_channels)[None], (len(activation), num_channels))
    _check.at_least_one("max_channels", max_channels, 64)
    spread = activation.std(axis=space_axes(activation))
    return jax.lax.top_k(spread, min(max_channels, num_channels))[1]


def _picked(activation: Array, channels: Array) -> Array:
    """The channels `[batch, some]` of an activation."""
    indices = channels.reshape(len(channels), *[1] * (activation.ndim - 2), -1)
    return jnp.take_along_axis(activation, indices, axis=-1)


def _seen_through(static: Any, params: Params, rows: Any, number: Array) -> Array:
    """The score of the input multiplied by one channel."""
    apply_fn, score, channel_axis = static
    x, target, (activation, channels) = rows
    one = _picked(activation, jnp.take(channels, number, axis=1)[:, None])[..., 0]
    mask = normalize(upsample(one, x, channel_axis=channel_axis))
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32
    mask = jnp.expand_dims(mask, channel_axis).astype(dtype)
    return score(apply_fn(params, x.astype(dtype) * mask), target)
