"""What the score loses with random subsets of features, beside what the values say of them."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp._question import scores_of
from jinterp._types import AnyArray, Baseline
from jinterp.attribution._groups import coalition_scores, design_fits
from jinterp.faithfulness._features import Features
from jinterp.faithfulness._removal import Removal
from jinterp.model.score import at_least_float32


class Losses(NamedTuple):
    """Of each subset, `[batch, samples]`.

    Attributes:
        said: the sum of the values of what is taken away.
        found: what the score loses.
    """

    said: Array
    found: Array


def losses(removed: Removal, baseline: Baseline, kept: AnyArray) -> Losses:
    """Of subsets.

    Args:
        removed: what can be taken away.
        baseline: what takes its place.
        kept: `[samples, features]` bool, True for what stays.
    """
    question, features = removed.question, removed.features
    scores = coalition_scores(question, features.groups, baseline, kept)
    whole = at_least_float32(scores_of(question))
    return Losses(_sums(features, kept), whole[:, None] - scores)


@jax.jit
def _sums(features: Features, kept: Array) -> Array:
    values = jnp.where(features.present, features.values, 0)
    taken = (~kept).astype(values.dtype)
    return jnp.matmul(values, taken.T, precision=jax.lax.Precision.HIGHEST)


def subsets(key: jax.Array, num_samples: int, num_features: int, num_taken: int) -> Array:
    """`[samples, features]` bool, False for as many as are taken away."""
    design_fits(num_samples, num_features, 4)
    return _subsets(key, num_samples, num_features, num_taken)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _subsets(key: jax.Array, num_samples: int, num_features: int, num_taken: int) -> Array:
    drawn = jax.random.uniform(key, (num_samples, num_features), jnp.float32)
    ranks = jnp.argsort(jnp.argsort(drawn, axis=1), axis=1)
    return ranks >= num_taken
