"""Whether a dataset and a model are those of an earlier run, told by digests of what was read."""

import functools
import hashlib
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinterp._types import Batch, Params
from jinterp.data.batches import peek, reblock
from jinterp.data.items import Block
from jinterp.data.sources import Source
from jinterp.stream.mesh import Placement

_MOST_PROBES = 16


class Seen(NamedTuple):
    """Consecutive examples that were read.

    Attributes:
        start: the position of the first in the part of this process.
        length: how many.
        digest: of their inputs and targets, 64 bits.
    """

    start: int
    length: int
    digest: int


def digest_of(batch: Batch, start: int) -> Seen:
    """What is remembered of a batch on the host; padding is left out."""
    length = int(np.sum(batch.mask))
    block = jax.tree.map(lambda leaf: leaf[:length], Block(batch.x, batch.targets))
    return Seen(start, length, block_digest(block))


def block_digest(block: Block) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for leaf in jax.tree.leaves(block):
        digest.update(f"{leaf.dtype}{leaf.shape}".encode())
        digest.update(_bytes(leaf))
    return int.from_bytes(digest.digest(), "big", signed=True)


def blocks_after(source: Source, read: list[Seen], size: int) -> tuple[Block, Iterator[Block]]:
    """Some block, and those after what was read in an earlier run, which is compared.

    All of it where the stream has to be read from its start or is in memory, else sixteen blocks.

    Args:
        source: the dataset.
        read: what the earlier run read, from the first example on.
        size: examples a block, where the source may choose.

    Raises:
        ValueError: the dataset is empty, or gives other examples than it did.
    """
    read = [one for one in read if one.length]  # no padding
    if not read:
        return peek(source.blocks(size, 0))
    if source.seeks:
        num = len(read) if source.is_held else _MOST_PROBES
        chosen = np.unique(np.linspace(0, len(read) - 1, num).astype(int))
        compared = [_same(one, _exactly(source, one)) for one in map(read.__getitem__, chosen)]
        return compared[0], source.blocks(size, sum(one.length for one in read))
    lengths = (one.length for one in read)
    stream = reblock(source.blocks(size, 0), itertools.chain(lengths, itertools.repeat(size)))
    first, *others = read
    some = _same(first, next(stream, None))
    for one in others:
        _same(one, next(stream, None))
    return some, stream


def _exactly(source: Source, one: Seen) -> Block | None:
    return next(reblock(source.blocks(one.length, one.start), itertools.repeat(one.length)), None)


def _same(one: Seen, block: Block | None) -> Block:
    if block is None:
        raise _changed(one)
    same_as(one, Seen(one.start, len(block.targets), block_digest(block)))
    return block


def same_as(one: Seen, found: Seen) -> None:
    """Whether examples are those that an earlier run read there, or a named error."""
    if found != one:
        raise _changed(one)


def difference(name: str, before: Any, now: Any) -> str:
    """What an earlier run has that this call has not, for an error."""
    if name == "params":
        return "the parameters had other values or shapes than those of this call"
    return f"its {name} is {before!r}, that of this call {now!r}"


def _changed(one: Seen) -> ValueError:
    return ValueError(
        f"`ds` has changed since the run that is to go on: its examples {one.start} to "
        f"{one.start + one.length - 1} are not the same. Give the dataset of that run, in the "
        "same order, or begin anew in another folder."
    )


def params_digest(params: Params, placement: Placement) -> str:
    """Of the shapes of all arrays, and of the bits of all weights, wherever they are."""
    sums = jax.device_get(_bit_sums(params, placement))
    digest = hashlib.blake2b(digest_size=6)
    for leaf, each in zip(jax.tree.leaves(params), sums, strict=True):
        digest.update(f"{leaf.dtype}{leaf.shape}".encode())
        digest.update(_bytes(each))
    return digest.hexdigest()


def _bytes(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


@functools.partial(jax.jit, static_argnames="placement")
def _bit_sums(params: Params, placement: Placement) -> list[Any]:
    """Of each array two sums modulo 2³², exact in any order and so on any devices."""
    sums = [_bit_sum(leaf) for leaf in jax.tree.leaves(params)]
    return jax.lax.with_sharding_constraint(sums, placement.replicated)


def _bit_sum(leaf: Any) -> Any:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if jnp.iscomplexobj(leaf):
        leaf = jnp.stack([leaf.real, leaf.imag])
    width = 32 if leaf.dtype.itemsize == 8 else 8 * leaf.dtype.itemsize
    is_bits = leaf.dtype == bool or leaf.dtype.itemsize < 1
    bits = leaf if is_bits else jax.lax.bitcast_convert_type(leaf, f"uint{width}")
    bits = bits.astype(jnp.uint32)
    return jnp.stack([bits.sum(dtype=jnp.uint32), (bits * bits).sum(dtype=jnp.uint32)])
