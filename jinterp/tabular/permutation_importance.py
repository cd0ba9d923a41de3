"""How much worse the score gets when a column is shuffled."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._text import text_table
from jinterp._types import ApplyFn, Params
from jinterp.tabular._groups import Features, features_of
from jinterp.tabular._passes import asked
from jinterp.tabular._scored import Scored, scored, warn_of_one_class
from jinterp.tabular.remarks import remarks, warn_of_columns
from jinterp.tabular.table import Table, table

TableScore = Callable[..., Any]
"""`score(outputs, targets) -> scalar` of a whole dataset, larger is better."""


class Importance(NamedTuple):
    """How much the score of a dataset falls without what is in a column.

    Attributes:
        names: of the columns or groups `[features]`, in the order of the columns.
        mean: `[features]`, in the unit of the score; positive where the model needs the column.
        deviation: `[features]` standard deviation over the repeats (ddof 0).
        per_repeat: `[features, repeats]`.
        baseline_score: the score of the data as they are.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    deviation: np.ndarray
    per_repeat: np.ndarray
    baseline_score: float

    def __str__(self) -> str:
        """The features as a table, largest first."""
        rows = [
            [self.names[n], f"{self.mean[n]:z.4f}", f"{self.deviation[n]:.4f}"]
            for n in order_of(self)
        ]
        found = text_table(["feature", "importance", "deviation"], rows)
        return f"{found}\n\nfrom a score of {self.baseline_score:z.4f}"


def permutation_importance(
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    *,
    score: TableScore,
    num_repeats: int = 5,
    groups: Mapping[str, Sequence[Any]] | None = None,
    key: Array,
) -> Importance:
    """How much the score falls when a column is shuffled: score(f(x), y) − score(f(x^(j)), y).

    In x^(j) the cells of column j stand in another order, missing ones too. Each repeat has one
    order of the rows, which all columns share. The model is not trained again, so this says what
    it reads, on data like those given: take held-out ones. Where columns tell the same, each seems
    less important than they are together; `groups` shuffles them as one.

    Args:
        apply_fn: `apply_fn(params, x) -> outputs [rows, ...]`.
        params: its parameters.
        ds: anything that `table` takes, with targets.
        score: `score(outputs, targets) -> scalar` in JAX, larger is better, such as
            `jinterp.tabular.accuracy` or `jinterp.tabular.r2`.
        num_repeats: how often each column is shuffled.
        groups: names of groups, and the columns in each; other columns stand alone.
        key: for the orders.

    Returns:
        An `Importance`, in the unit of the score. A column that the model ignores has exactly 0.

    Raises:
        ValueError: `num_repeats` is not positive, a column is unknown, the score is not one finite
            number, or the outputs are not finite, as where the model cannot take missing cells.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jax.random.normal(jax.random.key(0), (999, 3))
    >>> weights = jnp.array([3.0, 1.0, 0.0])
    >>> found = permutation_importance(
    ...     apply_fn, weights, (x, x @ weights), score=jinterp.tabular.r2, key=jax.random.key(1)
    ... )
    >>> print(found.mean.round(1))
    [1.8 0.2 0. ]

    Source: Breiman (2001), Random Forests, section 10; as a score's fall, scikit-learn's
    `permutation_importance`.
    """
    ds = table(ds)
    warn_of_one_class(ds)
    _check.at_least_one("num_repeats", num_repeats, 5)
    _check.is_key(key)
    features = features_of(ds, groups)
    question = asked(apply_fn, params, ds)
    of_model = scored(question, score, ds)
    baseline_score = of_model.as_it_is()
    if groups is None:
        warn_of_columns(remarks(ds))
    falls = falls_of(of_model, ds, features, baseline_score, num_repeats, key)
    return importance_of(features.names, falls, baseline_score)


def falls_of(
    of_model: Scored,
    ds: Table,
    features: Features,
    baseline_score: float,
    num_repeats: int,
    key: Array,
) -> np.ndarray:
    """How much the score falls with each feature shuffled, `[features, repeats]`."""
    orders = np.array(_orders(key, num_repeats, len(ds.x)))
    if of_model.weights is not None:
        orders = _of_counted(orders, np.flatnonzero(of_model.weights))
    return baseline_score - of_model.shuffled(orders, features.masks).T


@functools.partial(jax.jit, static_argnames=("num_repeats", "num_rows"))
def _orders(key: Array, num_repeats: int, num_rows: int) -> Array:
    """`[repeats, rows]`."""
    keys = jax.random.split(key, num_repeats)
    return jax.vmap(lambda each: jax.random.permutation(each, num_rows))(keys)


def _of_counted(orders: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """The orders among the rows that count; the others stay where they are."""
    found = np.tile(np.arange(orders.shape[1], dtype=orders.dtype), (len(orders), 1))
    for order, mixed in zip(orders, found, strict=True):
        mixed[counted] = order[np.isin(order, counted)]
    return found


def importance_of(
    names: tuple[str, ...], per_repeat: np.ndarray, baseline_score: float
) -> Importance:
    """The importance with its mean and deviation over the repeats."""
    mean, deviation = per_repeat.mean(axis=1), per_repeat.std(axis=1)
    return Importance(names, mean, deviation, per_repeat, baseline_score)


def order_of(importance: Importance) -> np.ndarray:
    """The features from the largest mean to the smallest."""
    return np.argsort(-importance.mean, kind="stable")
