"""Checks of a network as training sees it: its loss, gradient, and what its labels tell."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinterp._types import BatchLossFn, Params
from jinterp.diagnose._subject import Check, Subject, failed, listed, passed, skipped
from jinterp.diagnose.gradient_flow import gradient_flow
from jinterp.diagnose.leaf_gradient import early_to_late, flow_problems
from jinterp.evaluate.losses import cross_entropy, per_example
from jinterp.model.leaves import leaf_names, trained_leaves, with_leaves
from jinterp.model.score import at_least_float32

_NUM_OVERFITTED, _NUM_STEPS = 32, 300
_ADAM = optax.adam(3e-3)
_SHUFFLES = 100


def flows_gradient(subject: Subject) -> Check:
    """The gradient reaches every leaf that is meant to be trained, at a similar size."""
    params, batch = subject.params, subject.batch(64)
    flow = gradient_flow(subject.loss, params, batch)
    if flow.loss == 0:
        return skipped("the loss is 0, and there is nothing left to learn.")
    if not subject.is_trained and "no gradient" in {row.verdict for row in flow.rows}:
        # Weights that begin at 0 keep the gradient from what is before them, for a step.
        later = trained_on(subject, batch, num_steps=3, least=-math.inf).leaves
        flow = gradient_flow(subject.loss, in_their_dtypes(params, later), batch)
    meant = dict(zip(leaf_names(params), subject.trainable, strict=True))
    rows = [row for row in flow.rows if meant[row.name] or row.verdict != "no gradient"]
    problems = list(flow_problems(rows, flow.loss).values())
    if problems:
        return failed(*problems[0])
    depth = early_to_late(rows)
    compared = (
        "" if math.isnan(depth) else f"; early layers have {depth:.2g} times that of late ones"
    )
    return passed(f"it reaches every trained leaf{compared}.")


def moves_leaves(subject: Subject) -> Check:
    """One step of the user's optimizer changes what is trained, not too much, and nothing else."""
    if subject.optimizer is None:
        return skipped("give `optimizer`, and `trainable` if leaves are frozen.")
    flow = gradient_flow(
        subject.loss, subject.params, subject.batch(64), optimizer=subject.optimizer
    )
    norms = {row.name: row.update_norm for row in flow.rows}
    moved = np.array([norms[leaf] != 0 for leaf in leaf_names(subject.params)])
    names = np.array(leaf_names(subject.params))
    wrongly_moved, wrongly_still = (
        names[which].tolist() for which in (moved & ~subject.trainable, ~moved & subject.trainable)
    )
    if wrongly_moved:
        found = f"one step changes {listed(wrongly_moved)}, which should be frozen."
        advice = (
            "Use optax.multi_transform with optax.set_to_zero(); weight decay moves leaves too."
        )
        return failed(found, advice)
    if wrongly_still:
        found = f"one step leaves {listed(wrongly_still)} as it is."
        advice = (
            "Look at the optimizer's masks, at whether the gradient reaches it, and at a learning "
            "rate that begins at 0."
        )
        return failed(found, advice)
    if large := flow_problems(flow.rows, flow.loss).get("large update"):
        return failed(*large)
    num_frozen = int((~subject.trainable).sum())
    return passed(f"one step moves {len(names) - num_frozen} leaves; {num_frozen} are frozen.")


def can_overfit(subject: Subject) -> Check:
    """Adam makes the loss of a few examples small, or at least half of what it was."""
    batch = subject.batch(_NUM_OVERFITTED)
    num_params = sum(np.size(leaf) for leaf in trained_leaves(subject.params))
    if num_params < np.size(batch[1]):
        return skipped("the model has fewer parameters than these examples have labels.")
    run = trained_on(subject, batch, num_steps=_NUM_STEPS, least=_small(subject, batch[1]))
    if run.start <= 0:
        return skipped(f"the loss is {run.start:.3g}; it is for losses that are positive.")
    found = f"the loss of {len(batch[1])} examples went from {run.start:.3g} to {run.end:.3g} in "
    found += f"{run.num_steps} steps of Adam."
    if run.end <= max(_small(subject, batch[1]), 0.5 * run.start):
        return passed(found)
    advice = (
        "The network cannot learn even these: look at the loss, at how inputs are scaled, and at "
        "the gradient check above."
    )
    return failed(found, advice)


def begins_at_chance(subject: Subject) -> Check:
    """The first loss is about ln C."""
    if subject.is_trained:
        return skipped("the parameters are trained; give those of the start with is_trained=False.")
    if subject.loss_fn is not cross_entropy:
        return skipped("it is for the cross-entropy of classes.")
    logits = subject.logits
    loss = float(per_example(subject.loss_fn, logits, jnp.asarray(subject.targets)).mean())
    chance = math.log(logits.shape[-1])
    found = f"the mean loss is {loss:.3g}; chance is ln {logits.shape[-1]} = {chance:.3g}."
    if 0.5 * chance <= loss <= 1.5 * chance:
        return passed(found)
    advice = "Begin with smaller weights in the last layer, and scale the inputs to about 1."
    if loss < chance:
        advice = "The network knows the labels before it is trained: do they leak into the inputs?"
    return failed(found, advice)


def knows_labels(subject: Subject) -> Check:
    """The labels given score better than the same ones shuffled."""
    if not subject.is_trained:
        return skipped("the parameters are not trained.")
    targets = jnp.asarray(subject.targets)
    if (subject.targets == subject.targets[:1]).all():
        return skipped("all labels looked at are the same.")
    rng = np.random.default_rng(0)
    orders = [np.arange(len(targets)), *(rng.permutation(len(targets)) for _ in range(_SHUFFLES))]
    given, *shuffled = (
        float(per_example(subject.loss_fn, subject.logits, targets[order]).mean())
        for order in orders
    )
    found = f"the mean loss is {given:.3g}, with shuffled labels {np.mean(shuffled):.3g}."
    asked = (
        "are inputs and labels in the same order, are the classes numbered as in training, is the "
        "input scaled as in training?"
    )
    if not given < min(shuffled):
        return failed(found, f"The model knows nothing of these labels: {asked}")
    chance = math.log(subject.logits.shape[-1])
    if subject.loss_fn is cross_entropy and given > chance:
        found = f"{found[:-1]}; guessing has {chance:.3g}."
        return failed(found, f"The model is worse than guessing: {asked}")
    return passed(found)


class Run(NamedTuple):
    """A short training.

    Attributes:
        start: the loss before it.
        end: the loss at its end.
        num_steps: how many there were.
        leaves: the trained leaves after it, in float32 at least.
    """

    start: float
    end: float
    num_steps: int
    leaves: list[Any]


def trained_on(subject: Subject, batch: Any, *, num_steps: int, least: float) -> Run:
    """Steps of Adam on one batch, until the loss is small; what is not trainable stays."""
    meant = [float(flag) for flag in subject.trainable]
    leaves = [at_least_float32(jnp.asarray(leaf)) for leaf in trained_leaves(subject.params)]
    state = _ADAM.init(leaves)
    start = end = math.nan
    for step in range(num_steps + 1):
        leaves, state, loss = _step(subject.loss, subject.params, leaves, state, batch, meant)
        if step % 10 == 0:
            end = float(loss)
            start = end if step == 0 else start
            if not math.isfinite(end) or end <= least:
                break
    return Run(start, end, step, leaves)


def in_their_dtypes(params: Params, leaves: list[Any]) -> Params:
    """`params` with these in the place of the trained leaves."""
    pairs = zip(leaves, trained_leaves(params), strict=True)
    return with_leaves(params, [leaf.astype(jnp.result_type(own)) for leaf, own in pairs])


def _small(subject: Subject, targets: jax.Array) -> float:
    """The loss at which a batch counts as learned: of soft labels above their own entropy."""
    if subject.loss_fn is not cross_entropy:
        return 0.0
    num_classes = subject.outputs(1).shape[-1]
    entropy = 0.0
    if jnp.issubdtype(targets.dtype, jnp.floating):
        rows = np.asarray(targets, np.float64)
        entropy = float(-(rows * np.log(np.where(rows > 0, rows, 1))).sum(-1).mean())
    return entropy + 0.1 * math.log(num_classes)


@functools.partial(jax.jit, static_argnames="loss")
def _step(
    loss: BatchLossFn, params: Params, leaves: list[Any], state: Any, batch: Any, meant: list[Any]
) -> tuple[list[Any], Any, jax.Array]:
    """One step of Adam, and the loss before it; half precision would lose Adam's small numbers."""

    def loss_of(leaves: list[Any]) -> jax.Array:
        return loss(in_their_dtypes(params, leaves), batch)

    value, gradients = jax.value_and_grad(loss_of)(leaves)
    with jax.numpy_dtype_promotion("standard"):
        updates, state = _ADAM.update(gradients, state, leaves)
        updates = [flag * update for flag, update in zip(meant, updates, strict=True)]
        return optax.apply_updates(leaves, updates), state, value
