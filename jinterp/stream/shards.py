"""What each process of a run gives: its part of the dataset, as many batches as the others."""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from jinterp._types import Batch
from jinterp.data.batches import host_batches
from jinterp.data.items import Block
from jinterp.stream.mesh import Placement


class Shard(NamedTuple):
    """Which part of the dataset this process gives, and how long all processes go on.

    Attributes:
        first_index: the dataset index of the first example that it gives.
        stride: the step to the next one's.
        num_batches: batches that each process gives, None where they must ask each other.
    """

    first_index: int
    stride: int
    num_batches: int | None

    @property
    def polled(self) -> bool:
        """Whether the processes ask each other, before each batch, if any has more."""
        return self.stride > 1

    def batches(
        self,
        blocks: Iterator[Block],
        batch_size: int,
        check: Callable[[np.ndarray, int, int], None],
        placement: Placement,
        some: Block,
    ) -> Iterator[Batch]:
        """The batches of this process on the host, their targets checked.

        Args:
            blocks: its examples.
            batch_size: examples a batch.
            check: of targets, the dataset index of the first, and the step to the next.
            placement: where the pass runs.
            some: examples to pad with where it has no more.
        """
        stream = host_batches(blocks, batch_size, first_index=self.first_index, stride=self.stride)
        stream = self._checked(stream, check)
        if placement.num_processes == 1:
            return stream
        return self._in_step(stream, _padding(next(host_batches([some], batch_size))))

    def _checked(
        self, stream: Iterator[Batch], check: Callable[[np.ndarray, int, int], None]
    ) -> Iterator[Batch]:
        for batch in stream:
            check(batch.targets[: batch.mask.sum()], int(batch.indices[0]), self.stride)
            yield batch

    def _in_step(self, stream: Iterator[Batch], padding: Batch) -> Iterator[Batch]:
        """As many batches on every process: one that has no more gives padding."""
        for number in itertools.count():
            following = next(stream, None)
            if self.num_batches is None:
                more = multihost_utils.process_allgather(np.bool_(following is not None)).any()
            else:
                more = number < self.num_batches
            if not more:
                return
            yield following or padding


def agree(num_examples: int | None, num_done: int, batch_size: int, placement: Placement) -> Shard:
    """The part of this process, told to and by the others.

    Args:
        num_examples: how many it has, None where only a pass tells.
        num_done: how many of them were done before.
        batch_size: examples of a batch that it gives.
        placement: where the pass runs.
    """
    if placement.num_processes == 1:
        return Shard(num_done, 1, None)
    own = -1 if num_examples is None else num_examples
    lengths, done = multihost_utils.process_allgather(np.array([own, num_done], np.int32)).T
    process = jax.process_index()
    if (lengths < 0).any():
        stride = len(lengths)
        return Shard(process + stride * num_done, stride, None)
    num_batches = -(-int((lengths - done).max()) // batch_size)
    first_index = int(lengths[:process].sum()) + num_done
    return Shard(first_index, 1, num_batches)


def own_part(num_examples: int | None) -> tuple[int, list[int] | None]:
    """The dataset index of this process's first example, and how many each process has."""
    if jax.process_count() == 1:
        return 0, None if num_examples is None else [num_examples]
    own = -1 if num_examples is None else num_examples
    lengths = multihost_utils.process_allgather(np.int32(own))
    if (lengths < 0).any():
        raise ValueError(
            "`ds` does not tell its length on every process; expected parts that do, such as "
            "arrays or sequences, since each process writes the rows of its own part."
        )
    return int(lengths[: jax.process_index()].sum()), lengths.tolist()


def wait_for_all_processes(what: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def _padding(batch: Batch) -> Batch:
    return Batch(batch.x, batch.targets, np.zeros_like(batch.mask), batch.indices)
