"""Attributions of a dataset, read again."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jinterp.data.sources import no_such_example
from jinterp.stream.store import Store


class Explanations(NamedTuple):
    """Attributions that were written.

    Attributes:
        indices: `[examples]` dataset indices, those that are complete.
        targets: `[examples]` the class explained, −1 where there is none.
        values: what the explainer returned, `[examples, ...]`; a dict of arrays where it returned
            several.
    """

    indices: np.ndarray
    targets: np.ndarray
    values: Any


def read_explanations(out: str | os.PathLike[str], indices: Any = None) -> Explanations:
    """What `explain_dataset` has written so far.

    Args:
        out: the folder.
        indices: dataset indices; None reads all that are complete.

    Returns:
        `Explanations`, as NumPy arrays. Of `indices`, those that are complete.

    Raises:
        FileNotFoundError: there are none.
        TypeError: `indices` are no whole numbers.
        IndexError: an index is none of the dataset.
        ValueError: they are damaged, or none is complete.
    """
    store = Store.open(Path(out))
    done = np.flatnonzero(store.done())
    if not len(done):
        raise ValueError(
            f"no explanation in {str(out)!r} is complete; expected one at least. Read them when "
            "the first batch is written."
        )
    if indices is not None:
        wanted = _checked(indices, store.about["num_examples"])
        done = wanted[np.isin(wanted, done)]
    read = {name: store.read(name, done) for name in store.values()}
    several = {name.removeprefix("values/"): values for name, values in read.items()}
    return Explanations(done, store.read("targets", done), read.get("values", several))


def _checked(indices: Any, num_examples: int | None) -> np.ndarray:
    wanted = np.asarray(indices).reshape(-1)
    if not np.issubdtype(wanted.dtype, np.integer) and len(wanted):
        raise TypeError(
            f"`indices` are {wanted.dtype}; expected whole numbers. Use np.flatnonzero(mask) for "
            "a mask."
        )
    wanted = wanted.astype(np.int64)
    wrong = wanted[(wanted < 0) | (wanted >= (num_examples or np.inf))]
    if len(wrong):
        raise no_such_example(wrong.tolist(), num_examples)
    return wanted
