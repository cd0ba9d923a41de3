"""What influence and TracIn share: how the losses of examples change along directions."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check, _functions
from jinterp._types import ApplyFn, Batch, Inputs, LossFn, Params, PreprocessFn
from jinterp.data.batches import Batches, batches
from jinterp.evaluate.losses import cross_entropy, per_example
from jinterp.model.leaves import (
    leaves_at,
    names_of_all,
    numbers_of_trained,
    trainable_flags,
    with_leaves_at,
)
from jinterp.model.opened import HoldsLayers
from jinterp.model.score import at_least_float32
from jinterp.stream.mesh import params_of_this_host
from jinterp.stream.reduce import Reducer, top_k_each
from jinterp.stream.rows import map_rows
from jinterp.stream.task import AnyOutputs, Classification, Task


class InfluentialExamples(NamedTuple):
    """Training examples, for each test example the most influential first.

    Attributes:
        scores: `[tests, k]`.
        indices: `[tests, k]` dataset indices.
        targets: `[tests, k]` targets of these examples, or `[tests, k, ...]` as they are.
    """

    scores: np.ndarray
    indices: np.ndarray
    targets: np.ndarray


@dataclasses.dataclass(frozen=True)
class Losses:
    """The losses of a batch as a function of some leaves of the parameters.

    Attributes:
        apply_fn: the model.
        loss_fn: of its logits and the targets.
        preprocess: of the inputs of a batch, or None.
        numbers: which leaves, as `jax.tree.leaves(params)` has them.
    """

    apply_fn: ApplyFn
    loss_fn: LossFn
    preprocess: PreprocessFn | None
    numbers: tuple[int, ...]

    def leaves(self, params: Params) -> list[Array]:
        return leaves_at(params, self.numbers)

    def __call__(self, params: Params, leaves: list[Array], x: Inputs, targets: Array) -> Array:
        """`[batch]`, at least float32."""
        x = self.preprocess(x) if self.preprocess else x
        logits = self.apply_fn(with_leaves_at(params, self.numbers, leaves), x)
        return at_least_float32(per_example(self.loss_fn, logits, targets))

    def along(self, params: Params, batch: Batch, directions: list[Array]) -> Array:
        """The slope of each loss along each direction, `[directions, batch]`: forward passes."""

        def losses(leaves: list[Array]) -> Array:
            return self(params, leaves, batch.x, batch.targets)

        def one(direction: list[Array]) -> Array:
            leaves = self.leaves(params)
            tangents = [t.astype(leaf.dtype) for t, leaf in zip(direction, leaves, strict=True)]
            return jax.jvp(losses, (leaves,), (tangents,))[1]

        return jax.vmap(one)(directions)

    @property
    def task(self) -> Task:
        """What outputs and targets must be; of a loss of the user nothing is known."""
        return Classification() if self.loss_fn is cross_entropy else AnyOutputs()


@dataclasses.dataclass(frozen=True)
class Newest:
    """The model of the last checkpoint of `(checkpoints, directions)`."""

    apply_fn: ApplyFn

    def __call__(self, params: Any, x: Inputs) -> Any:
        return self.apply_fn(params[0][-1], x)


def ask(
    apply_fn: ApplyFn, params: Params, ds: Any, loss_fn: LossFn, trainable: Any, k: int
) -> tuple[Losses, Batches]:
    """The losses of the dataset and the dataset, or a named error."""
    _check.is_model_function(apply_fn)
    if isinstance(apply_fn, HoldsLayers):
        raise ValueError(
            "`apply_fn` is an exported model, which holds no derivatives in forward direction; "
            "expected the model itself. Load its code and its weights."
        )
    _functions.warn_if_made_anew("apply_fn", apply_fn)
    _functions.warn_if_made_anew("loss_fn", loss_fn)
    dataset = batches(ds)
    # In a run of several processes the dataset is only this one's part.
    _check.at_most_dataset(k, dataset.num_examples if jax.process_count() == 1 else None)
    flags = trainable_flags(trainable, params)
    numbers = tuple(number for number in numbers_of_trained(params) if flags[number])
    if not numbers:
        known = ", ".join(names_of_all(params)[:5])
        raise ValueError(
            "`trainable` leaves no trained leaf of floating point; expected True for at least one "
            f"of {known}, and so on."
        )
    return Losses(apply_fn, loss_fn, dataset.preprocess, numbers), dataset


def gradients(losses: Losses, params: Params, x: Inputs, targets: Any) -> list[np.ndarray]:
    """The gradient of each example's loss by each leaf, `[examples, ...]`, on the host."""
    x, targets = jax.tree.map(jnp.asarray, x), jnp.asarray(targets)
    num_examples = _check.num_examples(x)
    if targets.shape[:1] != (num_examples,):
        raise ValueError(
            f"`targets` have the shape {targets.shape} for {num_examples} examples; expected one "
            "for each."
        )
    params = params_of_this_host(params)
    outputs = _check.any_outputs_of(losses.apply_fn, params, x)
    losses.task.check_outputs(outputs, num_examples)
    losses.task.check_targets(targets, outputs)
    losses.task.check_values(np.asarray(targets), outputs, 0, 1)
    _check.losses_of(losses.loss_fn, outputs, targets)
    as_given = dataclasses.replace(losses, preprocess=None)
    found = map_rows(_gradients, as_given, params, (x, targets))
    return [np.asarray(leaf) for leaf in found]


def _gradients(losses: Any, params: Params, rows: Any, point: None) -> list[Array]:
    def one(row: Any) -> list[Array]:
        x, targets = jax.tree.map(lambda leaf: leaf[None], row)

        def loss(leaves: list[Array]) -> Array:
            return losses(params, leaves, x, targets).sum()

        return list(map(at_least_float32, jax.grad(loss)(losses.leaves(params))))

    return jax.vmap(one)(rows)


@functools.cache
def slopes_of(losses: Losses) -> Any:
    """A `prepare` with the slope of each loss of a batch along each direction, `[batch, tests]`.

    Parameters are `(checkpoints, directions)`, of which there are as many; the slopes of all are
    added up.
    """

    def prepare(params: Any, batch: Batch, logits: Any) -> Array:
        pairs = zip(*params, strict=True)
        slopes = [losses.along(one, batch, directions) for one, directions in pairs]
        return sum(slopes[1:], slopes[0]).T

    return prepare


@functools.cache
def most_influential(k: int, *, sign: int) -> Reducer:
    """The k largest slopes, or with the sign −1 the k least."""

    def value(batch: Batch, slopes: Array) -> Array:
        return sign * slopes

    def targets(batch: Batch, slopes: Array) -> Array:
        return batch.targets

    found = top_k_each(value, k, targets)

    def finalize(state: Any) -> InfluentialExamples:
        top = found.finalize(state)
        return InfluentialExamples(sign * top.values, top.indices, top.payload)

    return found._replace(finalize=finalize)
