"""One item of a dataset: which of it are the inputs and the targets, as arrays, and checked."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

Key = str | int
Keys = Key | Sequence[Key] | None

# The names that the ecosystem uses, in the order in which they are looked for:
# tfds, Keras and plain NumPy, Flax examples, Hugging Face, scikit-learn.
INPUT_KEYS = ("image", "x", "inputs", "img", "images", "input", "features", "data")
TARGET_KEYS = ("label", "y", "targets", "labels", "target", "fine_label")


class Block(NamedTuple):
    """Some consecutive examples on the host, or one; `x` is an array or a pytree of arrays."""

    x: Any
    targets: np.ndarray


class Fields(NamedTuple):
    """Where a dataset has its inputs and targets.

    Attributes:
        inputs: the key of the inputs; None looks for one.
        targets: the key of the targets; None looks for one.
        batched: whether the items of a stream are batches; None looks at the first.
    """

    inputs: Keys
    targets: Keys
    batched: bool | None


def parse(items: Iterable[Any], fields: Fields) -> Iterator[tuple[Block, bool]]:
    """Each item as a block, and whether items are batches, which the first one tells for all."""
    batched, expected = False, None
    for number, item in enumerate(items):
        where = f"item {number} of `ds`"
        block = split(item, fields, where)
        if expected is None:
            batched = is_batch(block, fields)
            expected = _spec(block, batched)
        if batched:
            refuse_unequal_lengths(block, where)
        if (found := _spec(block, batched)) != expected:
            raise ValueError(
                f"{where} has inputs {found.x} and targets {found.targets}, item 0 {expected.x} "
                f"and {expected.targets}; expected one shape and dtype for all. Resize, pad or "
                "convert the examples first."
            )
        # A copy: the item may share a buffer that its maker fills again.
        yield jax.tree.map(np.array, block), batched


def split(item: Any, fields: Fields, where: str) -> Block:
    """An item's inputs and targets, found by name in a dict and by place in a tuple."""
    inputs, targets, _ = fields
    if isinstance(item, Mapping):
        columns: Mapping[Any, Any] = item
        known: tuple[Sequence[Key], Sequence[Key]] = (INPUT_KEYS, TARGET_KEYS)
    elif isinstance(item, tuple | list):
        columns, known = dict(enumerate(item)), ((0,), (1,))
        if len(item) != 2 and (inputs is None or targets is None):
            raise ValueError(
                f"{where} is a {type(item).__name__} of {len(item)}; expected (x, y). "
                "Say which are which, such as inputs=0, targets=1."
            )
    elif item is None:
        raise ValueError(
            f"{where} is None; expected an (x, y) tuple or a dict. If it is a filtered Grain "
            "MapDataset, which leaves gaps, give ds.to_iter_dataset(), which does not."
        )
    else:
        raise TypeError(
            f"{where} is a {type(item).__name__}; expected an (x, y) tuple or a dict with inputs "
            "and targets. If `ds` holds splits, give one of them."
        )
    x = _pick(columns, inputs, known[0], "inputs", where)
    y = _pick(columns, targets, known[1], "targets", where)
    return Block(
        jax.tree.map(functools.partial(_array, f"inputs of {where}"), x, is_leaf=_is_leaf),
        _array(f"targets of {where}", y),
    )


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
        f"{where} has the keys {list(item)}; none is {names}, for the {role}. Name both: "
        "jinterp.batches(ds, inputs=..., targets=...), or --inputs and --targets."
    )


def _array(what: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.empty((), object)
    if array.dtype.kind in "OSUMm":
        raise ValueError(
            f"the {what} are a {type(value).__name__} of dtype {array.dtype}; expected numbers, of "
            "one shape for all examples. Map strings to class numbers; resize or pad ragged arrays."
        )
    return array


def _is_leaf(value: Any) -> bool:
    """A list of numbers is an array, a list of arrays a pytree; None is missing, not empty."""
    if isinstance(value, list):
        return not any(hasattr(leaf, "__array__") for leaf in jax.tree.leaves(value))
    return value is None


def is_batch(block: Block, fields: Fields) -> bool:
    """Whether an item is a batch, and not a single example."""
    if fields.batched is not None:
        return fields.batched
    return _have_equal_lengths(block) and not _is_labelled_image(block)


def _is_labelled_image(block: Block) -> bool:
    """Whether the item is one image `[*space, channels]` with its label map `[*space]`."""
    leaves, labels = jax.tree.leaves(block.x), block.targets
    is_map = labels.ndim > 1 and np.issubdtype(labels.dtype, np.integer)
    return is_map and [leaf.shape[:-1] for leaf in leaves] == [labels.shape]


def _have_equal_lengths(block: Block) -> bool:
    """Whether the targets are an array as long as each of the inputs."""
    lengths = {leaf.shape[:1] for leaf in [*jax.tree.leaves(block.x), block.targets]}
    return len(lengths) == 1 and lengths != {()}


def refuse_unequal_lengths(block: Block, where: str) -> None:
    if not _have_equal_lengths(block):
        shapes = ", ".join(str(leaf.shape) for leaf in jax.tree.leaves(block.x))
        raise ValueError(
            f"{where} has inputs of shape {shapes} and targets of shape {block.targets.shape}; "
            "expected the same first axis, one entry for each example."
        )


def _spec(block: Block, batched: bool) -> Block:
    """Shape and dtype of one example, such as `uint8[28,28]`."""

    def describe(leaf: np.ndarray) -> str:
        return f"{leaf.dtype}[{','.join(map(str, leaf.shape[int(batched) :]))}]"

    return jax.tree.map(describe, block)
