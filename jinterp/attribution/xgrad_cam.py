"""XGrad-CAM."""

from jaxtyping import Array

from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.attribution._cam import Map, divided, gradient_cam, space_axes, weighted
from jinterp.attribution._space import Grid
from jinterp.model import logit


def xgrad_cam(
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
    """XGrad-CAM: channels weighted so that the weighted activations add up to the score's share.

    ReLU(Σ_k w_k A_k) with w_k = Σ(g·A)/ΣA over space, and 0 for a channel whose ΣA is 0.

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
    >>> print(xgrad_cam(apply_fn, jnp.ones(2), x, 1))
    [[[1. ]
      [0.5]]]

    Source: Fu et al. 2020, equation 8.
    """
    return gradient_cam(
        _xgrad_cam,
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


def _xgrad_cam(activation: Array, slopes: Array) -> Array:
    axes = space_axes(slopes)
    weights = divided((slopes * activation).sum(axis=axes), activation.sum(axis=axes))
    return weighted(activation, weights)
