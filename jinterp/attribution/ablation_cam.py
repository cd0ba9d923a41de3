"""Ablation-CAM."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp import _check
from jinterp._question import answer, ask, scores_of, with_predictions
from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.attribution._cam import Map, divided, report, weighted
from jinterp.attribution._layer import activation_of
from jinterp.attribution._space import Grid, view_of
from jinterp.attribution.at_layer import FromLayer
from jinterp.model import logit
from jinterp.stream.rows import WithRows, map_rows


def ablation_cam(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    layer: str | None = None,
    score: Score = logit,
    relu: bool = True,
    channel_axis: int = -1,
    grid: Grid | None = None,
) -> Map:
    """Ablation-CAM: channels weighted by what the score loses without them.

    ReLU(Σ_k w_k A_k) with w_k = (s − s without A_k) / |s|, and 0 where s is. It needs no gradient,
    but the layers above the one looked at run once a channel.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]`, of any dtype.
        target: one class an example, as in `gradient`; None is the one predicted for `x`.
        layer: a name that `layers` lists, or None, as in `grad_cam`.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        relu: keep only what speaks for the class.
        channel_axis: of the layer's output.
        grid: how tokens are laid out, or None, as in `grad_cam`.

    Returns:
        `[batch, *space]` at the layer's resolution.

    Raises:
        ValueError: as `grad_cam` does, or there are several targets an example.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("conv"):
    ...         x = x * params
    ...     return x.mean((1, 2))
    >>> x = jnp.array([[[[1.0, 2.0]], [[0.0, 1.0]]]])
    >>> print(ablation_cam(apply_fn, jnp.ones(2), x, 1))
    [[[2.]
      [1.]]]

    Source: Ramaswamy et al. 2020, equation 2.
    """
    question = with_predictions(ask(apply_fn, params, x, target, score, differentiable=False))
    _check.one_target(question.target)
    view = view_of(question, layer, grid, channel_axis)
    activation = map_rows(_activation, (apply_fn, view.layer), params, question.x)
    head = question._replace(
        apply_fn=FromLayer(question.apply_fn, view.layer),
        params=WithRows(question.params, question.x),
        x=activation,
    )
    num_channels = activation.shape[view.channel_axis]
    without = answer(
        _without, head, view.channel_axis, points=jnp.arange(num_channels), kind="stack"
    )
    whole = scores_of(question)[:, None]
    weights = divided(whole - without, jnp.abs(whole))
    maps = weighted(view.in_space(activation), weights.astype(activation.dtype))
    maps = jax.nn.relu(maps) if relu else maps
    report(maps, "ablation_cam", view.layer)
    return maps


def _activation(static: Any, params: Params, x: Inputs, point: None) -> Array:
    apply_fn, layer = static
    return activation_of(apply_fn, layer, params, x)


def _without(static: Any, params: Params, rows: Any, number: Array) -> Array:
    """The score with one channel set to zero."""
    apply_fn, score, channel_axis = static
    activation, target, _ = rows
    moved = jnp.moveaxis(activation, channel_axis, -1)
    kept = jnp.arange(moved.shape[-1]) != number
    kept = kept.reshape(*[1] * (moved.ndim - 1), -1)
    ablated = jnp.moveaxis(jnp.where(kept, moved, 0), -1, channel_axis)
    return score(apply_fn(params, ablated), target)
