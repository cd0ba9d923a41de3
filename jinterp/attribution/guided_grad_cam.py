"""Guided Grad-CAM."""

import jax.numpy as jnp
from jaxtyping import Array

from jinterp import _check
from jinterp._question import ask
from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.attribution._backprop import backprop
from jinterp.attribution._space import Grid
from jinterp.attribution.grad_cam import grad_cam
from jinterp.attribution.upsample import upsample
from jinterp.model import logit


def guided_grad_cam(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    layer: str | None = None,
    score: Score = logit,
    channel_axis: int = -1,
    grid: Grid | None = None,
) -> Array:
    """Guided backpropagation where Grad-CAM finds the class: their product at every pixel.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: images or signals `[batch, *space, channels]`, one array, floating point.
        target: the class to explain, as in `gradient`.
        layer: of Grad-CAM, as there.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        channel_axis: of the layer's output and of `x`; 1 for channels first.
        grid: how tokens are laid out, or None, as in `grad_cam`.

    Returns:
        As `x` in shape and dtype, signed.

    Raises:
        TypeError: `x` is not one array, or not floating point.
        ValueError: as `grad_cam` does.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("conv"):
    ...         x = jax.nn.relu(x * params)
    ...     return x.mean((1, 2))
    >>> x = jnp.array([[[[1.0, 2.0]], [[-1.0, 1.0]]]])
    >>> guided_grad_cam(apply_fn, jnp.ones(2), x, 1).tolist()
    [[[[0.0, 0.5]], [[0.0, 0.25]]]]

    Source: Selvaraju et al. 2017, section 3.2. Captum resizes the map to the nearest; here it is
    linear, as in the paper.
    """
    question = ask(apply_fn, params, x, target, score)
    _check.one_array(question.x)
    maps = grad_cam(
        apply_fn,
        params,
        x,
        target,
        layer=layer,
        score=score,
        channel_axis=channel_axis,
        grid=grid,
    )
    maps = upsample(maps, question.x, channel_axis=channel_axis).astype(question.x.dtype)
    values = backprop(question, "guided", "guided_grad_cam")
    axis = channel_axis - question.x.ndim if channel_axis > 0 else channel_axis
    return values * jnp.expand_dims(maps, axis)
