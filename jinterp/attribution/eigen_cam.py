"""Eigen-CAM."""

import jax.numpy as jnp
from jaxtyping import Array

from jinterp._question import first_output
from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.attribution._cam import Map, gradient_cam
from jinterp.attribution._space import Grid
from jinterp.model import logit
from jinterp.model.score import at_least_float32


def eigen_cam(
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
    """Eigen-CAM: the activation along its first principal component over space.

    ReLU(U₁σ₁) of A − mean over space, [space, channels] = UσVᵀ, with the sign by which it goes
    along with Σ_k A_k. It uses no gradient and so explains no class: `target` has no effect.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]`, of any dtype.
        target: without effect; taken so that explainers can be exchanged.
        layer: a name that `layers` lists, or None, as in `grad_cam`.
        score: without effect.
        relu: keep only what is above the mean.
        channel_axis: of the layer's output.
        grid: how tokens are laid out, or None, as in `grad_cam`.

    Returns:
        `[batch, *space]` at the layer's resolution, in units of the activation.

    Raises:
        ValueError: the layer has no axis in space, or as `gradient` and `tap` do.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("conv"):
    ...         x = x * params
    ...     return x.mean((1, 2))
    >>> x = jnp.array([[[[3.0, 4.0]], [[0.0, 0.0]]]])
    >>> print(eigen_cam(apply_fn, jnp.ones(2), x, relu=False).round(2))
    [[[ 2.5]
      [-2.5]]]

    Source: Muhammad and Yeasin 2020; there A is not centred, and the sign is left open.
    """
    return gradient_cam(
        _eigen_cam,
        apply_fn,
        params,
        x,
        target,
        layer=layer,
        score=first_output,
        relu=relu,
        channel_axis=channel_axis,
        grid=grid,
    )


def _eigen_cam(activation: Array, slopes: Array) -> Array:
    del slopes
    rows = at_least_float32(activation.reshape(len(activation), -1, activation.shape[-1]))
    centred = rows - rows.mean(axis=1, keepdims=True)
    left, sizes, _ = jnp.linalg.svd(centred, full_matrices=False)
    first = left[:, :, 0] * sizes[:, :1]
    along = (first * rows.sum(axis=2)).sum(axis=1, keepdims=True)
    first = jnp.where(along < 0, -first, first)
    return first.reshape(activation.shape[:-1]).astype(activation.dtype)
