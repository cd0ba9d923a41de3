"""Columns that tell the same, in groups."""

from typing import Any

import numpy as np
from scipy.cluster import hierarchy
from scipy.stats import rankdata

from jinterp import _check
from jinterp._trace import held_here
from jinterp.tabular.table import table


def correlated_columns(ds: Any, *, threshold: float = 0.8) -> dict[str, list[str]]:
    """Groups of columns whose order of the rows is alike: Spearman's |ρ| at least `threshold`.

    Average linkage on 1 − |ρ|: within a group the mean |ρ| between its parts is at least the
    threshold. A cell that is missing takes its column's middle rank.

    Args:
        ds: anything that `table` takes.
        threshold: from 0 to 1.

    Returns:
        For `groups=` of the importances: names such as "a + b", and their columns. Columns that
        stand alone are left out.

    Raises:
        ValueError: `threshold` is out of range.

    >>> import numpy as np
    >>> a = np.random.default_rng(0).normal(size=(50, 2))
    >>> correlated_columns(np.c_[a, a[:, 0] ** 3], threshold=0.9)
    {'x0 + x2': ['x0', 'x2']}
    """
    _check.within("threshold", threshold, 0, 1)
    ds = table(ds)
    names = ds.column_names
    if len(names) < 2:
        return {}
    distances = 1 - np.abs(_spearman(held_here(ds.x)))
    pairs = distances[np.triu_indices(len(names), 1)].clip(0)
    tree = hierarchy.linkage(pairs, "average")
    # Rounding must not part columns whose |ρ| is the threshold itself.
    labels = hierarchy.fcluster(tree, 1 - threshold + 1e-9, "distance")
    groups: dict[int, list[str]] = {}
    for name, label in zip(names, labels, strict=True):
        groups.setdefault(int(label), []).append(name)
    return {_name(group): group for group in groups.values() if len(group) > 1}


def _name(group: list[str]) -> str:
    return " + ".join(group) if len(group) < 4 else f"{group[0]} + {len(group) - 1} more"


def _spearman(x: np.ndarray) -> np.ndarray:
    """`[columns, columns]`; a constant column has 0 with the others."""
    ranks = rankdata(x, axis=0, nan_policy="omit")
    ranks = np.where(np.isnan(x), np.nanmean(np.where(np.isnan(x), np.nan, ranks), axis=0), ranks)
    centred = np.nan_to_num(ranks - ranks.mean(axis=0))
    norms = np.linalg.norm(centred, axis=0)
    return (
        centred.T @ centred / np.where(norms > 0, norms, 1) / np.where(norms > 0, norms, 1)[:, None]
    )
