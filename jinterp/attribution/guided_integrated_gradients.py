"""Guided integrated gradients: the path moves first where the gradient is small."""

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
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._paths import baselines_of, mean_of
from jinterp.model import logit
from jinterp.model.score import at_least_float32

_CLOSE = 1e-9


def guided_integrated_gradients(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
    baseline: Baseline = 0.0,
    num_steps: int = 200,
    fraction: float = 0.25,
    max_dist: float = 0.02,
) -> Any:
    """The path integral along a path that avoids large gradients.

    Each step shortens the distance to x (in L1) by 1/steps, and moves the `fraction` of the
    features whose gradient is smallest, until that is reached; no feature strays from the straight
    path by more than `max_dist`. The gradient is taken once a step.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs `[batch, ...]`, one array, floating point.
        target: one class an example, as in `gradient`; None is the one predicted for `x`.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        baseline: where the path starts, as in `integrated_gradients`.
        num_steps: gradients for each example, one after the other.
        fraction: the share of features moved at once, over 0 to 1.
        max_dist: how far from the straight path, from 0 (on it) to 1 (anywhere in the box).

    Returns:
        As `x` in shape and dtype, signed, in units of the score.

    Raises:
        TypeError: `x` is not floating point, or no single array.
        ValueError: as `integrated_gradients` does, or `target` has several classes an example.

    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return (x @ params) ** 2
    >>> x = jnp.array([[3.0, 3.0]])
    >>> values = guided_integrated_gradients(
    ...     apply_fn, jnp.array([[2.0], [1.0]]), x, 0, num_steps=1000, max_dist=1.0
    ... )
    >>> print(values.round(0))
    [[72.  9.]]

    Source: Kapishnikov et al. 2021, algorithm 1.
    """
    _check.at_least_one("num_steps", num_steps, 200)
    _check.within("fraction", fraction, 0.0, 1.0)
    _check.within("max_dist", max_dist, 0.0, 1.0)
    question = with_predictions(ask(apply_fn, params, x, target, score))
    _one_array_and_class(question)
    ends = np.arange(1, num_steps + 1) / num_steps
    found = []
    for each in baselines_of(baseline, question.x):
        start = at_least_float32(each)
        initial = (start, jnp.zeros_like(start))
        settings = (float(fraction), float(max_dist))
        path = answer(
            _step, question, *settings, rows=each, points=ends, kind="carry", initial=initial
        )
        found.append(path[1])
    values = as_inputs(mean_of(found), question.x)
    report_blank(values, "guided_integrated_gradients", "the score does not change on the path.")
    return values


def _one_array_and_class(question: Any) -> None:
    if not isinstance(question.x, jax.Array):
        raise TypeError(
            f"`x` is a {type(question.x).__name__}; expected one array, whose features the path "
            "orders by their gradients. Use integrated_gradients."
        )
    _check.one_target(question.target)


def _step(static: Any, params: Params, rows: Any, end: Array, carry: Any) -> Any:
    apply_fn, score, fraction, max_dist = static
    x, target, baseline = rows
    here, values = carry
    slopes = input_gradient(apply_fn, score, params, here.astype(x.dtype), target)
    x, baseline, slopes = map(at_least_float32, (x, baseline, slopes))
    move = jax.vmap(_moved, in_axes=(0, 0, 0, 0, None, None, None))
    there = move(here, x, baseline, slopes, end.astype(x.dtype), fraction, max_dist)
    return there, values + (there - here) * slopes


def _moved(
    here: Array, x: Array, baseline: Array, slopes: Array, end: Array, fraction: float, dist: float
) -> Array:
    """One example, moved until its distance to x is 1 − end of the whole."""
    lowest = baseline + (x - baseline) * jnp.maximum(end - dist, 0)
    highest = baseline + (x - baseline) * jnp.minimum(end + dist, 1)
    goal = jnp.abs(x - baseline).sum() * (1 - end)
    behind = jnp.abs(here - baseline) < jnp.abs(lowest - baseline)
    start = jnp.where(behind, lowest, here)
    size = jnp.abs(slopes)

    def unfinished(state: tuple[Array, Array]) -> Array:
        there, is_done = state
        return ~is_done & (jnp.abs(there - x).sum() > goal + _CLOSE)

    def move(state: tuple[Array, Array]) -> tuple[Array, Array]:
        there, _ = state
        free = there != highest
        order = jnp.sort(jnp.where(free, size, jnp.inf).ravel())
        last = jnp.maximum(jnp.floor(fraction * (there.size - 1)).astype(jnp.int32), 0)
        last = jnp.minimum(last, jnp.maximum(free.sum() - 1, 0).astype(jnp.int32))
        chosen = free & (size <= order[last])
        reach = jnp.where(chosen, jnp.abs(there - highest), 0).sum()
        share = (jnp.abs(there - x).sum() - goal) / jnp.where(reach > 0, reach, 1)
        step = jnp.where(chosen, highest - there, 0) * jnp.clip(share, 0, 1)
        arrived = jnp.where(chosen & (share >= 1), highest, there + step)
        return arrived, (share <= 1) | (reach == 0)

    return jax.lax.while_loop(unfinished, move, (start, jnp.array(False)))[0]
