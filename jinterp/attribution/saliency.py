"""The size of the gradient."""

from typing import Any

import jax
import jax.numpy as jnp

from jinterp._question import answer, ask, report_blank
from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.attribution.gradient import gradient_at
from jinterp.model import logit


def saliency(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
) -> Any:
    """The absolute gradient of the score by the input: |∂s/∂x|.

    The paper's map is the maximum of it over the channels: `aggregate(values, "max")`.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: the class to explain, as in `gradient`.
        score: which number of the logits, `score(logits, target) -> [batch]`.

    Returns:
        As `x` in shape and dtype, not negative.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: as `gradient` does.

    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> saliency(apply_fn, jnp.array([[1.0], [-3.0]]), jnp.ones((1, 2)), 0).tolist()
    [[1.0, 3.0]]

    Source: Simonyan, Vedaldi and Zisserman 2013, section 3.
    """
    question = ask(apply_fn, params, x, target, score)
    values = jax.tree.map(jnp.abs, answer(gradient_at, question))
    report_blank(values, "saliency", "the score does not depend on these inputs.")
    return values
