"""Influence functions: what a test example's loss owes to each training example."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from jinterp import _check
from jinterp._trace import warn
from jinterp._types import AnyArray, ApplyFn, Batch, Inputs, LossFn, Params
from jinterp.attribution._conjugate_gradients import Solved, conjugate_gradients
from jinterp.attribution._influence import (
    InfluentialExamples,
    Losses,
    Newest,
    ask,
    gradients,
    most_influential,
    slopes_of,
)
from jinterp.evaluate.losses import cross_entropy
from jinterp.model.leaves import hessian_times
from jinterp.stream.fold import fold
from jinterp.stream.reduce import Reducer, counts
from jinterp.stream.task import AnyOutputs


class Influence(NamedTuple):
    """The training examples that a test example's loss owes most to.

    Attributes:
        helpful: those with the largest scores, the largest first.
        harmful: those with the least scores, the least first, not all of them below 0.
        num_examples: of the training data, n: without an example the test loss is about
            score / n higher.
        residuals: `[tests]`, ‖g − (H + damping I) s‖ / ‖g‖ of the solution s behind the scores.
        converged: `[tests]`, whether the residual is at most twice `tolerance`.
        num_products: passes over the data for Hessian products.
    """

    helpful: InfluentialExamples
    harmful: InfluentialExamples
    num_examples: int
    residuals: np.ndarray
    converged: np.ndarray
    num_products: int


def influence(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    targets: Any,
    ds: Any,
    *,
    k: int = 9,
    loss_fn: LossFn = cross_entropy,
    damping: int | float = 0.01,
    trainable: Any = None,
    tolerance: float = 1e-3,
    num_iterations: int = 100,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> Influence:
    """How much each training example helps or harms the loss of each test example.

    ∇ℓ(test)ᵀ (H + damping I)⁻¹ ∇ℓ(train), with H the Hessian of the mean training loss: n times
    the rise of the test loss if the training example were left out and the model trained on. It
    holds to first order at a minimum of mean ℓ + damping/2 ‖θ‖², so give the weight decay that the
    model was trained with as `damping`.

    The inverse is never made. Conjugate gradients solve (H + damping I) s = ∇ℓ(test) for all test
    examples at once, with a pass over `ds` for each product, and a last pass gives the slope of
    every training loss along each s, without a gradient of any training example. It holds about
    six times the parameters for each test example, and k examples.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`, in evaluation mode.
        params: its parameters, trained on `ds`.
        x: the test examples `[tests, ...]`, as the model takes them: preprocessed. In a run of
            several processes each gives all of them.
        targets: their targets, `[tests]` or as the loss takes them.
        ds: the training data, anything that `batches` takes, with its own `preprocess`.
        k: how many helpful and how many harmful examples.
        loss_fn: `loss_fn(logits, targets)`, one number an example or several, whose mean is taken.
        damping: what is added to H, which of a network alone is seldom positive definite.
        trainable: a pytree of bools like `params`, or a prefix of one, that says by which leaves;
            None takes all that are trained. The last layer alone is cheap, and convex.
        tolerance: of the residual, relative.
        num_iterations: the most passes over the data for Hessian products.
        mesh: the devices to cut batches over.
        progress: show a progress bar of each pass; None shows one for a long pass in a terminal.

    Returns:
        Scores in units of the loss, with dataset indices and targets; positive ones help: leaving
        them out would raise the test loss. NaN for a test example along whose way H + damping I is
        not positive definite, which a warning says, as it says what did not converge.

    Raises:
        TypeError: the targets are no classes.
        ValueError: a number is out of range, `trainable` leaves nothing, a target is no class.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return x * params
    >>> def squared(outputs, targets):
    ...     return (outputs - targets) ** 2 / 2
    >>> ds = (np.array([1.0, 1.0, 2.0], np.float32), np.array([0.0, 4.0, 4.0], np.float32))
    >>> test = jnp.array([1.0]), jnp.array([1.0])
    >>> found = influence(apply_fn, jnp.array(2.0), *test, ds, k=1, loss_fn=squared, damping=0)
    >>> print(found.helpful.indices, found.helpful.scores, found.harmful.indices)
    [[0]] [[1.]] [[1]]

    Source: Koh and Liang 2017, section 2.2; their influence of up-weighting is minus ours.
    """
    _check_numbers(damping, tolerance, num_iterations)
    losses, dataset = ask(apply_fn, params, ds, loss_fn, trainable, k)
    right = gradients(losses, params, x, targets)
    pass_over = functools.partial(fold, ds=dataset, mesh=mesh, progress=progress)
    # The model itself once, so that its outputs and all targets are checked before the work.
    num_examples = pass_over({"num": counts(_one_cell, 1)}, apply_fn, params, task=losses.task)[
        "num"
    ][0]

    def product(flat: np.ndarray) -> np.ndarray:
        both = (params,), (_unflattened(flat, right),)
        products = _products_of(losses)
        found = pass_over({"sum": _sum()}, _no_outputs, both, task=AnyOutputs(), prepare=products)
        mean = _flattened(found["sum"]) / flat.dtype.type(num_examples)
        return mean + flat.dtype.type(damping) * flat

    solved = conjugate_gradients(
        product, _flattened(right), tolerance=tolerance, num_iterations=num_iterations
    )
    converged = _told(solved, tolerance, damping)
    is_defined = (solved.curvatures > 0) & np.isfinite(solved.residuals)
    solutions = solved.solutions
    solutions[~is_defined] = np.nan
    found = pass_over(
        {"helpful": most_influential(k, sign=1), "harmful": most_influential(k, sign=-1)},
        Newest(apply_fn),
        ((params,), (_unflattened(solutions, right),)),
        task=losses.task,
        prepare=slopes_of(losses),
    )
    return Influence(
        found["helpful"],
        found["harmful"],
        int(num_examples),
        solved.residuals,
        converged,
        solved.num_products,
    )


def _check_numbers(damping: int | float, tolerance: float, num_iterations: int) -> None:
    if not damping >= 0:
        raise ValueError(f"`damping` is {damping}; expected at least 0. Try 0.01.")
    if not 0 < tolerance < 1:
        raise ValueError(f"`tolerance` is {tolerance}; expected above 0 and below 1. Try 1e-3.")
    _check.at_least_one("num_iterations", num_iterations, 100)


@functools.cache
def _products_of(losses: Losses) -> Any:
    """A `prepare` with the sum over a batch of Hessian products, `[tests, ...]` by each leaf."""

    def prepare(params: Any, batch: Batch, logits: Any) -> list[Array]:
        ((weights,), (directions,)) = params
        leaves = losses.leaves(weights)

        def total(leaves: list[Array]) -> Array:
            each = losses(weights, leaves, batch.x, batch.targets)
            return jnp.where(batch.mask, each, jnp.zeros((), each.dtype)).sum()

        def one(direction: list[Array]) -> list[Array]:
            pairs = zip(direction, leaves, strict=True)
            product = hessian_times(total, leaves, [t.astype(leaf.dtype) for t, leaf in pairs])
            return [p.astype(t.dtype) for p, t in zip(product, direction, strict=True)]

        return jax.vmap(one)(directions)

    return prepare


@functools.cache
def _sum() -> Reducer:
    """The sum over the batches of what is prepared, in which padding counts for nothing."""

    def init(batch: Batch, prepared: Any) -> Any:
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), prepared)

    def update(state: Any, batch: Batch, prepared: Any) -> Any:
        return merge(state, prepared)

    def merge(a: Any, b: Any) -> Any:
        return jax.tree.map(jnp.add, a, b)

    return Reducer(init, update, merge, lambda state: state)


def _no_outputs(params: Any, x: Inputs) -> Array:
    """In place of the model, which what is prepared runs itself."""
    return jnp.zeros(len(jax.tree.leaves(x)[0]), jnp.float32)


def _one_cell(batch: Batch, prepared: Any) -> Array:
    return jnp.zeros(len(batch.mask), jnp.int32)


def _flattened(leaves: Sequence[AnyArray]) -> np.ndarray:
    """`[tests, size]`."""
    return np.concatenate([np.reshape(leaf, (len(leaf), -1)) for leaf in leaves], axis=1)


def _unflattened(flat: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    sizes = [leaf[0].size for leaf in like]
    parts = np.split(flat, np.cumsum(sizes)[:-1], axis=1)
    return [part.reshape(leaf.shape) for part, leaf in zip(parts, like, strict=True)]


def _told(solved: Solved, tolerance: float, damping: int | float) -> np.ndarray:
    """Which test examples converged; of the others what to do about it."""
    residuals, curvatures = solved.residuals, solved.curvatures
    is_finite = np.isfinite(residuals) & ~np.isnan(curvatures)
    is_bent = is_finite & ~(curvatures > 0)
    converged = is_finite & ~is_bent & (residuals <= 2 * tolerance)  # rounding adds to it
    num = len(residuals)
    if num_bent := int(is_bent.sum()):
        least = float(curvatures[is_bent].min())
        warn(
            f"`influence`: the Hessian with a damping of {damping:g} has the curvature "
            f"{least:.2g}; expected above 0. The scores of {num_bent} of {num} test examples are "
            f"NaN. Use a damping of {2 * (damping - least):.1g} or more, or fewer leaves, such as "
            "those of the last layer."
        )
    if num_broken := int((~is_finite).sum()):
        warn(
            f"`influence`: {num_broken} of {num} test examples have NaN or infinite gradients or "
            "Hessian products. jinterp.top_losses shows which losses are not finite."
        )
    if num_open := int((is_finite & ~is_bent & ~converged).sum()):
        largest = residuals[is_finite & ~is_bent].max()
        warn(
            f"`influence`: {num_open} of {num} test examples did not converge to {tolerance:g} in "
            f"{solved.num_products} passes; the largest residual is {largest:.2g}. Use more "
            "damping, or a larger num_iterations."
        )
    return converged
