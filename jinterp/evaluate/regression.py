"""`evaluate_regression`: where a model of numbers fails, by one pass."""

import functools
import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from jinterp import _check, _functions
from jinterp._text import text_table
from jinterp._types import AnyArray, ApplyFn, Batch, LossFn, Params
from jinterp.evaluate.losses import per_example
from jinterp.evaluate.predictions import finite_inputs, warn_about_inputs
from jinterp.evaluate.ratio import ratio
from jinterp.evaluate.top_losses import order_of_losses
from jinterp.model.score import at_least_float32
from jinterp.stream.fold import fold
from jinterp.stream.reduce import Collect, collect
from jinterp.stream.task import Regression


class Residuals(NamedTuple):
    """What one pass says of every example, in order of dataset index.

    Attributes:
        indices: `[n]`, the dataset index.
        targets: `[n, outputs]`.
        outputs: `[n, outputs]`, what the model said.
        losses: `[n]`.
        finite_inputs: `[n]`, whether every number of the input is finite.
    """

    indices: AnyArray
    targets: AnyArray
    outputs: AnyArray
    losses: AnyArray
    finite_inputs: AnyArray

    @property
    def residuals(self) -> AnyArray:
        """`[n, outputs]`: target − output; positive where the model says too little."""
        return self.targets - self.outputs

    @property
    def valid(self) -> AnyArray:
        """`[n]` bool: every output is finite."""
        return np.isfinite(self.outputs).all(1)

    def rows(self, which: AnyArray) -> "Residuals":
        """The examples at these positions, or where this mask is true."""
        return Residuals(*(column[which] for column in self))


class RegressionEvaluation(NamedTuple):
    """Where a model of numbers fails on a dataset.

    What is of each output leaves out the examples without finite outputs.

    Attributes:
        num_examples: how many examples there were.
        num_unpredicted: how many have an output that is NaN or infinite.
        num_non_finite_inputs: how many inputs have a NaN or Inf.
        output_names: `[outputs]`.
        mean_residuals: `[outputs]`, the mean of target − output, the bias.
        mean_absolute_errors: `[outputs]`, the mean of |target − output|.
        root_mean_squared_errors: `[outputs]`, √ of the mean of (target − output)².
        r2: `[outputs]`, 1 − Σ (target − output)² / Σ (target − mean target)²; NaN where the
            targets are all alike.
        mean_loss: the mean loss over all examples, NaN if one is.
        top_losses: the examples most wrong, NaN before all.
        residuals: what the model said of every example.
    """

    num_examples: int
    num_unpredicted: int
    num_non_finite_inputs: int
    output_names: list[str]
    mean_residuals: np.ndarray
    mean_absolute_errors: np.ndarray
    root_mean_squared_errors: np.ndarray
    r2: np.ndarray
    mean_loss: float
    top_losses: Residuals
    residuals: Residuals

    def __repr__(self) -> str:
        each = ", ".join(
            f"{name}: R² {r2:.4f}, RMSE {rmse:.4g}"
            for name, r2, rmse in zip(
                self.output_names[:5], self.r2, self.root_mean_squared_errors, strict=False
            )
        )
        return f"RegressionEvaluation of {self.num_examples} examples: {each}"

    def __str__(self) -> str:
        """The outputs as a table."""
        columns = (
            self.r2,
            self.root_mean_squared_errors,
            self.mean_absolute_errors,
            self.mean_residuals,
        )
        return text_table(
            ["", "R²", "RMSE", "MAE", "mean residual"],
            [
                [name, f"{r2:.4f}", *(f"{each:.4g}" for each in errors)]
                for name, r2, *errors in zip(self.output_names, *columns, strict=True)
            ],
        )


def squared_error(outputs: Array, targets: Any) -> Float[Array, " batch"]:
    """The squared error of each example: the mean over outputs of (target − output)².

    Args:
        outputs: `[batch]` or `[batch, outputs]`.
        targets: of the same shape, or without an axis of one.

    >>> import jax.numpy as jnp
    >>> squared_error(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 4.0]])).tolist()
    [2.0]
    """
    outputs = at_least_float32(outputs)
    targets = targets.reshape(outputs.shape).astype(outputs.dtype)
    return ((targets - outputs) ** 2).reshape(len(outputs), -1).mean(1)


def evaluate_regression(
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    *,
    k: int = 9,
    loss_fn: LossFn = squared_error,
    output_names: Sequence[str] | None = None,
    mesh: Mesh | None = None,
    progress: bool | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 100,
) -> RegressionEvaluation:
    """Where a model of numbers fails, in one pass over a dataset.

    Args:
        apply_fn: `apply_fn(params, x) -> outputs`, `[batch]` or `[batch, outputs]`.
        params: its parameters.
        ds: anything that `batches` takes, with as many numbers an example.
        k: how many top losses; all, where the dataset has fewer.
        loss_fn: `loss_fn(outputs, targets) -> [batch]`, given targets in the shape of outputs.
        output_names: names of the outputs; None numbers them.
        mesh: the devices to cut batches over.
        progress: show a progress bar; None shows one for a long pass in a terminal.
        checkpoint_dir: a folder where the pass is saved as it goes; the same call after a stop
            goes on from there.
        checkpoint_every: after how many batches each time.

    Returns:
        A `RegressionEvaluation`. It holds 8 bytes an output and example, and no inputs.

    Raises:
        ValueError: targets have another shape than outputs, or are not finite.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> ds = (np.eye(2, dtype=np.float32), np.array([1.0, 5.0], np.float32))
    >>> found = evaluate_regression(apply_fn, jnp.array([1.0, 2.0]), ds, k=1)
    >>> found.top_losses.residuals.tolist(), found.mean_absolute_errors.tolist()
    ([[3.0]], [1.5])
    """
    _check.at_least_one("k", k)
    _functions.warn_if_made_anew("loss_fn", loss_fn)
    rows = fold(
        {"rows": residual_rows(loss_fn)},
        apply_fn,
        params,
        ds,
        task=Regression(),
        mesh=mesh,
        progress=progress,
        checkpoint_dir=checkpoint_dir,
        checkpoint_every=checkpoint_every,
    )["rows"]
    num_outputs = rows.outputs.shape[1]
    names = [str(number) for number in range(num_outputs)]
    if output_names is not None:
        names = _check.names(output_names)
        if len(names) != num_outputs:
            raise ValueError(
                f"`output_names` has {len(names)} names; expected {num_outputs}, one for each "
                "output."
            )
    return _summary(rows, min(k, len(rows.indices)), names)


@functools.cache
def residual_rows(loss_fn: LossFn) -> Collect:
    """What is kept of each example."""

    def rows(batch: Batch, outputs: Array) -> Residuals:
        outputs, num = at_least_float32(outputs), len(batch.mask)
        targets = batch.targets.reshape(outputs.shape)  # else [batch] against [batch, 1] spreads
        return Residuals(
            batch.indices,
            targets.reshape(num, -1).astype(outputs.dtype),
            outputs.reshape(num, -1),
            per_example(loss_fn, outputs, targets),
            finite_inputs(batch.x, num),
        )

    return collect(rows)


def _summary(rows: Residuals, k: int, names: list[str]) -> RegressionEvaluation:
    num_bad_inputs = int((~rows.finite_inputs).sum())
    num_unpredicted = int((~rows.valid).sum())
    warn_about_inputs(num_bad_inputs, "`residuals`")
    if num_unpredicted:
        warnings.warn(
            f"{num_unpredicted} of {len(rows.indices)} examples have an output that is NaN or "
            "infinite. They come first among the top losses, and count in no error.",
            stacklevel=3,
        )
    known = rows.rows(rows.valid)
    targets, residuals = known.targets.astype(np.float64), known.residuals.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of no example with finite outputs
        squares = (residuals**2).mean(0)
        is_constant = (targets == targets[:1]).all(0)  # whose variance is rounding, and not 0
        spread = np.where(is_constant, 0, targets.var(0))
        return RegressionEvaluation(
            num_examples=len(rows.indices),
            num_unpredicted=num_unpredicted,
            num_non_finite_inputs=num_bad_inputs,
            output_names=names,
            mean_residuals=residuals.mean(0),
            mean_absolute_errors=np.abs(residuals).mean(0),
            root_mean_squared_errors=np.sqrt(squares),
            r2=1 - ratio(squares, spread),
            mean_loss=float(rows.losses.mean(dtype=np.float64)),
            top_losses=rows.rows(order_of_losses(rows.losses, rows.indices)[:k]),
            residuals=rows,
        )
