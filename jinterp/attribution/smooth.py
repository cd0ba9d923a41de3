"""Noise averaged away: any explainer over noisy copies of the input."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp import _check
from jinterp._trace import under_transform
from jinterp._types import ApplyFn, Explainer, Inputs, Params, Target
from jinterp.attribution._question import as_inputs, ask, default_of, with_predictions
from jinterp.model import logit
from jinterp.model.score import at_least_float32

Reduction = Literal["mean", "square", "variance"]


def smooth(
    explain: Explainer,
    *,
    key: jax.Array,
    num_samples: int = 25,
    noise: float = 0.15,
    reduce: Reduction = "mean",
) -> Explainer:
    """An explainer whose values are reduced over noisy copies of the input.

    With ε ~ N(0, (noise · range)²): the mean of φ(x + ε) (SmoothGrad), of its square (SquareGrad),
    or its variance (VarGrad). All examples share the draws, so that no value depends on the batch
    an example stands in.

    Args:
        explain: any explainer, `explain(apply_fn, params, x, target, ...)`.
        key: for the noise.
        num_samples: noisy copies; each costs what `explain` costs.
        noise: the deviation as a share of the range (maximum less minimum) of each example, in
            each array of `x`. 0 gives `explain` itself.
        reduce: "mean", "square" or "variance" (ddof 0).

    Returns:
        An explainer with the arguments of `explain`; with `target=None` it explains the class
        predicted for the input without noise.

    Raises:
        TypeError: `key` is missing or no key.
        ValueError: `num_samples` is 0, `noise` is negative, or `reduce` is none of these.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> smoothed = smooth(jinterp.gradient, key=jax.random.key(0))
    >>> smoothed(apply_fn, jnp.array([[2.0], [1.0]]), jnp.array([[0.0, 1.0]]), 0).tolist()
    [[2.0, 1.0]]

    Source: Smilkov et al. 2017; Hooker et al. 2019 (square); Adebayo et al. 2018 (variance).
    """
    _check.is_key(key)
    _check.at_least_one("num_samples", num_samples, 25)
    if not noise >= 0:
        raise ValueError(f"`noise` is {noise}; expected a share of the range, such as 0.15.")
    if reduce not in ("mean", "square", "variance"):
        raise ValueError(f"`reduce` is {reduce!r}; expected 'mean', 'square' or 'variance'.")

    @functools.wraps(explain)
    def smoothed(
        apply_fn: ApplyFn, params: Params, x: Inputs, target: Target = None, **keywords: Any
    ) -> Any:
        score = keywords.get("score", default_of(explain, "score", logit))
        question = with_predictions(ask(apply_fn, params, x, target, score))

        def sample(one: jax.Array) -> Any:
            noisy = _noisy(question.x, one, noise)
            return explain(apply_fn, params, noisy, question.target, **keywords)

        return _reduced(sample, jax.random.split(key, num_samples), question.x, reduce)

    return smoothed


def _reduced(sample: Callable[[Any], Any], keys: Array, x: Inputs, reduce: Reduction) -> Any:
    """Mean and sum of squared deviations, kept as the samples come (Welford)."""

    def add(state: tuple[Any, Any, Any], key: Any) -> tuple[tuple[Any, Any, Any], None]:
        return _added(state, sample(key), reduce), None

    first = sample(keys[0])
    state = _started(first, reduce)
    if under_transform((first, x)):
        state = jax.lax.scan(add, state, keys[1:])[0]
    else:
        for key in keys[1:]:
            state, _ = add(state, key)
    number, mean, deviations = state
    if reduce == "variance":
        mean = jax.tree.map(lambda leaf: leaf / number.astype(leaf.dtype), deviations)
    return as_inputs(mean, first)


@functools.partial(jax.jit, static_argnames="reduce")
def _started(values: Any, reduce: Reduction) -> tuple[Any, Any, Any]:
    values = _summands(values, reduce)
    return jnp.int32(1), values, jax.tree.map(jnp.zeros_like, values)


@functools.partial(jax.jit, static_argnames="reduce")
def _added(state: tuple[Any, Any, Any], values: Any, reduce: Reduction) -> tuple[Any, Any, Any]:
    number, mean, deviations = state
    values = _summands(values, reduce)
    number = number + 1
    shift = jax.tree.map(jnp.subtract, values, mean)
    mean = jax.tree.map(lambda m, s: m + s / number.astype(s.dtype), mean, shift)
    deviations = jax.tree.map(lambda d, s, v, m: d + s * (v - m), deviations, shift, values, mean)
    return number, mean, deviations


def _summands(values: Any, reduce: Reduction) -> Any:
    """At least float32, in which they are added up."""

    def one(leaf: Array) -> Array:
        leaf = at_least_float32(leaf)
        return jnp.square(leaf) if reduce == "square" else leaf

    return jax.tree.map(one, values)


@jax.jit
def _noisy(x: Inputs, key: jax.Array, noise: Any) -> Inputs:
    leaves, treedef = jax.tree.flatten(x)
    keys = jax.random.split(key, len(leaves))

    def one(leaf: Array, own: Any) -> Array:
        axes = tuple(range(1, leaf.ndim))
        spread = leaf.max(axis=axes, keepdims=True) - leaf.min(axis=axes, keepdims=True)
        drawn = jax.random.normal(own, leaf.shape[1:], jnp.float32)  # the same for every dtype
        scaled = jnp.asarray(noise).astype(drawn.dtype) * drawn[None]
        return leaf + scaled.astype(leaf.dtype) * spread

    return jax.tree.unflatten(treedef, list(map(one, leaves, keys)))
