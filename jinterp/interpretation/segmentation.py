"""A pass over label maps, kept."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jinterp import plot, report
from jinterp._types import ApplyFn, LossFn, Params
from jinterp.data import Batches, batches
from jinterp.evaluate import (
    Calibration,
    ImageScores,
    PixelMaps,
    SegmentationEvaluation,
    cross_entropy,
    evaluate_segmentation,
    pixel_maps,
)
from jinterp.evaluate.segmentation import top_images
from jinterp.interpretation._kept import Kept, largest_losses, off_by
from jinterp.model import Model


@dataclasses.dataclass(frozen=True, repr=False)
class SegmentationInterpretation(Kept):
    """Where a model that labels every pixel fails: one pass over a dataset, kept.

    It holds some 25 bytes an image, and no pixel: images, labels and predictions of the few that
    are drawn are fetched and computed again.

    Attributes:
        evaluation: what the pass found.
        dataset: where images and labels are fetched from.
        model: what was interpreted.
        loss_fn: the loss at every pixel.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return jnp.stack([-x, x], axis=-1) * params
    >>> ds = (np.array([[[-1.0, 1.0], [1.0, 1.0]]], np.float32), np.array([[[0, 1], [0, 1]]]))
    >>> interpretation = SegmentationInterpretation.from_model(apply_fn, 5.0, ds)
    >>> interpretation.most_confused()
    [ConfusedPair(actual='0', predicted='1', num_examples=1)]
    """

    evaluation: SegmentationEvaluation
    dataset: Batches
    model: Model
    loss_fn: LossFn = cross_entropy
    _unit = "pixels"

    @classmethod
    def from_model(
        cls,
        apply_fn: ApplyFn,
        params: Params,
        ds: Any,
        *,
        class_names: Sequence[str] | None = None,
        ignore_index: int | None = None,
        boundary_width: int | float = 2,
        loss_fn: LossFn = cross_entropy,
        mesh: Mesh | None = None,
        progress: bool | None = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 100,
    ) -> "SegmentationInterpretation":
        """Run the pass.

        Args:
            apply_fn: `apply_fn(params, x) -> logits [batch, *space, classes]`.
            params: its parameters.
            ds: anything that `batches` takes, with label maps `[*space]` of integers.
            class_names: names of the classes; None numbers them.
            ignore_index: the label of pixels that count for nothing; None if there is none.
            boundary_width: how far in pixels a predicted boundary may be off.
            loss_fn: `loss_fn(logits, targets) -> [batch, *space]`.
            mesh: the devices to cut batches over.
            progress: show a progress bar; None shows one for a long pass in a terminal.
            checkpoint_dir: a folder where the pass is saved as it goes; the same call after a stop
                goes on from there.
            checkpoint_every: after how many batches each time.
        """
        dataset = batches(ds)
        found = evaluate_segmentation(
            apply_fn,
            params,
            dataset,
            class_names=class_names,
            ignore_index=ignore_index,
            boundary_width=boundary_width,
            loss_fn=loss_fn,
            mesh=mesh,
            progress=progress,
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=checkpoint_every,
        )
        return cls(found, dataset, Model(apply_fn, params), loss_fn)

    def top_losses(self, k: int = 9, *, largest: bool = True) -> ImageScores:
        """The k images with the largest (or smallest) mean losses over their labelled pixels."""
        return top_images(self.evaluation.images, k, largest=largest)

    def maps(self, indices: Sequence[int] | np.ndarray) -> PixelMaps:
        """The prediction and the loss at every pixel of these images; the model runs again."""
        examples = self._examples(indices)
        return pixel_maps(
            *self.model,
            self._ready([example.x for example in examples]),
            np.stack([example.targets for example in examples]),
            ignore_index=self.evaluation.ignore_index,
            loss_fn=self.loss_fn,
        )

    def plot_top_losses(
        self, k: int = 5, *, largest: bool = True, colors: Any = None, fig: Any = None
    ) -> Any:
        """The worst images: each with its labels, the prediction, the errors and the losses."""
        return self.show_results(
            self.top_losses(k, largest=largest).indices, colors=colors, fig=fig
        )

    def show_results(
        self,
        indices: Sequence[int] | np.ndarray | None = None,
        *,
        colors: Any = None,
        fig: Any = None,
    ) -> Any:
        """These images with what the model says of their pixels, the first five by default."""
        if indices is None:
            indices = range(min(5, self.evaluation.num_examples))
        rows = self.evaluation.images.rows(np.asarray(indices, int))
        return plot.label_maps(
            self._inputs(indices),
            self.maps(indices),
            class_names=self.class_names,
            colors=colors,
            titles=[
                f"index {index}: loss {loss:.3g}, mean IoU {iou:.3g}"
                for index, loss, iou in zip(rows.indices, rows.losses, rows.mean_ious, strict=True)
            ],
            fig=fig,
        )

    def plot_class_scores(self, *, ax: Any = None) -> Any:
        """The IoU of each class as bars, with its accuracy and the F1 of its boundaries."""
        found = self.evaluation
        scores = {
            "IoU": found.ious,
            "accuracy": found.per_class_accuracy,
            f"boundary F1, {found.boundary_width:g} px": found.boundary_f1,
        }
        return plot.class_scores(scores, class_names=self.class_names, ax=ax)

    def calibration(self) -> Calibration:
        """How far the model's confidence can be trusted, by pixel.

        Raises:
            ValueError: no pixel has a prediction.
        """
        if self.evaluation.calibration is None:
            raise ValueError("no labelled pixel has finite logits; calibration needs one.")
        return self.evaluation.calibration

    def plot_calibration(self, *, ax: Any = None) -> Any:
        """A reliability diagram."""
        return plot.reliability(self.calibration(), unit="pixels", ax=ax)

    def answer(self) -> list[str]:
        """Where the model fails, in a few sentences."""
        found = self.evaluation
        sentences = [
            f"{found.num_examples} images, {found.num_pixels:,} labelled pixels: pixel accuracy "
            f"{found.pixel_accuracy:.1%}, mean IoU {found.mean_iou:.3f}, boundary F1 "
            f"{found.mean_boundary_f1:.3f}, mean loss {found.mean_loss:.3f} nats.",
            largest_losses(found.top_losses),
        ]
        if found.most_confused:
            pairs = [f"{a} taken for {p} ({num:,})" for a, p, num in found.most_confused[:3]]
            sentences.append("Most confused, by pixels: " + ", ".join(pairs) + ".")
        known = [int(c) for c in np.argsort(found.ious) if not np.isnan(found.ious[c])]
        worst = [f"{self.class_names[c]} ({found.ious[c]:.2f})" for c in known[:3]]
        sentences.append("Least IoU: " + ", ".join(worst) + ".")
        if found.calibration is not None:
            sentences.append(off_by(found.calibration))
        return sentences

    def write_report(
        self,
        out: str | os.PathLike[str],
        *,
        title: str = "Where does the model fail?",
        notes: Sequence[str] = (),
        k: int = 6,
    ) -> Path:
        """Write `report.html`, one page readable offline, and its pictures to a folder.

        Args:
            out: the folder, made if need be.
            title: the heading.
            notes: sentences to show below it.
            k: how many of the worst images to show.
        """
        k = min(k, len(self.evaluation.top_losses.indices))
        figures = {
            "top_losses": self.plot_top_losses(k),
            "class_scores": self.plot_class_scores().figure,
            "confusion_matrix": self.plot_confusion_matrix(normalize="actual").figure,
        }
        if self.evaluation.calibration is not None:
            figures["reliability"] = self.plot_calibration().figure
        return report.write_segmentation_report(
            self.evaluation, out, figures=figures, title=title, notes=notes
        )
