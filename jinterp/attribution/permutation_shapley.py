"""Shapley values sampled over orders in which the groups come."""

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
    coalition_scores,
    design_fits,
    groups_of,
    of_groups,
)
from jinterp.model import logit


def permutation_shapley(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    key: jax.Array,
    num_samples: int = 100,
    feature_mask: FeatureMask = None,
    score: Score = logit,
    baseline: Baseline = 0.0,
) -> Any:
    """The Shapley value of each group, as the mean of what it adds over random orders.

    In an order the groups of `x` come one after the other in place of the baseline; each gets what
    the score changes by. Orders come in pairs, one the other reversed, so that what two groups do
    together is shared equally and only interactions of three and more are left to chance. For
    every draw the values add up to s(x) − s(b), and a group that the model ignores gets 0. All
    examples share the orders, so that no value depends on the batch an example stands in.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, of any dtype.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        key: for the orders.
        num_samples: orders, an even number; with G groups each takes G − 1 forward passes.
        feature_mask: the groups, as in `feature_ablation`; None makes each element one.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        baseline: what takes the place of a group, as in `feature_ablation`.

    Returns:
        As `exact_shapley` returns them; sampled estimates of these, off by about 1/√num_samples of
        the spread of what a group adds; see `with_error`.

    Raises:
        TypeError: as `feature_ablation` does, or `key` is missing.
        ValueError: as `feature_ablation` does, `num_samples` is 0 or odd, or there are too many
            groups for the memory.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x[:, :1] * x[:, 1:2] + x[:, 2:]
    >>> x = jnp.array([[2.0, 3.0, 5.0]])
    >>> permutation_shapley(apply_fn, None, x, 0, key=jax.random.key(0), num_samples=2).tolist()
    [[3.0, 3.0, 5.0]]

    Source: Castro, Gómez and Tejada 2009; pairs as in Mitchell et al. 2022, section 4.1.
    """
    _check.at_least_one("num_samples", num_samples, 100)
    if num_samples % 2:
        raise ValueError(
            f"`num_samples` is {num_samples}; expected an even number, since orders come in pairs, "
            f"each with its reverse. Use {num_samples + 1}."
        )
    _check.is_key(key)
    question = with_predictions(ask(apply_fn, params, x, target, score, differentiable=False))
    groups = groups_of(feature_mask, question.x)
    design_fits(num_samples * (groups.num - 1), groups.num, 1)
    ranks = _drawn(key, num_samples, groups.num)
    scores = coalition_scores(question, groups, baseline, _beginnings(ranks))
    return of_groups(_mean_added(scores, ranks), groups, question.x, "permutation_shapley")


@functools.partial(jax.jit, static_argnames=("num_samples", "num_groups"))
def _drawn(key: jax.Array, num_samples: int, num_groups: int) -> Array:
    """At which place each group comes, `[samples, groups]`."""
    places = jax.random.uniform(key, (num_samples // 2, num_groups), jnp.float32)
    ranks = places.argsort(axis=1).argsort(axis=1).astype(jnp.int32)
    return jnp.concatenate([ranks, num_groups - 1 - ranks])


@jax.jit
def _beginnings(ranks: Array) -> Array:
    """No group, all of them, and the first 1, 2, ... of each order, `[points, groups]`."""
    num_groups = ranks.shape[1]
    num_in = jnp.arange(1, num_groups, dtype=ranks.dtype)
    inner = (ranks[:, None] < num_in[None, :, None]).reshape(-1, num_groups)
    ends = jnp.array([[False], [True]])
    return jnp.concatenate([jnp.broadcast_to(ends, (2, num_groups)), inner])


@jax.jit
def _mean_added(scores: Array, ranks: Array) -> Array:
    """`[..., groups]`: the mean over the orders of what the score changes by as a group comes."""
    num_samples, num_groups = ranks.shape
    ends, inner = jnp.split(scores, [2], axis=-1)
    inner = inner.reshape(*scores.shape[:-1], num_samples, num_groups - 1)
    none, every = (
        jnp.broadcast_to(ends[..., None, n : n + 1], (*inner.shape[:-1], 1)) for n in range(2)
    )
    added = jnp.diff(jnp.concatenate([none, inner, every], axis=-1), axis=-1)

    def of_groups(of_places: Array) -> Array:
        return jnp.take_along_axis(of_places, ranks, axis=-1).mean(axis=0)

    for _ in scores.shape[:-1]:
        of_groups = jax.vmap(of_groups)
    return of_groups(added)
