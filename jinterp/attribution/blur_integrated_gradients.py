"""Blur integrated gradients: the path is a blur that goes away."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._question import (
    answer,
    as_inputs,
    ask,
    input_gradient,
    report_blank,
    with_predictions,
)
from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.attribution.blur import blurred_leaf
from jinterp.model import logit
from jinterp.model.score import at_least_float32


def blur_integrated_gradients(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
    max_sigma: float = 50.0,
    num_steps: int = 100,
    channel_axis: int = -1,
) -> Any:
    """The path integral −∫ ∇s(blur(x, σ)) ⊙ ∂blur(x, σ)/∂σ dσ from `max_sigma` to 0.

    It needs no baseline colour. The blur is the heat equation on the grid with mirrored edges
    (a Gaussian of deviation σ), solved exactly by a cosine transform, so that its derivative is
    exact too. Steps are the middles of equal intervals of √σ: a network sees most of the change
    at small σ.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: images or signals `[batch, *space, channels]`, or a pytree of them, floating point.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        max_sigma: the deviation of the strongest blur, in pixels.
        num_steps: gradients for each example.
        channel_axis: the axis that is not blurred.

    Returns:
        As `x` in shape and dtype, signed, in units of the score; its sum is
        s(x) − s(blur(x, max_sigma)), up to the error of the integration.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: as `gradient` does, or `x` has no axis in space, or `num_steps` is 0.

    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x[:, 1] * params
    >>> x = jnp.array([[[0.0], [3.0], [0.0]]])
    >>> values = blur_integrated_gradients(apply_fn, jnp.ones(1), x, 0)
    >>> print(values[0, :, 0].round(2))
    [0. 2. 0.]

    Source: Xu, Venugopalan and Sundararajan 2020, equation 5; there the steps are equal in σ.
    """
    _check.at_least_one("num_steps", num_steps, 100)
    if not max_sigma > 0:
        raise ValueError(f"`max_sigma` is {max_sigma}; expected more than 0 pixels. Try 50.")
    question = with_predictions(ask(apply_fn, params, x, target, score))
    for leaf in jax.tree.leaves(question.x):
        _check.has_space(leaf, "x")
    roots = (np.arange(num_steps) + 0.5) / num_steps
    points = (max_sigma * roots**2, 2 * max_sigma * roots / num_steps)
    values = answer(_at, question, channel_axis, points=points)
    values = as_inputs(values, question.x)
    report_blank(values, "blur_integrated_gradients", "the score does not change along the path.")
    return values


def _at(static: Any, params: Params, rows: Any, point: Any) -> Any:
    apply_fn, score, channel_axis = static
    x, target, _ = rows
    sigma, width = point

    def blurred(sigma: Array) -> Inputs:
        return jax.tree.map(lambda leaf: blurred_leaf(leaf, sigma, channel_axis), x)

    inputs, change = jax.jvp(blurred, (sigma,), (jnp.ones_like(sigma),))
    slopes = input_gradient(apply_fn, score, params, inputs, target)
    slopes, change = jax.tree.map(at_least_float32, (slopes, change))
    return jax.tree.map(lambda a, b: -width.astype(a.dtype) * a * b, slopes, change)
