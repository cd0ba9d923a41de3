"""How much of a score passes through each unit of a layer."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp._question import answer, ask, report_blank, with_predictions
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._layer import activation_of, as_layer, layer_slopes
from jinterp.attribution._paths import baselines_of, between, mean_of, rule_points
from jinterp.model import logit
from jinterp.model.score import at_least_float32


def conductance(
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
    """The path integral ∫ ∂s/∂a · (da/dα) dα over the straight path of inputs, for a layer's a.

    Each step takes the change of the activation over it, times the gradient inside it. The sum
    over a layer through which everything passes is s(x) − s(b).

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        layer: a name that `layers` lists.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        baseline: an input where the path starts, as in `integrated_gradients`.
        num_steps: steps of the path.
        rule: "midpoint" takes the gradient in the middle of equal steps; "gauss_legendre" goes, as
            Captum does, over `num_steps` + 1 Gauss-Legendre nodes, takes it where a step starts,
            and leaves out the ends of the path.

    Returns:
        As the layer's output in shape, signed, in units of the score.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: as `integrated_gradients` and `tap` do.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         x = x @ params
    ...     return x ** 2
    >>> values = conductance(apply_fn, jnp.eye(2), jnp.array([[3.0, 1.0]]), 0, layer="hidden")
    >>> print(values.round().astype(int))
    [[9 0]]

    Source: Dhamdhere, Sundararajan and Yan 2018, equation 3.
    """
    question = with_predictions(ask(apply_fn, params, x, target, score))
    steps = _steps(rule, num_steps)
    values = mean_of(
        [
            answer(_at, question, layer, rows=each, points=steps)
            for each in baselines_of(baseline, question.x)
        ]
    )
    values = as_layer(values, question, layer)
    report_blank(values, "conductance", f"nothing passes through {layer!r} on the path.")
    return values


def _steps(rule: str, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The ends of steps, and where their gradients are taken, some consecutive steps at a time.

    The last ones are filled with steps of no length.
    """
    positions, _ = rule_points(rule, num_steps)
    ends = np.arange(num_steps + 1) / num_steps
    if rule != "midpoint":
        ends, _ = rule_points(rule, num_steps + 1)
        positions = ends[:-1]
    together = min(num_steps, _TOGETHER)
    num = -(-num_steps // together)
    firsts = together * np.arange(num)[:, None]
    ends = ends[np.minimum(firsts + np.arange(together + 1), num_steps)]
    return ends, positions[np.minimum(firsts + np.arange(together), num_steps - 1)]


# Neighbouring steps share an end, so n steps at a time take 2n + 1 forward passes and not 3n.
_TOGETHER = 5


def _at(static: Any, params: Params, rows: Any, point: Any) -> Any:
    apply_fn, score, layer = static
    x, target, baseline = rows

    def activation(position: Array) -> Any:
        return activation_of(apply_fn, layer, params, between(baseline, x, position))

    def slope(position: Array) -> Any:
        inside = between(baseline, x, position)
        return layer_slopes(apply_fn, score, layer, params, inside, target).slopes

    ends, positions = point
    slopes, values = jax.vmap(slope)(positions), jax.vmap(activation)(ends)
    return jax.tree.map(
        lambda slope, value: (
            at_least_float32(slope) * jnp.diff(at_least_float32(value), axis=0)
        ).sum(0),
        slopes,
        values,
    )
