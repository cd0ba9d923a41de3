"""What speaks for values that are shown to somebody."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jinterp import _check
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.faithfulness.completeness_gap import completeness_gap
from jinterp.faithfulness.deletion import deletion
from jinterp.faithfulness.insertion import insertion
from jinterp.model import logit, probability


class Evidence(NamedTuple):
    """Numbers beside a map, `[batch]`.

    Attributes:
        gaps: what the values miss of the change of the score from the baseline; NaN of maps, which
            have no reason to add up to it.
        deletions: the area below the score while features go, largest value first.
        insertions: while they come.
        random_deletions: the same for random values.
        random_insertions: the same for random values.
    """

    gaps: Float[Array, " batch"]
    deletions: Float[Array, " batch"]
    insertions: Float[Array, " batch"]
    random_deletions: Float[Array, " batch"]
    random_insertions: Float[Array, " batch"]

    @property
    def beats_random(self) -> Bool[Array, " batch"]:
        """Whether the score falls faster than for random values, and rises faster."""
        falls_faster = self.deletions < self.random_deletions
        return falls_faster & (self.insertions > self.random_insertions)


def evidence(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target = None,
    *,
    key: jax.Array,
    score: Score = logit,
    baseline: Baseline = 0.0,
    channel_axis: int = -1,
    num_steps: int = 16,
) -> Evidence:
    """The gap, and deletion and insertion beside those of random values.

    What the reports show beside every heat map.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, as in `deletion`.
        values: attributions, as in `deletion`.
        target: the class that was explained, as in `deletion`.
        key: for the random values, which all examples share.
        score: the score that was explained, for the gap; deletion and insertion are of the
            probability.
        baseline: what takes the place of a feature, as in `deletion`, but no function.
        channel_axis: of arrays with axes in space.
        num_steps: of deletion and insertion; four times as many forward passes an example.

    Returns:
        An `Evidence`.

    Raises:
        TypeError: `key` is missing or no key.
        ValueError: as `deletion` does.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jnp.array([[3.0, 1.0, -2.0, 0.5]])
    >>> weights = jnp.stack([jnp.ones(4), -jnp.ones(4)], axis=1)
    >>> found = evidence(apply_fn, weights, x, x, 0, key=jax.random.key(0))
    >>> found.gaps.tolist(), found.beats_random.tolist()
    ([0.0], [True])
    """
    _check.is_key(key)
    x = jax.tree.map(jnp.asarray, x)
    keywords: dict[str, Any] = {
        "baseline": baseline,
        "channel_axis": channel_axis,
        "num_steps": num_steps,
        "score": probability,
    }
    both = [
        measure(apply_fn, params, x, each, target, **keywords)
        for each in (values, _random(x, key))
        for measure in (deletion, insertion)
    ]
    gaps = jnp.full_like(both[0], jnp.nan)
    if jax.tree.map(jnp.shape, values) == jax.tree.map(jnp.shape, x):
        gaps = completeness_gap(apply_fn, params, x, values, target, score=score, baseline=baseline)
    return Evidence(gaps, *both)


@jax.jit
def _random(x: Inputs, key: Array) -> Inputs:
    """Values of one example for all of them."""
    leaves, treedef = jax.tree.flatten(x)
    drawn = [
        jnp.broadcast_to(jax.random.normal(own, leaf.shape[1:], jnp.float32)[None], leaf.shape)
        for leaf, own in zip(leaves, jax.random.split(key, len(leaves)), strict=True)
    ]
    return jax.tree.unflatten(treedef, drawn)
