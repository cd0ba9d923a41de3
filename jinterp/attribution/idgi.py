"""Important direction gradient integration: each step's change of the score, along the gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinterp import _check
from jinterp._question import (
    answer,
    as_inputs,
    ask,
    report_blank,
    with_predictions,
)
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._paths import baselines_of, between, mean_of
from jinterp.model import logit
from jinterp.model.score import at_least_float32


def idgi(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
    baseline: Baseline = 0.0,
    num_steps: int = 50,
) -> Any:
    """The change of the score in each step of a path, shared out by the squared gradient.

    φ = Σ_j g_j² / ⟨g_j, g_j⟩ · (s(x_{j+1}) − s(x_j)), with g_j the gradient where the step starts.
    It leaves out the part of integrated gradients that moves along level sets of the score, and
    sums to s(x) − s(b) exactly but for steps whose gradient is zero.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        baseline: where the path starts, as in `integrated_gradients`.
        num_steps: for each a gradient and a forward pass.

    Returns:
        As `x` in shape and dtype, signed, in units of the score.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: as `integrated_gradients` does.

    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> idgi(apply_fn, jnp.array([[2.0], [1.0]]), jnp.ones((1, 2)), 0).round(3).tolist()
    [[2.4000000953674316, 0.6000000238418579]]

    Source: Yang, Wang and Bilgic 2023, algorithm 1.
    """
    _check.at_least_one("num_steps", num_steps, 32)
    question = with_predictions(ask(apply_fn, params, x, target, score))
    ends = np.arange(num_steps + 1) / num_steps
    values = mean_of(
        [
            answer(_at, question, rows=each, points=(ends[:-1], ends[1:]))
            for each in baselines_of(baseline, question.x)
        ]
    )
    values = as_inputs(values, question.x)
    report_blank(values, "idgi", "the score does not change along the path.")
    return values


def _at(static: Any, params: Params, rows: Any, point: Any) -> Any:
    apply_fn, score = static
    x, target, baseline = rows
    here, there = (between(baseline, x, position) for position in point)

    def scores(inputs: Inputs) -> Any:
        values = score(apply_fn(params, inputs), target)
        return values.sum(), values

    (_, before), slopes = jax.value_and_grad(scores, has_aux=True)(here)
    return _shared_out(scores(there)[1] - before, slopes)


def _shared_out(change: Any, slopes: Inputs) -> Inputs:
    """Each example's change, in proportion to its squared gradient; nothing where that is zero."""
    squares = jax.tree.map(lambda leaf: jnp.square(at_least_float32(leaf)), slopes)
    norms = sum(leaf.reshape(len(leaf), -1).sum(axis=1) for leaf in jax.tree.leaves(squares))
    shares = jnp.where(norms > 0, change.astype(norms.dtype) / jnp.where(norms > 0, norms, 1), 0)
    return jax.tree.map(lambda leaf: leaf * shares.reshape(-1, *[1] * (leaf.ndim - 1)), squares)
