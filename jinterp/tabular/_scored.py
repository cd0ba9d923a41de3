"""One number of how good the outputs of a whole table are, as they are and with cells changed."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _functions
from jinterp._question import Question
from jinterp._trace import eval_shape, held_here, warn
from jinterp.tabular._passes import (
    are_finite,
    at_points,
    in_parts,
    most_rows,
    outputs_as_they_are,
    outputs_shuffled,
)
from jinterp.tabular.table import Table, targets_of


class Scored(NamedTuple):
    """A model, a table, and a score of its outputs.

    Attributes:
        question: the model and its inputs.
        score: `score(outputs, targets) -> scalar`, or with `weights` as a third argument.
        table: the rows.
        targets: of the rows.
        weights: `[rows]`, None where the score takes none.
    """

    question: Question
    score: Callable[..., Any]
    table: Table
    targets: Array
    weights: Array | None = None

    def as_it_is(self) -> float:
        """The score of the rows as they are, or a named error."""
        apply_fn, _, params, x, _ = self.question
        outputs = at_points(outputs_as_they_are, apply_fn, params, x)
        on_host = held_here(outputs)[:, 0]
        are_finite(on_host, self.table)
        _is_scalar(self, on_host)
        found = float(_score(self.score, outputs, self.targets, self.weights))
        if not np.isfinite(found):
            raise ValueError(
                f"`score` ({_functions.name_of(self.score)}) is {found} for the rows as they are; "
                f"expected a finite number. {_about_targets(self.targets)}"
            )
        return found

    def shuffled(self, orders: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """The score with the columns of each mask in each order of the rows, `[orders, masks]`."""
        apply_fn, _, params, x, _ = self.question
        shape = eval_shape(apply_fn, params, x)
        num_bytes = 3 * shape.size * shape.dtype.itemsize  # and what the score makes of outputs
        most = max(1, 2 * most_rows() // len(x))
        of_masks = in_parts(len(masks), num_bytes, most)
        of_orders = in_parts(len(orders), num_bytes * len(of_masks[0]))
        found: list[list[Array]] = []
        for some in of_orders:
            rows, numbers = (x, jnp.asarray(orders[some].T)), jnp.asarray(np.arange(len(some)))
            found.append([])
            for part in of_masks:
                jax.block_until_ready(found)  # of one part at a time the outputs are held
                of_part = params, x, jnp.asarray(masks[part])
                outputs = at_points(outputs_shuffled, apply_fn, of_part, rows, numbers, len(part))
                found[-1].append(self.of_outputs(outputs))
        scores = np.concatenate([np.concatenate(parts, axis=1) for parts in found])
        scores = scores[: len(orders), : len(masks)].astype(np.float64)
        self.stay_finite(scores, masks)
        return scores

    def stay_finite(self, scores: np.ndarray, masks: np.ndarray) -> None:
        """The model says something of every shuffled row, or a named error."""
        wrong = ~np.isfinite(scores).all(axis=0)
        if wrong.any():
            columns = np.flatnonzero(masks[wrong.argmax()])
            names = ", ".join(self.table.column_names[n] for n in columns)
            raise ValueError(
                f"with {names} shuffled, outputs of the model or their score are NaN or infinite, "
                "which they are not for the rows as they are; expected a model that takes rows "
                "that do not occur. Clip what it divides by or takes the logarithm of, or shuffle "
                "columns that belong together in one of `groups`."
            )

    def of_outputs(self, outputs: Array) -> Array:
        """The scores of `[rows, orders, masks, ...]`."""
        return _scores(self.score, outputs, self.targets, self.weights)


@functools.partial(jax.jit, static_argnames="score")
def _score(score: Any, outputs: Array, targets: Array, weights: Array | None) -> Array:
    """Of outputs `[rows, 1, ...]`."""
    return score(outputs[:, 0], *((targets,) if weights is None else (targets, weights)))


def scored(question: Question, score: Any, ds: Table) -> Scored:
    """The model with its score, or a named error."""
    if not callable(score):
        raise TypeError(
            f"`score` is {score!r}; expected a function score(outputs, targets) -> scalar, such as "
            "jinterp.tabular.accuracy or jinterp.tabular.r2."
        )
    _functions.warn_if_made_anew("score", score)
    return Scored(question, score, ds, jnp.asarray(targets_of(ds)))


def warn_of_one_class(ds: Table) -> None:
    """Tell that all rows have one class."""
    targets = held_here(targets_of(ds))
    if targets.dtype.kind in "iu" and (targets == targets.flat[0]).all():
        warn(
            f"all targets are {targets.flat[0]}: a score of one class tells little of the model. "
            "Give rows of every class."
        )


@functools.partial(jax.jit, static_argnames="score")
def _scores(score: Any, outputs: Array, targets: Array, weights: Array | None) -> Array:
    given = (targets,) if weights is None else (targets, weights)

    def one(outputs: Array) -> Array:
        found = score(outputs, *given)
        is_finite = jnp.isfinite(outputs).all()
        return jnp.where(is_finite, found, jnp.array(jnp.nan, found.dtype))

    return jax.vmap(jax.vmap(one, in_axes=1), in_axes=1)(outputs)


def _is_scalar(scored: Scored, outputs: np.ndarray) -> None:
    """A score is one number of all rows, or a named error."""
    name = _functions.name_of(scored.score)
    given = (scored.targets,) if scored.weights is None else (scored.targets, scored.weights)
    try:
        found = eval_shape(scored.score, outputs, *given)
    except jax.errors.JAXTypeError as error:
        raise TypeError(
            f"`score` ({name}) cannot be traced ({type(error).__name__}); expected a function of "
            "JAX arrays. A metric of scikit-learn is written with jax.numpy in a line or two, as "
            "jinterp.tabular.accuracy is."
        ) from error
    except TypeError as error:
        if scored.weights is None:
            raise
        raise ValueError(
            f"`score` ({name}) failed when it was given weights ({error}); expected "
            "score(outputs, targets, weights), with a weight for each row, as those of "
            "jinterp.tabular take it."
        ) from error
    shape = getattr(found, "shape", None)
    if shape != () or not jnp.issubdtype(found.dtype, jnp.number):
        returned = f"an array {list(shape)}" if shape is not None else type(found).__name__
        raise ValueError(
            f"`score` ({name}) returned {returned} for {len(outputs)} rows; expected one number "
            "for all of them. Take the mean."
        )


def _about_targets(targets: Array) -> str:
    values = np.asarray(targets)
    if (values == values.flat[0]).all():
        return f"All targets are {values.flat[0]}, which no score of variance takes."
    return "Look at the targets, and at what the score divides by."
