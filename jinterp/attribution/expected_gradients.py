"""Expected gradients: integrated gradients over baselines drawn from data."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
from jinterp.attribution._paths import between, matching, range_of, scaled_difference
from jinterp.model import logit


def expected_gradients(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    baselines: Inputs,
    key: jax.Array,
    num_samples: int = 100,
    score: Score = logit,
) -> Any:
    """The mean of (x − b) ⊙ ∇s(b + α(x − b)) over baselines b from data and α ~ U(0, 1).

    One α is drawn from each of `num_samples` equal intervals, and the baselines take turns in a
    random order, which varies less than independent draws. All examples share the draws, so that
    no value depends on the batch an example stands in.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        baselines: examples of the data, `[num_baselines, ...]`, in the structure of `x`.
        key: for the draws.
        num_samples: gradients for each example.
        score: which number of the logits, `score(logits, target) -> [batch]`.

    Returns:
        As `x` in shape and dtype, signed, in units of the score. It is a sampled estimate: its
        sum misses s(x) − mean s(b) by about 1/√num_samples of the spread.

    Raises:
        TypeError: `x` is not floating point, or `key` is missing.
        ValueError: as `gradient` does, or `baselines` have another shape than the examples.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> zero, x = jnp.zeros((1, 2)), jnp.array([[3.0, 1.0]])
    >>> values = expected_gradients(
    ...     apply_fn, jnp.ones((2, 1)), x, 0, baselines=zero, key=jax.random.key(0), num_samples=4
    ... )
    >>> values.tolist()
    [[3.0, 1.0]]

    Source: Erion et al. 2021, equation 3. `gradient_shap` is it with noise.
    """
    _check.at_least_one("num_samples", num_samples, 100)
    _check.is_key(key)
    question = with_predictions(ask(apply_fn, params, x, target, score))
    points = *drawn(matching(baselines, question.x), key, num_samples), None
    values = as_inputs(answer(contribution_at, question, num_samples, points=points), question.x)
    report_blank(values, "expected_gradients", "the score does not change along the paths.")
    return values


def drawn(baselines: Inputs, key: jax.Array, num_samples: int) -> tuple[Inputs, jax.Array]:
    """A baseline `[samples, ...]` and a position `[samples]` for each sample."""
    order_key, position_key = jax.random.split(key)
    num_baselines = len(jax.tree.leaves(baselines)[0])
    rounds = -(-num_samples // num_baselines)
    orders = jax.vmap(lambda k: jax.random.permutation(k, num_baselines))(
        jax.random.split(order_key, rounds)
    )
    chosen = orders.reshape(-1)[:num_samples]
    offsets = jax.random.uniform(position_key, (num_samples,), jnp.float32)
    positions = (jnp.arange(num_samples).astype(offsets.dtype) + offsets) / num_samples
    return jax.tree.map(lambda leaf: leaf[chosen], baselines), positions


def contribution_at(static: Any, params: Params, rows: Any, point: Any) -> Any:
    """The contribution of one baseline, position and noise, in shares of the range, or none."""
    apply_fn, score, num_samples = static
    x, target, _ = rows
    one, position, noise = point
    baseline = jax.tree.map(lambda b, a: jnp.broadcast_to(b[None], a.shape), one, x)
    inside = between(baseline, x, position)
    if noise is not None:
        inside = jax.tree.map(
            lambda at, own, leaf: at + own[None].astype(leaf.dtype) * range_of(leaf),
            inside,
            noise,
            x,
        )
    slopes = input_gradient(apply_fn, score, params, inside, target)
    return scaled_difference(x, baseline, slopes, np.float64(1 / num_samples))
