"""How far two columns act together: Friedman's H."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._question import Question
from jinterp._text import text_table
from jinterp._trace import held_here
from jinterp._types import ApplyFn, Params, Score, Target
from jinterp.tabular._passes import asked_of_number, in_parts
from jinterp.tabular.partial_dependence import numbers_at
from jinterp.tabular.table import column_number, table

_MOST_SHOWN = 20
_NOISE = 4  # times the rounding of the largest output: less is no effect


class Interactions(NamedTuple):
    """Friedman's H statistics, from 0 where effects add to about 1 where they only act together.

    Attributes:
        names: of the columns.
        pairwise: H of each pair `[columns, columns]`, symmetric, 0 on the diagonal.
        total: H of each column with all others together `[columns]`.
        unscaled: of each pair the root mean square of what they do together, in the unit of the
            output `[columns, columns]`: a pair with little effect can have a large H.
        rows: the rows of the dataset that were used.
    """

    names: tuple[str, ...]
    pairwise: np.ndarray
    total: np.ndarray
    unscaled: np.ndarray
    rows: np.ndarray

    def __str__(self) -> str:
        """The twenty pairs with the largest joint effects as a table."""
        first, second = np.triu_indices(len(self.names), 1)
        order = np.argsort(-self.unscaled[first, second], kind="stable")
        pairs = [(first[n], second[n]) for n in order[:_MOST_SHOWN]]
        return text_table(
            ["columns", "joint effect", "H"],
            [
                [
                    f"{self.names[a]}, {self.names[b]}",
                    f"{self.unscaled[a, b]:.4g}",
                    f"{self.pairwise[a, b]:.4f}",
                ]
                for a, b in pairs
            ],
        )


def interaction_strength(
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    *,
    columns: Sequence[str | int] | None = None,
    target: Target = None,
    score: Score | None = None,
    num_rows: int = 100,
    key: Array,
) -> Interactions:
    """The share of two columns' joint effect that is not the sum of their own.

    H²_jk = Σ_i (F_jk(x_i) − F_j(x_i) − F_k(x_i))² / Σ_i F_jk(x_i)², and for a column with all
    others H²_j = Σ_i (F(x_i) − F_j(x_i) − F_∖j(x_i))² / Σ_i F(x_i)². Each F is a centred partial
    dependence at the rows of a sample, over the same rows: num_rows² outputs for each column and
    each pair, in programs that fit the memory budget. H is the root.

    Args:
        apply_fn: `apply_fn(params, x) -> outputs`, as `partial_dependence` takes it.
        params: its parameters.
        ds: anything that `table` takes; targets are not needed.
        columns: which to look at, two or more; None takes all.
        target: the class to look at; None is class 1 of two.
        score: in which number of it; None is the probability of a class, and the output itself
            where the targets are floats, as in a regression.
        num_rows: how many rows to draw; where there are fewer, all of them.
        key: for the rows.

    Returns:
        `Interactions`. H is 0 where the effect is no more than rounding. It is estimated on a
        sample, and with correlated columns the partial dependences are of rows that do not occur.

    Raises:
        ValueError: a column is unknown or there is only one, there are three classes or more and
            no target, or the outputs are not finite.

    >>> import jax, numpy as np
    >>> def apply_fn(params, x):
    ...     return x[:, 0] * x[:, 1] + x[:, 2]
    >>> x = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), np.float32).reshape(3, 8).T
    >>> print(interaction_strength(apply_fn, None, x, key=jax.random.key(0)).pairwise)
    [[0. 1. 0.]
     [1. 0. 0.]
     [0. 0. 0.]]

    Source: Friedman and Popescu (2008), Predictive learning via rule ensembles, equations 44 and
    45. They give H².
    """
    ds = table(ds)
    _check.at_least_one("num_rows", num_rows, 100)
    _check.is_key(key)
    chosen = _chosen(ds, columns)
    order = np.asarray(jax.random.permutation(key, len(ds.x)))
    rows = np.sort(order[:num_rows])
    some = ds._replace(x=held_here(ds.x)[rows])
    question = asked_of_number(apply_fn, params, some, target, score)
    means = _partial_dependences(question, some, _masks(chosen, ds.x.shape[1]))
    names = tuple(ds.column_names[each] for each in chosen)
    return Interactions(names, *_statistics(means, len(chosen)), rows)


def _masks(chosen: list[int], num_columns: int) -> np.ndarray:
    """All columns, each one, each pair, and all but each one: `[subsets, columns]`."""
    single = np.eye(num_columns, dtype=bool)[chosen]
    first, second = np.triu_indices(len(chosen), 1)
    whole = np.ones((1, num_columns), bool)
    return np.concatenate([whole, single, single[first] | single[second], ~single])


def _chosen(ds: Any, columns: Sequence[str | int] | None) -> list[int]:
    names = range(len(ds.column_names)) if columns is None else columns
    chosen = [column_number(ds, name) for name in names]
    if len(set(chosen)) < 2 or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"`columns` are {[ds.column_names[each] for each in chosen]}; expected at least two, "
            "each once."
        )
    return chosen


def _partial_dependences(question: Question, ds: Any, masks: np.ndarray) -> np.ndarray:
    """The mean output with the columns of each mask as in each row, `[masks, rows]`."""
    num_rows, num_columns = ds.x.shape
    num_points = len(masks) * num_rows
    found = []
    for part in in_parts(num_points, 8 * num_rows + 5 * num_columns):
        of_mask, of_row = np.divmod(part, num_rows)
        outputs = numbers_at(question, ds, masks[of_mask], ds.x[of_row])
        found.append(outputs.mean(axis=0))
    return np.concatenate(found)[:num_points].reshape(len(masks), num_rows)


def _statistics(means: np.ndarray, num_columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """H of pairs, of columns with all others, and of pairs unscaled.

    Args:
        means: `[1 + columns + pairs + columns, rows]`: outputs, columns, pairs, all but a column.
        num_columns: how many.
    """
    noise = _NOISE * np.finfo(np.float32).eps * np.abs(means[0]).max()
    centred = means - means.mean(axis=1, keepdims=True)
    whole, single = centred[0], centred[1 : 1 + num_columns]
    pairs, others = centred[1 + num_columns : -num_columns], centred[-num_columns:]
    first, second = np.triu_indices(num_columns, 1)
    together = pairs - single[first] - single[second]
    pairwise, unscaled = np.zeros((2, num_columns, num_columns))
    pairwise[first, second] = _ratio(together, pairs, noise)
    unscaled[first, second] = _root_mean_square(together)
    total = _ratio(whole - single - others, np.broadcast_to(whole, single.shape), noise)
    return pairwise + pairwise.T, total, unscaled + unscaled.T


def _ratio(part: np.ndarray, whole: np.ndarray, noise: float) -> np.ndarray:
    part, whole = _root_mean_square(part), _root_mean_square(whole)
    return np.divide(part, whole, where=part > noise, out=np.zeros_like(part))


def _root_mean_square(values: np.ndarray) -> np.ndarray:
    return np.sqrt((values**2).mean(axis=-1))
