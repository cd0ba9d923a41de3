"""The learning-rate finder: a short training in which the learning rate grows."""

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jinterp import _check
from jinterp._text import text_table
from jinterp._types import Batch, BatchLossFn, Params
from jinterp.data.batches import DEFAULT_BATCH_SIZE, Batches, batches, host_batches, peek, prefetch
from jinterp.diagnose._suggestions import smooth, stop, suggestions
from jinterp.diagnose._training import OptimizerFn, is_optimizer, losses_at


class LrFind(NamedTuple):
    """Losses while the learning rate grew, and the learning rates they suggest.

    Attributes:
        learning_rates: `[steps]`, of the steps that were made.
        losses: `[steps]`, of each batch before its update.
        smoothed_losses: `[steps]`, their debiased moving average.
        num_steps: how many steps were asked for.
        stopped: "diverged" or "not finite" where the last step ended the run, else "".
        valley: in the middle of the longest valley; NaN where there is none, as with the others.
        slide: where the slope settles, seen from the right.
        minimum: a tenth of the learning rate of the least loss.
        steep: where the loss falls fastest.
    """

    learning_rates: np.ndarray
    losses: np.ndarray
    smoothed_losses: np.ndarray
    num_steps: int
    stopped: str
    valley: float
    slide: float
    minimum: float
    steep: float

    def __str__(self) -> str:
        """The suggestions, and how the run ended."""
        rows = [[name, _text(rate)] for name, rate in self.suggested().items()]
        made = len(self.losses)
        ended = f"{made} of {self.num_steps} steps"
        if self.stopped:
            ended += f", {self.stopped} at step {made - 1}"
        return f"{text_table(['', 'learning rate'], rows)}\n{ended}"

    def suggested(self) -> dict[str, float]:
        """The four suggestions by name."""
        return {name: getattr(self, name) for name in ("valley", "slide", "minimum", "steep")}


def lr_find(
    loss_fn: BatchLossFn,
    params: Params,
    optimizer: OptimizerFn,
    ds: Any,
    *,
    start: int | float = 1e-7,
    end: int | float = 10.0,
    num_steps: int = 100,
    batch_size: int | None = None,
) -> LrFind:
    """Train a copy of the network while the learning rate grows, and see where the loss falls.

    Step t has the learning rate r_t = start·(end/start)^(t/num_steps), and the smoothed loss
    s_t = v_t / (1 − 0.98^(t+1)), v_t = 0.98·v_{t−1} + 0.02·l_t. The run ends at the first s_t more
    than 4 times the least so far, or not finite. The suggestions are made from the steps
    num_steps//10 to the last but 5:

    - valley: where the longest decreasing subsequence, from i to j, is half way: the index
      i + ⌊(j−i)/3⌋ + ⌊(j−i)/6⌋;
    - slide: from the right, the last of the learning rates at which the slope differs from that
      15 steps further right by more than 0.005;
    - minimum: a tenth of the one with the least s;
    - steep: the one with the least Δs / Δ ln r.

    `params` and the data stay as they are. Of Linen variables the collection "params" is trained,
    of NNX state the `nnx.Param`s, and only floating point.

    Args:
        loss_fn: `loss_fn(params, (x, targets)) -> scalar`, as `jinterp.mean_loss(apply_fn)` makes.
        params: where training begins.
        optimizer: a function of the learning rate, called with a traced one: `optax.adam`, or
            `functools.partial(optax.adamw, weight_decay=0.1)`. Make it once and pass the same
            object. It is given the trained leaves, as it is in training.
        ds: anything that `jinterp.batches` takes, in the order that it has: shuffle it first. It
            starts over when it ends. A last batch that is not full is left out; a dataset smaller
            than a batch is one batch.
        start: the first learning rate.
        end: the learning rate that would follow the last step.
        num_steps: the most steps.
        batch_size: examples a batch; None takes that of `ds`, or 64.

    Returns:
        The losses and four suggestions, which are NaN where fewer than 10 losses are left (slide:
        16). fastai recommends `valley`.

    Raises:
        TypeError: `optimizer` is not a function of the learning rate.
        ValueError: the range, `num_steps` or the loss is not as expected, or the optimizer keeps
            the learning rate in its state.

    Source: fastai's `lr_find`, after Smith (2017), with its schedule, smoothing, stop and rules. We
    differ where it does without an answer: below 10 losses it gives one or fails; where losses are
    negative it stops at once, and here where s rises by more than 3·|the least|; after a NaN it
    goes on, to the same suggestions.

    >>> import jinterp, jax.numpy as jnp, numpy as np, optax
    >>> x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    >>> loss_fn = jinterp.mean_loss(lambda params, x: x @ params)
    >>> found = lr_find(loss_fn, jnp.zeros((3, 2)), optax.sgd, (x, (x[:, 0] > 0).astype(int)))
    >>> len(found.losses), bool(1e-3 < found.valley < 1e-2)
    (100, True)
    """
    _is_range(start, end)
    _check.at_least_one("num_steps", num_steps, 100)
    is_optimizer(optimizer)
    ds = batches(ds, batch_size)
    rates = start * (end / start) ** (np.arange(num_steps) / num_steps)
    stream = prefetch(itertools.islice(_endless(ds), num_steps))
    losses = losses_at(rates, loss_fn, params, optimizer, stream, ds.preprocess)
    smoothed = smooth(losses)
    stopped_at, stopped = stop(smoothed)
    made = slice(stopped_at)
    return LrFind(
        rates[made],
        losses[made],
        smoothed[made],
        num_steps,
        stopped,
        *suggestions(rates[made], smoothed[made], num_steps),
    )


def _endless(ds: Batches) -> Iterator[Batch]:
    """Full batches, over and over; of a dataset smaller than one, its examples."""
    size = ds.batch_size or DEFAULT_BATCH_SIZE
    while True:
        num_full = 0
        _, blocks = peek(ds.source.blocks(size, 0))
        for batch in host_batches(blocks, size):
            if batch.mask.all():
                num_full += 1
                yield batch
        if not num_full:
            yield jax.tree.map(lambda leaf, valid=batch.mask: leaf[valid], batch)


def _text(rate: float) -> str:
    return "none" if math.isnan(rate) else f"{rate:.2e}"


def _is_range(start: int | float, end: int | float) -> None:
    if not 0 < start < end < math.inf:
        raise ValueError(
            f"`start` is {start} and `end` is {end}; expected 0 < start < end. Try 1e-7 and 10."
        )
