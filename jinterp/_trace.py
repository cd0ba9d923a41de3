"""Whether and which values can be looked at, what shapes a function returns, and who called."""

import functools
import sys
import warnings
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.extend.core as jex
import numpy as np


def _state() -> Any:
    return jex.get_opaque_trace_state(convention="flax")


_OUTSIDE = _state()


def under_transform(tree: Any) -> bool:
    """Whether this runs under jit, vmap or grad, where nothing can be decided by values.

    Also where only the model or a closure holds what is traced, and no leaf of `tree` shows it.
    """
    is_traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))
    return is_traced or _state() != _OUTSIDE


def abstract(tree: Any) -> tuple[Any, tuple[Any, ...]]:
    """The structure of a pytree and its abstract leaves, hashable: what a trace depends on."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, tuple(map(_abstract_leaf, leaves))


def _abstract_leaf(leaf: Any) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct | jax.core.ShapedArray):
        return leaf
    if isinstance(getattr(leaf, "sharding", None), jax.sharding.SingleDeviceSharding):
        return leaf.aval  # what `typeof` gives, in a tenth of the time
    return jax.typeof(leaf)


def eval_shape(fn: Callable[..., Any], *arguments: Any) -> Any:
    """`jax.eval_shape`, remembered: tracing takes milliseconds, a question's answer microseconds.

    What a closure holds of a transform is never remembered, nor what has no hash. The functions
    of the last 64 answers are kept alive.
    """
    if under_transform(arguments):
        return jax.eval_shape(fn, *arguments)
    try:
        key = fn, settings(), *abstract(arguments)
        hash(key)
    except TypeError:
        return jax.eval_shape(fn, *arguments)
    return _eval_shape(*key)


@functools.lru_cache(maxsize=64)
def _eval_shape(
    fn: Callable[..., Any], settings: Hashable, treedef: Any, leaves: tuple[Any, ...]
) -> Any:
    return jax.eval_shape(fn, *jax.tree.unflatten(treedef, leaves))


def held_here(array: Any) -> np.ndarray:
    """An array on the host; of one over several processes the rows that this one holds."""
    if getattr(array, "is_fully_addressable", True):
        return np.asarray(array)
    parts = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])


def settings() -> Hashable:
    """What JAX is set to at the moment, as far as a trace depends on it: float64, precision, mesh.

    JAX keeps one trace of a function of nothing for each.
    """
    return _nothing.trace().jaxpr


@jax.jit
def _nothing() -> tuple[()]:
    return ()


def warn(message: str) -> None:
    """A warning at the line outside jinterp that led here."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("jinterp."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level + 1)
