"""Whether the gradient reaches every leaf of the parameters, and at which size."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jinterp._text import text_table
from jinterp._types import BatchLossFn, Params
from jinterp.diagnose._measures import measured, state_for
from jinterp.diagnose.leaf_gradient import (
    LeafGradient,
    early_to_late,
    flow_problems,
    leaf_gradient,
)
from jinterp.model.depth import reading_order
from jinterp.model.leaves import is_batch_loss, leaf_names, trained_leaves


class GradientFlow(NamedTuple):
    """The gradient of a loss, leaf by leaf.

    Attributes:
        rows: the leaves in the order in which the loss first reads them.
        loss: its value.
        early_to_late: the gradient's root mean square in the first third of the weight matrices,
            divided by that in the last third; NaN where fewer than two have a gradient.
        verdict: the worst found: "not finite", "exploding", "vanishing", "large update",
            "no gradient", "frozen", or "healthy".
        problems: a sentence for each thing found, which names leaves and says what to do.
    """

    rows: list[LeafGradient]
    loss: float
    early_to_late: float
    verdict: str
    problems: list[str]

    def __str__(self) -> str:
        """A table of the leaves, and the problems below it."""
        header = ["", "shape", "rms(g)", "‖g‖", "‖θ‖", "‖g‖/‖θ‖", "zeros", "NaN", "Inf"]
        lines = [_cells(row) for row in self.rows]
        if self.rows[0].update_ratio is not None:
            header.append("‖u‖/‖θ‖")
        table = text_table([*header, "verdict"], lines)
        return "\n".join([table, "", f"loss {self.loss:.4g}: {self.verdict}", *self.problems])


def gradient_flow(
    loss_fn: BatchLossFn,
    params: Params,
    batch: Any,
    *,
    optimizer: optax.GradientTransformation | None = None,
    optimizer_state: Any = None,
) -> GradientFlow:
    """The size of the gradient g = ∇L(θ) by every trained leaf, and of the update made of it.

    For each leaf ‖g‖, ‖θ‖, ‖g‖/‖θ‖, √mean(g²), the share of zeros, the NaN and infinite entries,
    and ‖u‖/‖θ‖ for the optimizer's update u, of which about 1e-3 is usual. Leaves stand in the
    order in which the traced loss reads them.

    The network is judged by its weight matrices, leaves of two and more axes longer than 1, and by
    the entries of their gradients that are not 0. It is called *vanishing* where the root mean
    square in their first third is below 1e-3 of that in the last third (medians), *exploding* where
    it is above 100 of it, or where the median of ‖g‖/‖θ‖ is above 30. In a network of ReLUs whose
    weights are all too large only the last holds: such gradients are as large late as early. The
    update is called *large* where the median of ‖u‖/‖θ‖ is above 1.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`, such as `jinterp.mean_loss(apply_fn)`.
        params: its parameters; of Linen variables the collection "params" counts, of NNX state the
            `nnx.Param`s, elsewhere all leaves of floating point.
        batch: what the loss takes.
        optimizer: of optax, made once: another object is compiled for anew.
        optimizer_state: its state for `params`, for the collection "params", or for the
            `nnx.Param`s; None makes a new one.

    Returns:
        A row for each leaf, the verdict and the problems found.

    Raises:
        TypeError: the loss or the optimizer is none.
        ValueError: the loss is no scalar, nothing is trained, or the state is of other parameters.

    Source: Glorot and Bengio (2010), figures 6 and 7, compare gradients by layer; the update ratio
    is Karpathy's. The thresholds are ours, set between healthy networks (0.08 to 4 early to late,
    0.001 to 10 relative) and broken ones.

    >>> import jax.numpy as jnp
    >>> def loss(params, batch):
    ...     return ((batch @ params["used"]) ** 2).mean()
    >>> params = {"unused": jnp.ones((3, 2)), "used": jnp.ones((3, 2))}
    >>> flow = gradient_flow(loss, params, jnp.ones((4, 3)))
    >>> [(row.name, row.gradient_norm.__round__(4), row.verdict) for row in flow.rows]
    [('used', 7.3485, 'healthy'), ('unused', 0.0, 'no gradient')]
    """
    is_batch_loss(loss_fn, params, batch)
    state = state_for(optimizer, optimizer_state, params)
    loss, measures = jax.device_get(
        measured(params, batch, state, loss_fn=loss_fn, optimizer=optimizer)
    )
    names, shapes = leaf_names(params), [np.shape(leaf) for leaf in trained_leaves(params)]
    rows = [
        leaf_gradient(names[number], shapes[number], measures[number])
        for number in reading_order(loss_fn, params, batch)
    ]
    problems = flow_problems(rows, float(loss))
    verdict = next(iter(problems), "healthy")
    return GradientFlow(
        rows, float(loss), early_to_late(rows), verdict, [*map(str, problems.values())]
    )


def _cells(row: LeafGradient) -> list[str]:
    numbers = (row.root_mean_square, row.gradient_norm, row.weight_norm, row.ratio)
    shape = "×".join(map(str, row.shape)) or "1"
    cells = [row.name, shape, *(f"{number:.2e}" for number in numbers), f"{row.zero_share:.0%}"]
    cells += [str(row.num_nan), str(row.num_inf)]
    if row.update_ratio is not None:
        cells.append(f"{row.update_ratio:.2e}")
    return [*cells, row.verdict]
