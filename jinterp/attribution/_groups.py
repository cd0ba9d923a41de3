"""Groups of features, which are kept or replaced together, and the scores of what is kept."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp._question import Question, answer, report_blank
from jinterp._types import AnyArray, Baseline, Inputs, Params
from jinterp.attribution._paths import baselines_of, mean_of
from jinterp.model.score import at_least_float32

FeatureMask = Any
"""Which group each element of an example belongs to: integers from 0, in the structure of `x`."""


_MOST_BYTES = 2**32


class Groups(NamedTuple):
    """The groups of a batch.

    Attributes:
        ids: in the structure of `x`, `[batch, ...]` int32 that broadcast to it.
        num: how many there are.
    """

    ids: Any
    num: int


def groups_of(feature_mask: FeatureMask, x: Inputs) -> Groups:
    """The groups, with a row for each example on the devices of the inputs; or a named error."""
    ids, num = host_ids(feature_mask, x)

    def beside(own: np.ndarray, leaf: Array) -> Array:
        # A sum, and no broadcast, so that it lies on the devices of the inputs.
        rows = jnp.zeros_like(leaf).sum(axis=tuple(range(1, leaf.ndim)), keepdims=True)
        return rows.astype(jnp.int32) + own

    leaves, treedef = jax.tree.flatten(x)
    return Groups(jax.tree.unflatten(treedef, map(beside, ids, leaves)), num)


def host_ids(feature_mask: FeatureMask, x: Inputs) -> tuple[list[np.ndarray], int]:
    """The group of each element, `[1 or batch, ...]` for each array of `x`, and their number.

    Args:
        feature_mask: what a user gave; None makes each element a group, through all arrays.
        x: inputs, of which only the shapes are read.
    """
    leaves, treedef = jax.tree.flatten(x)
    if feature_mask is None:
        sizes = [int(np.prod(leaf.shape[1:])) for leaf in leaves]
        ends = np.cumsum(sizes)
        ids = [
            np.arange(end - size, end, dtype=np.int32).reshape(1, *leaf.shape[1:])
            for end, size, leaf in zip(ends, sizes, leaves, strict=True)
        ]
        return ids, int(ends[-1])
    found: Any = jax.tree.structure(feature_mask)
    if found != treedef:
        raise ValueError(
            f"`feature_mask` is a {found}; expected the structure of `x`, {treedef}, with groups "
            "for each of its arrays."
        )
    ids = [_leaf_ids(*each) for each in zip(jax.tree.leaves(feature_mask), leaves, strict=True)]
    return ids, _num_groups(ids)


def _leaf_ids(mask: Any, leaf: Any) -> np.ndarray:
    """`[1 or batch, ...]` of one array, or a named error."""
    if isinstance(mask, jax.core.Tracer):
        raise TypeError(
            "`feature_mask` is traced, which hides how many groups there are; expected an array "
            "whose values are known. Make it with NumPy, outside jit and vmap."
        )
    mask = np.asarray(mask)
    if not np.issubdtype(mask.dtype, np.integer):
        raise TypeError(
            f"`feature_mask` is {mask.dtype}; expected integers from 0, one number a group. Use "
            "feature_mask.astype(int)."
        )
    ids = mask[None] if mask.ndim == leaf.ndim - 1 else mask
    fits = ids.ndim == leaf.ndim and all(
        own in (1, whole) for own, whole in zip(ids.shape, leaf.shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"`feature_mask` has the shape {mask.shape}; expected {leaf.shape[1:]}, that of one "
            f"example, or {leaf.shape} for groups of each example; an axis may be 1."
        )
    return ids.astype(np.int32)


def _num_groups(ids: Sequence[np.ndarray]) -> int:
    """One more than the largest, if all below occur in some example."""
    lowest = min(int(own.min()) for own in ids)
    if lowest < 0:
        raise ValueError(
            f"`feature_mask` has the group {lowest}; expected 0 and above. What is never replaced "
            "needs a group of its own."
        )
    num = 1 + max(int(own.max()) for own in ids)
    counts = sum(np.bincount(own.ravel(), minlength=num) for own in ids)
    missing = np.flatnonzero(counts == 0)
    if missing.size:
        raise ValueError(
            f"`feature_mask` has groups up to {num - 1}, but none is {missing[0]}; expected each "
            "of 0 to the largest. Use np.unique(feature_mask, return_inverse=True)[1] to number "
            "them anew."
        )
    return num


def design_fits(num_points: int, num_groups: int, num_bytes: int) -> None:
    """That a design `[points, groups]` of elements so large can be held, or a named error."""
    needed = num_points * num_groups * num_bytes
    if needed > _MOST_BYTES:
        raise ValueError(
            f"there are {num_groups} groups, and {num_points:,} passes; who is in which would take "
            f"{needed / 2**30:,.0f} GiB. Give fewer groups as `feature_mask`, such as "
            "jinterp.patches or jinterp.superpixels make, or fewer samples."
        )


def coalition_scores(
    question: Question, groups: Groups, baseline: Baseline, coalitions: AnyArray
) -> Array:
    """The scores where only some groups are those of `x`, and the others those of the baseline.

    Args:
        question: what is explained.
        groups: of its inputs.
        baseline: what takes the place of a group; over several the scores are averaged.
        coalitions: `[points, groups]`, which groups are kept.

    Returns:
        `[batch, points]`, or `[batch, targets, points]`.
    """
    return scores_at(_score_of, question, groups, baseline, coalitions)


def scores_at(
    fn: Any, question: Question, groups: Groups, baseline: Baseline, points: Any
) -> Array:
    """The scores at some points, averaged over the baselines, float32 at least.

    Args:
        fn: as `answer` takes it; its rows are `(x, target, (baseline, ids))`.
        question: what is explained.
        groups: of its inputs.
        baseline: one, or a list of several.
        points: `[points, ...]`.
    """
    found = [
        answer(fn, question, rows=(each, groups.ids), points=points, kind="stack")
        for each in baselines_of(baseline, question.x)
    ]
    return mean_of([at_least_float32(scores) for scores in found])


def _score_of(static: Any, params: Params, rows: Any, coalition: Array) -> Array:
    apply_fn, score = static
    x, target, (baseline, ids) = rows
    kept = jax.tree.map(lambda own: picked(coalition, own), ids)
    return score(apply_fn(params, jax.tree.map(jnp.where, kept, x, baseline)), target)


def picked(numbers: Array, ids: Array) -> Array:
    """The number `[groups]` of the group of each element."""
    return picked_rows(jnp.broadcast_to(numbers[None], (len(ids), len(numbers))), ids)


def picked_rows(rows: Array, ids: Array) -> Array:
    """The same of numbers `[batch, groups]` of each example's own."""
    return jnp.take_along_axis(rows, ids.reshape(len(ids), -1), axis=1).reshape(ids.shape)


def of_groups(values: Array, groups: Groups, x: Inputs, name: str) -> Any:
    """The values of groups, `[batch, groups]` or `[batch, targets, groups]`, at every element.

    Args:
        values: of the groups.
        groups: of the inputs.
        x: the inputs.
        name: of the explainer, in what is said of values that are all zero.
    """
    found = _spread(values, groups.ids, x)
    report_blank(found, name, UNCHANGED)
    return found


UNCHANGED = "the score does not change with what is replaced by the baseline."


@jax.jit
def _spread(values: Array, ids: Any, x: Inputs) -> Any:
    def one(own: Array, leaf: Array) -> Array:
        found = jax.vmap(lambda each, numbers: each[..., numbers])(values, own)
        return as_leaf(jnp.broadcast_to(found, (*values.shape[:-1], *leaf.shape[1:])), leaf)

    return jax.tree.map(one, ids, x)


def as_leaf(values: Array, leaf: Array) -> Array:
    """In the dtype of an array of the inputs, float32 for integers."""
    return values.astype(leaf.dtype if jnp.issubdtype(leaf.dtype, jnp.floating) else jnp.float32)
