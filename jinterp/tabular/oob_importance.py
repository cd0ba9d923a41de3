"""A network's random forest: members trained on resampled rows, scored on those they never saw."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jinterp import _check
from jinterp._types import ApplyFn, Params
from jinterp.tabular._groups import features_of
from jinterp.tabular._passes import asked
from jinterp.tabular._scored import scored, warn_of_one_class
from jinterp.tabular._training import FitFn, fitted, model_number
from jinterp.tabular.permutation_importance import (
    Importance,
    TableScore,
    falls_of,
    importance_of,
)
from jinterp.tabular.remarks import remarks, warn_of_columns
from jinterp.tabular.table import table


class Fits(NamedTuple):
    """Models trained on resampled rows.

    Attributes:
        params: `[members, ...]` in every leaf.
        rows: which rows each member was trained on `[members, rows]`, some of them repeated.
    """

    params: Params
    rows: Int[np.ndarray, "members rows"]


def bootstrap(fit: FitFn, ds: Any, *, num_members: int, key: Array) -> Fits:
    """Models trained on rows drawn with replacement, as many as there are.

    All are trained in one program, or in as few as fit the memory budget.

    Args:
        fit: `fit(x, y, key) -> params`, which JAX can trace.
        ds: anything that `table` takes, with targets.
        num_members: how many models.
        key: for the rows and the trainings.

    Returns:
        `Fits`. About 37 % of the rows are unknown to each member.

    Raises:
        ValueError: `num_members` is not positive.

    >>> import jax, jax.numpy as jnp
    >>> def fit(x, y, key):
    ...     return jnp.linalg.lstsq(x, y)[0]
    >>> x = jax.random.normal(jax.random.key(0), (50, 2))
    >>> fits = bootstrap(fit, (x, x[:, 0]), num_members=3, key=jax.random.key(1))
    >>> fits.params.shape, fits.rows.shape
    ((3, 2), (3, 50))

    Source: Breiman (1996), Bagging predictors.
    """
    ds = table(ds)
    _check.at_least_one("num_members", num_members, 20)
    _check.is_key(key)
    of_rows, of_fits = jax.random.split(key)
    num_rows = len(ds.x)
    rows = jax.random.randint(of_rows, (num_members, num_rows), 0, num_rows)
    params = fitted(fit, ds, (rows, jax.random.split(of_fits, num_members)), _resampled)
    return Fits(params, np.asarray(rows))


def oob_importance(
    fits: Fits,
    apply_fn: ApplyFn,
    ds: Any,
    *,
    score: TableScore,
    num_repeats: int = 1,
    groups: Mapping[str, Sequence[Any]] | None = None,
    key: Array,
) -> Importance:
    """Permutation importance on the rows that each member did not train on, its mean over members.

    No held-out rows are needed, and the deviation is that over the members: of other samples of
    the data and other trainings, not of the shuffling alone.

    Args:
        fits: what `bootstrap` returned.
        apply_fn: `apply_fn(params, x) -> outputs [rows, ...]`.
        ds: the rows that `bootstrap` was given.
        score: `score(outputs, targets, weights) -> scalar` in JAX, larger is better; the weights
            are 1 for rows that count, else 0.
        num_repeats: how often each column is shuffled for a member.
        groups: names of groups, and the columns in each; other columns stand alone.
        key: for the orders.

    Returns:
        An `Importance`, in the unit of the score; `per_repeat` is `[features, members]`, and
        `baseline_score` the mean score on unknown rows.

    Raises:
        ValueError: `fits` are of other rows, a member saw all of them, the score takes no weights
            or is not one finite number, or the outputs are not finite.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def fit(x, y, key):
    ...     return jnp.linalg.lstsq(x, y)[0]
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jax.random.normal(jax.random.key(0), (999, 2))
    >>> ds = x, x @ jnp.array([3.0, 1.0])
    >>> fits = bootstrap(fit, ds, num_members=9, key=jax.random.key(1))
    >>> found = oob_importance(
    ...     fits, apply_fn, ds, score=jinterp.tabular.r2, key=jax.random.key(2)
    ... )
    >>> print(found.mean.round(1))
    [1.7 0.2]

    Source: Breiman (2001), Random Forests, section 10, with a score in place of the votes.
    """
    ds = table(ds)
    warn_of_one_class(ds)
    _check.at_least_one("num_repeats", num_repeats, 1)
    _check.is_key(key)
    features = features_of(ds, groups)
    unknown = _unknown_rows(fits, len(ds.x))
    if groups is None:
        warn_of_columns(remarks(ds))
    falls, baselines = [], []
    for number, each in enumerate(jax.random.split(key, len(unknown))):
        question = asked(apply_fn, model_number(fits.params, number), ds)
        of_model = scored(question, score, ds)._replace(weights=jnp.asarray(unknown[number]))
        baselines.append(of_model.as_it_is())
        found = falls_of(of_model, ds, features, baselines[-1], num_repeats, each)
        falls.append(found.mean(axis=1))
    return importance_of(features.names, np.stack(falls, axis=1), float(np.mean(baselines)))


def _resampled(x: Array, y: Array, rows: Array, key: Array) -> tuple[Array, Array]:
    return x[rows], y[rows]


def _unknown_rows(fits: Fits, num_rows: int) -> np.ndarray:
    """`[members, rows]` float32: 1 for rows that a member did not train on."""
    if fits.rows.shape[1] != num_rows:
        raise ValueError(
            f"`fits` are of {fits.rows.shape[1]} rows, and `ds` has {num_rows}; expected the rows "
            "that bootstrap was given."
        )
    unknown = np.ones((len(fits.rows), num_rows), np.float32)
    np.put_along_axis(unknown, fits.rows, 0, axis=1)
    if not unknown.any(axis=1).all():
        raise ValueError(
            f"member {unknown.any(axis=1).argmin()} of `fits` was trained on every row; expected "
            "rows that it did not see. Give more rows."
        )
    return unknown
