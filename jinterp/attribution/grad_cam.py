"""Grad-CAM."""

from jaxtyping import Array

from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.attribution._cam import Map, gradient_cam, space_axes, weighted
from jinterp.attribution._space import Grid
from jinterp.model import logit


def grad_cam(
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
    """Grad-CAM: the channels of a layer, weighted by their mean gradient.

    ReLU(Σ_k w_k A_k) with w_k = mean over space of ∂s/∂A_k.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]`, of any dtype.
        target: the class to explain, as in `gradient`.
        layer: a name that `layers` lists; None is the last layer with an output in space, found by
            itself (for a class token, the last before it parts from the others).
        score: which number of the logits, `score(logits, target) -> [batch]`.
        relu: keep only what speaks for the class.
        channel_axis: of the layer's output; 1 for channels first.
        grid: how tokens are laid out, such as (14, 14); None finds it from the input's
            proportions, and leaves out a class token.

    Returns:
        `[batch, *space]` at the layer's resolution; see `upsample` and `normalize`. With several
        targets `[batch, targets, *space]`.

    Raises:
        ValueError: the layer has no axis in space, or as `gradient` and `tap` do.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("conv"):
    ...         x = x * params
    ...     return x.mean((1, 2))
    >>> x = jnp.array([[[[1.0, 2.0]], [[0.0, 1.0]]]])
    >>> print(grad_cam(apply_fn, jnp.ones(2), x, 1))
    [[[1. ]
      [0.5]]]

    Source: Selvaraju et al. 2017, equations 1 and 2 (before the up-sampling).
    """
    return gradient_cam(
        _grad_cam,
        apply_fn,
        params,
        x,
        target,
        layer=layer,
        score=score,
        relu=relu,
        channel_axis=channel_axis,
        grid=grid,
    )


def _grad_cam(activation: Array, slopes: Array) -> Array:
    return weighted(activation, slopes.mean(axis=space_axes(slopes)))
