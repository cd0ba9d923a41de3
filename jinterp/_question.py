"""What every explainer asks: which number of which model, of which inputs; checked once."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check, _functions
from jinterp._region import of_region
from jinterp._trace import under_transform, warn
from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.model import score as scores
from jinterp.model.region import Region
from jinterp.stream import memory
from jinterp.stream.rows import Kind, WithRows, map_rows

_OF_CLASSES = {
    scores.logit,
    scores.probability,
    scores.log_probability,
    scores.margin,
    scores.loss,
    scores.channel,
}


class Question(NamedTuple):
    """What is to be explained.

    Attributes:
        apply_fn: the model.
        score: in which number.
        params: of the model.
        x: the inputs, `[batch, ...]`.
        target: None, `[batch]` or `[batch, targets]`.
    """

    apply_fn: ApplyFn
    score: Score
    params: Params
    x: Inputs
    target: Any

    @property
    def num_examples(self) -> int:
        return len(jax.tree.leaves(self.x)[0])


def ask(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target,
    score: Score,
    *,
    differentiable: bool = True,
) -> Question:
    """The question, or a named error.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]`.
        target: what to explain.
        score: `score(logits, target) -> [batch]`.
        differentiable: whether gradients by `x` are taken.
    """
    _check.is_model_function(apply_fn)
    _functions.warn_if_made_anew("apply_fn", apply_fn)
    _functions.warn_if_made_anew("score", score)
    x = jax.tree.map(jnp.asarray, x)
    num_examples = _check.num_examples(x)
    if differentiable:
        _check.is_differentiable(x)
    logits = _check.outputs_of(apply_fn, params, x)
    _check.has_batch_axis(logits, num_examples)
    given_fn, given_params = apply_fn, params
    if isinstance(score, Region):
        apply_fn, params, score = of_region(apply_fn, params, score, logits, target)
        logits = _check.outputs_of(apply_fn, params, x)
    if target is not None:
        given, target = target, _target(target, num_examples)
        if score in _OF_CLASSES:
            _check.target_in_range(given, logits.shape[-1])
    one = target if target is None or target.ndim == 1 else target[:, 0]
    _check.scores_of(score, logits, one, num_examples)
    if not isinstance(given_params, WithRows):  # a model from a layer on: the whole one was
        _independent(given_fn, given_params, x)
    return Question(apply_fn, score, params, x, target)


def _target(target: Any, num_examples: int) -> Array:
    """`[batch]` or `[batch, targets]` int32."""
    target = _check.array("target", target)
    if not jnp.issubdtype(target.dtype, jnp.integer):
        raise TypeError(
            f"`target` is {target.dtype}; expected integer classes. Use target.argmax(-1) for "
            "one-hot rows, target.astype(int) for whole numbers stored as floats."
        )
    if target.ndim > 2 or (target.ndim and len(target) != num_examples):
        raise ValueError(
            f"`target` has the shape {target.shape} for {num_examples} examples; expected one "
            f"class, one for each example ({num_examples},), or several for each "
            f"({num_examples}, targets)."
        )
    return jnp.broadcast_to(target.astype(jnp.int32), (num_examples, *target.shape[1:]))


def with_predictions(question: Question) -> Question:
    """The question with the predicted classes as its target, where it has none.

    What follows a path or adds noise explains one class, that of the inputs themselves.
    """
    apply_fn, score, params, x, target = question
    of_classes = _check.outputs_of(apply_fn, params, x).ndim == 2 or score is scores.channel
    if target is not None or not of_classes:
        return question
    return question._replace(target=map_rows(_predictions, apply_fn, params, x))


def _predictions(apply_fn: Any, params: Params, x: Inputs, point: None) -> Array:
    """The class with the largest logit; in space, the channel with the largest mean."""
    outputs = apply_fn(params, x)
    means = outputs.mean(axis=tuple(range(1, outputs.ndim - 1)))
    return means.argmax(axis=1).astype(jnp.int32)


def answer(
    fn: Callable[..., Any],
    question: Question,
    *static: Hashable,
    rows: Any = (),
    points: Any = None,
    kind: Kind = "sum",
    initial: Any = None,
) -> Any:
    """Compute `fn` for every example, at every point.

    Args:
        fn: `fn((apply_fn, score, *static), params, (x, target, rows), point) -> [batch, ...]`, a
            function of a module, for one class an example.
        question: what is explained.
        *static: what else the program depends on.
        rows: more arrays of the batch.
        points: as `map_rows` takes them.
        kind: as `map_rows` takes it.
        initial: as `map_rows` takes it; with several targets `[batch, targets, ...]`.

    Returns:
        `[batch, ...]`, and with several targets `[batch, targets, ...]`; with `kind="stack"` the
        points are the axis after these.
    """
    apply_fn, score, params, x, target = question
    several = target is not None and target.ndim == 2
    if several:
        most = memory.rows_per_program(jax.devices()[0])
        if target.shape[1] > most:  # so that memory does not grow with the classes
            parts = [
                answer(
                    fn,
                    question._replace(target=_targets(target, start, most)),
                    *static,
                    rows=rows,
                    points=points,
                    kind=kind,
                    initial=_targets(initial, start, most),
                )
                for start in range(0, target.shape[1], most)
            ]
            return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *parts)
        fn = _EachTarget(fn)
    static = (apply_fn, score, *static)
    rows = (x, target, rows)
    found = map_rows(fn, static, params, rows, points, kind=kind, initial=initial)
    if several and kind == "stack":
        return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 1, 2), found)
    return found


def _targets(tree: Any, start: int, most: int) -> Any:
    """What belongs to some of the targets, in arrays `[batch, targets, ...]`."""

    def one(leaf: Array) -> Array:
        return jax.lax.slice_in_dim(leaf, start, min(start + most, leaf.shape[1]), axis=1)

    return jax.tree.map(one, tree)


def default_of(explain: Callable[..., Any], name: str, otherwise: Any) -> Any:
    """What an explainer takes where a keyword is not given, also if a partial binds it."""
    parameter = inspect.signature(explain).parameters.get(name)
    if parameter is None or parameter.default is parameter.empty:
        return otherwise
    return parameter.default


def first_output(outputs: Array, target: Target) -> Array:
    """A score for what explains no class, of whatever a model returns."""
    return outputs.reshape(len(outputs), -1)[:, 0]


def scores_of(question: Question) -> Any:
    """The score of each example, `[batch]`, or `[batch, targets]`."""
    return answer(_score_at, question)


def _score_at(static: Any, params: Params, rows: Any, point: None) -> Array:
    apply_fn, score = static
    x, target, _ = rows
    return score(apply_fn(params, x), target)


def as_inputs(values: Any, x: Inputs) -> Any:
    """Values in the dtypes of the inputs."""
    return jax.tree.map(lambda value, leaf: value.astype(leaf.dtype), values, x)


@dataclasses.dataclass(frozen=True)
class _EachTarget:
    """A function of one class an example for several: what is common to them is computed once."""

    fn: Callable[..., Any]

    def __call__(self, static: Any, params: Params, rows: Any, point: Any, *before: Any) -> Any:
        x, targets, more = rows

        def one(target: Array, *before: Any) -> Any:
            return self.fn(static, params, (x, target, more), point, *before)

        return jax.vmap(one, in_axes=1, out_axes=1)(targets, *before)


def total_score(apply_fn: ApplyFn, score: Score, params: Params, x: Inputs, target: Any) -> Array:
    """Σ over the batch of the score: its gradient holds each example's own."""
    return score(apply_fn(params, x), target).sum()


input_gradient = jax.grad(total_score, argnums=3)
"""∂s/∂x for each example, in the structure of `x`."""


def report_blank(values: Any, name: str, cause: str) -> None:
    """Warn of examples whose values are all zero, or not finite; a result under a transform
    cannot be looked at.
    """
    leaves = jax.tree.leaves(values)
    if under_transform(leaves):
        return
    num_zero, num_bad = np.asarray(_count(leaves)).tolist()
    total = len(leaves[0])
    if num_bad:
        warn(
            f"`{name}`: {num_bad} of {total} examples have NaN or infinite values. Look at the "
            "inputs, and at the model's logits for them and for the baseline."
        )
    if num_zero:
        warn(f"`{name}`: {num_zero} of {total} examples are zero everywhere: {cause}")


@jax.jit
def _count(leaves: list[Array]) -> Array:
    """How many examples are zero, and how many not finite, in one array that is fetched once."""
    flat = [leaf.reshape(len(leaf), -1) for leaf in leaves]
    is_zero = functools.reduce(jnp.logical_and, [(leaf == 0).all(axis=1) for leaf in flat])
    is_finite = functools.reduce(jnp.logical_and, [jnp.isfinite(f).all(axis=1) for f in flat])
    return jnp.stack([is_zero.sum(), (~is_finite).sum()])


def _independent(apply_fn: ApplyFn, params: Params, x: Inputs) -> None:
    """Compare the first example's outputs with those among copies of it; once for each model.

    Two passes over at most eight examples.
    """
    if under_transform((params, x)) or _check.num_examples(x) == 1:
        return
    if not all(leaf.is_fully_addressable for leaf in jax.tree.leaves(x)):
        return  # of several processes none holds the examples
    shapes = tuple(leaf.shape[1:] for leaf in jax.tree.leaves(x))
    key = hash(apply_fn), jax.tree.structure(params), shapes
    if key in _seen:
        return
    few = jax.tree.map(lambda leaf: np.asarray(leaf[:8]), x)
    copies = jax.tree.map(lambda leaf: np.repeat(leaf[:1], len(leaf), axis=0), few)
    if all(map(np.array_equal, jax.tree.leaves(few), jax.tree.leaves(copies))):
        return  # examples that are equal tell nothing
    try:
        a, b = (
            np.asarray(_first_output(apply_fn, params, each), np.float64) for each in (few, copies)
        )
    except jax.errors.JaxRuntimeError as error:
        if memory.is_out_of_memory(error):  # the question itself is cut to what there is
            return
        raise
    scale = np.abs(a[np.isfinite(a)]).max(initial=0)
    if not np.allclose(a, b, rtol=0, atol=1e-3 * scale, equal_nan=True):
        raise _check.examples_interact()
    _seen.add(key)


_seen: set[Any] = set()  # hashes, so that no function is kept alive


@functools.partial(jax.jit, static_argnames="apply_fn")
def _first_output(apply_fn: ApplyFn, params: Params, x: Inputs) -> Array:
    return apply_fn(params, x)[0]
