"""The report of a table: which columns matter, and how, in one page."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinterp import plot
from jinterp.report.page import write_page
from jinterp.tabular import Ale, Importance, Interactions, PartialDependence, Remarks
from jinterp.tabular.permutation_importance import order_of


class Effect(NamedTuple):
    """What is shown of a column.

    Attributes:
        name: of the column.
        partial_dependence: on it.
        ale: its accumulated local effect, None where there is none.
        remark: why there is none; empty where there is one.
    """

    name: str
    partial_dependence: PartialDependence
    ale: Ale | None
    remark: str


def write_table_report(
    importance: Importance,
    effects: Sequence[Effect],
    out: str | os.PathLike[str],
    *,
    interactions: Interactions | None,
    pair: PartialDependence | None,
    remarks: Remarks,
    num_rows: int,
    num_columns: int,
    score_name: str,
    title: str = "Which columns matter?",
    notes: Sequence[str] = (),
    max_vars: int = 20,
) -> Path:
    """Write `report.html` and its pictures.

    Args:
        importance: of all columns.
        effects: of the most important ones.
        out: the folder to write to; it is made if need be.
        interactions: of the most important columns, None where there is only one.
        pair: the map of the two that do most together.
        remarks: what is to be known of the columns.
        num_rows: of the table.
        num_columns: of the table.
        score_name: what the score is called.
        title: the heading.
        notes: sentences to show below it.
        max_vars: how many bars of importance to show.

    Returns:
        The path of `report.html`. It loads nothing, since every picture is inside it; each lies
        beside it as PNG, too.

    Raises:
        OSError: the folder cannot be written to.
    """
    return write_page(
        out,
        "tables.html.jinja",
        _figures(importance, effects, interactions, pair, max_vars),
        title=title,
        notes=notes,
        importance=importance,
        remarks=sentences(remarks),
        num_rows=num_rows,
        num_columns=num_columns,
        num_repeats=importance.per_repeat.shape[1],
        score_name=score_name,
        features=_features(importance),
        columns=[_column(number, effect) for number, effect in enumerate(effects)],
        num_sampled=0 if interactions is None else len(interactions.rows),
    )


def _figures(
    importance: Importance,
    effects: Sequence[Effect],
    interactions: Interactions | None,
    pair: PartialDependence | None,
    max_vars: int,
) -> Iterator[tuple[str, Any]]:
    """One after the other, so that each is closed before the next is drawn."""
    yield "importance", plot.importances(importance, max_vars=max_vars).figure
    for number, effect in enumerate(effects):
        yield (
            f"partial_dependence_{number}",
            plot.partial_dependence(effect.partial_dependence).figure,
        )
        if effect.ale is not None:
            yield f"ale_{number}", plot.ale(effect.ale).figure
    if interactions is not None and pair is not None:
        yield "interactions", plot.interactions(interactions).figure
        yield "pair", plot.partial_dependence(pair).figure


def _features(importance: Importance) -> list[dict[str, Any]]:
    return [
        {
            "name": importance.names[n],
            "mean": importance.mean[n],
            "deviation": importance.deviation[n],
        }
        for n in order_of(importance)
    ]


def _column(number: int, effect: Effect) -> dict[str, str]:
    return {
        "name": effect.name,
        "partial_dependence": f"partial_dependence_{number}",
        "ale": f"ale_{number}",
        "remark": effect.remark,
    }


def sentences(remarks: Remarks) -> list[str]:
    """What is to be known of the columns, in words."""
    found = []
    for names in remarks.duplicated:
        found.append(
            f"{', '.join(names)} order the rows alike: each looks less important than they are "
            "together."
        )
    if remarks.constant:
        found.append(f"With one value only: {', '.join(remarks.constant)}.")
    if remarks.missing:
        cells = (f"{name} ({number})" for name, number in remarks.missing.items())
        found.append(f"Rows with missing cells: {', '.join(cells)}.")
    return found
