"""Columns, or groups of them that are changed together."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jinterp.tabular._columns import listed, unique_names
from jinterp.tabular.table import Table, column_number


class Features(NamedTuple):
    """What is changed at a time.

    Attributes:
        names: of the columns and groups, in the order of their first columns.
        masks: `[features, columns]`, True where a column belongs to it.
    """

    names: tuple[str, ...]
    masks: np.ndarray


def features_of(ds: Table, groups: Mapping[str, Sequence[Any]] | None) -> Features:
    """The groups and the columns that stand alone, or a named error."""
    num_columns = len(ds.column_names)
    owners: dict[int, str] = {}
    masks: dict[str, np.ndarray] = {}
    for name, members in _checked(groups or {}).items():
        columns = [column_number(ds, member) for member in members]
        owner = next((owners[n] for n in columns if n in owners), name)
        twice = [n for n in columns if n in owners or columns.count(n) > 1]
        if twice:
            raise ValueError(
                f"`groups` has {listed([ds.column_names[n] for n in dict.fromkeys(twice)])} in "
                f"{owner!r} and in {name!r}; expected each column once, in one group at most."
            )
        owners |= dict.fromkeys(columns, str(name))
        masks[str(name)] = np.isin(np.arange(num_columns), columns)
    names = [
        owners.get(n, ds.column_names[n])
        for n in range(num_columns)
        if n not in owners or n == masks[owners[n]].argmax()
    ]
    for n, name in enumerate(ds.column_names):
        masks.setdefault(name, np.arange(num_columns) == n)
    return Features(unique_names(names), np.stack([masks[name] for name in names]))


def _checked(groups: Any) -> Mapping[str, Sequence[Any]]:
    if not isinstance(groups, Mapping):
        raise TypeError(
            f"`groups` is a {type(groups).__name__}; expected a dict of names to lists of columns, "
            "such as {'size': ['width', 'height']}."
        )
    for name, members in groups.items():
        if isinstance(members, str) or not isinstance(members, Sequence) or not members:
            raise TypeError(
                f"`groups` has {members!r} for {name!r}; expected a list of at least one column."
            )
    return groups
