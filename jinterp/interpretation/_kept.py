"""What every kept pass answers."""

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from jinterp import plot
from jinterp._functions import needs_nothing_more
from jinterp._types import Explainer, Target
from jinterp.data import Batches
from jinterp.data.items import Block
from jinterp.evaluate import Calibration, ConfusedPair, most_confused
from jinterp.model import Model


class Kept:
    """An evaluation with the dataset and the model that it is of."""

    evaluation: Any
    dataset: Batches
    model: Model
    _unit: ClassVar[str]  # what the confusion matrix counts

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.evaluation!r})"

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, numbers where none were given."""
        return self.evaluation.class_names

    def confusion_matrix(self) -> np.ndarray:
        """`[classes, classes]` counts, rows actual."""
        return self.evaluation.confusion_matrix

    def plot_confusion_matrix(self, *, normalize: str | None = None, ax: Any = None) -> Any:
        """The confusion matrix; `normalize` as in `jinterp.plot.confusion_matrix`."""
        return plot.confusion_matrix(
            self.confusion_matrix(),
            class_names=self.class_names,
            normalize=normalize,
            unit=self._unit,
            ax=ax,
        )

    def most_confused(self, *, min_count: int = 1) -> list[ConfusedPair]:
        """The pairs of classes most often confused."""
        return most_confused(
            self.confusion_matrix(), class_names=self.class_names, min_count=min_count
        )

    def plot_most_confused(self, *, num_pairs: int = 20, ax: Any = None) -> Any:
        """The most confused pairs as bars."""
        return plot.most_confused(self.most_confused(), num_pairs=num_pairs, unit=self._unit, ax=ax)

    def explain(
        self, indices: Sequence[int] | np.ndarray, explain: Explainer, target: Target = None
    ) -> Any:
        """What an explainer says of these examples.

        Args:
            indices: dataset indices.
            explain: any explainer, such as `jinterp.integrated_gradients`.
            target: the class to explain, as the explainer takes it; None is the predicted one.

        Returns:
            The explainer's values, in the order of `indices`, for the inputs after `preprocess`.

        Raises:
            ValueError: as the explainer does, or the inputs have different shapes.
        """
        needs_nothing_more(explain)
        x = self._ready([example.x for example in self._examples(indices)])
        return explain(*self.model, x, target)

    def _ready(self, inputs: Sequence[Any]) -> Any:
        """Inputs as one batch that the model takes."""
        shapes = {str(jax.tree.map(np.shape, each)) for each in inputs}
        if len(shapes) > 1:
            raise ValueError(
                f"the examples have the shapes {', '.join(sorted(shapes))}; expected one. Explain "
                "them one shape at a time."
            )
        x = jax.tree.map(lambda *rows: np.stack(rows), *inputs)
        return x if self.dataset.preprocess is None else jax.jit(self.dataset.preprocess)(x)

    def _inputs(self, indices: Any) -> list[Any]:
        return [example.x for example in self._examples(indices)]

    def _examples(self, indices: Any) -> list[Block]:
        if jax.process_count() > 1:
            raise ValueError(
                "pictures need inputs by dataset index, and each process holds a part of them. "
                "Draw from the whole dataset: "
                "jinterp.plot.top_losses(top, jinterp.batches(whole).take(top.indices))."
            )
        return self.dataset.examples(indices)


def largest_losses(top: Any) -> str:
    """A sentence of the top losses."""
    pairs = zip(top.indices, top.losses, strict=True)
    listed = ", ".join(f"{index} ({loss:.1f})" for index, loss in pairs)
    return f"Largest losses, by dataset index: {listed}."


def off_by(calibration: Calibration) -> str:
    """A sentence of how far confidence can be trusted."""
    return (
        f"Confidence is off by {calibration.expected_calibration_error:.1%} on average (expected "
        f"calibration error); Brier score {calibration.brier_score:.3f}."
    )
