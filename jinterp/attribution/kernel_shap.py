"""Kernel SHAP: Shapley values as a weighted regression over coalitions."""

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._question import ask, with_predictions
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import FeatureMask, coalition_scores, groups_of, of_groups
from jinterp.attribution._regression import coefficients
from jinterp.model import logit


def kernel_shap(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    key: jax.Array,
    num_samples: int = 1000,
    feature_mask: FeatureMask = None,
    score: Score = logit,
    baseline: Baseline = 0.0,
) -> Any:
    """The Shapley value of each group, from a regression of scores by who is in a coalition.

    The φ with Σ_i φ_i = s(x) − s(b) that minimise Σ_S w(S) (s(S) − s(b) − Σ_{i ∈ S} φ_i)², with
    w(S) = (G − 1) / (C(G, k) k (G − k)) for a coalition of k of the G groups. The smallest and
    the largest coalitions weigh most: sizes are taken whole from both ends as long as they fit
    into `num_samples`, and from the others coalitions are drawn by their weight, each with its
    complement. Where all fit, the values are exact. All examples share the coalitions, so that no
    value depends on the batch an example stands in.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, of any dtype.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        key: for the coalitions.
        num_samples: coalitions, each a forward pass; at least twice as many as groups, 2^G − 2
            are all.
        feature_mask: the groups, as in `feature_ablation`; None makes each element one.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        baseline: what takes the place of a group, as in `feature_ablation`.

    Returns:
        As `exact_shapley` returns them; sampled estimates of these, which add up to s(x) − s(b)
        for every draw; see `with_error`. A group that the model ignores gets next to nothing, and
        not 0.

    Raises:
        TypeError: as `feature_ablation` does, or `key` is missing.
        ValueError: as `feature_ablation` does, or `num_samples` is too small.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x[:, :1] * x[:, 1:2] + x[:, 2:]
    >>> x = jnp.array([[2.0, 3.0, 5.0]])
    >>> print(kernel_shap(apply_fn, None, x, 0, key=jax.random.key(0)).round().astype(int))
    [[3 3 5]]

    Source: Lundberg and Lee 2017, theorem 2; sizes as in the shap package, which keeps only some
    features by a lasso where we keep all.
    """
    _check.at_least_one("num_samples", num_samples, 1000)
    _check.is_key(key)
    question = with_predictions(ask(apply_fn, params, x, target, score, differentiable=False))
    groups = groups_of(feature_mask, question.x)
    plan = _plan(groups.num, num_samples)
    coalitions, weights = _drawn(key, plan)
    scores = coalition_scores(question, groups, baseline, coalitions)
    return of_groups(_values(scores, coalitions, weights), groups, question.x, "kernel_shap")


class _Plan(NamedTuple):
    """Which coalitions are scored.

    Attributes:
        num_groups: how many groups there are.
        whole: the sizes of which all are taken, up to half of the groups; with complements.
        num_pairs: coalitions drawn from the other sizes, each with its complement.
    """

    num_groups: int
    whole: int
    num_pairs: int

    @property
    def drawn(self) -> range:
        """The sizes drawn from, up to half of the groups."""
        return range(self.whole + 1, self.num_groups // 2 + 1)

    def weight(self, size: int) -> float:
        """Of all coalitions of a size and their complements."""
        both = 1 if 2 * size == self.num_groups else 2
        return both / (size * (self.num_groups - size))

    def num(self, size: int) -> int:
        """Coalitions of a size, and their complements."""
        both = 1 if 2 * size == self.num_groups else 2
        return both * math.comb(self.num_groups, size)


def _plan(num_groups: int, num_samples: int) -> _Plan:
    if num_samples < min(2 * num_groups, 2**num_groups - 2):
        raise ValueError(
            f"`num_samples` is {num_samples} for {num_groups} groups; expected at least "
            f"{2 * num_groups}, each group alone and all without it. Use num_samples="
            f"{2 * num_groups} or more, or give fewer groups as `feature_mask`, such as "
            "jinterp.patches or jinterp.superpixels make."
        )
    plan, left = _Plan(num_groups, 0, 0), num_samples
    for size in plan.drawn:
        share = plan.weight(size) / sum(map(plan.weight, plan.drawn))
        # The first always, so that the regression has one solution.
        if plan.num(size) > left or (size > 1 and left * share < plan.num(size) * (1 - 1e-8)):
            break
        plan, left = plan._replace(whole=size), left - plan.num(size)
    return plan._replace(num_pairs=left // 2 if plan.drawn else 0)


def _drawn(key: jax.Array, plan: _Plan) -> tuple[Array, Array]:
    """No group, all of them, and coalitions, `[points, groups]`; the weights of the last."""
    coalitions, weights = _known(plan)
    found = jnp.asarray(coalitions)
    if plan.num_pairs:
        found = jnp.concatenate([found, _pairs(key, plan)])
    return found, jnp.asarray(weights)


@functools.lru_cache(maxsize=16)
def _known(plan: _Plan) -> tuple[np.ndarray, np.ndarray]:
    """The coalitions that are not drawn, and the weights of all."""
    numbers = np.arange(plan.num_groups)
    coalitions, weights = [numbers < 0, numbers >= 0], []
    for size in range(1, plan.whole + 1):
        for members in itertools.combinations(range(plan.num_groups), size):
            is_in = np.isin(numbers, members)
            both = [is_in] if 2 * size == plan.num_groups else [is_in, ~is_in]
            coalitions += both
            weights += len(both) * [plan.weight(size) / plan.num(size)]
    share = sum(map(plan.weight, plan.drawn)) / max(2 * plan.num_pairs, 1)
    weights += 2 * plan.num_pairs * [share]
    return np.stack(coalitions), np.array(weights)


@functools.partial(jax.jit, static_argnames="plan")
def _pairs(key: jax.Array, plan: _Plan) -> Array:
    """Random coalitions and their complements; each size has its share of them."""
    size_key, place_key = jax.random.split(key)
    weights = np.cumsum([plan.weight(size) for size in plan.drawn])
    numbers = jnp.arange(plan.num_pairs, dtype=jnp.int32).astype(jnp.float32)
    at = (numbers + jax.random.uniform(size_key, (), jnp.float32)) / plan.num_pairs
    steps = jnp.array(weights[:-1] / weights[-1], jnp.float32)
    sizes = plan.drawn.start + (at[:, None] >= steps[None]).sum(axis=1)
    places = jax.random.uniform(place_key, (plan.num_pairs, plan.num_groups), jnp.float32)
    is_in = places.argsort(axis=1).argsort(axis=1) < sizes[:, None]
    return jnp.concatenate([is_in, ~is_in])


@jax.jit
def _values(scores: Array, coalitions: Array, weights: Array) -> Array:
    """The constrained least squares, `[..., groups]`.

    With φ = (s(x) − s(b)) / G + ψ the constraint is Σ ψ = 0: a regression on coalitions less
    their mean over the groups, whose matrix is a multiple of the identity where all are taken.
    """
    num_groups, dtype = coalitions.shape[1], scores.dtype
    none, every, others = jnp.split(scores, [1, 2], axis=-1)
    share = (every - none) / num_groups
    design = coalitions[2:].astype(dtype)
    num_in = design.sum(axis=1)
    rest = (others - none) - share * jax.lax.broadcast(num_in, scores.shape[:-1])
    design = design - design.mean(axis=1, keepdims=True)
    weights = weights.astype(dtype)
    # Fills what the constraint leaves open, as large as the rest.
    size = (weights[:, None] * jnp.square(design)).sum() / max(num_groups - 1, 1)
    penalty = jnp.full((num_groups, num_groups), 1 / num_groups, dtype) * size
    values = coefficients(rest, design, weights, penalty)
    return share + values - values.mean(axis=-1, keepdims=True)
