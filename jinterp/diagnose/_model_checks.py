"""Checks of a network as it is: its numbers, its layers, its inputs and predictions."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinterp._types import BatchLossFn, Params
from jinterp.diagnose._subject import (
    Check,
    Subject,
    failed,
    listed,
    more,
    outputs_of,
    passed,
    skipped,
)
from jinterp.diagnose.activation_stats import ActivationStats, LayerStats
from jinterp.diagnose.layer_outputs import layer_outputs
from jinterp.evaluate.confusion import confusion_matrix
from jinterp.evaluate.losses import cross_entropy
from jinterp.model.leaves import leaf_names, trained_leaves

_MOST_DEAD, _MOST_SATURATED = 0.5, 0.9
_FEW = 32
_LEAST_EXPECTED = 10  # examples of a class, before it is remarkable that none is predicted


def is_finite(subject: Subject) -> Check:
    """Parameters, inputs, and outputs are numbers; else the layer that made the first NaN."""
    found = layer_outputs(subject.apply_fn, subject.params, subject.batch(64)[0])
    outputs = subject.outputs(64)
    finite = all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(outputs))
    if found.not_finite:
        what = listed([*found.not_finite])
        advice = "Go back to a checkpoint before it, or clean the data."
        return failed(f"NaN or infinite: {what}.", advice)
    # A rectifier may hide it from the outputs; one that nothing reads, as behind `where`, is none.
    made_nan = found.first_nan is not None and (
        not finite or any(layer.num_nan for layer in found.layers)
    )
    if finite and not made_nan:
        return passed("parameters, inputs and outputs are finite.")
    what = "NaN is made" if made_nan else "the outputs are infinite"
    origin = found.origins and (found.origins.nan or found.origins.infinite)
    where = f"by {origin}" if origin else f"in the layer {found.first_nan!r}"
    infinite = found.origins and found.origins.infinite
    if made_nan and infinite:
        where += f", the first infinity by {infinite}"
    if not made_nan:
        where = f"the first infinity is made {where}"
    advice = "Look at what goes into it: jinterp.layer_outputs has the ranges of all layers."
    return failed(f"{what}{' ' if made_nan else '; '}{where}.", advice)


def are_dtypes_alike(subject: Subject) -> Check:
    """Parameters of one precision, and logits of at least single precision."""
    by_dtype: dict[str, list[str]] = {}
    leaves = zip(leaf_names(subject.params), trained_leaves(subject.params), strict=True)
    for leaf_name, leaf in leaves:
        by_dtype.setdefault(str(jnp.result_type(leaf)), []).append(leaf_name)
    outputs = subject.outputs(1)
    of_logits = str(jax.tree.leaves(outputs)[0].dtype)
    found = f"parameters are {' and '.join(by_dtype)}, outputs {of_logits}."
    if len(by_dtype) > 1:
        rare = min(by_dtype, key=lambda dtype: len(by_dtype[dtype]))
        advice = f"Cast {listed(by_dtype[rare])} ({rare}) like the others."
        return failed(found, advice)
    if jnp.dtype(of_logits).itemsize < 4 and "float32" in by_dtype:
        advice = "Return logits.astype(jnp.float32): a loss of half precision loses small errors."
        return failed(found, advice)
    return passed(found)


def are_examples_independent(subject: Subject) -> Check:
    """The outputs of an example among others are those that it has among copies of itself."""
    x = subject.batch(16)[0]
    copies = jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], len(leaf), axis=0), x)
    first, alone = (
        np.float64(jax.tree.leaves(outputs_of(subject.apply_fn, subject.params, each))[0][0])
        for each in (x, copies)
    )
    apart = float(np.abs(first - alone).max() / max(np.abs(first).max(), 1e-30))
    if apart < 1e-3:
        return passed("an example's output does not depend on the others.")
    found = f"an example's output changes by {apart:.0%} with the other examples of its batch."
    advice = (
        "The model is in training mode, as BatchNorm is that takes its statistics from the batch: "
        "jinterp.from_linen(module, variables, train=False) or jinterp.from_nnx(module)."
    )
    return failed(found, advice)


def predicts_all_classes(subject: Subject) -> Check:
    """Every class that occurs is predicted at least once."""
    if not subject.is_trained or subject.loss_fn is not cross_entropy:
        return skipped("it is for trained classifiers.")
    if subject.targets.ndim != 1:
        return skipped("it is for one class an example.")
    matrix = confusion_matrix(subject.apply_fn, subject.params, subject.ds, progress=False)
    support, predicted = matrix.sum(1), matrix.sum(0)
    never = np.flatnonzero((support >= _LEAST_EXPECTED) & (predicted == 0))
    if not len(never):
        return passed(f"each of {(support > 0).sum()} classes is predicted.")
    of = ", ".join(f"{each} ({support[each]} examples)" for each in never[:5])
    found = f"never predicted: {of}{more(len(never), 5)}."
    return failed(found, "Look at the class weights, the sampling and the labels.")


def uses_input_channels(subject: Subject) -> Check:
    """No channel of an input in space is constant over the data, or ignored by the model."""
    x, targets = subject.batch(64)
    whole = jax.tree.leaves(subject.x)
    leaves = jax.tree.leaves(x)
    if not all(leaf.ndim > 3 and jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        return skipped("it is for images and volumes of floats, with channels.")
    gradients = jax.tree.leaves(_input_gradient(subject.loss, subject.params, x, targets))
    constant, ignored = [], []
    for leaf, gradient in zip(whole, gradients, strict=True):
        by_channel, of_loss = (
            np.moveaxis(np.asarray(each), subject.channel_axis, 0).reshape(
                each.shape[subject.channel_axis], -1
            )
            for each in (leaf, gradient)
        )
        constant += [str(n) for n, row in enumerate(by_channel) if row.min() == row.max()]
        ignored += [str(n) for n, row in enumerate(of_loss) if not row.any()]
    if constant or ignored:
        which, how = (constant, "constant in the data") if constant else (ignored, "not read")
        advice = "Look at how the inputs are made and at the mean and deviation they are scaled by."
        return failed(f"channel {listed(which)} is {how}.", advice)
    return passed("each varies and is read.")


def has_live_units(subject: Subject) -> Check:
    """Few units of any layer are dead."""
    if len(subject.targets) < _FEW:
        return skipped(f"{len(subject.targets)} examples are too few to tell.")
    return _of_layers(
        subject.stats,
        # Before training, what is always 0 may be a scale that begins there.
        lambda layer: layer.dead if subject.is_trained or layer.activation_function else math.nan,
        _MOST_DEAD,
        "units are never active",
        "Begin again with a lower learning rate or smaller weights; see jinterp.detect_dead_units.",
    )


def is_not_saturated(subject: Subject) -> Check:
    """Sigmoids and tanhs are not flat for nearly all values."""
    return _of_layers(
        subject.stats,
        lambda layer: layer.saturated,
        _MOST_SATURATED,
        "values lie where a sigmoid or tanh is flat",
        "Begin with smaller weights, normalise before it, or use ReLU or GELU.",
    )


def _of_layers(
    stats: ActivationStats | None,
    share_of: Callable[[LayerStats], float],
    most: float,
    what: str,
    advice: str,
) -> Check:
    if stats is None:
        return skipped("the model enters no named scopes.")
    shares = {layer.name: share_of(layer) for layer in stats.layers}
    shares = {layer: share for layer, share in shares.items() if not math.isnan(share)}
    if not shares:
        return skipped("the model has no layer of this kind.")
    worst = sorted(shares, key=lambda layer: -shares[layer])
    too_many = [f"{shares[layer]:.0%} of {layer!r}" for layer in worst if shares[layer] >= most]
    if too_many:
        return failed(f"{what}: {listed(too_many)}.", advice)
    return passed(f"at most {shares[worst[0]]:.0%}, in {worst[0]!r}.")


@functools.partial(jax.jit, static_argnames="loss")
def _input_gradient(loss: BatchLossFn, params: Params, x: Any, targets: jax.Array) -> Any:
    return jax.grad(lambda inputs: loss(params, (inputs, targets)))(x)
