"""The score of the input as a map shows it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp import _check
from jinterp._question import scores_of
from jinterp._types import Inputs
from jinterp.attribution._groups import picked_rows
from jinterp.attribution._paths import baselines_of, mean_of
from jinterp.faithfulness._features import Features, finite_only
from jinterp.faithfulness._removal import Removal
from jinterp.model.score import at_least_float32


class Seen(NamedTuple):
    """Scores `[batch]`, at least float32.

    Attributes:
        whole: of the input.
        through: of the input seen through its map; NaN where values are not finite.
    """

    whole: Array
    through: Array


def seen_through(removed: Removal) -> Seen:
    """With H = max(values, 0) / max values the model sees x ⊙ H + b ⊙ (1 − H)."""
    question = removed.question
    _check.can_be_mixed(question.x)
    found = []
    for baseline in baselines_of(removed.baseline, question.x):
        x = _masked(question.x, baseline, removed.features)
        found.append(at_least_float32(scores_of(question._replace(x=x))))
    whole = at_least_float32(scores_of(question))
    return Seen(whole, finite_only(mean_of(found), removed.features))


@jax.jit
def _masked(x: Inputs, baseline: Inputs, features: Features) -> Inputs:
    values = jnp.maximum(jnp.where(features.present, features.values, 0), 0)
    highest = values.max(axis=1, keepdims=True)
    shown = values / jnp.where(highest > 0, highest, 1)

    def one(leaf: Array, other: Array, own: Array) -> Any:
        mask = picked_rows(shown, own).astype(leaf.dtype)
        return leaf * mask + other * (1 - mask)

    return jax.tree.map(one, x, baseline, features.groups.ids)
