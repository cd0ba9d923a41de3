"""Gradients, vmap and any batch size for a program that JAX runs but does not look into."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinterp._types import AnyArray

Leaves = Sequence[AnyArray]

RowsFn = Callable[[Leaves, Leaves], list[AnyArray]]
"""`fn(shared, rows) -> results`: `rows` and the results are `[batch, ...]`, each example apart."""

_SECOND_ORDER = (
    "a gradient of a gradient was asked of an exported model; expected gradients of first order, "
    "which are all that was exported. Use the model itself."
)


def transformable(fn: RowsFn, no_gradient: str | None) -> RowsFn:
    """The function with vmap, and gradients of first order in reverse mode.

    Args:
        fn: can be called, and differentiated where there is a gradient, but not batched.
        no_gradient: the error of a gradient, where there is none.
    """
    run = _batchable(fn)
    if no_gradient:
        return _without_gradient(run, no_gradient)
    by_rows = _without_gradient(_batchable(functools.partial(_gradient_by_rows, fn)), _SECOND_ORDER)
    by_shared = _without_gradient(
        jax.custom_batching.sequential_vmap(functools.partial(_gradient_by_shared, fn)),
        _SECOND_ORDER,
    )

    @jax.custom_vjp
    def call(shared: Leaves, rows: Leaves) -> list[AnyArray]:
        return run(shared, rows)

    def forward(shared: Leaves, rows: Leaves) -> tuple[list[AnyArray], Any]:
        return call(shared, rows), (shared, rows)

    def backward(residuals: Any, cotangents: Leaves) -> tuple[Leaves, Leaves]:
        shared, rows = residuals
        cotangents = _floats(cotangents)
        # Two functions, so that the program of the one that nobody reads is dropped.
        of_shared = by_shared(shared, rows, cotangents)
        of_rows = by_rows(shared, (rows, cotangents))
        return _with_floats(shared, of_shared), _with_floats(rows, of_rows)

    call.defvjp(forward, backward)
    return call


def _without_gradient(fn: Callable[..., Any], message: str) -> Any:
    """The function with an error in place of its gradient."""
    call = jax.custom_vjp(fn)

    def forward(*arguments: Any) -> Any:
        raise ValueError(message)

    call.defvjp(forward, forward)
    return call


def padded(fn: RowsFn, batch_size: int) -> RowsFn:
    """A function of one batch size for any: parts of that size, the last one with rows again."""

    def run(shared: Leaves, rows: Leaves) -> list[AnyArray]:
        num = rows[0].shape[0]
        if num == batch_size:
            return fn(shared, rows)
        if any(any(jax.typeof(leaf).sharding.spec) for leaf in rows):
            raise ValueError(
                f"the exported model takes {batch_size} examples at a time, and the inputs are cut "
                "over an explicit axis of a mesh. Export it for any number of examples "
                "(jinterp.export_model does), or use a mesh with automatic axes."
            )
        num_parts = -(-num // batch_size)
        indices = np.arange(num_parts * batch_size) % num
        parts = [leaf[indices].reshape(num_parts, batch_size, *leaf.shape[1:]) for leaf in rows]
        results = jax.lax.map(lambda part: fn(shared, part), parts)
        return [leaf.reshape(-1, *leaf.shape[2:])[:num] for leaf in results]

    return run


def _batchable(fn: Callable[[Leaves, Any], list[AnyArray]]) -> Any:
    """The function with a vmap that makes the mapped axis a part of the batch."""
    mapped: Any = jax.custom_batching.custom_vmap(fn)

    @mapped.def_vmap
    def rule(size: int, is_mapped: Any, shared: Leaves, rows: Any) -> tuple[Any, Any]:
        if any(is_mapped[0]):  # other parameters for each
            axes = jax.tree.map(lambda each: 0 if each else None, tuple(is_mapped))
            results = jax.vmap(jax.custom_batching.sequential_vmap(fn), axes)(shared, rows)
        else:
            folded = jax.tree.map(functools.partial(_folded, size), rows, is_mapped[1])
            results = [_unfolded(size, leaf) for leaf in mapped(shared, folded)]
        return results, [True] * len(results)

    return mapped


def _folded(size: int, leaf: AnyArray, is_mapped: bool) -> AnyArray:
    """`[batch · size, ...]`; the batch comes first, since it may be cut over devices."""
    if is_mapped:
        leaf = jnp.moveaxis(leaf, 0, 1)
    else:
        leaf = jnp.broadcast_to(leaf[:, None], (leaf.shape[0], size, *leaf.shape[1:]))
    return leaf.reshape(-1, *leaf.shape[2:])


def _unfolded(size: int, leaf: AnyArray) -> AnyArray:
    return jnp.moveaxis(leaf.reshape(-1, size, *leaf.shape[1:]), 1, 0)


def _gradient_by_rows(fn: RowsFn, shared: Leaves, given: tuple[Leaves, Leaves]) -> list[AnyArray]:
    """The cotangents of the results pulled back to the floating-point rows."""
    rows, cotangents = given

    def results(floats: Leaves) -> list[AnyArray]:
        return _floats(fn(shared, _with_floats(rows, floats, rows)))

    return jax.vjp(results, _floats(rows))[1](cotangents)[0]


def _gradient_by_shared(
    fn: RowsFn, shared: Leaves, rows: Leaves, cotangents: Leaves
) -> list[AnyArray]:
    """The same pulled back to the floating-point parameters."""

    def results(floats: Leaves) -> list[AnyArray]:
        return _floats(fn(_with_floats(shared, floats, shared), rows))

    return jax.vjp(results, _floats(shared))[1](cotangents)[0]


def _is_float(leaf: AnyArray) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def _floats(leaves: Leaves) -> list[AnyArray]:
    return [leaf for leaf in leaves if _is_float(leaf)]


def _with_floats(leaves: Leaves, floats: Leaves, others: Leaves | None = None) -> list[Any]:
    """The floating-point ones of `leaves` exchanged; for the rest those of `others`, or None."""
    left = iter(floats)
    rest = others or [None] * len(leaves)
    return [
        next(left) if _is_float(leaf) else other for leaf, other in zip(leaves, rest, strict=True)
    ]
