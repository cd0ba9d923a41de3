"""A pass over single labels, kept."""

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jinterp import plot, report
from jinterp._functions import short_name
from jinterp._types import ApplyFn, Explainer, LossFn, Params
from jinterp.attribution import grad_cam
from jinterp.data import Batches, batches
from jinterp.evaluate import (
    Calibration,
    ClassificationReport,
    ErrorAnalysis,
    Evaluation,
    RiskCoverage,
    TopLosses,
    cross_entropy,
    evaluate,
    risk_coverage,
    score_distributions,
)
from jinterp.evaluate.calibration import calibration_of
from jinterp.evaluate.top_losses import outcomes_of, top_of
from jinterp.faithfulness import Evidence, randomization_check
from jinterp.faithfulness import evidence as evidence_of
from jinterp.interpretation._kept import Kept, largest_losses, off_by
from jinterp.model import Model

_NONE: Mapping[str, Evidence] = {}
_NO_ANSWER = TypeError, ValueError, NotImplementedError  # of an explainer, for these inputs


@dataclasses.dataclass(frozen=True, repr=False)
class ClassificationInterpretation(Kept):
    """Where a classifier fails: one pass over a dataset, kept.

    It holds numbers, about 30 bytes an example, and no inputs: pictures are fetched again by
    dataset index, and only explanations run the model again.

    Attributes:
        evaluation: what the pass found.
        dataset: where inputs are fetched from.
        model: what was interpreted.

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
    model: Model
    _unit = "examples"

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
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 100,
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
            checkpoint_dir: a folder where the pass is saved as it goes; the same call after a stop
                goes on from there.
            checkpoint_every: after how many batches each time.
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
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=checkpoint_every,
        )
        return cls(found, dataset, Model(apply_fn, params))

    def top_losses(self, k: int = 9, *, largest: bool = True) -> TopLosses:
        """The k examples with the largest (or smallest) losses."""
        return top_of(self.evaluation.predictions, k, largest=largest)

    def plot_top_losses(
        self,
        k: int = 9,
        *,
        largest: bool = True,
        explain: Explainer | None = None,
        evidence: bool = False,
        fig: Any = None,
    ) -> Any:
        """A grid of them: prediction / actual / loss / p(prediction) / p(actual).

        With `explain`, such as `jinterp.grad_cam`, each has a map of what speaks for the class
        predicted, and one for the actual class; with `evidence`, too, above each map the numbers
        of `jinterp.evidence`.
        """
        top = self.top_losses(k, largest=largest)
        if explain is None:
            return self._plot(top, None, fig)
        explanations = self.explain_both(top.indices, explain)
        if not evidence:
            return self._plot(top, explanations, fig)
        asked = self._ready(self._inputs(top.indices)), self._both_classes(top.indices)
        return self._plot(top, explanations, fig, self._beside(explain, explanations, *asked))

    def _plot(
        self, top: TopLosses, explanations: Any, fig: Any, found: Mapping[str, Evidence] = _NONE
    ) -> Any:
        return plot.top_losses(
            top,
            self._inputs(top.indices),
            class_names=self.class_names,
            explanations=explanations,
            captions={name: own.captions() for name, own in found.items()} or None,
            fig=fig,
        )

    def plot_explanations(
        self,
        indices: Sequence[int] | np.ndarray,
        explanations: Mapping[str, Any],
        *,
        fig: Any = None,
    ) -> Any:
        """These examples, titled as the top losses are, beside what `explain_both` returned."""
        rows = outcomes_of(self.evaluation.predictions.rows(np.asarray(indices, int)))
        return self._plot(rows, explanations, fig)

    def explain_both(
        self, indices: Sequence[int] | np.ndarray, explain: Explainer
    ) -> dict[str, Any]:
        """What an explainer says of these examples, for two classes each.

        Args:
            indices: dataset indices.
            explain: any explainer, such as `jinterp.grad_cam`.

        Returns:
            `"for the prediction"` and `"for the actual class"`: its values `[examples, ...]`. An
            example without a prediction is explained for the first class.
        """
        classes = self._both_classes(indices)
        return {name: self.explain(indices, explain, each) for name, each in classes.items()}

    def _both_classes(self, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        rows = self.evaluation.predictions.rows(np.asarray(indices, int))
        return {
            "for the prediction": np.maximum(rows.predictions, 0),
            "for the actual class": rows.targets,
        }

    def _beside(
        self, explain: Explainer, explanations: Any, x: Any, classes: Mapping[str, np.ndarray]
    ) -> dict[str, Evidence]:
        """The evidence of the maps of each title."""
        key = jax.random.key(0)
        return {
            name: evidence_of(*self.model, x, values, classes[name], explain=explain, key=key)
            for name, values in explanations.items()
        }

    def _evidence(
        self, indices: Sequence[int] | np.ndarray, explain: Explainer, explanations: Any
    ) -> report.MapEvidence:
        """What speaks for these heat maps, and whether they are maps of this model at all."""
        key = jax.random.key(0)
        x, classes = self._ready(self._inputs(indices)), self._both_classes(indices)
        found, check, missing = _NONE, None, []
        try:
            found = self._beside(explain, explanations, x, classes)
        except _NO_ANSWER as error:
            missing.append(f"What the model does without what the maps show was not asked: {error}")
        try:
            check = randomization_check(
                explain, *self.model, x, classes["for the prediction"], key=key
            )
        except _NO_ANSWER as error:
            missing.append(f"Whether these are maps of this model at all was not asked: {error}")
        return report.MapEvidence(found, short_name(explain), check, missing)

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

    def answer(self) -> list[str]:
        """Where the model fails, in a few sentences."""
        found = self.evaluation
        errors = int((~found.predictions.correct).sum())
        sentences = [
            f"{found.num_examples} examples: accuracy {found.accuracy:.1%}, {errors} wrong, mean "
            f"loss {found.mean_loss:.3f} nats.",
            largest_losses(found.top_losses),
        ]
        if found.most_confused:
            pairs = [f"{a} taken for {p} ({num})" for a, p, num in found.most_confused[:3]]
            sentences.append("Most confused: " + ", ".join(pairs) + ".")
        if found.calibration is not None:
            sentences.append(off_by(found.calibration))
        kinds = found.error_analysis
        sentences.append(
            f"Of the errors {len(kinds.likely_label_errors)} look like label errors, "
            f"{len(kinds.confident_errors)} are confident, {len(kinds.uncertain)} uncertain."
        )
        return sentences

    def write_report(
        self,
        out: str | os.PathLike[str],
        *,
        title: str = "Where does the model fail?",
        notes: Sequence[str] = (),
        explain: Explainer | None = grad_cam,
    ) -> Path:
        """Write `report.html`, one page readable offline, and its pictures to a folder.

        Args:
            out: the folder, made if need be.
            title: the heading.
            notes: sentences to show below it.
            explain: the explainer of the top losses; the page says why where it has no answer.
                None leaves explanations out, and runs the model no more.
        """
        top = self.evaluation.top_losses
        explanations: dict[str, Any] = {}
        remarks, found = [], report.NO_EVIDENCE
        if explain is not None:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    explanations = self.explain_both(top.indices, explain)
                    remarks = [f"The heat maps are those of `{short_name(explain)}`."]
                except _NO_ANSWER as error:
                    remarks = [f"No heat maps: {error}"]
                else:
                    found = self._evidence(top.indices, explain, explanations)
            remarks += sorted({str(warning.message) for warning in caught})
        return report.write_report(
            self.evaluation,
            out,
            images=self._inputs(top.indices),
            explanations=explanations,
            evidence=found,
            remarks=remarks,
            title=title,
            notes=notes,
        )
