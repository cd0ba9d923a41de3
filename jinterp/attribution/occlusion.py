"""Occlusion: the score that is lost behind a window that slides over the input."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._question import Question, answer, ask, report_blank, with_predictions
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import UNCHANGED, as_leaf
from jinterp.attribution._paths import baselines_of, mean_of
from jinterp.model import logit
from jinterp.model.score import at_least_float32


def occlusion(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    window: Any,
    stride: Any = None,
    score: Score = logit,
    baseline: Baseline = 0.0,
    channel_axis: int = -1,
) -> Any:
    """The mean of s(x) − s(x behind the window), over the windows that cover an element.

    It needs no gradient, but a forward pass a window, each of ⌈(size − window) / stride⌉ + 1 in
    every axis; those at the end are clipped. Several arrays are covered one after the other.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, of any dtype.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        window: how many elements it covers: an integer in every axis in space and over all
            channels (of `[batch, features]` so many features), or a tuple with one for each axis
            of an example. For several arrays one for all, or the structure of `x`.
        stride: by how many elements it moves, as `window`; None is half the window, rounded up.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        baseline: what is seen in place of the window, as in `feature_ablation`.
        channel_axis: what an integer covers whole, where an array has axes in space.

    Returns:
        As `x` in shape, signed, in units of the score; in the dtype of `x`, float32 for integers.
        With several targets `[batch, targets, ...]`.

    Raises:
        ValueError: as `gradient` does; the window is larger than the input, or moves by more than
            its size.

    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> x = jnp.array([[3.0, 1.0, 4.0]])
    >>> occlusion(apply_fn, jnp.ones((3, 1)), x, 0, window=2).tolist()
    [[4.0, 4.5, 5.0]]

    Source: Zeiler and Fergus 2014, section 4.2; overlaps are averaged as in Captum.
    """
    question = with_predictions(ask(apply_fn, params, x, target, score, differentiable=False))
    leaves, treedef = jax.tree.flatten(question.x)
    windows = _of_each(window, treedef)
    strides = [None] * len(leaves) if stride is None else _of_each(stride, treedef)
    baselines = baselines_of(baseline, question.x)
    values = []
    for number, (leaf, size, step) in enumerate(zip(leaves, windows, strides, strict=True)):
        axes = _axes(leaf, size, step, channel_axis)
        drops = _drops(question, baselines, number, axes)
        values.append(as_leaf(_averaged(drops, [axis.covered for axis in axes]), leaf))
    found = jax.tree.unflatten(treedef, values)
    report_blank(found, "occlusion", UNCHANGED)
    return found


class _Axis(NamedTuple):
    """Windows along one axis."""

    length: int
    window: int
    stride: int

    @property
    def starts(self) -> np.ndarray:
        num = -(-(self.length - self.window) // self.stride) + 1
        return np.arange(num, dtype=np.int32) * self.stride

    @property
    def covered(self) -> np.ndarray:
        """`[windows, length]`."""
        behind = np.arange(self.length) - self.starts[:, None]
        return (behind >= 0) & (behind < self.window)


def _of_each(setting: Any, treedef: Any) -> list[Any]:
    """What is given for each array, or once for all."""
    try:
        return treedef.flatten_up_to(setting)
    except (TypeError, ValueError):
        return [setting] * treedef.num_leaves


def _axes(leaf: Array, window: Any, stride: Any, channel_axis: int) -> list[_Axis]:
    """The windows along each axis of an example, or a named error."""
    lengths = leaf.shape[1:]
    sizes = _per_axis("window", window, lengths, channel_axis, lengths)
    halves = [-(-size // 2) for size in sizes]
    strides = (
        halves if stride is None else _per_axis("stride", stride, lengths, channel_axis, sizes)
    )
    for length, size, step in zip(lengths, sizes, strides, strict=True):
        if not 1 <= size <= length:
            raise ValueError(
                f"`window` is {size} along an axis of {length} of an example of shape "
                f"{tuple(lengths)}; expected 1 to {length}."
            )
        if not 1 <= step <= size:
            raise ValueError(
                f"`stride` is {step} with a window of {size}; expected 1 to {size}, so that no "
                "element is left out."
            )
    return list(map(_Axis, lengths, sizes, strides))


def _per_axis(
    name: str, given: Any, lengths: Sequence[int], channel_axis: int, of_channels: Sequence[int]
) -> list[int]:
    """A number for each axis; one number holds for those in space."""
    if isinstance(given, int | np.integer):
        numbers = [int(given)] * len(lengths)
        if len(lengths) > 1:
            channels = _check.axis_of_channels(channel_axis, len(lengths) + 1) - 1
            numbers[channels] = of_channels[channels]
        return numbers
    is_tuple = isinstance(given, tuple | list) and len(given) == len(lengths)
    if not is_tuple or not all(isinstance(number, int | np.integer) for number in given):
        raise ValueError(
            f"`{name}` is {given!r}; expected an integer, or one for each axis of an example of "
            f"shape {tuple(lengths)}."
        )
    return list(map(int, given))


def _drops(
    question: Question, baselines: list[Inputs], number: int, axes: Sequence[_Axis]
) -> Array:
    """What the score loses behind each window, `[batch, *windows]`, with targets before these."""
    nowhere = [axis.length for axis in axes]  # behind the first window is nothing
    corners = np.array([nowhere, *itertools.product(*(axis.starts for axis in axes))], np.int32)
    static = number, tuple(axis.window for axis in axes)
    found = [
        answer(_behind, question, *static, rows=each, points=corners, kind="stack")
        for each in baselines
    ]
    scores = mean_of([at_least_float32(each) for each in found])
    drops = scores[..., :1] - scores[..., 1:]
    return drops.reshape(*drops.shape[:-1], *(len(axis.starts) for axis in axes))


def _behind(static: Any, params: Params, rows: Any, corner: Array) -> Array:
    """The score with one array as in the baseline behind a window."""
    apply_fn, score, number, sizes = static
    x, target, baseline = rows
    leaves, treedef = jax.tree.flatten(x)
    length = leaves[number].shape[1:]
    behind = [jnp.arange(own, dtype=corner.dtype) - corner[n] for n, own in enumerate(length)]
    sides = [
        ((own >= 0) & (own < size)).reshape(*[1] * n, -1, *[1] * (len(length) - n - 1))
        for n, (own, size) in enumerate(zip(behind, sizes, strict=True))
    ]
    covered = functools.reduce(jnp.logical_and, sides)
    empty = jax.tree.leaves(baseline)[number]
    leaves[number] = jnp.where(covered[None], empty, leaves[number])
    return score(apply_fn(params, jax.tree.unflatten(treedef, leaves)), target)


@jax.jit
def _averaged(drops: Array, covered: Sequence[Array]) -> Array:
    """The mean over the windows that cover an element, axis by axis."""
    first = drops.ndim - len(covered)
    for own in covered:
        own = own.astype(drops.dtype)
        share = own / own.sum(axis=0, keepdims=True)
        drops = jnp.tensordot(drops, share, axes=(first, 0), precision=jax.lax.Precision.HIGHEST)
    return drops
