"""What each process of a run gives: its part of the dataset, as many batches as the others."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from jinterp import _check
from jinterp._types import Batch
from jinterp.data.batches import host_batches
from jinterp.data.items import Block
from jinterp.stream.mesh import Placement


class Shard(NamedTuple):
    """Which part of the dataset this process gives, and how long all processes go on.

    Attributes:
        first_index: the dataset index of its first example.
        stride: the step to the next one's.
        total: examples of all processes, None where unknown.
        num_batches: batches that each process gives, None where they must ask each other.
    """

    first_index: int
    stride: int
    total: int | None
    num_batches: int | None

    @property
    def polled(self) -> bool:
        """Whether the processes ask each other, before each batch, if any has more."""
        return self.stride > 1

    def batches(
        self, blocks: Iterator[Block], batch_size: int, num_classes: int, placement: Placement
    ) -> Iterator[Batch]:
        """The batches of this process on the host, their targets checked."""
        stream = host_batches(blocks, batch_size, first_index=self.first_index, stride=self.stride)
        stream = self._checked(stream, num_classes)
        return stream if placement.num_processes == 1 else self._in_step(stream)

    def _checked(self, stream: Iterator[Batch], num_classes: int) -> Iterator[Batch]:
        for batch in stream:
            valid = batch.targets[: batch.mask.sum()]
            _check.targets_in_range(valid, int(batch.indices[0]), self.stride, num_classes)
            yield batch

    def _in_step(self, stream: Iterator[Batch]) -> Iterator[Batch]:
        """As many batches on every process: one that has no more gives padding."""
        batch = None
        for number in itertools.count():
            following = next(stream, None)
            if self.num_batches is None:
                more = multihost_utils.process_allgather(np.bool_(following is not None)).any()
            else:
                more = number < self.num_batches
            if not more:
                return
            batch = following or _padding(batch)
            yield batch


def agree(num_examples: int | None, batch_size: int, placement: Placement) -> Shard:
    """The part of this process, told to and by the others.

    Args:
        num_examples: how many it has, None where only a pass tells.
        batch_size: examples of a batch that it gives.
        placement: where the pass runs.
    """
    if placement.num_processes == 1:
        return Shard(0, 1, num_examples, None)
    own = -1 if num_examples is None else num_examples
    lengths = multihost_utils.process_allgather(np.int32(own))
    process = jax.process_index()
    if (lengths < 0).any():
        return Shard(process, len(lengths), None, None)
    num_batches = -(-int(lengths.max()) // batch_size)
    return Shard(int(lengths[:process].sum()), 1, int(lengths.sum()), num_batches)


def _padding(batch: Batch | None) -> Batch:
    if batch is None:
        raise ValueError("this process has no examples; expected at least one on each.")
    return Batch(batch.x, batch.targets, np.zeros_like(batch.mask), batch.indices)
