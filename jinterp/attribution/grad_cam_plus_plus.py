"""Grad-CAM++."""

import jax.numpy as jnp
from jaxtyping import Array

from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.attribution._cam import Map, divided, gradient_cam, space_axes, weighted
from jinterp.attribution._space import Grid
from jinterp.model import logit


def grad_cam_plus_plus(
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
    """Grad-CAM++: pixel-wise weights that favour several occurrences of a class.

    ReLU(Σ_k w_k A_k) with w_k = Σ α·ReLU(g) over space, α = g²/(2g² + (ΣA)g³), g = ∂s/∂A, and ΣA
    the sum over space of the channel. These are the paper's formulas for s = exp(logit), whose
    higher derivatives are powers of the gradient of the logit; α is 0 where g is.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]`, of any dtype.
        target: the class to explain, as in `gradient`.
        layer: a name that `layers` lists, or None, as in `grad_cam`.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        relu: keep only what speaks for the class.
        channel_axis: of the layer's output.
        grid: how tokens are laid out, or None, as in `grad_cam`.

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
    >>> print(grad_cam_plus_plus(apply_fn, jnp.ones(2), x, 1).round(2))
    [[[0.57]
      [0.29]]]

    Source: Chattopadhyay et al. 2018, equations 10 and 19.
    """
    return gradient_cam(
        _grad_cam_plus_plus,
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


def _grad_cam_plus_plus(activation: Array, slopes: Array) -> Array:
    axes = space_axes(slopes)
    total = activation.sum(axis=axes, keepdims=True)
    # g² is cancelled: it underflows where the gradient is small.
    alpha = jnp.where(slopes == 0, 0, divided(jnp.ones_like(slopes), 2 + total * slopes))
    return weighted(activation, (alpha * jnp.maximum(slopes, 0)).sum(axis=axes))
