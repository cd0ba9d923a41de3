"""Deconvolution."""

from typing import Any

from jinterp._question import ask
from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.attribution._backprop import backprop
from jinterp.model import logit


def deconvolution(
    apply_fn: ApplyFn, params: Params, x: Inputs, target: Target = None, *, score: Score = logit
) -> Any:
    """The gradient, of which a ReLU passes only what is positive, whether it was on or not.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`; ReLUs are found in its trace, as `max(v, 0)`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: the class to explain, as in `gradient`.
        score: which number of the logits, `score(logits, target) -> [batch]`.

    Returns:
        As `x` in shape and dtype, signed, in units of the score per unit of the input. A model
        without a ReLU gets its plain gradient, with a warning.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: as `gradient` does.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return jax.nn.relu(x) @ params
    >>> deconvolution(apply_fn, jnp.array([[2.0], [-1.0], [1.0]]), jnp.array([[1.0, 1.0, -1.0]]))
    Array([[2., 0., 1.]], dtype=float32)

    Source: Zeiler and Fergus 2014, section 2.1.
    """
    return backprop(ask(apply_fn, params, x, target, score), "deconvolution", "deconvolution")
