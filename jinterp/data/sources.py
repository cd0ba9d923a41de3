"""Every kind of dataset as one `Source`: blocks of examples, in a stable order.

Nothing here imports a data framework: a dataset is known by what it can do (be sliced, be
indexed, be iterated), so only what the user already imported is used.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jinterp.data.items import Block, Fields, is_batch, parse, refuse_unequal_lengths, split

Indices = Sequence[int] | np.ndarray

_ENDLESS = 2**31 - 1  # a repeated Grain dataset reports a length of sys.maxsize
_TAKE_SIZE = 64  # examples read at a time when a stream is searched for some of them


class Source(NamedTuple):
    """A dataset as a stream of blocks.

    Attributes:
        blocks: `blocks(size, start)` iterates over the examples from the position `start` on, in
            blocks of any size (`size` where the source may choose).
        num_examples: how many there are, None where only a pass tells.
        take: `take(indices)` fetches these examples, each a block without the leading axis.
        seeks: whether `blocks` starts in the middle without reading what is before.
        is_held: whether the examples are arrays in memory, so that reading them costs nothing.
    """

    blocks: Callable[[int, int], Iterator[Block]]
    num_examples: int | None
    take: Callable[[Indices], list[Block]]
    seeks: bool = False
    is_held: bool = False


def open_source(ds: Any, fields: Fields) -> Source:
    """The `Source` of a dataset of any supported kind."""
    if _is_columns(ds):
        return _from_arrays(split(ds, fields, "`ds`"))
    if isinstance(ds, Mapping):
        raise TypeError(
            f"`ds` is a mapping of {_type_names(ds.values())} with the keys {list(ds)}; expected "
            f"arrays. If these are splits, give one of them, such as ds[{next(iter(ds), None)!r}]."
        )
    _refuse_shuffling(ds)
    _refuse_endless(ds)
    if hasattr(ds, "features") and hasattr(ds, "with_format"):
        return _from_hugging_face(ds, fields)
    if hasattr(ds, "as_numpy_iterator"):
        return _from_stream(ds.as_numpy_iterator, _tf_length(ds), fields)
    if _is_sized(ds):
        return _from_items(ds, fields)
    if isinstance(ds, Iterator):
        return _from_iterator(ds, fields)
    if isinstance(ds, Iterable):
        return _from_stream(lambda: iter(ds), None, fields)
    raise TypeError(
        f"`ds` is a {type(ds).__name__}; expected (x, y) arrays, a dict of arrays, a tf.data, "
        "tfds, Grain, Hugging Face or PyTorch dataset or loader, or an iterable of (x, y) tuples "
        "or dicts."
    )


def part_of(source: Source, number: int, num_parts: int) -> Source:
    """One of so many parts: consecutive examples where the length is known, every so many else."""
    total = source.num_examples
    if total is None:
        return source._replace(
            blocks=lambda size, start: _skip(
                _every(source.blocks(size * num_parts, 0), number, num_parts), start
            ),
            take=lambda indices: source.take([number + num_parts * int(i) for i in indices]),
        )
    if total < num_parts:
        raise ValueError(
            f"`ds` has {total} examples for {num_parts} parts; expected at least one in each."
        )
    first, stop = total * number // num_parts, total * (number + 1) // num_parts

    def blocks(size: int, start: int) -> Iterator[Block]:
        left = stop - first - start
        for block in source.blocks(size, first + start) if left else ():
            yield jax.tree.map(lambda leaf, left=left: leaf[:left], block)
            left -= len(block.targets)
            if left <= 0:
                return

    def take(indices: Indices) -> list[Block]:
        return source.take([first + int(i) for i in indices])

    return source._replace(blocks=blocks, num_examples=stop - first, take=take)


def _every(blocks: Iterator[Block], number: int, num_parts: int) -> Iterator[Block]:
    position = 0
    for block in blocks:
        first = (number - position) % num_parts
        position += len(block.targets)
        if first < len(block.targets):
            yield jax.tree.map(lambda leaf, first=first: leaf[first::num_parts], block)


def no_such_example(indices: Iterable[int], num_examples: int | None) -> IndexError:
    expected = "expected 0 or more"
    if num_examples is not None:
        expected = f"the dataset has {num_examples} examples, so expected 0 to {num_examples - 1}"
    return IndexError(f"`indices` holds {', '.join(map(str, indices))}; {expected}.")


# ---------------------------------------------------------------- the kinds


def _from_arrays(block: Block) -> Source:
    refuse_unequal_lengths(block, "`ds`")
    num_examples = len(block.targets)

    def blocks(size: int, start: int) -> Iterator[Block]:
        for first in range(start, num_examples, size):
            yield jax.tree.map(lambda leaf, first=first: leaf[first : first + size], block)

    def take(indices: Indices) -> list[Block]:
        return [_example(block, int(i)) for i in indices]

    is_held = not any(map(_is_mapped, jax.tree.leaves(block)))
    return Source(blocks, num_examples, take, seeks=True, is_held=is_held)


def _is_mapped(array: Any) -> bool:
    """Whether what it shows lies in a file."""
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None


def _from_items(
    items: Any,
    fields: Fields,
    read: Callable[[int, int], Iterator[Any]] | None = None,
) -> Source:
    """A random-access sequence: a list, a tfds data source, a Grain MapDataset, a torch Dataset.

    `read(size, start)` iterates over it in another way, where there is a faster one.
    """

    def one_by_one(size: int, start: int) -> Iterator[Any]:
        return (items[position] for position in range(start, len(items)))

    if len(items) and is_batch(split(items[0], fields, "item 0 of `ds`"), fields):
        return _from_stream(lambda: one_by_one(1, 0), None, fields)

    def blocks(size: int, start: int) -> Iterator[Block]:
        return _blocks((read or one_by_one)(size, start), size, fields)

    def take(indices: Indices) -> list[Block]:
        return [split(items[int(i)], fields, f"item {i} of `ds`") for i in indices]

    return Source(blocks, len(items), take, seeks=True)


def _from_hugging_face(ds: Any, fields: Fields) -> Source:
    """A Hugging Face dataset; its own format or transform is kept where the user set one."""
    if not hasattr(ds, "__len__"):
        # Its numpy format would make int64 of uint8; unformatted rows keep their values.
        features = ds.features or {}
        return _from_stream(
            lambda: (
                {name: _declared(row[name], features.get(name)) for name in row} for row in ds
            ),
            None,
            fields,
        )
    if ds.format["type"] is not None:
        return _from_items(ds, fields)
    # dtype=None keeps the stored dtype; batches are read 100 times faster than rows.
    formatted = ds.with_format("numpy", dtype=None)
    return _from_items(formatted, fields, lambda size, start: formatted.skip(start).iter(size))


def _from_iterator(iterator: Iterator[Any], fields: Fields) -> Source:
    """An iterator: it can be read once, so inputs cannot be fetched again."""
    unread = [iterator]

    def blocks(size: int, start: int) -> Iterator[Block]:
        stream = _blocks(unread.pop() if unread else (), size, fields)
        first = next(stream, None)
        if first is None:
            raise ValueError(
                f"`ds` is an iterator ({type(iterator).__name__}) that yields nothing: it was used "
                "up by an earlier pass, or was empty. Give something that can be iterated again, "
                "such as the list or loader it came from."
            )
        yield from _skip(itertools.chain([first], stream), start)

    def take(indices: Indices) -> list[Block]:
        raise ValueError(
            f"`ds` is an iterator ({type(iterator).__name__}), read once: its inputs cannot be "
            "fetched again. Give the list or loader it came from to see the examples."
        )

    return Source(blocks, None, take)


def _from_stream(
    iterate: Callable[[], Iterator[Any]], length: int | None, fields: Fields
) -> Source:
    """Anything that can be iterated again: fetching examples reads it from the start."""

    def blocks(size: int, start: int) -> Iterator[Block]:
        return _skip(_blocks(iterate(), size, fields), start)

    def take(indices: Indices) -> list[Block]:
        wanted = set(map(int, indices))
        found: dict[int, Block] = {}
        num_read = 0
        for block in blocks(_TAKE_SIZE, 0):
            here = range(num_read, num_read + len(block.targets))
            found |= {i: _example(block, i - num_read) for i in wanted.intersection(here)}
            num_read = here.stop
            if len(found) == len(wanted):
                break
        else:
            if missing := wanted - found.keys():
                raise no_such_example(sorted(missing), num_read)
        return [found[int(i)] for i in indices]

    return Source(blocks, length, take)


def _blocks(items: Iterable[Any], size: int, fields: Fields) -> Iterator[Block]:
    """Items that are batches pass as they are; single examples are stacked `size` at a time."""
    pending: list[Block] = []
    for block, batched in parse(items, fields):
        if not batched:
            pending.append(block)
        elif len(block.targets):
            yield block
        if len(pending) == size:
            yield _stack(pending)
            pending = []
    if pending:
        yield _stack(pending)


def _skip(blocks: Iterator[Block], num: int) -> Iterator[Block]:
    """All but the first examples, which a stream cannot do without reading them."""
    for block in blocks:
        if num < len(block.targets):
            yield jax.tree.map(lambda leaf, num=num: leaf[num:], block) if num else block
        num = max(num - len(block.targets), 0)


def _stack(examples: list[Block]) -> Block:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *examples)


def _example(block: Block, row: int) -> Block:
    """One example; a copy, which does not keep the whole block alive."""
    return jax.tree.map(lambda leaf: np.array(leaf[row]), block)


# ---------------------------------------------------------------- the datasets


def _is_columns(ds: Any) -> bool:
    """Whether `ds` is (x, y) or a dict with an array for each, and not a sequence of examples."""
    columns = ds.values() if isinstance(ds, Mapping) else ds[1:] if isinstance(ds, tuple) else ()
    return any(isinstance(column, list) or hasattr(column, "__array__") for column in columns)


def _is_sized(ds: Any) -> bool:
    return hasattr(ds, "__getitem__") and hasattr(ds, "__len__")


def _tf_length(ds: Any) -> int | None:
    """The number of examples of an unbatched tf.data dataset; batched ones do not tell it."""
    cardinality = int(ds.cardinality())
    leaves = jax.tree.leaves(ds.element_spec, is_leaf=lambda leaf: hasattr(leaf, "shape"))
    scalar = any(leaf.shape.rank == 0 for leaf in leaves)
    return cardinality if scalar and cardinality >= 0 else None


def _declared(value: Any, feature: Any) -> Any:
    """A Hugging Face value in the dtype that its feature declares, where that is one of numbers."""
    while getattr(feature, "feature", None) is not None:
        feature = feature.feature
    dtype = getattr(feature, "dtype", None)
    try:
        return np.asarray(value, dtype) if dtype else value
    except (TypeError, ValueError):  # an image or text; ragged
        return value


def _refuse_shuffling(ds: Any) -> None:
    if _shuffles(ds):
        raise ValueError(
            f"`ds` is a {type(ds).__name__} that shuffles: its order changes with every pass, so "
            "the dataset index of an example would mean nothing. Make it with shuffle=False, or "
            "leave out the shuffle()."
        )


def _shuffles(ds: Any) -> bool:
    """A PyTorch loader tells by its sampler, a tf.data dataset by what it is made from."""
    samplers = ds, getattr(ds, "batch_sampler", None)
    if any(type(getattr(s, "sampler", None)).__name__.endswith("RandomSampler") for s in samplers):
        return True
    made_from = ds._inputs() if hasattr(ds, "as_numpy_iterator") else ()
    return getattr(ds, "_reshuffle_each_iteration", False) or any(map(_shuffles, made_from))


def _refuse_endless(ds: Any) -> None:
    if _is_endless(ds):
        raise ValueError(
            f"`ds` is a {type(ds).__name__} that repeats for ever; expected one pass over the "
            "examples. Leave out the repeat(), or give a Grain sampler num_epochs=1."
        )


def _is_endless(ds: Any) -> bool:
    """tf.data tells by its cardinality, Grain by the length of what a stream is made from."""
    if hasattr(ds, "as_numpy_iterator"):
        return int(ds.cardinality()) == -1
    if _is_sized(ds):
        return len(ds) >= _ENDLESS
    made_from = getattr(ds, "_parents", None) or (getattr(ds, "_sampler", None),)
    return all(parent is not None and _is_endless(parent) for parent in made_from)


def _type_names(values: Iterable[Any]) -> str:
    return ", ".join(sorted({type(value).__name__ for value in values}))
