"""A model of a table kept with the importance of its columns, and questions asked of it."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array

from jinterp import plot, report
from jinterp._check import at_least_one
from jinterp._functions import name_of
from jinterp._types import ApplyFn, Params
from jinterp.model import Model
from jinterp.report.page import writable_folder
from jinterp.report.tables import Effect
from jinterp.tabular import (
    Ale,
    Ice,
    Importance,
    Interactions,
    PartialDependence,
    Remarks,
    Table,
    ale,
    ice,
    interaction_strength,
    partial_dependence,
    permutation_importance,
    remarks,
    table,
)
from jinterp.tabular.permutation_importance import order_of
from jinterp.tabular.table import column_number

_MAP_POINTS = 20
_NUM_CURVES = 200


@dataclasses.dataclass(frozen=True)
class TabularInterpretation:
    """Which columns a model reads, and how.

    Attributes:
        importance: how much the score falls with each column shuffled.
        dataset: the rows.
        model: what was interpreted.
        score: in which number it is good.
        groups: columns that were shuffled together.
        target: the class that curves are of; None for a regression, and for class 1 of two.
        key: for what is sampled.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jax.random.normal(jax.random.key(0), (200, 2))
    >>> found = TabularInterpretation.from_model(
    ...     apply_fn,
    ...     jnp.array([3.0, 1.0]),
    ...     (x, x @ jnp.array([3.0, 1.0])),
    ...     score=jinterp.tabular.r2,
    ...     key=jax.random.key(1),
    ... )
    >>> found.top_columns(1)
    ['x0']
    """

    importance: Importance
    dataset: Table
    model: Model
    score: Callable[..., Any]
    groups: Mapping[str, Sequence[Any]]
    target: int | None
    key: Array

    @classmethod
    def from_model(
        cls,
        apply_fn: ApplyFn,
        params: Params,
        ds: Any,
        *,
        score: Callable[..., Any],
        num_repeats: int = 5,
        groups: Mapping[str, Sequence[Any]] | None = None,
        target: int | None = None,
        key: Array,
    ) -> "TabularInterpretation":
        """Shuffle every column.

        Args:
            apply_fn: `apply_fn(params, x) -> outputs [rows, ...]`.
            params: its parameters.
            ds: anything that `jinterp.table` takes, with targets.
            score: `score(outputs, targets) -> scalar` in JAX, larger is better.
            num_repeats: how often each column is shuffled.
            groups: names of groups, and the columns in each; other columns stand alone.
            target: the class that curves are of; needed where there are three or more.
            key: for what is sampled.
        """
        dataset = table(ds)
        found = permutation_importance(
            apply_fn,
            params,
            dataset,
            score=score,
            num_repeats=num_repeats,
            groups=groups,
            key=key,
        )
        model = Model(apply_fn, params)
        return cls(found, dataset, model, score, dict(groups or {}), target, key)

    def __repr__(self) -> str:
        rows, columns = self.dataset.x.shape
        return f"TabularInterpretation({rows} rows, {columns} columns)"

    def top_columns(self, k: int = 6) -> list[str]:
        """The names of the k most important columns; those of a group count each."""
        at_least_one("k", k, 6)
        names = self.dataset.column_names
        groups = {str(name): members for name, members in self.groups.items()}
        found: list[str] = []
        for number in order_of(self.importance):
            name = self.importance.names[number]
            members = groups.get(name, [name])
            found += [names[column_number(self.dataset, each)] for each in members]
        return found[:k]

    def plot_importance(self, *, max_vars: int = 20, ax: Any = None) -> Any:
        """The importance of the columns as bars."""
        return plot.importances(self.importance, max_vars=max_vars, ax=ax)

    def remarks(self) -> Remarks:
        """Which columns are constant, duplicated, or have missing cells."""
        return remarks(self.dataset)

    def partial_dependence(self, columns: Any, *, num_points: int = 100) -> PartialDependence:
        """The mean output over the values of a column, or of two."""
        return partial_dependence(
            *self.model, self.dataset, columns, target=self.target, num_points=num_points
        )

    def plot_partial_dependence(
        self, columns: Any, *, num_points: int | None = None, ax: Any = None
    ) -> Any:
        """The partial dependence as a curve, or a map of 20 by 20 points."""
        usual = 100 if np.size(columns) == 1 else _MAP_POINTS
        result = self.partial_dependence(columns, num_points=num_points or usual)
        return plot.partial_dependence(result, ax=ax)

    def ice(self, column: str | int, *, centred: bool = False) -> Ice:
        """The outputs of single rows over the values of a column; of 200 at most."""
        num_curves = min(_NUM_CURVES, len(self.dataset.x))
        return ice(
            *self.model,
            self.dataset,
            column,
            target=self.target,
            centred=centred,
            num_curves=num_curves,
            key=self.key,
        )

    def plot_ice(self, column: str | int, *, centred: bool = False, ax: Any = None) -> Any:
        """The outputs of single rows as curves."""
        return plot.ice(self.ice(column, centred=centred), ax=ax)

    def ale(self, columns: Any, *, num_bins: int | None = None) -> Ale:
        """The accumulated local effect of a column, or of two together."""
        return ale(*self.model, self.dataset, columns, target=self.target, num_bins=num_bins)

    def plot_ale(self, columns: Any, *, num_bins: int | None = None, ax: Any = None) -> Any:
        """The accumulated local effect as a curve or a map."""
        return plot.ale(self.ale(columns, num_bins=num_bins), ax=ax)

    def interaction_strength(
        self, columns: Sequence[str | int] | None = None, *, num_rows: int = 100
    ) -> Interactions:
        """Friedman's H of these columns; of the ten most important ones by default."""
        chosen = self.top_columns(min(10, len(self.dataset.column_names)))
        return interaction_strength(
            *self.model,
            self.dataset,
            columns=chosen if columns is None else columns,
            target=self.target,
            num_rows=num_rows,
            key=self.key,
        )

    def plot_interactions(self, *, max_vars: int = 10, ax: Any = None) -> Any:
        """Friedman's H of the most important columns as a map."""
        columns = self.top_columns(min(max_vars, len(self.dataset.column_names)))
        return plot.interactions(self.interaction_strength(columns), ax=ax)

    def write_report(
        self,
        out: str | os.PathLike[str],
        *,
        title: str = "Which columns matter?",
        notes: Sequence[str] = (),
        num_columns: int = 6,
    ) -> Path:
        """Write `report.html`, one page readable offline, and its pictures to a folder.

        Args:
            out: the folder, made if need be.
            title: the heading.
            notes: sentences to show below it.
            num_columns: how many columns to show curves of, the most important first.
        """
        folder = writable_folder(out)
        shown = self.top_columns(num_columns)
        effects = [self._effect(name) for name in shown]
        together = self.interaction_strength(shown) if len(shown) > 1 else None
        pair = None if together is None else self._strongest_pair(together)
        return report.write_table_report(
            self.importance,
            effects,
            folder,
            interactions=together,
            pair=pair,
            remarks=self.remarks(),
            num_rows=self.dataset.x.shape[0],
            num_columns=self.dataset.x.shape[1],
            score_name=name_of(self.score).partition(",")[0].replace("_", " "),
            title=title,
            notes=notes,
        )

    def _effect(self, name: str) -> Effect:
        try:
            return Effect(name, self.partial_dependence(name), self.ale(name), "")
        except ValueError as error:
            if name not in self.remarks().constant:
                raise
            return Effect(name, self.partial_dependence(name), None, f"No local effect: {error}")

    def _strongest_pair(self, together: Interactions) -> PartialDependence:
        first, second = np.unravel_index(together.unscaled.argmax(), together.unscaled.shape)
        if first == second:  # nothing acts together
            second = first + 1
        pair = [together.names[first], together.names[second]]
        return self.partial_dependence(pair, num_points=_MAP_POINTS)
