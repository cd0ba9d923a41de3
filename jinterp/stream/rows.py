"""A computation on every example of a batch, at many points each, cut to the machine.

Explainers are written for one batch and one point (of a path, of a sample, of a set of channels);
how many examples and points go into one program, and how many programs run side by side, is
decided here.
"""

import functools
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp

from jinterp._trace import under_transform
from jinterp._types import Inputs, Params
from jinterp.stream.cut import Call, Kind, RowsFn, run_fitting, usual_cut
from jinterp.stream.cut import is_sharded as is_sharded
from jinterp.stream.with_rows import WithRows as WithRows

_config: Any = jax.config  # whose flags type checkers do not know


def map_rows(
    fn: RowsFn,
    static: Hashable,
    params: Params,
    rows: Inputs,
    points: Any = None,
    *,
    kind: Kind = "sum",
    initial: Any = None,
) -> Any:
    """The result of `fn` for every example, over all points.

    Slices of the batch are computed one after the other, on a CPU as many side by side as it has
    cores: XLA:CPU parallelises one convolution poorly and runs programs in parallel well, and a
    convolution in a loop inside a program is 5 to 7 times slower there. Under a transform (jit,
    vmap, grad) and under `jax.disable_jit` the whole batch is one program that scans over the
    points.

    Args:
        fn: a function of a module, `fn(static, params, rows, point)`; its result for an example
            must not depend on the others. With `kind="carry"` it takes what it returned for the
            point before as a fifth argument.
        static: what the compiled program depends on: functions, names, numbers.
        params: parameters; `WithRows` where a part belongs to the batch.
        rows: a pytree of arrays `[batch, ...]`.
        points: a pytree of arrays `[points, ...]`; None is one point, None.
        kind: whether the results of the points are summed, stacked along axis 1, or each computed
            from the one before.
        initial: with `kind="carry"` the first, `[batch, ...]`.
    """
    call = Call(fn, static, kind)
    initial = initial if kind == "carry" else None
    if under_transform((params, rows, points)) or _config.jax_disable_jit:
        return _traced(call, params, rows, points, initial)
    params, rows, initial = jax.tree.map(_on_device, (params, rows, initial))
    return run_fitting(usual_cut(call, params, rows, points, initial))


def _traced(call: Call, params: Params, rows: Inputs, points: Any, initial: Any) -> Any:
    one = functools.partial(call.fn, call.static, params, rows)
    if call.kind == "carry":
        return jax.lax.scan(lambda carry, point: (one(point, carry), None), initial, points)[0]
    if call.kind == "stack":
        results = jax.lax.map(one, points)
        return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), results)
    first = one(None if points is None else jax.tree.map(lambda leaf: leaf[0], points))
    if points is None:
        return first

    def add(total: Any, point: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, one(point)), None

    rest = jax.tree.map(lambda leaf: leaf[1:], points)
    return jax.lax.scan(add, first, rest)[0]


def _on_device(leaf: Any) -> jax.Array:
    return leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)
