"""What a pass expects of a model's outputs and of the targets, by the kind of question.

Each kind checks, with a named error, the outputs for a batch, the shapes of the targets, and the
values of targets on the host: without padding, with the dataset index of the first and the step
to the next one's.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinterp import _check
from jinterp._trace import warn


@dataclasses.dataclass(frozen=True)
class Classification:
    """Logits `[batch, classes]` and integer classes `[batch]` or rows `[batch, classes]`."""

    def check_outputs(self, outputs: Any, batch_size: int) -> None:
        _check.one_output(outputs)
        if len(outputs.shape) != 2 or outputs.shape[0] != batch_size:
            advice = "For a binary model with one logit z, return both: "
            advice += "jnp.stack([jnp.zeros_like(z), z], axis=-1)."
            if len(outputs.shape) > 2:
                advice = (
                    "For a label at every pixel use jinterp.evaluate_segmentation, or jinterp "
                    "evaluate --task segmentation."
                )
            raise ValueError(
                f"`apply_fn` returned logits of shape {outputs.shape} for a batch of {batch_size}; "
                f"expected [batch, classes]. {advice}"
            )
        _are_logits(outputs)

    def check_targets(self, targets: Any, outputs: jax.ShapeDtypeStruct) -> None:
        _are_numbers(targets)
        num_classes = outputs.shape[1]
        if targets.ndim == 1:
            if targets.dtype.kind == "f":
                raise TypeError(
                    f"`targets` are {targets.dtype} of shape [batch]; expected integer classes. "
                    "Use targets.astype(int), or jinterp.evaluate_regression for numbers."
                )
        elif targets.ndim != 2 or targets.shape[1] != num_classes:
            advice = " Use targets[:, 0]." if targets.shape[1:] == (1,) else ""
            raise ValueError(
                f"`targets` have the shape {_of_batch(targets)} for logits [batch, {num_classes}]; "
                f"expected integer classes [batch], or rows [batch, {num_classes}].{advice}"
            )

    def check_values(
        self, targets: np.ndarray, outputs: Any, first_index: int, stride: int
    ) -> None:
        if targets.ndim == 1:
            wrong = (targets < 0) | (targets >= outputs.shape[1])
            _refuse(targets, wrong, outputs.shape[1], first_index, stride)
        elif targets.dtype.kind in "iu" and not ((targets == 0) | (targets == 1)).all():
            example, label = np.argwhere((targets != 0) & (targets != 1))[0]
            raise ValueError(
                f"the target of example {first_index + stride * example} is "
                f"{targets[example, label]} for label {label}; expected 0 or 1 for each label."
            )


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """Logits `[batch, *space, classes]` and integer label maps `[batch, *space]`.

    Attributes:
        ignore_index: the label of pixels that count for nothing; None if there is none.
    """

    ignore_index: int | None = None

    def __post_init__(self) -> None:
        if self.ignore_index is None:
            return
        if not isinstance(self.ignore_index, int | np.integer):
            raise TypeError(
                f"`ignore_index` is {self.ignore_index!r}; expected the integer of the labels that "
                "count for nothing, such as 255, or None."
            )
        if not -(2**31) <= self.ignore_index < 2**31:
            raise ValueError(
                f"`ignore_index` is {self.ignore_index}; expected a number of 32 bits, as labels "
                "are. Use targets.astype(np.int32), where 2³² − 1 becomes −1, and ignore that."
            )

    def check_outputs(self, outputs: Any, batch_size: int) -> None:
        _check.one_output(outputs)
        if len(outputs.shape) < 3 or outputs.shape[0] != batch_size:
            advice = ""
            if len(outputs.shape) == 2:
                advice = " For one label an image use jinterp.evaluate."
            raise ValueError(
                f"`apply_fn` returned logits of shape {outputs.shape} for a batch of {batch_size}; "
                f"expected [batch, *space, classes], one row of logits a pixel.{advice}"
            )
        _are_logits(outputs)

    def check_targets(self, targets: Any, outputs: jax.ShapeDtypeStruct) -> None:
        _are_numbers(targets)
        if not jnp.issubdtype(targets.dtype, jnp.integer):
            raise TypeError(
                f"`targets` are {targets.dtype}; expected label maps of integers. Use "
                "targets.astype(int), or targets.argmax(-1) for one-hot maps."
            )
        space = outputs.shape[1:-1]
        if targets.shape[1:] == space:
            return
        num_classes = outputs.shape[-1]
        size = ", ".join(map(str, (*targets.shape[1:], num_classes)))
        advice = (
            "Resize the logits to the labels, inside the model: jax.image.resize(logits, "
            f"(len(logits), {size}), 'bilinear')."
        )
        if targets.shape[1:] == (*space, 1):
            advice = "Use targets[..., 0]."
        elif targets.shape[1:-1] == space:
            advice = "For one-hot maps use targets.argmax(-1); map colours to class numbers."
        elif targets.shape[1:] == outputs.shape[2:]:
            advice = "The logits have their classes first: use jnp.moveaxis(logits, 1, -1)."
        raise ValueError(
            f"`targets` have the shape {_of_batch(targets)} for logits {_of_batch(outputs)}; "
            f"expected label maps [batch, {', '.join(map(str, space))}]. {advice}"
        )

    def check_values(
        self, targets: np.ndarray, outputs: Any, first_index: int, stride: int
    ) -> None:
        wrong = (targets < 0) | (targets >= outputs.shape[-1])
        if self.ignore_index is not None:
            wrong &= targets != self.ignore_index
        _refuse(targets, wrong, outputs.shape[-1], first_index, stride)


@dataclasses.dataclass(frozen=True)
class Regression:
    """Outputs `[batch]` or `[batch, outputs]`, and targets of that shape."""

    def check_outputs(self, outputs: Any, batch_size: int) -> None:
        _check.one_output(outputs)
        if len(outputs.shape) not in (1, 2) or outputs.shape[0] != batch_size:
            raise ValueError(
                f"`apply_fn` returned the shape {outputs.shape} for a batch of {batch_size}; "
                "expected [batch] or [batch, outputs]. Flatten what each example has: "
                "outputs.reshape(len(outputs), -1)."
            )
        if not jnp.issubdtype(outputs.dtype, jnp.floating):
            raise TypeError(f"`apply_fn` returned {outputs.dtype}; expected floating point.")

    def check_targets(self, targets: Any, outputs: jax.ShapeDtypeStruct) -> None:
        _are_numbers(targets)
        if _without_one(targets.shape) != _without_one(outputs.shape):
            raise ValueError(
                f"`targets` have the shape {_of_batch(targets)} for outputs {_of_batch(outputs)}; "
                "expected one number for each output."
            )

    def check_values(
        self, targets: np.ndarray, outputs: Any, first_index: int, stride: int
    ) -> None:
        wrong = ~np.isfinite(targets)
        if wrong.any():
            position = np.argwhere(wrong)[0]
            raise ValueError(
                f"the target of example {first_index + stride * position[0]} is "
                f"{targets[tuple(position)]}; expected a finite number. Leave out the examples "
                "that have none."
            )


@dataclasses.dataclass(frozen=True)
class AnyOutputs:
    """Any pytree of arrays `[batch, ...]`, and targets that nothing is asked of."""

    def check_outputs(self, outputs: Any, batch_size: int) -> None:
        for leaf in jax.tree.leaves(outputs):
            if leaf.shape[:1] != (batch_size,):
                raise ValueError(
                    f"`apply_fn` returned an array of shape {leaf.shape} for a batch of "
                    f"{batch_size}; expected [batch, ...] for each."
                )

    def check_targets(self, targets: Any, outputs: Any) -> None:
        """Accept any."""

    def check_values(
        self, targets: np.ndarray, outputs: Any, first_index: int, stride: int
    ) -> None:
        """Accept any."""


Task = Classification | Segmentation | Regression | AnyOutputs


def warn_of_probabilities(task: Task, logits: Any) -> None:
    """Say so where `[..., classes]` looks like what a softmax returned."""
    if (
        isinstance(task, Regression | AnyOutputs) or (logits == 1).any()
    ):  # 0, 1, 0 are logits of a toy
        return
    if _check.sum_to_one(logits):
        warn(
            "`apply_fn` returns rows from 0 to 1 that sum to 1; expected logits. Losses and "
            "calibration are those of the softmax of them. Leave out the model's own softmax, or "
            "return jnp.log of its result."
        )


def _without_one(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one example; a single number has none."""
    return () if shape[1:] == (1,) else shape[1:]


def _are_logits(outputs: jax.ShapeDtypeStruct) -> None:
    if not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise TypeError(
            f"`apply_fn` returned {outputs.dtype}; expected floating-point logits, not classes."
        )
    if outputs.shape[-1] == 1:
        axes = "(0, 0), " * (len(outputs.shape) - 1)
        what = "an example" if len(outputs.shape) == 2 else "a pixel"
        raise ValueError(
            f"`apply_fn` returned one logit {what}; expected one for each class. For a binary "
            "model give the other class the logit 0: def binary(params, x): return "
            f"jnp.pad(apply_fn(params, x), ({axes}(1, 0))). If it is a number and no logit, use "
            "jinterp.evaluate_regression."
        )


def _are_numbers(targets: Any) -> None:
    if not (jnp.issubdtype(targets.dtype, jnp.number) or targets.dtype == bool):
        raise TypeError(
            f"`targets` are {targets.dtype}; expected integers. Map each label to its class number."
        )


def _refuse(
    targets: np.ndarray, wrong: np.ndarray, num_classes: int, first_index: int, stride: int
) -> None:
    """Name the first label that is no class."""
    if not wrong.any():
        return
    position = tuple(map(int, np.argwhere(wrong)[0]))
    value = int(targets[position])
    if targets.ndim > 1:
        where = f" at {position[1:]}"
        num = int(wrong.sum())
        advice = (
            f"The batch has {num} such pixels. If they are unlabelled, say so: "
            f"ignore_index={value}."
        )
    else:
        where = ""
        advice = (
            "A label of -1 usually means unlabelled: leave these examples out."
            if value < 0
            else f"The data has more classes than the model's {num_classes} logits, or counts "
            "from 1."
        )
    raise ValueError(
        f"the target of example {first_index + stride * position[0]}{where} is {value}; expected "
        f"0 to {num_classes - 1}. {advice}"
    )


def _of_batch(array: Any) -> str:
    return f"[{', '.join(map(str, ('batch', *array.shape[1:])))}]"
