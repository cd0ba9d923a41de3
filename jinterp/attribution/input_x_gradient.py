"""The input times the gradient."""

from typing import Any

import jax

from jinterp._question import answer, ask, input_gradient, report_blank
from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.model import logit


def input_x_gradient(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
) -> Any:
    """The input times the gradient of the score by it: x ⊙ ∂s/∂x.

    It sums to the score for networks of ReLUs and products without biases, and depends on where
    the zero of the input lies.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: the class to explain, as in `gradient`.
        score: which number of the logits, `score(logits, target) -> [batch]`.

    Returns:
        As `x` in shape and dtype, signed, in units of the score.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: as `gradient` does.

    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jnp.array([[1.0, 2.0]])
    >>> input_x_gradient(apply_fn, jnp.array([[1.0], [-3.0]]), x, 0).tolist()
    [[1.0, -6.0]]

    Source: Shrikumar et al. 2016.
    """
    question = ask(apply_fn, params, x, target, score)
    values = answer(_at, question)
    report_blank(values, "input_x_gradient", "the inputs or their gradients are zero.")
    return values


def _at(static: Any, params: Params, rows: Any, point: Any) -> Any:
    apply_fn, score = static
    x, target, _ = rows
    gradients = input_gradient(apply_fn, score, params, x, target)
    return jax.tree.map(lambda leaf, slope: leaf * slope, x, gradients)
