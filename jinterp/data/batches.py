"""`batches`: one stream of padded, masked batches of one static shape."""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from jinterp._types import Batch, PreprocessFn
from jinterp.data.items import Block, Fields, Keys
from jinterp.data.sources import Indices, Source, no_such_example, open_source, part_of

DEFAULT_BATCH_SIZE = 64
_MAX_INDEX = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Batches:
    """A dataset with how to batch it; iterating yields `Batch`es on the default device.

    Attributes:
        source: the dataset, in blocks of host arrays.
        batch_size: examples a batch, None where the pass chooses it from the memory there is.
        preprocess: runs on the device before the model, compiled with it.
    """

    source: Source
    batch_size: int | None = None
    preprocess: PreprocessFn | None = None

    @property
    def num_examples(self) -> int | None:
        """How many examples there are, None where only a pass tells."""
        return self.source.num_examples

    def part(self, number: int, num_parts: int) -> "Batches":
        """One of several parts, as each process of a run gives one.

        Where the length is known, parts are consecutive examples and differ by at most one;
        where it is not, part p holds the examples p, p + n, p + 2n.

        Args:
            number: which one, from 0, such as `jax.process_index()`.
            num_parts: how many there are, such as `jax.process_count()`.

        Raises:
            ValueError: there is no such part, or not an example for each.
        """
        if not 0 <= number < num_parts:
            raise ValueError(f"`number` is {number}; expected 0 to {num_parts - 1}.")
        return dataclasses.replace(self, source=part_of(self.source, number, num_parts))

    def take(self, indices: Indices) -> list[Any]:
        """The inputs of these examples, fetched again by dataset index, not preprocessed."""
        return [example.x for example in self.examples(indices)]

    def examples(self, indices: Indices) -> list[Block]:
        """These examples, fetched again by dataset index: `x`, not preprocessed, and `targets`."""
        if self.num_examples is not None:
            wrong = [int(i) for i in indices if not 0 <= i < self.num_examples]
            if wrong:
                raise no_such_example(wrong, self.num_examples)
        return self.source.take(indices)

    def __iter__(self) -> Iterator[Batch]:
        _, blocks = peek(self.source.blocks(self.batch_size or DEFAULT_BATCH_SIZE, 0))
        preprocess = jax.jit(self.preprocess) if self.preprocess else None
        for batch in prefetch(host_batches(blocks, self.batch_size or DEFAULT_BATCH_SIZE)):
            yield dataclasses.replace(batch, x=preprocess(batch.x)) if preprocess else batch


def batches(
    ds: Any,
    batch_size: int | None = None,
    *,
    inputs: Keys = None,
    targets: Keys = None,
    batched: bool | None = None,
    preprocess: PreprocessFn | None = None,
) -> Batches:
    """Any dataset as a stream of padded, masked batches of one static shape.

    Takes `(x, y)` arrays, a dict of arrays, a `tf.data` or tfds dataset, a tfds data source, a
    Grain dataset or loader, a Hugging Face dataset, a PyTorch dataset or loader, and any iterable
    of `(x, y)` tuples or dicts, of single examples or of batches. Every function of jinterp that
    takes a dataset calls this on it; call it yourself to name keys, choose the batch size or
    preprocess on the device.

    Args:
        ds: the dataset. An item of a stream is a batch if its targets are an array as long as
            each of its inputs, and a single example otherwise, or if it is an image
            `[*space, channels]` with a label map `[*space]`.
        batch_size: examples a batch; None lets the pass choose from the memory there is.
        inputs: the key of the inputs in a dict, or their place in a tuple; several keys make `x`
            a dict. None tries `image`, `x`, `inputs`, `img` and their like.
        targets: the key of the labels; None tries `label`, `y`, `targets`, `labels` and their
            like.
        batched: whether the items of a stream are batches; None looks at the first one.
        preprocess: a function of a batch of inputs, compiled into the step and run on the device.
            Integer images travel as integers and become floats there. Give the same function
            object each time, so that it compiles once.

    Returns:
        A `Batches`. Each example's dataset index is its position in `ds`, so `ds` must keep its
        order from pass to pass.

    Raises:
        TypeError: `ds` is of no known kind.
        ValueError: the batch size is not positive, lengths disagree, or the loader shuffles.
        KeyError: no key is known; the message names the keys there are.

    >>> import numpy as np
    >>> batch = next(iter(batches((np.zeros((5, 2)), np.arange(5)), 8)))
    >>> batch.x.shape, int(batch.mask.sum())
    ((8, 2), 5)
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"`batch_size` is {batch_size}; expected at least 1. Try 64.")
    if isinstance(ds, Batches):
        return _changed(ds, batch_size, Fields(inputs, targets, batched), preprocess)
    return Batches(open_source(ds, Fields(inputs, targets, batched)), batch_size, preprocess)


def _changed(
    ds: Batches, batch_size: int | None, fields: Fields, preprocess: PreprocessFn | None
) -> Batches:
    if fields != Fields(None, None, None):
        raise ValueError(
            "`ds` is a Batches, whose inputs and targets were named when it was made; expected "
            "none here. Name them there, or give the dataset itself."
        )
    return dataclasses.replace(
        ds, batch_size=batch_size or ds.batch_size, preprocess=preprocess or ds.preprocess
    )


def host_batches(
    blocks: Iterable[Block], batch_size: int, *, first_index: int = 0, stride: int = 1
) -> Iterator[Batch]:
    """Blocks of any size as NumPy batches of one size; the last is padded with its last example.

    Args:
        blocks: consecutive examples.
        batch_size: examples a batch.
        first_index: the dataset index of the first example.
        stride: the step from one example's dataset index to the next one's.
    """
    position = 0
    for block in reblock(blocks, itertools.repeat(batch_size)):
        num_valid = len(block.targets)
        rows = np.minimum(np.arange(batch_size), num_valid - 1)
        indices = first_index + stride * (position + np.arange(batch_size, dtype=np.int64))
        if indices[-1] > _MAX_INDEX:
            raise ValueError(
                f"`ds` has more than {_MAX_INDEX} examples, the most an index on the device can "
                "count. Interpret it in parts."
            )
        padded = block if num_valid == batch_size else _rows(block, rows)
        yield Batch(
            padded.x, padded.targets, np.arange(batch_size) < num_valid, indices.astype(np.int32)
        )
        position += num_valid


def prefetch(stream: Iterable[Batch], size: int = 2) -> Iterator[Batch]:
    """Batches on the default device, the next ones being copied while one is used."""
    queue: collections.deque[Batch] = collections.deque()
    for batch in stream:
        queue.append(jax.device_put(batch))
        if len(queue) > size:
            yield queue.popleft()
    yield from queue


def peek(blocks: Iterator[Block]) -> tuple[Block, Iterator[Block]]:
    """The first block, and the stream as if it had not been read."""
    first = next(blocks, None)
    if first is None:
        raise ValueError("`ds` is empty; expected at least one example.")
    return first, itertools.chain([first], blocks)


def reblock(blocks: Iterable[Block], sizes: Iterator[int]) -> Iterator[Block]:
    """Blocks of exactly these sizes, but for the last."""
    held: list[Block] = []
    num_held, size = 0, next(sizes)
    for block in blocks:
        start = 0
        while start < len(block.targets):
            part = jax.tree.map(functools.partial(_take_slice, start, size - num_held), block)
            start += len(part.targets)
            num_held += len(part.targets)
            held.append(part)
            if num_held == size:
                yield _concatenate(held)
                held, num_held, size = [], 0, next(sizes)
    if held:
        yield _concatenate(held)


def _take_slice(start: int, length: int, leaf: np.ndarray) -> np.ndarray:
    return leaf[start : start + length]


def _rows(block: Block, rows: np.ndarray) -> Block:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], block)


def _concatenate(blocks: list[Block]) -> Block:
    return blocks[0] if len(blocks) == 1 else jax.tree.map(lambda *x: np.concatenate(x), *blocks)
