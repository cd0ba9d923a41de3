"""Attributions of a dataset, read again."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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
        ValueError: they are damaged.
    """
    store = Store.open(Path(out))
    done = np.flatnonzero(store.done())
    if indices is not None:
        wanted = np.asarray(indices, np.int64).reshape(-1)
        done = wanted[np.isin(wanted, done)]
    read = {name: store.read(name, done) for name in store.values()}
    several = {name.removeprefix("values/"): values for name, values in read.items()}
    return Explanations(done, store.read("target", done), read.get("values", several))
