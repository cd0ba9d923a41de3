"""What `compare` found."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jinterp._text import html_table, text_table


class Cost(NamedTuple):
    """What was computed for an example.

    Attributes:
        passes: floating-point operations over those of a forward pass, as the compiler estimates
            both; NaN where it does not, and of functions that call none of jinterp's.
        seconds: of the batches after the first, in which programs are compiled; of the first where
            it is the only one.
        is_steady: whether it is not.
    """

    passes: Float[np.ndarray, "*of"]
    seconds: Float[np.ndarray, "*of"]
    is_steady: bool


class Comparison(NamedTuple):
    """Explainers by metrics.

    Attributes:
        explainers: their names.
        metrics: their names.
        values: `[explainers, metrics, examples]` float64, NaN or infinite where a metric has no
            number; absolute ones of `completeness_gap`.
        means: `[explainers, metrics]`, over the examples that count.
        low: `[explainers, metrics]`, where the interval of the mean begins.
        high: where it ends.
        num_counted: `[explainers, metrics]`, how many examples count: those with a number from all
            explainers, or of an explainer without for half of them or more, its own.
        ranks: `[explainers, metrics]`, 1 for the best mean, those equal in five digits their mean
            rank; NaN for metrics of which neither end is better, and for explainers without a
            number for half of the examples.
        explaining: the cost of each explainer, `[explainers]`.
        measuring: the cost of each metric for each explainer, `[explainers, metrics]`.
    """

    explainers: tuple[str, ...]
    metrics: tuple[str, ...]
    values: Float[np.ndarray, "explainers metrics examples"]
    means: Float[np.ndarray, "explainers metrics"]
    low: Float[np.ndarray, "explainers metrics"]
    high: Float[np.ndarray, "explainers metrics"]
    num_counted: Int[np.ndarray, "explainers metrics"]
    ranks: Float[np.ndarray, "explainers metrics"]
    explaining: Cost
    measuring: Cost

    @property
    def mean_ranks(self) -> np.ndarray:
        """`[explainers]`, over the metrics that rank any; NaN where one has no rank in these."""
        ranked = ~np.isnan(self.ranks).all(axis=0)
        return self.ranks[:, ranked].mean(axis=1) if ranked.any() else self.ranks[:, 0]

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """A header and a row for each explainer: mean ± half of the interval, the mean rank, passes
        and milliseconds; with how many examples count where not all do, of a metric in the header.
        """
        num = self.values.shape[2]
        columns = [_in_common(column, num) for column in self.num_counted.T]
        names = [f"{name}{said}" for name, said in zip(self.metrics, columns, strict=True)]
        header = ["", *names, "mean rank", "passes"]
        header.append("ms" if self.explaining.is_steady else "ms, compiling")
        rows = []
        for number, name in enumerate(self.explainers):
            triples = zip(self.means[number], self.low[number], self.high[number], strict=True)
            cells = [_with_interval(*each) for each in triples]
            cells = [
                f"{cell} (of {own})" if 0 < own < num and not said else cell
                for cell, own, said in zip(cells, self.num_counted[number], columns, strict=True)
            ]
            rank = self.mean_ranks[number]
            cost = self.explaining
            passes, seconds = cost.passes[number], cost.seconds[number]
            rows.append([name, *cells, _short(rank), _short(passes), _short(1000 * seconds)])
        return header, rows

    def __str__(self) -> str:
        """A table, as `print` shows it."""
        return text_table(*self.rows())

    def _repr_html_(self) -> str:
        return html_table(*self.rows())

    def to_markdown(self) -> str:
        """The same table for a page."""
        header, rows = self.rows()
        return "\n".join(map(_line, [header, ["---", *["---:"] * (len(header) - 1)], *rows]))


def _in_common(counted: np.ndarray, num: int) -> str:
    """How many examples count for all explainers, where these are fewer than there are."""
    found = set(counted.tolist())
    return f" (of {found.pop()})" if len(found) == 1 and found != {num} else ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _with_interval(mean: float, low: float, high: float) -> str:
    return _short(mean) if np.isnan(mean) else f"{_short(mean)} ± {(high - low) / 2:.2g}"


def _short(number: float) -> str:
    """Three digits."""
    if np.isnan(number):
        return "–"
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}"
