"""LIME: a weighted linear model of the score near the input."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp import _check
from jinterp._question import ask, with_predictions
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import FeatureMask, coalition_scores, groups_of, of_groups
from jinterp.attribution._regression import coefficients
from jinterp.model import logit


def lime(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    key: jax.Array,
    num_samples: int = 1000,
    feature_mask: FeatureMask = None,
    kernel_width: int | float = 0.25,
    ridge: int | float = 1.0,
    score: Score = logit,
    baseline: Baseline = 0.0,
) -> Any:
    """The coefficients of a linear model of the score, fitted to coalitions near the input.

    The φ (and c) that minimise Σ_S w(S) (s(S) − c − Σ_{i ∈ S} φ_i)² + ridge · Σ φ², where each
    group is in S with probability ½, the first S is all of them, and w(S) = exp(−d² / 2σ²) with
    d = 1 − √(|S| / G), the cosine distance to all, and σ the `kernel_width`. On a linear model
    without ridge it is what each group adds. All examples share the coalitions, so that no value
    depends on the batch an example stands in; but with groups of each example's own, G is the
    largest number in the batch.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, of any dtype.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        key: for the coalitions.
        num_samples: coalitions, each a forward pass.
        feature_mask: the groups, as in `feature_ablation`; for images `superpixels`. None makes
            each element one.
        kernel_width: σ, in units of the distance, from 0 to 1.
        ridge: pulls the coefficients to 0, more where coalitions are few.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        baseline: what takes the place of a group, as in `feature_ablation`.

    Returns:
        As `x` in shape, each element with the coefficient of its group, signed, in units of the
        score; in the dtype of `x`, float32 for integers. With several targets
        `[batch, targets, ...]`. They are sampled estimates, see `with_error`, and do not add up to
        s(x) − s(b).

    Raises:
        TypeError: as `feature_ablation` does, or `key` is missing.
        ValueError: as `feature_ablation` does, or a number is out of range, or without ridge there
            are no more coalitions than groups.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> weights, x = jnp.array([[2.0], [1.0], [1.0]]), jnp.array([[3.0, 1.0, 4.0]])
    >>> values = lime(apply_fn, weights, x, 0, key=jax.random.key(0), ridge=0.0)
    >>> print(values.round().astype(int))
    [[6 1 4]]

    Source: Ribeiro, Singh and Guestrin 2016, equation 1, with the kernel and the ridge of the
    authors' code (the paper has exp(−d² / σ²) and chooses features by a lasso). Their tables are
    sampled around the data's mean and deviation; here a column is kept or that of the baseline.
    """
    _check.at_least_one("num_samples", num_samples, 1000)
    _check.is_key(key)
    if not kernel_width > 0:
        raise ValueError(f"`kernel_width` is {kernel_width}; expected more than 0. Try 0.25.")
    if not ridge >= 0:
        raise ValueError(f"`ridge` is {ridge}; expected 0 or more. Try 1.0.")
    question = with_predictions(ask(apply_fn, params, x, target, score, differentiable=False))
    groups = groups_of(feature_mask, question.x)
    if ridge == 0 and num_samples <= groups.num:
        raise ValueError(
            f"`num_samples` is {num_samples} for {groups.num} groups, and `ridge` is 0; expected "
            f"at least {groups.num + 1}, so that there is one solution. Give a ridge, more "
            "samples, or fewer groups as `feature_mask`."
        )
    coalitions = _drawn(key, num_samples, groups.num)
    scores = coalition_scores(question, groups, baseline, coalitions)
    values = _fitted(scores, coalitions, kernel_width, ridge)
    return of_groups(values, groups, question.x, "lime")


@functools.partial(jax.jit, static_argnames=("num_samples", "num_groups"))
def _drawn(key: jax.Array, num_samples: int, num_groups: int) -> Array:
    """`[samples, groups]`, of which the first is all."""
    drawn = jax.random.bernoulli(key, jnp.float32(0.5), (num_samples, num_groups))
    return drawn.at[0].set(True)


@jax.jit
def _fitted(scores: Array, coalitions: Array, kernel_width: Any, ridge: Any) -> Array:
    """The coefficients, `[..., groups]`, of coalitions less their weighted mean: without c."""
    dtype = scores.dtype
    width, ridge = (jnp.asarray(each).astype(dtype) for each in (kernel_width, ridge))
    design = coalitions.astype(dtype)
    distances = 1 - jnp.sqrt(design.mean(axis=1))
    weights = jnp.exp(-jnp.square(distances / width) / 2)
    center = (weights[:, None] * design).sum(axis=0, keepdims=True) / weights.sum()
    penalty = ridge * jnp.eye(design.shape[1], dtype=dtype)
    return coefficients(scores - scores[..., :1], design - center, weights, penalty)
