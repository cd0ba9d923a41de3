"""Rows on disk, one for each example: a Zarr v3 group that can be read while it is written.

TensorStore writes it, which Flax brings with Orbax: chunks are compressed, checked by a checksum,
and replaced as a whole, so a killed process leaves each one as it was or as it should be. Any
reader of Zarr v3 opens it.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jinterp._trace import warn

_CHUNK_BYTES = 8 << 20
_SMALL_CHUNK = 1 << 14  # rows of the arrays with one number an example
_INDICES, _TARGETS, _DIGEST = "indices", "targets", "digest"
_GROUP = {"zarr_format": 3, "node_type": "group"}
NUMBERS = {_TARGETS: -1, _DIGEST: 0, _INDICES: -1}  # in the order in which they are written


class Store:
    """A folder with `values`, `targets`, `digest` and `indices`, all `[examples, ...]`.

    `indices` are written last and are −1 where there is nothing yet, so what they name is complete.

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
        """An empty one; its values follow, since only the first ones tell their shapes.

        The group comes last: without it nothing was begun.
        """
        store = cls(folder, about)
        with store._named_errors():
            for name, fill in NUMBERS.items():
                metadata = store._metadata((), np.dtype(np.int64), _SMALL_CHUNK, fill)
                spec = {**store._spec(name), "metadata": metadata}
                store._arrays[name] = _open(spec, create=True, delete_existing=True)
            _write_json(folder / "zarr.json", {**_GROUP, "attributes": {"jinterp": dict(about)}})
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

    def __len__(self) -> int:
        return self._array(_INDICES).shape[0]

    def names(self) -> list[str]:
        """Of all arrays there are, the indices last."""
        return [*self.values(), *NUMBERS]

    def values(self) -> list[str]:
        """Of the arrays of values there are."""
        folders = (path.parent for path in self.folder.glob("values*/**/zarr.json"))
        names = sorted(str(folder.relative_to(self.folder)) for folder in folders)
        return [name for name in names if not any(each.startswith(name + "/") for each in names)]

    def write(
        self, start: int, values: Mapping[str, np.ndarray], targets: np.ndarray, digest: int
    ) -> None:
        """The rows of consecutive examples from `start` on; `indices` last, which makes them count.

        Raises:
            OSError: they cannot be written, as where the disk is full.
        """
        rows = slice(start, start + len(targets))
        digests = np.zeros(len(targets), np.int64)
        digests[0] = digest
        numbers = {_TARGETS: targets, _DIGEST: digests, _INDICES: np.arange(rows.start, rows.stop)}
        with self._named_errors():
            for name, each in values.items():
                self._create_values(name, each)
            self._grow([*values, *NUMBERS], rows.stop)
            for name, each in [*values.items(), *numbers.items()]:
                self._array(name)[rows].write(each).result()

    def _create_values(self, name: str, rows: np.ndarray) -> None:
        """Unless it is there; another process may make the same one."""
        if name in self._arrays:
            return
        for parent in reversed(Path(name).parents[:-1]):
            (self.folder / parent).mkdir(exist_ok=True)
            _write_json(self.folder / parent / "zarr.json", _GROUP)
        size, a_row = self.about["batch_size"], max(rows[0].nbytes, 1)
        while size % 2 == 0 and size * a_row > _CHUNK_BYTES:
            size //= 2
        metadata = self._metadata(rows.shape[1:], rows.dtype, size, 0)
        spec = {**self._spec(name), "metadata": metadata}
        is_there = (self.folder / name / "zarr.json").exists()
        self._arrays[name] = self._array(name) if is_there else _open(spec, create=True, open=True)

    def _grow(self, names: Sequence[str], num_examples: int) -> None:
        """Make room, where the number of examples was not known before."""
        for name in names:
            array = self._array(name)
            if array.shape[0] < num_examples:
                shape = [num_examples, *array.shape[1:]]
                self._arrays[name] = array.resize(exclusive_max=shape).result()

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError) as error:
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
        return self.read(_INDICES, slice(None)) >= 0

    def mend(self) -> None:
        """Take away the chunks that are damaged; their rows count as not written."""
        damaged = np.zeros(len(self), bool)
        for name in [_INDICES, *(each for each in self.names() if each != _INDICES)]:
            size = self._array(name).chunk_layout.read_chunk.shape[0]
            for start in range(0, len(self), size):
                rows = slice(start, min(start + size, len(self)))
                if self._is_damaged(name, rows):
                    # First the indices: a chunk that is missing reads as zeros.
                    if name != _INDICES:
                        self._array(_INDICES)[rows].write(np.full(rows.stop - start, -1)).result()
                    self._chunk(name, start // size).unlink()
                    damaged[rows] = True
        found = np.flatnonzero(damaged)
        if len(found):
            warn(
                f"{len(found)} explanations in {str(self.folder)!r}, from {found[0]} to "
                f"{found[-1]}, are damaged and are computed again."
            )

    def _is_damaged(self, name: str, rows: slice) -> bool:
        """Whether what is there cannot be decoded; a disk that fails is another matter."""
        try:
            self._array(name)[rows].read().result()
        except ValueError as error:
            if not str(error).startswith(("FAILED_PRECONDITION", "DATA_LOSS", "INVALID_ARGUMENT")):
                raise
            return True
        return False

    def _chunk(self, name: str, number: int) -> Path:
        zeros = ".0" * (self._array(name).ndim - 1)
        return self.folder / name / f"c.{number}{zeros}"

    def _metadata(
        self, shape: tuple[int, ...], dtype: np.dtype, chunk: int, fill: int
    ) -> dict[str, Any]:
        """Of an array `[examples, *shape]`."""
        return {
            "shape": [self.about["num_examples"] or 0, *shape],
            "data_type": dtype.name,
            "fill_value": bool(fill) if dtype.kind == "b" else fill,
            "dimension_names": ["example", *[None] * len(shape)],
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk, *shape]}},
            # Names without a folder for each axis: one file a chunk, and no more.
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "zstd", "configuration": {"level": 1}},
                {"name": "crc32c"},
            ],
        }

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            self._arrays[name] = _open(self._spec(name), open=True)
        return self._arrays[name]

    def _spec(self, name: str) -> dict[str, Any]:
        path = str((self.folder / name).absolute())
        return {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}


def _open(spec: dict[str, Any], **how: Any) -> Any:
    import tensorstore  # only for who writes or reads a store

    return tensorstore.open(spec, **how).result()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """At once or not at all, since others read it meanwhile."""
    own = path.with_name(f".{path.name}.{os.getpid()}.{socket.gethostname()}")
    own.write_text(json.dumps(content))
    own.replace(path)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split("[")[0].split())[:200]
