"""Rows on disk, one for each example: a Zarr v3 group that can be read while it is written.

TensorStore writes it, which Flax brings with Orbax: chunks are compressed, checked by a checksum,
and replaced as a whole, so a killed process leaves each one as it was or as it should be. Any
reader of Zarr v3 opens it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jinterp._trace import warn

_CHUNK_BYTES = 8 << 20
_SMALL_CHUNK = 1 << 14  # rows of the arrays with one number an example
_INDEX, _TARGET, _DIGEST = "index", "target", "digest"
_GROUP = {"zarr_format": 3, "node_type": "group"}
_NUMBERS = {_TARGET: -1, _DIGEST: 0, _INDEX: -1}  # in the order in which they are written


class Store:
    """A folder with `values`, `target`, `digest` and `index`, all `[examples, ...]`.

    `index` is written last and is −1 where there is nothing yet, so what it tells is complete.

    Attributes:
        folder: where it is.
        about: what it was begun with.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]):
        self.folder = folder
        self.about = about
        self._arrays: dict[str, Any] = {}

    @classmethod
    def create(cls, folder: Path, about: Mapping[str, Any]) -> "Store":
        """An empty one; its arrays follow, since only the first values tell their shapes."""
        folder.mkdir(parents=True, exist_ok=True)
        group = {**_GROUP, "attributes": {"jinterp": dict(about)}}
        (folder / "zarr.json").write_text(json.dumps(group))
        store = cls(folder, about)
        for name, fill in _NUMBERS.items():
            store._create(name, np.zeros((1,), np.int64), about["num_examples"], fill)
        return store

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """The one in a folder.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is damaged, or not of jinterp.
        """
        if not (folder / "zarr.json").exists():
            raise FileNotFoundError(f"there are no explanations in {str(folder)!r}.")
        try:
            about = json.loads((folder / "zarr.json").read_text())["attributes"]["jinterp"]
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"{str(folder / 'zarr.json')!r} is damaged, or was not written by jinterp "
                f"({type(error).__name__}); expected what explain_dataset writes."
            ) from None
        return cls(folder, about)

    def create_values(self, values: Mapping[str, np.ndarray]) -> None:
        """Arrays for values by name, unless they are there."""
        for name, rows in values.items():
            if name not in self._arrays and not (self.folder / name / "zarr.json").exists():
                for parent in Path(name).parents[:-1]:
                    (self.folder / parent).mkdir(exist_ok=True)
                    (self.folder / parent / "zarr.json").write_text(json.dumps(_GROUP))
                self._create(name, rows, len(self), 0)

    def __len__(self) -> int:
        return self._array(_INDEX).shape[0]

    def grow(self, num_examples: int) -> None:
        """Make room for so many examples, where their number is not known before."""
        if num_examples > len(self):
            for name in self.names():
                array = self._array(name)
                shape = [num_examples, *array.shape[1:]]
                self._arrays[name] = array.resize(exclusive_max=shape).result()

    def names(self) -> list[str]:
        """Of all arrays there are, the index last."""
        return [*self.values(), *_NUMBERS]

    def values(self) -> list[str]:
        """Of the arrays of values there are."""
        arrays = (str(path.parent.relative_to(self.folder)) for path in self._metadata())
        return sorted(name for name in arrays if name not in _NUMBERS)

    def _metadata(self) -> Iterator[Path]:
        for path in self.folder.rglob("zarr.json"):
            if json.loads(path.read_text())["node_type"] == "array":
                yield path

    def write(
        self, start: int, values: Mapping[str, np.ndarray], targets: np.ndarray, digest: int
    ) -> None:
        """The rows of consecutive examples from `start` on; `index` last, which makes them count.

        Raises:
            OSError: they cannot be written, as where the disk is full.
        """
        rows = slice(start, start + len(targets))
        digests = np.zeros(len(targets), np.int64)
        digests[0] = digest
        numbers = {_TARGET: targets, _DIGEST: digests, _INDEX: np.arange(rows.start, rows.stop)}
        try:
            for several in (values, numbers):
                for name, each in several.items():
                    self._array(name)[rows].write(each).result()
        except ValueError as error:
            raise OSError(
                f"the explanations cannot be written to {str(self.folder)!r}: {_reason(error)} "
                "What was written before is whole: make room, and go on with resume=True."
            ) from error

    def read(self, name: str, rows: slice | np.ndarray) -> np.ndarray:
        """Some rows of an array.

        Raises:
            ValueError: a chunk is damaged.
        """
        try:
            return np.asarray(self._array(name)[rows].read().result())
        except ValueError as error:
            raise ValueError(
                f"{str(self.folder / name)!r} is damaged: {_reason(error)} Run explain_dataset "
                "again with resume=True, which computes what is damaged again."
            ) from error

    def digests(self) -> np.ndarray:
        return self.read(_DIGEST, slice(None))

    def done(self) -> np.ndarray:
        """Which examples are complete, `[examples]`."""
        return self.read(_INDEX, slice(None)) >= 0

    def mend(self) -> None:
        """Take away the chunks that are damaged; their rows count as not written."""
        damaged = np.zeros(len(self), bool)
        for name in self.names():
            size = self._array(name).chunk_layout.read_chunk.shape[0]
            for start in range(0, len(self), size):
                rows = slice(start, min(start + size, len(self)))
                try:
                    self.read(name, rows)
                except ValueError:
                    self._chunk(name, start // size).unlink()
                    damaged[rows] = True
        found = np.flatnonzero(damaged)
        if len(found):
            warn(
                f"{len(found)} explanations in {str(self.folder)!r}, from {found[0]} to "
                f"{found[-1]}, are damaged and are computed again."
            )
            index = np.where(damaged, -1, self.read(_INDEX, slice(None)))
            self._array(_INDEX)[:].write(index).result()

    def _chunk(self, name: str, number: int) -> Path:
        zeros = ".0" * (self._array(name).ndim - 1)
        return self.folder / name / f"c.{number}{zeros}"

    def _create(self, name: str, rows: np.ndarray, num_examples: int | None, fill: int) -> None:
        a_row = max(rows[0].nbytes, 1)
        size = len(rows)
        while size % 2 == 0 and size * a_row > _CHUNK_BYTES:
            size //= 2
        metadata = {
            "shape": [num_examples or 0, *rows.shape[1:]],
            "data_type": rows.dtype.name,
            "fill_value": bool(fill) if rows.dtype == bool else fill,
            "dimension_names": ["example", *[None] * (rows.ndim - 1)],
            "chunk_grid": {
                "name": "regular",
                "configuration": {
                    "chunk_shape": [_SMALL_CHUNK if name in _NUMBERS else size, *rows.shape[1:]]
                },
            },
            # Names without a folder for each axis: one file a chunk, and no more.
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "zstd", "configuration": {"level": 1}},
                {"name": "crc32c"},
            ],
        }
        spec = {**self._spec(name), "metadata": metadata}
        self._arrays[name] = _tensorstore().open(spec, create=True).result()

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            self._arrays[name] = _tensorstore().open(self._spec(name), open=True).result()
        return self._arrays[name]

    def _spec(self, name: str) -> dict[str, Any]:
        path = str((self.folder / name).absolute())
        return {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}


def _tensorstore() -> Any:
    import tensorstore  # only for who writes or reads a store

    return tensorstore


def _reason(error: Exception) -> str:
    return " ".join(str(error).split("[")[0].split())[:200]
