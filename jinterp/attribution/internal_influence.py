"""How a layer's units influence a score on the way from a baseline."""

from typing import Any

import jax

from jinterp._question import answer, ask, report_blank, with_predictions
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._layer import as_layer, layer_slopes
from jinterp.attribution._paths import baselines_of, between, mean_of, rule_points
from jinterp.model import logit
from jinterp.model.score import at_least_float32


def internal_influence(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    layer: str,
    score: Score = logit,
    baseline: Baseline = 0.0,
    num_steps: int = 50,
    rule: str = "midpoint",
) -> Any:
    """The mean gradient by a layer's output over the straight path of inputs: ∫ ∂s/∂a dα.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        layer: a name that `layers` lists.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        baseline: an input where the path starts, as in `integrated_gradients`.
        num_steps: gradients for each example and baseline.
        rule: "midpoint" or "gauss_legendre".

    Returns:
        As the layer's output in shape, signed, in units of the score per unit of the activation.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: as `integrated_gradients` and `tap` do.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         x = x @ params
    ...     return x ** 2
    >>> x = jnp.array([[3.0, 1.0]])
    >>> print(internal_influence(apply_fn, jnp.eye(2), x, 0, layer="hidden").round().astype(int))
    [[3 0]]

    Source: Leino et al. 2018, definition 1.
    """
    points = rule_points(rule, num_steps)
    question = with_predictions(ask(apply_fn, params, x, target, score))
    values = mean_of(
        [
            answer(_at, question, layer, rows=each, points=points)
            for each in baselines_of(baseline, question.x)
        ]
    )
    values = as_layer(values, question, layer)
    report_blank(values, "internal_influence", f"{layer!r} does not move the score on the path.")
    return values


def _at(static: Any, params: Params, rows: Any, point: Any) -> Any:
    apply_fn, score, layer = static
    x, target, baseline = rows
    position, weight = point
    inputs = between(baseline, x, position)
    slopes = layer_slopes(apply_fn, score, layer, params, inputs, target).slopes
    slopes = jax.tree.map(at_least_float32, slopes)
    return jax.tree.map(lambda slope: weight.astype(slope.dtype) * slope, slopes)
