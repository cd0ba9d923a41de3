"""The examples that the model gets most wrong."""

import functools
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from jinterp import _check, _functions
from jinterp._types import ApplyFn, Batch, LossFn, Params
from jinterp.data.batches import batches
from jinterp.evaluate.losses import classes_of, cross_entropy, per_example
from jinterp.evaluate.predictions import (
    Predictions,
    non_finite_inputs,
    predicted_classes,
    warn_about_inputs,
)
from jinterp.model.score import at_least_float32, probability
from jinterp.stream.fold import fold
from jinterp.stream.reduce import Reducer, counts, top_k


class TopLosses(NamedTuple):
    """The examples with the largest (or smallest) losses, in that order; NaN before all.

    Attributes:
        losses: `[k]`.
        indices: `[k]` dataset indices.
        targets: `[k]` actual classes; multi-label: `[k, classes]`.
        predictions: `[k]` predicted classes, −1 where they are NaN, +inf or only −inf; multi-label:
            `[k, classes]`, 1 where the logit is positive.
        target_probabilities: `[k]`, the probability given to the target.
        prediction_probabilities: `[k]`, the probability given to the prediction.
    """

    losses: np.ndarray
    indices: np.ndarray
    targets: np.ndarray
    predictions: np.ndarray
    target_probabilities: np.ndarray
    prediction_probabilities: np.ndarray


def top_losses(
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    *,
    k: int = 9,
    largest: bool = True,
    loss_fn: LossFn = cross_entropy,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> TopLosses:
    """The k examples with the largest losses, in one pass that holds k of them.

    Args:
        apply_fn: `apply_fn(params, x) -> logits [batch, classes]`.
        params: its parameters.
        ds: anything that `batches` takes.
        k: how many.
        largest: False gives the smallest losses.
        loss_fn: `loss_fn(logits, targets)`, one number an example or, as optax's elementwise
            losses, several, whose mean is taken. For multi-label targets
            `jinterp.sigmoid_cross_entropy`.
        mesh: the devices to cut batches over.
        progress: show a progress bar; None shows one for a long pass in a terminal.

    Returns:
        The losses in nats with each example's dataset index, target, prediction and both
        probabilities. Ties go to the lowest dataset index. NaN comes first, and a warning says how
        many losses are not finite.

    Raises:
        ValueError: k is not positive or larger than the dataset; a target is out of range.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> ds = (np.array([[5.0, 0.0], [0.0, 5.0], [1.0, 0.0]], np.float32), np.array([0, 0, 0]))
    >>> top = top_losses(apply_fn, jnp.eye(2), ds, k=2)
    >>> print(top.indices, top.losses.round(3))
    [1 2] [5.007 0.313]
    """
    dataset = batches(ds)
    # In a run of several processes the dataset is only this one's part.
    _check.at_most_dataset(k, dataset.num_examples if jax.process_count() == 1 else None)
    _functions.warn_if_made_anew("loss_fn", loss_fn)
    reducers = {
        "top": _top_losses(k, largest, loss_fn),
        "non_finite": _non_finite(loss_fn),
        "inputs": non_finite_inputs(),
    }
    found = fold(reducers, apply_fn, params, dataset, mesh=mesh, progress=progress)
    warn_about_inputs(int(found["inputs"][0]))
    if found["non_finite"][0]:
        warnings.warn(
            f"{found['non_finite'][0]} examples have a loss that is NaN or infinite; NaN come "
            "first among the top losses. Look for NaN in their inputs or in the model, and for "
            "soft labels that do not sum to 1.",
            stacklevel=2,
        )
    if len(found["top"].values) < k:
        warnings.warn(
            f"`k` is {k}; the dataset had only {len(found['top'].values)} examples, all returned.",
            stacklevel=2,
        )
    losses = found["top"].values if largest else -found["top"].values
    return TopLosses(losses, found["top"].indices, **found["top"].payload)


def top_of(predictions: Predictions, k: int, *, largest: bool = True) -> TopLosses:
    """The top losses of a pass already made, in the same order."""
    _check.at_most_dataset(k, len(predictions.indices))
    order = order_of_losses(predictions.losses, predictions.indices, largest=largest)
    return outcomes_of(predictions.rows(order[:k]))


def order_of_losses(losses: np.ndarray, indices: np.ndarray, *, largest: bool = True) -> np.ndarray:
    """Positions from the largest (or smallest) loss on; NaN first, ties by dataset index."""
    return np.lexsort((indices, -losses if largest else losses, ~np.isnan(losses)))


def outcomes_of(rows: Predictions) -> TopLosses:
    """These examples in the form of top losses, in their own order."""
    return TopLosses(
        rows.losses,
        rows.indices,
        rows.targets,
        rows.predictions,
        rows.target_probabilities,
        rows.prediction_probabilities,
    )


@functools.cache
def _top_losses(k: int, largest: bool, loss_fn: LossFn) -> Reducer:
    sign = 1 if largest else -1

    def value(batch: Batch, logits: Array) -> Array:
        return sign * per_example(loss_fn, logits, batch.targets)

    return top_k(value, k, _outcome)


@functools.cache
def _non_finite(loss_fn: LossFn) -> Reducer:
    def cell(batch: Batch, logits: Array) -> Array:
        return jnp.where(
            jnp.isfinite(per_example(loss_fn, logits, batch.targets)), jnp.int32(1), jnp.int32(0)
        )

    return counts(cell, 1)


def _outcome(batch: Batch, logits: Array) -> dict[str, Array]:
    floating = jnp.issubdtype(batch.targets.dtype, jnp.floating)
    if batch.targets.ndim == 2 and not floating:
        return _multi_label_outcome(batch.targets, logits)
    targets, predicted = classes_of(batch.targets), predicted_classes(logits)
    return {
        "targets": targets,
        "predictions": predicted,
        "target_probabilities": probability(logits, targets),
        "prediction_probabilities": probability(logits, predicted),
    }


def _multi_label_outcome(targets: Array, logits: Array) -> dict[str, Array]:
    """Whole sets of labels, their probability the product over independent labels."""
    predicted = (logits > 0).astype(targets.dtype)

    def set_probability(labels: Array) -> Array:
        signed = jnp.where(labels.astype(bool), logits, -logits)
        return jnp.exp(jax.nn.log_sigmoid(at_least_float32(signed)).sum(1))

    return {
        "targets": targets,
        "predictions": predicted,
        "target_probabilities": set_probability(targets),
        "prediction_probabilities": set_probability(predicted),
    }
