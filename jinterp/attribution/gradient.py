"""The gradient of a score by the input."""

from typing import Any

from jinterp._question import answer, ask, input_gradient, report_blank
from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.model import logit


def gradient(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
) -> Any:
    """The signed gradient of the score by the input: ∂s/∂x.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: the class to explain: None for the predicted one, an int, ints `[batch]`, or
            `[batch, targets]` for several, which share the forward pass.
        score: which number of the logits, `score(logits, target) -> [batch]`.

    Returns:
        As `x` in shape and dtype, in units of the score per unit of the input; with several
        targets `[batch, targets, ...]`.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: a wrong shape or target, or a model that mixes the examples of a batch.

    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> gradient(apply_fn, jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.ones((1, 2)), 0).tolist()
    [[1.0, 3.0]]

    Source: Baehrens et al. 2010; Simonyan, Vedaldi and Zisserman 2013.
    """
    question = ask(apply_fn, params, x, target, score)
    values = answer(gradient_at, question)
    report_blank(values, "gradient", "the score does not depend on these inputs.")
    return values


def gradient_at(static: Any, params: Params, rows: Any, point: Any) -> Any:
    apply_fn, score = static
    x, target, _ = rows
    return input_gradient(apply_fn, score, params, x, target)
