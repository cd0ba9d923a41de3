"""Every kind of dataset as one `Source`: blocks of examples, in a stable order.

Nothing here imports a data framework: a dataset is known by what it can do (be sliced, be
indexed, be iterated), so only what the user already imported is used.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

Key = str | int
Keys = Key | Sequence[Key] | None

# The names that the ecosystem uses, in the order in which they are looked for:
# tfds, Keras and plain NumPy, Flax examples, Hugging Face, scikit-learn.
INPUT_KEYS = ("image", "x", "inputs", "img", "images", "input", "features", "data")
TARGET_KEYS = ("label", "y", "targets", "labels", "target", "fine_label")

_ENDLESS = 2**31 - 1  # a repeated Grain dataset reports a length of sys.maxsize


class Block(NamedTuple):
    """Some consecutive examples on the host; `x` is an array or a pytree of arrays."""

    x: Any
    targets: np.ndarray


class Source(NamedTuple):
    """A dataset as a stream of blocks.

    Attributes:
        blocks: `blocks(size)` iterates over all examples from the first, in blocks of any size
            (`size` where the source may choose).
        num_examples: how many there are, None where only a pass tells.
        take: `take(indices)` fetches the inputs of these examples, as a list of pytrees.
    """

    blocks: Callable[[int], Iterator[Block]]
    num_examples: int | None
    take: Callable[[Sequence[int]], list[Any]]


def open_source(ds: Any, inputs: Keys = None, targets: Keys = None) -> Source:
    """The `Source` of a dataset of any supported kind."""
    if _is_arrays(ds):
        return _from_arrays(_split(ds, inputs, targets))
    if isinstance(ds, Mapping):
        raise TypeError(
            f"`ds` is a mapping of {_type_names(ds.values())} with the keys {sorted(ds)}; expected "
            "arrays. If these are splits, give one of them, such as ds['test']."
        )
    if hasattr(ds, "features") and hasattr(ds, "with_format"):
        return _from_hugging_face(ds, inputs, targets)
    if hasattr(ds, "as_numpy_iterator"):
        return _from_stream(lambda: ds.as_numpy_iterator(), _tf_length(ds), inputs, targets)
    if hasattr(ds, "__getitem__") and hasattr(ds, "__len__"):
        return _from_items(ds, inputs, targets)
    if isinstance(ds, Iterator):
        return _from_iterator(ds, inputs, targets)
    if isinstance(ds, Iterable):
        _refuse_shuffling(ds)
        return _from_stream(lambda: iter(ds), None, inputs, targets)
    raise TypeError(
        f"`ds` is a {type(ds).__name__}; expected (x, y) arrays, a dict of arrays, a tf.data, "
        "tfds, Grain, Hugging Face or PyTorch dataset or loader, or an iterable of (x, y) tuples "
        "or dicts."
    )


# ---------------------------------------------------------------- the kinds


def _from_arrays(block: Block) -> Source:
    shapes = [leaf.shape for leaf in [*jax.tree.leaves(block.x), block.targets]]
    if not _has_batch_axis(block):
        raise ValueError(
            f"`ds` has inputs and targets of the shapes {', '.join(map(str, shapes))}; expected "
            "arrays with the same first axis, one entry for each example."
        )
    num_examples = len(block.targets)

    def blocks(size: int) -> Iterator[Block]:
        for start in range(0, num_examples, size):
            yield _slice(block, start, start + size)

    def take(indices: Sequence[int]) -> list[Any]:
        return [jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), block.x) for i in indices]

    return Source(blocks, num_examples, take)


def _from_items(items: Any, inputs: Keys, targets: Keys) -> Source:
    """A random-access sequence: a list, a tfds data source, a Grain MapDataset, a torch Dataset."""
    length = len(items)
    if length >= _ENDLESS:
        raise ValueError(f"`ds` repeats for ever (its length is {length}); leave out the repeat().")

    def item(position: int) -> Any:
        found = items[position]
        if found is None:
            raise ValueError(
                f"item {position} of `ds` is None: a filtered Grain MapDataset leaves gaps. "
                "Give ds.to_iter_dataset(), which leaves them out."
            )
        return found

    def iterate() -> Iterator[Any]:
        return (item(position) for position in range(length))

    if length and _has_batch_axis(_split(item(0), inputs, targets, "item 0 of `ds`")):
        return _from_stream(iterate, None, inputs, targets)

    def take(indices: Sequence[int]) -> list[Any]:
        return [_split(item(int(i)), inputs, targets).x for i in indices]

    return _from_stream(iterate, length, inputs, targets)._replace(take=take)


def _from_hugging_face(ds: Any, inputs: Keys, targets: Keys) -> Source:
    """A Hugging Face dataset; its own format or transform is kept where the user set one."""
    features = ds.features or {}
    unformatted = getattr(ds, "format", {"type": None})["type"] is None
    formatted = ds.with_format("numpy") if unformatted else ds

    def restore(row: Mapping[str, Any]) -> dict[str, Any]:
        # The numpy format widens uint8 to int64: go back to the declared dtype.
        return {
            name: _as_declared(value, features.get(name)) if unformatted else value
            for name, value in row.items()
        }

    def iterate() -> Iterator[Any]:
        return (restore(row) for row in formatted)

    if not hasattr(ds, "__len__"):
        return _from_stream(iterate, None, inputs, targets)

    def take(indices: Sequence[int]) -> list[Any]:
        return [_split(restore(formatted[int(i)]), inputs, targets).x for i in indices]

    return _from_stream(iterate, len(ds), inputs, targets)._replace(take=take)


def _from_iterator(iterator: Iterator[Any], inputs: Keys, targets: Keys) -> Source:
    """An iterator: it can be read once, so inputs cannot be fetched again."""

    def blocks(size: int) -> Iterator[Block]:
        first = next(iterator, None)
        if first is None:
            raise ValueError(
                f"`ds` is an iterator ({type(iterator).__name__}) that yields nothing: it was used "
                "up by an earlier pass, or was empty. Give something that can be iterated again, "
                "such as the list or loader it came from."
            )
        yield from _blocks(itertools.chain([first], iterator), size, inputs, targets)

    def take(indices: Sequence[int]) -> list[Any]:
        raise ValueError(
            f"`ds` is an iterator ({type(iterator).__name__}), read once: its inputs cannot be "
            "fetched again. Give the list or loader it came from to see the examples."
        )

    return Source(blocks, None, take)


def _from_stream(
    iterate: Callable[[], Iterator[Any]], length: int | None, inputs: Keys, targets: Keys
) -> Source:
    """Anything that can be iterated again: fetching examples reads it from the start."""

    def blocks(size: int) -> Iterator[Block]:
        return _blocks(iterate(), size, inputs, targets)

    def take(indices: Sequence[int]) -> list[Any]:
        wanted = set(map(int, indices))
        found: dict[int, Any] = {}
        position = 0
        for block in blocks(1):
            for offset in range(len(block.targets)):
                if position + offset in wanted:
                    found[position + offset] = jax.tree.map(lambda leaf, o=offset: leaf[o], block.x)
            position += len(block.targets)
            if len(found) == len(wanted):
                break
        return [found[int(i)] for i in indices]

    return Source(blocks, length, take)


def _blocks(items: Iterable[Any], size: int, inputs: Keys, targets: Keys) -> Iterator[Block]:
    """Items that are batches pass as they are; single examples are stacked `size` at a time."""
    pending: list[Block] = []
    for number, item in enumerate(items):
        block = _split(item, inputs, targets, f"item {number} of `ds`")
        if _has_batch_axis(block):
            yield block
            continue
        pending.append(block)
        if len(pending) == size:
            yield _stack(pending, number)
            pending = []
    if pending:
        yield _stack(pending, number)


def _stack(examples: list[Block], last: int) -> Block:
    shapes = [jax.tree.map(np.shape, example.x) for example in examples]
    for position, shape in enumerate(shapes):
        if shape != shapes[0]:
            first = last - len(examples) + 1
            raise ValueError(
                f"example {first + position} of `ds` has the shape {shape}, example {first} has "
                f"{shapes[0]}; expected one shape for all. Resize or pad the examples first."
            )
    return jax.tree.map(lambda *leaves: np.stack(leaves), *examples)


# ---------------------------------------------------------------- one item


def _split(item: Any, inputs: Keys, targets: Keys, where: str = "`ds`") -> Block:
    """An item's inputs and targets, found by name in a dict and by place in a tuple."""
    if isinstance(item, Mapping):
        x = _pick(item, inputs, INPUT_KEYS, "inputs", where)
        y = _pick(item, targets, TARGET_KEYS, "targets", where)
    elif isinstance(item, Sequence) and not isinstance(item, str):
        if len(item) != 2 and (inputs is None or targets is None):
            raise ValueError(
                f"{where} is a {type(item).__name__} of {len(item)}; expected (x, y). "
                "Say which are which, such as inputs=0, targets=1."
            )
        x = _pick(dict(enumerate(item)), inputs, (0,), "inputs", where)
        y = _pick(dict(enumerate(item)), targets, (1,), "targets", where)
    else:
        raise TypeError(
            f"{where} is a {type(item).__name__}; expected an (x, y) tuple or a dict with inputs "
            "and targets."
        )
    return Block(jax.tree.map(_array, x), _array(y))


def _pick(item: Mapping[Any, Any], keys: Keys, known: Sequence[Key], role: str, where: str) -> Any:
    """The value under the key given, or under the first known name; several keys give a dict."""
    if isinstance(keys, Sequence) and not isinstance(keys, str):
        return {str(key): _pick(item, key, known, role, where) for key in keys}
    wanted = known if keys is None else (keys,)
    for key in wanted:
        if key in item:
            return item[key]
    names = ", ".join(map(repr, wanted))
    raise KeyError(
        f"{where} has the keys {list(item)}; none is {names}. Name the {role}, such as "
        f"{role}={next(iter(item), None)!r}."
    )


def _array(value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty((), object)
    if array.dtype == object:
        raise ValueError(
            f"a {type(value).__name__} in `ds` does not make an array of numbers; expected "
            "examples of one shape. Resize or pad ragged examples first."
        )
    return array


def _has_batch_axis(block: Block) -> bool:
    """Whether the item is a batch: its targets are an array as long as each of its inputs."""
    leaves = [*jax.tree.leaves(block.x), block.targets]
    return all(leaf.ndim > 0 and len(leaf) == len(block.targets) for leaf in leaves)


def _slice(block: Block, start: int, stop: int) -> Block:
    return jax.tree.map(lambda leaf: leaf[start:stop], block)


# ---------------------------------------------------------------- the datasets


def _is_arrays(ds: Any) -> bool:
    """Whether `ds` is (x, y) or a dict with an array for each, and not a sequence of items."""
    if isinstance(ds, Mapping):
        return bool(ds) and all(hasattr(value, "shape") for value in jax.tree.leaves(dict(ds)))
    return (
        isinstance(ds, tuple)
        and len(ds) >= 2
        and all(hasattr(leaf, "shape") or not isinstance(leaf, Mapping | tuple) for leaf in ds[1:])
        and all(hasattr(leaf, "shape") for leaf in jax.tree.leaves(ds[0]))
    )


def _tf_length(ds: Any) -> int | None:
    """The number of examples of an unbatched tf.data dataset; batched ones do not tell it."""
    cardinality = int(ds.cardinality())
    leaves = jax.tree.leaves(ds.element_spec, is_leaf=lambda leaf: hasattr(leaf, "shape"))
    scalar = any(leaf.shape.rank == 0 for leaf in leaves)
    return cardinality if scalar and cardinality >= 0 else None


def _as_declared(value: Any, feature: Any) -> Any:
    while getattr(feature, "feature", None) is not None:
        feature = feature.feature
    declared = getattr(feature, "dtype", None)
    if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind not in "iuf":
        return value
    try:
        return value.astype(np.dtype(declared)) if declared else value
    except TypeError:
        return value


def _refuse_shuffling(ds: Any) -> None:
    if type(getattr(ds, "sampler", None)).__name__ == "RandomSampler":
        raise ValueError(
            "`ds` is a loader that shuffles: its order changes with every pass, so the dataset "
            "index of an example would mean nothing. Make it with shuffle=False."
        )


def _type_names(values: Iterable[Any]) -> str:
    return ", ".join(sorted({type(value).__name__ for value in values}))
