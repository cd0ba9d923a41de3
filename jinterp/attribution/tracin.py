"""TracIn: what a test example's loss owes to each training example, followed over training."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jinterp._trace import warn
from jinterp._types import ApplyFn, Inputs, LossFn, Params
from jinterp.attribution._influence import (
    InfluentialExamples,
    Newest,
    ask,
    gradients,
    most_influential,
    slopes_of,
)
from jinterp.evaluate.losses import cross_entropy
from jinterp.stream.fold import fold


class TracIn(NamedTuple):
    """The training examples that a test example's loss owes most to.

    Attributes:
        helpful: those with the largest scores, the largest first; the paper's proponents.
        harmful: those with the least scores, the least first, not all of them below 0; the paper's
            opponents.
    """

    helpful: InfluentialExamples
    harmful: InfluentialExamples


def tracin(
    apply_fn: ApplyFn,
    checkpoints: Sequence[Params],
    x: Inputs,
    targets: Any,
    ds: Any,
    *,
    learning_rates: int | float | Sequence[int | float],
    k: int = 9,
    loss_fn: LossFn = cross_entropy,
    trainable: Any = None,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> TracIn:
    """How much each training example helped or harmed each test example over training.

    Σ_t η_t ∇ℓ(train; θ_t) · ∇ℓ(test; θ_t) over checkpoints θ_t: by how much steps on the training
    example lower the test loss, to first order. One pass gives the slope of every training loss
    along the gradients of the test examples, without a gradient of any training example. It holds
    all checkpoints, their size once more for each test example, and k examples.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`, in evaluation mode.
        checkpoints: the parameters at several times of training on `ds`; `[params]` for one.
        x: the test examples `[tests, ...]`, as the model takes them: preprocessed. In a run of
            several processes each gives all of them.
        targets: their targets, `[tests]` or as the loss takes them.
        ds: the training data, anything that `batches` takes, with its own `preprocess`.
        learning_rates: η_t of each checkpoint, or one for all.
        k: how many helpful and how many harmful examples.
        loss_fn: `loss_fn(logits, targets)`, one number an example or several, whose mean is taken.
        trainable: a pytree of bools like the parameters, or a prefix of one, that says by which
            leaves; None takes all that are trained. The paper takes the last layer of large models.
        mesh: the devices to cut batches over.
        progress: show a progress bar; None shows one for a long pass in a terminal.

    Returns:
        Scores in units of the loss, with dataset indices and targets; positive ones help. Scores
        that are NaN come last, and a warning says how many test examples have them.

    Raises:
        TypeError: the targets are no classes.
        ValueError: there is no checkpoint, checkpoints differ in structure, their number is not
            that of `learning_rates`, or as `influence` does.

    >>> import jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     return x * params
    >>> def squared(outputs, targets):
    ...     return (outputs - targets) ** 2 / 2
    >>> ds = (np.array([1.0, 1.0, 2.0], np.float32), np.array([0.0, 4.0, 4.0], np.float32))
    >>> test = jnp.array([1.0]), jnp.array([1.0])
    >>> checkpoints = [jnp.array(0.0), jnp.array(2.0)]
    >>> found = tracin(apply_fn, checkpoints, *test, ds, learning_rates=0.5, k=1, loss_fn=squared)
    >>> print(found.helpful.indices, found.helpful.scores)
    [[2]] [[4.]]

    Source: Pruthi et al. 2020, equation 2 (TracInCP).
    """
    rates = _rates(checkpoints, learning_rates)
    losses, dataset = ask(apply_fn, checkpoints[0], ds, loss_fn, trainable, k)
    directions = [
        [np.asarray(rate, leaf.dtype) * leaf for leaf in gradients(losses, params, x, targets)]
        for params, rate in zip(checkpoints, rates, strict=True)
    ]
    found = fold(
        {"helpful": most_influential(k, sign=1), "harmful": most_influential(k, sign=-1)},
        Newest(apply_fn),
        (tuple(checkpoints), tuple(directions)),
        dataset,
        task=losses.task,
        prepare=slopes_of(losses),
        mesh=mesh,
        progress=progress,
    )
    if num := int(np.isnan(found["helpful"].scores).any(axis=1).sum()):
        warn(
            f"`tracin`: {num} of {len(found['helpful'].scores)} test examples have scores that are "
            "NaN. jinterp.top_losses shows which losses are not finite."
        )
    return TracIn(found["helpful"], found["harmful"])


def _rates(
    checkpoints: Sequence[Params], learning_rates: int | float | Sequence[int | float]
) -> list[float]:
    """One for each checkpoint, or a named error."""
    num = len(checkpoints) if isinstance(checkpoints, list | tuple) else 0
    if num == 0:
        raise ValueError(
            f"`checkpoints` is a {type(checkpoints).__name__} that holds none; expected a list of "
            "parameters. Use [params] for one."
        )
    first = jax.tree.map(np.shape, checkpoints[0])
    for number, params in enumerate(checkpoints):
        if jax.tree.map(np.shape, params) != first:
            raise ValueError(
                f"`checkpoints` differ in structure or shapes: number {number} is not as the first "
                "is; expected the parameters of one model. Use [params] for one."
            )
    rates = np.asarray(learning_rates, np.float64)
    if rates.shape not in ((), (num,)) or not (rates > 0).all():
        raise ValueError(
            f"`learning_rates` is {learning_rates}; expected a number above 0, or one for each of "
            f"{num} checkpoints."
        )
    return np.broadcast_to(rates, (num,)).tolist()
