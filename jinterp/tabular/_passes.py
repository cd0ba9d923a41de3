"""A model asked again with some cells changed, cut to the machine."""

import dataclasses
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._trace import held_here
from jinterp._types import ApplyFn, EitherArray, Params, Score, Target
from jinterp.attribution._question import Question, ask, first_output
from jinterp.stream import memory
from jinterp.stream.cut import Call, Cut, RowsFn, is_sharded, run_fitting, usual_cut
from jinterp.tabular.remarks import missing_cells
from jinterp.tabular.table import Table

# 85,350 rows of 30 columns through 64 and 64 units, on 2 cores: programs of 1,024 to 40,000 rows
# take 25 to 40 ms in all. An accelerator wants larger ones.
_ROWS = {"cpu": 16_384}
_ACCELERATOR_ROWS = 262_144


def asked(apply_fn: ApplyFn, params: Params, ds: Table) -> Question:
    """The question of what the outputs are, or a named error."""
    return ask(apply_fn, params, ds.x, None, first_output, differentiable=False)


def asked_of_number(
    apply_fn: ApplyFn, params: Params, ds: Table, target: Target, score: Score
) -> Question:
    """The question in one number a row: a regression's output, or the score of a class."""
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
    if target is None and num_outputs > 2:
        raise ValueError(
            f"`target` is None, and the model has {num_outputs} outputs a row; expected the class "
            f"to look at, 0 to {num_outputs - 1}. Call it once for each class."
        )
    target = 1 if target is None else target
    return ask(apply_fn, params, ds.x, target, score, differentiable=False)


def at_points(fn: RowsFn, static: Hashable, params: Params, rows: Any, points: Any = None) -> Any:
    """`fn(static, params, rows, point)` for all rows at every point, `[rows, points, ...]`.

    Args:
        fn: a function of a module; its result for a row must not depend on the others.
        static: what the compiled program depends on.
        params: parameters.
        rows: a pytree of arrays `[rows, ...]`.
        points: a pytree of arrays `[points, ...]`; None is one point, None.
    """
    rows, params = jax.tree.map(jnp.asarray, (rows, params))
    usual = usual_cut(Call(fn, static, "stack"), params, rows, points, None)
    return run_fitting(usual if is_sharded((params, rows)) else _of_tables(usual))


def _of_tables(cut: Cut) -> Cut:
    """Programs of thousands of rows, one after the other: XLA shares out their products itself."""
    device = jax.devices()[0]
    most = _ROWS.get(device.platform, _ACCELERATOR_ROWS)
    size = _even(cut.num_examples, most)
    chunk = _even(cut.num_points, max(1, most // size))
    return dataclasses.replace(cut, slice_size=size, chunk=chunk, num_lanes=1)


def in_parts(num_points: int, bytes_per_point: int) -> list[np.ndarray]:
    """Numbers of points in parts of one size whose results fit the memory budget together.

    The last part is filled up with its last point.
    """
    budget = memory.rounded_budget(jax.devices()[0], of_all=False)
    size = _even(num_points, max(1, budget // max(1, bytes_per_point)))
    starts = range(0, num_points, size)
    return [np.minimum(np.arange(start, start + size), num_points - 1) for start in starts]


def _even(total: int, most: int) -> int:
    num_parts = -(-total // max(1, min(total, most)))
    return -(-total // num_parts)


def outputs_changed(apply_fn: Any, params: Params, rows: Any, mask: Array) -> Array:
    """The outputs with the columns of `mask` taken from other rows: for `at_points`."""
    x, others = rows
    return apply_fn(params, jnp.where(mask[None, :], others, x))


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


@jax.jit
def rows_in_order(x: Array, order: Array) -> Array:
    """The rows in another order."""
    return x[order]
