"""Integrated gradients: the gradient, averaged on the way from a baseline to the input."""

from typing import Any

from jinterp._question import (
    answer,
    as_inputs,
    ask,
    input_gradient,
    report_blank,
    with_predictions,
)
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._paths import (
    baselines_of,
    between,
    mean_of,
    rule_points,
    scaled_difference,
)
from jinterp.model import logit


def integrated_gradients(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
    baseline: Baseline = 0.0,
    num_steps: int = 50,
    rule: str = "midpoint",
) -> Any:
    """The path integral (x − b) ⊙ ∫₀¹ ∇s(b + α(x − b)) dα.

    Its sum is s(x) − s(b), up to the error of the integration: see `completeness_gap` for what is
    missing from the sum, and `adaptive_integrated_gradients` for the error of the values. The
    gradient of a ReLU network jumps along the path, so every rule converges like 1/steps;
    midpoints are a quarter better than Gauss-Legendre there.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        baseline: where the path starts, in the model's input space, where 0 is often grey and not
            black: a number, one example, or one for each; a list averages over several.
        num_steps: gradients for each example and baseline.
        rule: "midpoint", or "gauss_legendre" as in Captum.

    Returns:
        As `x` in shape and dtype, signed, in units of the score; with several targets
        `[batch, targets, ...]`.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: as `gradient` does, or `num_steps` is 0, or a baseline has another shape.

    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return (x @ params) ** 2
    >>> x = jnp.array([[3.0, 1.0]])
    >>> print(integrated_gradients(apply_fn, jnp.ones((2, 1)), x, 0).round().astype(int))
    [[12  4]]

    Source: Sundararajan, Taly and Yan 2017, equation 1.
    """
    positions, weights = rule_points(rule, num_steps)
    question = with_predictions(ask(apply_fn, params, x, target, score))
    values = mean_of(
        [
            answer(path_gradient_at, question, rows=each, points=(positions, weights))
            for each in baselines_of(baseline, question.x)
        ]
    )
    values = as_inputs(values, question.x)
    report_blank(values, "integrated_gradients", "the score does not change along the path.")
    return values


def path_gradient_at(static: Any, params: Params, rows: Any, point: Any) -> Any:
    """The contribution of one point of the straight path."""
    apply_fn, score = static
    x, target, baseline = rows
    position, weight = point
    slopes = input_gradient(apply_fn, score, params, between(baseline, x, position), target)
    return scaled_difference(x, baseline, slopes, weight)
