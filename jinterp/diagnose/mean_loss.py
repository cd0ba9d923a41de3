"""The mean loss of a batch as one function of parameters and batch, as training has it."""

import dataclasses
from typing import Any

from jaxtyping import Array, Float

from jinterp._types import ApplyFn, BatchLossFn, LossFn, Params
from jinterp.evaluate.losses import cross_entropy, per_example


@dataclasses.dataclass(frozen=True)
class _MeanLoss:
    apply_fn: ApplyFn
    loss_fn: LossFn

    def __call__(self, params: Params, batch: Any) -> Float[Array, ""]:
        x, targets = batch
        return per_example(self.loss_fn, self.apply_fn(params, x), targets).mean()


def mean_loss(apply_fn: ApplyFn, loss_fn: LossFn = cross_entropy) -> BatchLossFn:
    """The mean loss of a batch `(x, targets)`, as the functions that differentiate it take it.

    Equal arguments give equal functions, so making it again compiles nothing again. Write your own
    `loss_fn(params, batch)` where training has more to it: weight decay, dropout, several outputs.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        loss_fn: `loss_fn(logits, targets) -> [batch]`, or elementwise.

    Returns:
        `loss(params, batch) -> scalar`, with `batch` the pair `(x, targets)`.

    >>> import jax.numpy as jnp
    >>> loss = mean_loss(lambda params, x: x @ params)
    >>> float(loss(jnp.zeros((3, 2)), (jnp.ones((4, 3)), jnp.zeros(4, int)))).__round__(4)
    0.6931
    """
    return _MeanLoss(apply_fn, loss_fn)
