"""What the checks of `check_model` look at, and what they say."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinterp._types import ApplyFn, BatchLossFn, LossFn, Params
from jinterp.data.batches import Batches
from jinterp.diagnose._observed import NoLayers
from jinterp.diagnose.activation_stats import ActivationStats, activation_stats
from jinterp.diagnose.mean_loss import mean_loss
from jinterp.stream.fold import fold
from jinterp.stream.reduce import collect
from jinterp.stream.task import AnyOutputs

Status = Literal["passed", "failed", "skipped"]


class Check(NamedTuple):
    """What one check says.

    Attributes:
        name: what was looked at.
        status: "passed", "failed", or "skipped" where it does not apply.
        found: what was seen, in a sentence.
        advice: what to do where it failed; "" elsewhere.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is checked.

    Attributes:
        apply_fn: the model.
        params: its parameters.
        loss_fn: of logits and targets.
        ds: all of the dataset.
        x: some inputs over the dataset, preprocessed, `[sample, ...]`.
        targets: their labels.
        optimizer: the user's, if given.
        trainable: for each trained leaf whether the optimizer is meant to change it.
        is_trained: whether the parameters are those after training.
        channel_axis: of layers and inputs.
    """

    apply_fn: ApplyFn
    params: Params
    loss_fn: LossFn
    ds: Batches
    x: Any
    targets: np.ndarray
    optimizer: optax.GradientTransformation | None
    trainable: np.ndarray
    is_trained: bool
    channel_axis: int

    @property
    def loss(self) -> BatchLossFn:
        return mean_loss(self.apply_fn, self.loss_fn)

    def batch(self, size: int) -> tuple[Any, jax.Array]:
        """Examples from all over the dataset, with their labels."""
        num = len(self.targets)
        rows = np.unique(np.linspace(0, num - 1, min(size, num)).round().astype(int))
        x = jax.tree.map(lambda leaf: jnp.asarray(leaf[rows]), self.x)
        return x, jnp.asarray(self.targets[rows])

    def outputs(self, size: int) -> Any:
        """Of `batch(size)`."""
        return outputs_of(self.apply_fn, self.params, self.batch(size)[0])

    @functools.cached_property
    def logits(self) -> jax.Array:
        """Of all examples of the sample, in batches that fit."""
        ds = (self.x, np.zeros(len(self.targets), np.int32))
        reducers = {"logits": collect(_logits)}
        found = fold(reducers, self.apply_fn, self.params, ds, task=AnyOutputs(), progress=False)
        return jnp.asarray(found["logits"])

    @functools.cached_property
    def stats(self) -> ActivationStats | None:
        """Those of all layers; None of a model without any."""
        try:
            return activation_stats(
                self.apply_fn,
                self.params,
                self.ds,
                channel_axis=self.channel_axis,
                progress=False,
            )
        except NoLayers:
            return None


def passed(found: str) -> Check:
    """Nothing is wrong; `check_model` gives the name."""
    return Check("", "passed", found)


def failed(found: str, advice: str) -> Check:
    """Something is wrong."""
    return Check("", "failed", found, advice)


def skipped(found: str) -> Check:
    """The check does not apply."""
    return Check("", "skipped", found)


@functools.partial(jax.jit, static_argnames="apply_fn")
def outputs_of(apply_fn: ApplyFn, params: Params, x: Any) -> Any:
    """One forward pass."""
    return apply_fn(params, x)


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + more(len(names), most)


def more(num: int, most: int) -> str:
    """What is left of so many."""
    return f" and {num - most} more" if num > most else ""


def _logits(batch: Any, logits: Any) -> Any:
    return logits
