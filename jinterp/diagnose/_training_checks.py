"""Checks of a network as training sees it: its loss, gradient, and what its labels tell."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinterp._types import BatchLossFn, Params
from jinterp.diagnose._leaves import leaf_names, trained_leaves, with_leaves
from jinterp.diagnose._subject import Check, Subject, failed, listed, passed, skipped
from jinterp.diagnose.gradient_flow import gradient_flow
from jinterp.evaluate.losses import cross_entropy, per_example
from jinterp.model.score import at_least_float32

_NUM_OVERFITTED, _NUM_STEPS = 32, 300
_ADAM = optax.adam(3e-3)
_LEAST_SURE = 3.0  # standard errors


def flows_gradient(subject: Subject) -> Check:
    """The gradient reaches every leaf that is meant to be trained, at a similar size."""
    flow = gradient_flow(subject.loss, subject.params, subject.batch(64))
    meant = dict(zip(leaf_names(subject.params), subject.trainable, strict=True))
    without = [row.name for row in flow.rows if row.verdict == "no gradient"]
    problems = flow.problems
    if not any(meant[leaf] for leaf in without):
        problems = [each for each in problems if "is exactly 0" not in each]
    if problems:
        found, _, advice = problems[0].partition(". ")
        return failed(f"{found}.", advice)
    depth = (
        ""
        if math.isnan(flow.early_to_late)
        else (f"; early layers have {flow.early_to_late:.2g} times that of late ones")
    )
    return passed(f"it reaches every trained leaf{depth}.")


def moves_leaves(subject: Subject) -> Check:
    """One step of the user's optimizer changes what is trained, and nothing that is frozen."""
    if subject.optimizer is None:
        return skipped("give `optimizer`, and `trainable` if leaves are frozen.")
    flow = gradient_flow(
        subject.loss, subject.params, subject.batch(64), optimizer=subject.optimizer
    )
    ratios = {row.name: row.update_ratio for row in flow.rows}
    moved = np.array([ratios[leaf] != 0 for leaf in leaf_names(subject.params)])
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
        advice = "Look at the optimizer's masks, and whether the gradient reaches it."
        return failed(found, advice)
    num_frozen = int((~subject.trainable).sum())
    return passed(f"one step moves {len(names) - num_frozen} leaves; {num_frozen} are frozen.")


def can_overfit(subject: Subject) -> Check:
    """Adam makes the loss of a few examples small."""
    batch = subject.batch(_NUM_OVERFITTED)
    start, end, num_steps = _overfitted(subject, batch)
    found = f"the loss of {len(batch[1])} examples went from {start:.3g} to {end:.3g} in "
    found += f"{num_steps} steps of Adam."
    if end <= _small(subject, start):
        return passed(found)
    advice = (
        "The network cannot learn even these: look at the loss, at how inputs are scaled, and at "
        "the gradient check above."
    )
    return failed(found, advice)


def begins_at_chance(subject: Subject) -> Check:
    """The first loss is about ln C."""
    if subject.is_trained or subject.loss_fn is not cross_entropy:
        why = "the parameters are trained" if subject.is_trained else "the loss is another"
        return skipped(f"{why}; give those of the start with is_trained=False.")
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
    order = np.random.default_rng(0).permutation(len(targets))
    logits = subject.logits
    given, shuffled = (
        np.asarray(per_example(subject.loss_fn, logits, each), np.float64)
        for each in (targets, targets[order])
    )
    gain = shuffled - given
    error = gain.std() / math.sqrt(len(gain))
    found = f"the mean loss is {given.mean():.3g}, with shuffled labels {shuffled.mean():.3g}."
    if gain.mean() > _LEAST_SURE * error:
        return passed(found)
    advice = (
        "The model knows nothing of these labels: are inputs and labels in the same order, are the "
        "classes numbered as in training, is the input scaled as in training?"
    )
    return failed(found, advice)


def _small(subject: Subject, start: float) -> float:
    """The loss at which a batch counts as learned."""
    if subject.loss_fn is not cross_entropy:
        return 0.1 * start
    num_classes = subject.outputs(1).shape[-1]
    return 0.1 * math.log(num_classes)


def _overfitted(subject: Subject, batch: Any) -> tuple[float, float, int]:
    """The loss at the start and at the end, and after how many steps that was."""
    meant = [float(flag) for flag in subject.trainable]
    leaves = [at_least_float32(jnp.asarray(leaf)) for leaf in trained_leaves(subject.params)]
    state = _ADAM.init(leaves)
    start = end = math.nan
    for step in range(_NUM_STEPS + 1):
        leaves, state, loss = _step(subject.loss, subject.params, leaves, state, batch, meant)
        if step % 10 == 0:
            end = float(loss)
            start = end if step == 0 else start
            if not math.isfinite(end) or end <= _small(subject, start):
                break
    return start, end, step


@functools.partial(jax.jit, static_argnames="loss")
def _step(
    loss: BatchLossFn, params: Params, leaves: list[Any], state: Any, batch: Any, meant: list[Any]
) -> tuple[list[Any], Any, jax.Array]:
    """One step of Adam, and the loss before it; half precision would lose Adam's small numbers."""

    def loss_of(leaves: list[Any]) -> jax.Array:
        pairs = zip(leaves, trained_leaves(params), strict=True)
        given = [leaf.astype(jnp.result_type(own)) for leaf, own in pairs]
        return loss(with_leaves(params, given), batch)

    value, gradients = jax.value_and_grad(loss_of)(leaves)
    with jax.numpy_dtype_promotion("standard"):
        updates, state = _ADAM.update(gradients, state, leaves)
        updates = [flag * update for flag, update in zip(meant, updates, strict=True)]
        return optax.apply_updates(leaves, updates), state, value
