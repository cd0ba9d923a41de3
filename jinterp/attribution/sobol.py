"""Total Sobol indices: the share of the score's variance that each group has a part in."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp import _check
from jinterp._question import ask, with_predictions
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import (
    FeatureMask,
    design_fits,
    groups_of,
    of_groups,
    picked,
    scores_at,
)
from jinterp.attribution._paths import between
from jinterp.model import logit


def sobol(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    key: jax.Array,
    num_samples: int = 32,
    feature_mask: FeatureMask = None,
    score: Score = logit,
    baseline: Baseline = 0.0,
) -> Any:
    """The total Sobol index of each group: E[Var(s | all other groups)] / Var(s).

    The model sees x m + b (1 − m) with an intensity m ~ U(0, 1) for each group. With designs A and
    B of `num_samples` rows, and A with the column of the group from B, Jansen's estimator is
    ½ mean (s(A) − s(A with B's column))² / Var(s). Both are a Latin hypercube. All examples share
    the draws, so that no value depends on the batch an example stands in.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        key: for the draws.
        num_samples: rows of a design; with G groups it takes num_samples · (G + 2) forward passes.
        feature_mask: the groups, as in `feature_ablation`; None makes each element one.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        baseline: what a group is where its intensity is 0, as in `feature_ablation`.

    Returns:
        As `x` in shape and dtype, each element with the index of its group: a share of the
        variance, not negative; with several targets `[batch, targets, ...]`. The shares add up to
        1 where groups do not interact, and to more where they do: an interaction counts for each
        of its groups. 0 where the score does not vary. They are sampled estimates, which can be
        above 1; see `with_error`.

    Raises:
        TypeError: `x` is not floating point, `key` is missing, or `feature_mask` is no integers.
        ValueError: as `feature_ablation` does, `num_samples` is less than 2, or there are too many
            groups for the memory.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> weights, x = jnp.array([[1.0], [2.0], [0.0]]), jnp.ones((1, 3))
    >>> print(sobol(apply_fn, weights, x, 0, key=jax.random.key(0), num_samples=5000).round(1))
    [[0.2 0.8 0. ]]

    Source: Fel et al. 2021, equation 3; Jansen 1999. There the designs are quasi-random sequences,
    of which no standard error can be known.
    """
    _check.at_least_one("num_samples", num_samples, 32)
    if num_samples < 2:
        raise ValueError(f"`num_samples` is {num_samples}; expected at least 2. Try 32.")
    _check.is_key(key)
    question = with_predictions(ask(apply_fn, params, x, target, score, differentiable=False))
    _check.can_be_mixed(question.x)
    groups = groups_of(feature_mask, question.x)
    design_fits(num_samples * (groups.num + 2), groups.num, 4)
    intensities = _drawn(key, num_samples, groups.num)
    scores = scores_at(_mixed, question, groups, baseline, intensities)
    return of_groups(_jansen(scores, num_samples), groups, question.x, "sobol")


@functools.partial(jax.jit, static_argnames=("num_samples", "num_groups"))
def _drawn(key: jax.Array, num_samples: int, num_groups: int) -> Array:
    """The designs A, B, and A with one column of B, `[num_samples · (groups + 2), groups]`."""
    order_key, place_key = jax.random.split(key)
    shape = num_samples, 2 * num_groups
    strata = jax.random.uniform(order_key, shape, jnp.float32).argsort(axis=0)
    places = jax.random.uniform(place_key, shape, jnp.float32)
    first, second = jnp.split((strata.astype(places.dtype) + places) / num_samples, 2, axis=1)
    is_own = jnp.eye(num_groups, dtype=bool)[None]
    crossed = jnp.where(is_own, second[:, None], first[:, None])
    return jnp.concatenate([first, second, crossed.reshape(-1, num_groups)])


def _mixed(static: Any, params: Params, rows: Any, intensities: Array) -> Array:
    """The score where each group is a share of the way from the baseline to the input."""
    apply_fn, score = static
    x, target, (baseline, ids) = rows
    shares = jax.tree.map(lambda own: picked(intensities, own), ids)
    mixed = jax.tree.map(lambda share, a, b: between(b, a, share), shares, x, baseline)
    return score(apply_fn(params, mixed), target)


@functools.partial(jax.jit, static_argnames="num_samples")
def _jansen(scores: Array, num_samples: int) -> Array:
    """The indices `[..., groups]`; 0 where nothing but rounding varies."""
    both, crossed = jnp.split(scores, [2 * num_samples], axis=-1)
    crossed = crossed.reshape(*scores.shape[:-1], num_samples, -1)
    change = both[..., :num_samples, None] - crossed
    variance = both.var(axis=-1, keepdims=True)
    rounding = jnp.finfo(scores.dtype).eps * jnp.abs(both).max(axis=-1, keepdims=True)
    varies = variance > jnp.square(rounding)
    indices = jnp.square(change).mean(axis=-2) / (2 * jnp.where(varies, variance, 1))
    return jnp.where(varies, indices, jnp.zeros((), indices.dtype))
