"""Noise averaged away: any explainer over noisy copies of the input."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp import _check
from jinterp._question import (
    Question,
    as_inputs,
    ask,
    default_of,
    with_predictions,
)
from jinterp._trace import under_transform
from jinterp._types import ApplyFn, Explainer, Inputs, Params, Target
from jinterp.attribution._moments import moments_of
from jinterp.attribution._paths import range_of
from jinterp.model import logit
from jinterp.stream import memory
from jinterp.stream.rows import WithRows, is_sharded

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
        explain: any explainer, `explain(apply_fn, params, x, target, ...)`, whose values for an
            example depend on no other; it is called with several noisy copies of the batch.
        key: for the noise.
        num_samples: noisy copies; each costs what `explain` costs for the batch.
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

        def sample(keys: jax.Array) -> Any:
            noisy = _noisy(question.x, keys, noise)
            repeated = None if question.target is None else _repeated(question.target, len(keys))
            return explain(apply_fn, params, noisy, repeated, **keywords)

        together = _num_together(question, num_samples)
        keys = jax.random.split(key, (num_samples // together, together))
        first = _of_several(sample, keys[0], question.x) if together > 1 else None
        if first is None:
            keys = jax.random.split(key, (num_samples, 1))
            first = sample(keys[0])
        moments = moments_of(first, sample, keys, question.x, squared=reduce == "square")
        return as_inputs(moments.variance(0) if reduce == "variance" else moments.mean, first)

    return smoothed


def _num_together(question: Question, num_samples: int) -> int:
    """Noisy copies of the batch that are explained in one call, which costs milliseconds itself.

    A divisor of all, so that every call has the same programs; less where copies and their values
    would not fit the memory budget.
    """
    params, x, target = question.params, question.x, question.target
    if isinstance(params, WithRows) or under_transform((params, x)) or is_sharded((params, x)):
        return 1
    leaves = jax.tree.leaves(x)
    (device,) = leaves[0].devices()
    num_targets = 1 if target is None else target.size // len(leaves[0])
    num_bytes = sum(leaf.nbytes for leaf in leaves) * (1 + num_targets)
    budget = memory.rounded_budget(device, of_all=False)
    most = min(memory.rows_per_call(device) // len(leaves[0]), budget // max(num_bytes, 1))
    most = min(max(most, 1), num_samples)
    return max(num for num in range(1, most + 1) if num_samples % num == 0)


def _of_several(sample: Callable[[Any], Any], keys: Array, x: Inputs) -> Any:
    """The values for some keys; None of an explainer that holds arrays `[batch, ...]` of one."""
    rows = (len(keys) * len(jax.tree.leaves(x)[0]),)
    try:
        values = sample(keys)
    except (TypeError, ValueError):
        return None
    return values if all(jnp.shape(leaf)[:1] == rows for leaf in jax.tree.leaves(values)) else None


@jax.jit
def _noisy(x: Inputs, keys: jax.Array, noise: Any) -> Inputs:
    """A noisy copy of the batch for every key, one behind the other."""
    leaves, treedef = jax.tree.flatten(x)

    def one(leaf: Array, own: Any) -> Array:
        drawn = jax.random.normal(own, leaf.shape[1:], jnp.float32)  # the same for every dtype
        scaled = jnp.asarray(noise).astype(drawn.dtype) * drawn[None]
        return leaf + scaled.astype(leaf.dtype) * range_of(leaf)

    def copy(key: jax.Array) -> list[Array]:
        return list(map(one, leaves, jax.random.split(key, len(leaves))))

    if len(keys) == 1:
        return jax.tree.unflatten(treedef, copy(keys[0]))
    # Not vmap, under which the first key of the rbg generator draws for all.
    copies = [leaf.reshape(-1, *leaf.shape[2:]) for leaf in jax.lax.map(copy, keys)]
    return jax.tree.unflatten(treedef, copies)


@functools.partial(jax.jit, static_argnames="num")
def _repeated(target: Array, num: int) -> Array:
    return jnp.tile(target, (num, *[1] * (target.ndim - 1)))
