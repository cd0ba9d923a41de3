"""HiRes-CAM."""

from jaxtyping import Array

from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.attribution._cam import Map, gradient_cam
from jinterp.attribution._space import Grid
from jinterp.model import logit


def hires_cam(
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
    """HiRes-CAM: activation times gradient, place by place.

    ReLU(Σ_k g_k A_k): what each place adds to the score, if the layers above are linear.

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
    >>> print(hires_cam(apply_fn, jnp.ones(2), x, 1))
    [[[1. ]
      [0.5]]]

    Source: Draelos and Carin 2020, equation 4.
    """
    return gradient_cam(
        _hires_cam,
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


def _hires_cam(activation: Array, slopes: Array) -> Array:
    return (activation * slopes).sum(axis=-1)
