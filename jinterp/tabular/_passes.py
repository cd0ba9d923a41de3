"""A model asked again with some cells changed, cut to the machine."""

import dataclasses
import functools
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._question import Question, ask, first_output
from jinterp._trace import held_here
from jinterp._types import ApplyFn, EitherArray, Params, Score, Target
from jinterp.model.score import logit, probability
from jinterp.stream import memory
from jinterp.stream.cut import Call, Cut, RowsFn, is_sharded, run_fitting, usual_cut
from jinterp.tabular.remarks import missing_cells
from jinterp.tabular.table import Table

# 85,350 rows of 30 columns through 64 and 64 units, on 2 cores, ms with programs of 1,200, 3,000,
# 6,000, 9,000, 16,384 and 32,768 rows: 45, 37, 35, 36, 39, 49. An accelerator wants larger ones.
_ROWS = {"cpu": 16_384}
_ACCELERATOR_ROWS = 262_144


def asked(apply_fn: ApplyFn, params: Params, ds: Table) -> Question:
    """The question of what the outputs are, or a named error."""
    return ask(apply_fn, params, ds.x, None, first_output, differentiable=False)


def asked_of_number(
    apply_fn: ApplyFn, params: Params, ds: Table, target: Target, score: Score | None
) -> Question:
    """The question in one number a row: a regression's output, or the score of a class.

    What has several outputs a row is a regression if its targets are floats.
    """
    _check.is_model_function(apply_fn)
    shape = _check.outputs_of(apply_fn, params, jnp.asarray(ds.x)).shape
    num_outputs = shape[1] if len(shape) > 1 else 1
    if num_outputs == 1:
        if target is not None:
            raise ValueError(
                f"`target` is {target!r}, and the model has one output a row; expected None. For "
                "a binary model with one logit return both: "
                "jnp.pad(apply_fn(params, x), ((0, 0), (1, 0)))."
            )
        return ask(apply_fn, params, ds.x, None, first_output, differentiable=False)
    is_regression = ds.targets is not None and jnp.issubdtype(ds.targets.dtype, jnp.floating)
    if target is None and (num_outputs > 2 or is_regression):
        what = "output" if is_regression else "class"
        raise ValueError(
            f"`target` is None, and the model has {num_outputs} outputs a row; expected the {what} "
            f"to look at, 0 to {num_outputs - 1}. Call it once for each."
        )
    target = 1 if target is None else target
    if score is None:
        score = logit if is_regression else probability
    return ask(apply_fn, params, ds.x, target, score, differentiable=False)


def at_points(
    fn: RowsFn, static: Hashable, params: Params, rows: Any, points: Any = None, width: int = 1
) -> Any:
    """`fn(static, params, rows, point)` for all rows at every point, `[rows, points, ...]`.

    In blocks of rows, so that no second copy of a long table is held.

    Args:
        fn: a function of a module; its result for a row must not depend on the others.
        static: what the compiled program depends on.
        params: parameters.
        rows: a pytree of arrays `[rows, ...]`.
        points: a pytree of arrays `[points, ...]`; None is one point, None.
        width: how many rows `fn` makes of each.
    """
    rows, params = jax.tree.map(jnp.asarray, (rows, params))
    num_rows = len(jax.tree.leaves(rows)[0])
    size = _even(num_rows, most_rows())
    if size == num_rows or is_sharded((params, rows)):
        return _at_points(Call(fn, static, "stack"), params, rows, points, width)
    blocks = []
    for start in range(0, num_rows, size):
        first = min(start, num_rows - size)  # the last block begins among rows already done
        block = _block(rows, first, size)
        found = _at_points(Call(fn, static, "stack"), params, block, points, width)
        blocks.append(found[start - first :])
    return jnp.concatenate(blocks)


def _at_points(call: Call, params: Params, rows: Any, points: Any, width: int) -> Any:
    usual = usual_cut(call, params, rows, points, None)
    return run_fitting(usual if is_sharded((params, rows)) else _of_tables(usual, width))


@functools.partial(jax.jit, static_argnames="size")
def _block(rows: Any, first: Any, size: int) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, size), rows)


def _of_tables(cut: Cut, width: int) -> Cut:
    """Programs of thousands of rows, one after the other: XLA shares out their products itself."""
    chunk = _even(cut.num_points, max(1, most_rows() // (width * cut.num_examples)))
    return dataclasses.replace(cut, slice_size=cut.num_examples, chunk=chunk, num_lanes=1)


def most_rows() -> int:
    """Rows that one program computes."""
    return _ROWS.get(jax.devices()[0].platform, _ACCELERATOR_ROWS)


def in_parts(num_points: int, bytes_per_point: int, most: int | None = None) -> list[np.ndarray]:
    """Numbers of points in parts of one size whose results fit the memory budget together.

    Of at most `most` points; the last part is filled up with its last point.
    """
    budget = memory.rounded_budget(jax.devices()[0], of_all=False)
    most = min(most or num_points, budget // max(1, bytes_per_point))
    size = _even(num_points, max(1, most))
    starts = range(0, num_points, size)
    return [np.minimum(np.arange(start, start + size), num_points - 1) for start in starts]


def _even(total: int, most: int) -> int:
    num_parts = -(-total // max(1, min(total, most)))
    return -(-total // num_parts)


def outputs_shuffled(apply_fn: Any, params: Params, rows: Any, number: Array) -> Array:
    """The outputs `[rows, masks, ...]` with the columns of each mask in one of some orders.

    For `at_points`, whose points are the orders, so that rows are gathered once for all masks.
    """
    params, whole, masks = params
    x, orders = rows
    # Else XLA:CPU gathers anew for every mask, as a part of the selection.
    others = jax.lax.optimization_barrier(whole[orders[:, number]])

    def one(mask: Array) -> Array:
        return apply_fn(params, jnp.where(mask[None, :], others, x))

    return jnp.moveaxis(jax.vmap(one)(masks), 0, 1)


def outputs_as_they_are(apply_fn: Any, params: Params, x: Array, point: None) -> Array:
    """The outputs: for `at_points`."""
    return apply_fn(params, x)


def number_at(static: Any, params: Params, rows: Any, point: Any) -> Array:
    """The number asked for with the columns of a mask set to values: for `at_points`."""
    apply_fn, score = static
    x, target = rows
    mask, values = point
    return score(apply_fn(params, jnp.where(mask[None, :], values[None, :], x)), target)


def are_finite(outputs: EitherArray, ds: Table) -> None:
    """The model's outputs are numbers, or an error that says which cells may be the cause."""
    outputs = held_here(outputs).reshape(len(outputs), -1)
    num_bad = int((~np.isfinite(outputs).all(axis=1)).sum())
    if not num_bad:
        return
    missing = missing_cells(ds)
    if missing:
        columns = ", ".join(f"{name!r} ({num} rows)" for name, num in missing.items())
        raise ValueError(
            f"the model's outputs are NaN or infinite for {num_bad} of {len(outputs)} rows, and "
            f"cells are missing in {columns}; expected finite outputs. Fill the cells as in "
            "training, such as with the column's median, or leave these rows out."
        )
    raise ValueError(
        f"the model's outputs are NaN or infinite for {num_bad} of {len(outputs)} rows, and no "
        "cell is missing; expected finite outputs. Look at the parameters and at how the columns "
        "are scaled."
    )
