"""One pass kept, and questions asked of it without running the model again."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jinterp import plot, report
from jinterp._types import ApplyFn, LossFn, Params
from jinterp.data import Batches, batches
from jinterp.evaluate import (
    Calibration,
    ClassificationReport,
    ConfusedPair,
    ErrorAnalysis,
    Evaluation,
    RiskCoverage,
    TopLosses,
    cross_entropy,
    evaluate,
    most_confused,
    risk_coverage,
    score_distributions,
)
from jinterp.evaluate.calibration import calibration_of
from jinterp.evaluate.top_losses import top_of


@dataclasses.dataclass(frozen=True)
class ClassificationInterpretation:
    """Where a classifier fails: one pass over a dataset, kept.

    It holds numbers, about 30 bytes an example, and no inputs: pictures are fetched again by
    dataset index.

    Attributes:
        evaluation: what the pass found.
        dataset: where inputs are fetched from.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> ds = (np.array([[5.0, 0.0], [0.0, 5.0]], np.float32), np.array([0, 0]))
    >>> interpretation = ClassificationInterpretation.from_model(apply_fn, jnp.eye(2), ds)
    >>> interpretation.most_confused()
    [ConfusedPair(actual='0', predicted='1', num_examples=1)]
    """

    evaluation: Evaluation
    dataset: Batches

    @classmethod
    def from_model(
        cls,
        apply_fn: ApplyFn,
        params: Params,
        ds: Any,
        *,
        class_names: Sequence[str] | None = None,
        loss_fn: LossFn = cross_entropy,
        mesh: Mesh | None = None,
        progress: bool | None = None,
    ) -> "ClassificationInterpretation":
        """Run the pass.

        Args:
            apply_fn: `apply_fn(params, x) -> logits [batch, classes]`.
            params: its parameters.
            ds: anything that `batches` takes, with integer classes or soft labels.
            class_names: names of the classes; None numbers them.
            loss_fn: `loss_fn(logits, targets) -> [batch]`.
            mesh: the devices to cut batches over.
            progress: show a progress bar; None shows one for a long pass in a terminal.
        """
        dataset = batches(ds)
        found = evaluate(
            apply_fn,
            params,
            dataset,
            loss_fn=loss_fn,
            class_names=class_names,
            mesh=mesh,
            progress=progress,
        )
        return cls(found, dataset)

    def __repr__(self) -> str:
        return f"ClassificationInterpretation({self.evaluation!r})"

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, numbers where none were given."""
        return self.evaluation.class_names

    def top_losses(self, k: int = 9, *, largest: bool = True) -> TopLosses:
        """The k examples with the largest (or smallest) losses."""
        return top_of(self.evaluation.predictions, k, largest=largest)

    def plot_top_losses(self, k: int = 9, *, largest: bool = True, fig: Any = None) -> Any:
        """A grid of them: prediction / actual / loss / p(prediction) / p(actual)."""
        top = self.top_losses(k, largest=largest)
        return plot.top_losses(
            top, self._inputs(top.indices), class_names=self.class_names, fig=fig
        )

    def _inputs(self, indices: Any) -> list[Any]:
        if jax.process_count() > 1:
            raise ValueError(
                "pictures need inputs by dataset index, and each process holds a part of them. "
                "Draw from the whole dataset: "
                "jinterp.plot.top_losses(top, jinterp.batches(whole).take(top.indices))."
            )
        return self.dataset.take(indices)

    def confusion_matrix(self) -> np.ndarray:
        """`[classes, classes]` counts, rows actual."""
        return self.evaluation.confusion_matrix

    def plot_confusion_matrix(self, *, normalize: str | None = None, ax: Any = None) -> Any:
        """The confusion matrix; `normalize` as in `jinterp.plot.confusion_matrix`."""
        return plot.confusion_matrix(
            self.confusion_matrix(), class_names=self.class_names, normalize=normalize, ax=ax
        )

    def most_confused(self, *, min_count: int = 1) -> list[ConfusedPair]:
        """The pairs of classes most often confused."""
        return most_confused(
            self.confusion_matrix(), class_names=self.class_names, min_count=min_count
        )

    def plot_most_confused(self, *, num_pairs: int = 20, ax: Any = None) -> Any:
        """The most confused pairs as bars."""
        return plot.most_confused(self.most_confused(), num_pairs=num_pairs, ax=ax)

    def classification_report(self) -> ClassificationReport:
        """Precision, recall, F1 and support of each class."""
        return self.evaluation.report

    def print_classification_report(self) -> None:
        """The classification report as a table on standard output."""
        print(self.evaluation.report)

    def calibration(self, *, num_bins: int = 15) -> Calibration:
        """How far the model's confidence can be trusted."""
        rows = self.evaluation.predictions
        valid = rows.rows(rows.valid)
        return calibration_of(
            valid.prediction_probabilities, valid.correct, valid.brier_scores, num_bins
        )

    def plot_calibration(
        self, *, num_bins: int = 15, adaptive: bool = False, ax: Any = None
    ) -> Any:
        """A reliability diagram."""
        return plot.reliability(self.calibration(num_bins=num_bins), adaptive=adaptive, ax=ax)

    def risk_coverage(self) -> RiskCoverage:
        """The error rate among the most confident examples."""
        rows = self.evaluation.predictions
        valid = rows.rows(rows.valid)
        return risk_coverage(valid.prediction_probabilities, valid.correct)

    def plot_risk_coverage(self, *, ax: Any = None) -> Any:
        """The risk-coverage curve."""
        return plot.risk_coverage(self.risk_coverage(), ax=ax)

    def error_analysis(self) -> ErrorAnalysis:
        """The errors as likely label errors, confident errors and uncertain ones."""
        return self.evaluation.error_analysis

    def score_distributions(self, *, num_bins: int = 20) -> Any:
        """How the probability of the actual class is spread, class by class."""
        return score_distributions(
            self.evaluation.predictions, len(self.class_names), num_bins=num_bins
        )

    def plot_score_distributions(self, *, num_bins: int = 20, ax: Any = None) -> Any:
        """The score distributions as a picture."""
        return plot.score_distributions(
            self.score_distributions(num_bins=num_bins), class_names=self.class_names, ax=ax
        )

    def show_results(self, indices: Sequence[int] | None = None, *, fig: Any = None) -> Any:
        """A grid of these examples with their predictions, the first nine by default."""
        if indices is None:
            indices = range(min(9, self.evaluation.num_examples))
        images = self._inputs(indices)
        rows = self.evaluation.predictions.rows(np.asarray(indices, int))
        return plot.results(
            images,
            rows.targets,
            rows.predictions,
            probabilities=rows.prediction_probabilities,
            class_names=self.class_names,
            fig=fig,
        )

    def write_report(
        self,
        out: str | os.PathLike[str],
        *,
        title: str = "Where does the model fail?",
        notes: Sequence[str] = (),
    ) -> Path:
        """Write `report.html`, one page readable offline, and its pictures to a folder."""
        return report.write_report(
            self.evaluation,
            out,
            images=self._inputs(self.evaluation.top_losses.indices),
            title=title,
            notes=notes,
        )
