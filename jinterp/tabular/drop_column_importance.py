"""How much worse a model gets that was trained without a column."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._types import ApplyFn
from jinterp.model.score import at_least_float32
from jinterp.tabular._groups import features_of
from jinterp.tabular._passes import asked
from jinterp.tabular._scored import scored, warn_of_one_class
from jinterp.tabular._training import FitFn, fitted, model_number
from jinterp.tabular.permutation_importance import Importance, TableScore, importance_of
from jinterp.tabular.table import Table, table


def drop_column_importance(
    fit: FitFn,
    apply_fn: ApplyFn,
    ds: Any,
    held_out: Any,
    *,
    score: TableScore,
    num_repeats: int = 1,
    groups: Mapping[str, Sequence[Any]] | None = None,
    key: Array,
) -> Importance:
    """How much the score falls when the model is trained without a column.

    score(f, held out) − score(f without j, held out), each f trained on `ds` anew. All are trained
    in one program, or in as few as fit the memory budget. Unlike permutation this asks what the
    column adds to the others: of two equal columns, neither adds anything.

    A column is dropped by setting it to its mean over `ds`, in both parts, so that shapes stay: a
    constant tells a model with a bias nothing. A missing cell is set to the mean, too.

    Args:
        fit: `fit(x, y, key) -> params`, which JAX can trace.
        apply_fn: `apply_fn(params, x) -> outputs [rows, ...]`.
        ds: what to train on, anything that `table` takes, with targets.
        held_out: what to score on, with the same columns.
        score: `score(outputs, targets) -> scalar` in JAX, larger is better.
        num_repeats: trainings of each model, by other keys.
        groups: names of groups, and the columns in each; other columns stand alone.
        key: for the trainings; in a repeat all models have the same.

    Returns:
        An `Importance`, in the unit of the score; its deviation is that over the trainings.

    Raises:
        ValueError: `num_repeats` is not positive, the columns of both parts differ, the score is
            not one finite number, or the outputs are not finite.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def fit(x, y, key):
    ...     return jnp.linalg.lstsq(x, y)[0]
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jax.random.normal(jax.random.key(0), (999, 2))
    >>> ds = x, x @ jnp.array([3.0, 1.0])
    >>> found = drop_column_importance(
    ...     fit, apply_fn, ds, ds, score=jinterp.tabular.r2, key=jax.random.key(1)
    ... )
    >>> print(found.mean.round(1))
    [0.9 0.1]

    Source: the package rfpimp's `dropcol_importances` (Parr et al., 2018).
    """
    ds, held_out = table(ds), table(held_out)
    _same_columns(ds, held_out)
    warn_of_one_class(held_out)
    _check.at_least_one("num_repeats", num_repeats, 1)
    _check.is_key(key)
    features = features_of(ds, groups)
    x = jnp.asarray(ds.x)
    means = jnp.nanmean(at_least_float32(x), axis=0).astype(x.dtype)
    masks = np.concatenate([np.zeros_like(features.masks[:1]), features.masks])
    found = []
    for each in jax.random.split(key, num_repeats):
        shared = jnp.broadcast_to(means, masks.shape), jnp.broadcast_to(each, len(masks))
        params = fitted(fit, ds, (jnp.asarray(masks), *shared), _without)
        found.append(_scores(apply_fn, params, held_out, score, masks, means))
    scores = np.stack(found, axis=1)
    return importance_of(features.names, scores[:1] - scores[1:], float(scores[0].mean()))


def _without(x: Array, y: Array, mask: Array, means: Array, key: Array) -> tuple[Array, Array]:
    return jnp.where(mask[None, :], means[None, :], x), y


def _scores(
    apply_fn: ApplyFn, params: Any, held_out: Table, score: TableScore, masks: Any, means: Array
) -> np.ndarray:
    """The score of each model with its columns set to their means."""
    found = []
    for number, mask in enumerate(masks):
        x = jnp.where(mask[None, :], means[None, :], jnp.asarray(held_out.x))
        part = held_out._replace(x=x)
        question = asked(apply_fn, model_number(params, number), part)
        found.append(scored(question, score, part).as_it_is())
    return np.array(found)


def _same_columns(ds: Table, held_out: Table) -> None:
    if ds.column_names != held_out.column_names or ds.categories != held_out.categories:
        raise ValueError(
            "the columns of `held_out` are not those of `ds`, or their categories differ; expected "
            "the same in the same order. Make one table of all rows, then cut its x and targets."
        )
