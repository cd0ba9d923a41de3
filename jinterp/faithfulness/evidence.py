"""What speaks for values that are shown to somebody."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jinterp import _check
from jinterp._types import ApplyFn, Explainer, Inputs, Params, Score, Target
from jinterp.attribution._groups import groups_of
from jinterp.faithfulness._bound import Bound, at_inputs, bound_of, removal_score
from jinterp.faithfulness.completeness_gap import completeness_gap
from jinterp.faithfulness.deletion import deletion
from jinterp.faithfulness.insertion import insertion


class Evidence(NamedTuple):
    """Numbers beside a map, `[batch]`; NaN where values are not finite.

    Attributes:
        gaps: what the values miss of the change of the score from the baseline, of jinterp's
            explainers whose values are made to add up to it, such as `integrated_gradients`; NaN
            of others, and of explainers made of explainers.
        deletions: the area below the score while features go, largest value first.
        insertions: while they come.
        random_deletions: the same for random values, `[num_random, batch]`.
        random_insertions: the same for random values.
    """

    gaps: Float[Array, " batch"]
    deletions: Float[Array, " batch"]
    insertions: Float[Array, " batch"]
    random_deletions: Float[Array, "num_random batch"]
    random_insertions: Float[Array, "num_random batch"]

    @property
    def beats_random(self) -> Bool[Array, " batch"]:
        """Whether the score falls and rises faster than for random values, in every draw.

        Random values are the best of n + 1 in about one case of n + 1, so that with 5 draws a
        sixth of the maps that know nothing are among these.
        """
        return self.falls_faster & self.rises_faster

    @property
    def falls_faster(self) -> Bool[Array, " batch"]:
        """Whether deletion is lower than in every draw."""
        return (self.deletions[None] < self.random_deletions).all(axis=0)

    @property
    def rises_faster(self) -> Bool[Array, " batch"]:
        """Whether insertion is higher than in every draw."""
        return (self.insertions[None] > self.random_insertions).all(axis=0)

    def captions(self) -> list[str]:
        """A text for each example, of a measure a line, beside the means for random values."""
        means = [np.mean(each, axis=0) for each in self[3:]]
        return [_caption(*row) for row in zip(*map(np.asarray, self[:3]), *means, strict=True)]


def evidence(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target = None,
    *,
    explain: Explainer | None = None,
    key: jax.Array,
    score: Score | None = None,
    num_steps: int = 16,
    num_random: int = 5,
) -> Evidence:
    """The gap, and deletion and insertion beside those of random values.

    What the reports show beside every heat map.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, as in `deletion`.
        values: attributions, as in `deletion`, or maps of a layer, which `upsample` brings there.
        target: the class that was explained, as in `deletion`.
        explain: what explained, whose score, baseline, `feature_mask` and `channel_axis` are taken
            as it or its partial has them; None takes the logit and 0, and no gap. Of several
            baselines deletion and insertion take the mean.
        key: for the random values, which all examples share.
        score: of deletion and insertion. None is the probability where there are classes and the
            score that was explained is `logit`, `log_probability`, `margin` or this; else it is
            that score.
        num_steps: of deletion and insertion.
        num_random: how often random values are drawn. Forward passes an example:
            2 (num_steps + 1) (num_random + 1).

    Returns:
        An `Evidence`.

    Raises:
        TypeError: `key` is missing or no key.
        ValueError: as `deletion` does.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jnp.array([[3.0, 1.0, -2.0, 0.5]])
    >>> weights = jnp.stack([jnp.ones(4), -jnp.ones(4)], axis=1)
    >>> values = jinterp.deep_lift(apply_fn, weights, x, 0)
    >>> found = evidence(
    ...     apply_fn, weights, x, values, 0, explain=jinterp.deep_lift, key=jax.random.key(0)
    ... )
    >>> found.gaps.tolist(), found.beats_random.tolist()
    ([0.0], [True])
    """
    _check.is_key(key)
    _check.at_least_one("num_random", num_random, 5)
    x, bound = jax.tree.map(jnp.asarray, x), bound_of(explain)
    keywords = {
        "score": score or removal_score(bound.score, _check.outputs_of(apply_fn, params, x)),
        "baseline": bound.one_baseline(x),
        "feature_mask": bound.feature_mask,
        "channel_axis": bound.channel_axis,
        "num_steps": num_steps,
    }

    def areas(each: Inputs) -> list[Array]:
        return [fn(apply_fn, params, x, each, target, **keywords) for fn in (deletion, insertion)]

    own = areas(at_inputs(values, x, bound.channel_axis))
    random = [areas(_random(x, bound, each)) for each in jax.random.split(key, num_random)]
    of_random = [jnp.stack(each) for each in zip(*random, strict=True)]
    gaps = jnp.full_like(own[0], jnp.nan)
    if bound.adds_up:
        gaps = _gaps(bound, apply_fn, params, x, values, target)
    return Evidence(gaps, *own, *of_random)


def _gaps(bound: Bound, *asked: Any) -> Array:
    return completeness_gap(
        *asked,
        score=bound.score,
        baseline=bound.baselines(),
        feature_mask=bound.feature_mask,
    )


def _random(x: Inputs, bound: Bound, key: Array) -> Inputs:
    """Values of one example for all of them; a group's elements share theirs."""
    if bound.feature_mask is None:
        return _of_elements(x, key)
    groups = groups_of(bound.feature_mask, x)
    drawn = jax.random.normal(key, (groups.num,), jnp.float32)
    return jax.tree.map(lambda ids: jnp.take(drawn, ids), groups.ids)


@jax.jit
def _of_elements(x: Inputs, key: Array) -> Inputs:
    leaves, treedef = jax.tree.flatten(x)
    drawn = [
        jnp.broadcast_to(jax.random.normal(own, leaf.shape[1:], jnp.float32)[None], leaf.shape)
        for leaf, own in zip(leaves, jax.random.split(key, len(leaves)), strict=True)
    ]
    return jax.tree.unflatten(treedef, drawn)


def _caption(
    gap: Any, deleted: Any, inserted: Any, random_deleted: Any, random_inserted: Any
) -> str:
    if not np.isfinite([deleted, inserted]).all():
        return "no evidence: not finite"
    lines = [
        f"deletion {deleted:.2f}, random {random_deleted:.2f}",
        f"insertion {inserted:.2f}, random {random_inserted:.2f}",
        *([] if np.isnan(gap) else [f"gap {gap:.2g}"]),
    ]
    return "\n".join(lines).replace("-", "−")
