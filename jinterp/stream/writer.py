"""One writer a folder: two runs that write to one would mix their results."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock
import jax


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a folder; the system lets go of it where the process is killed.

    In a run of several processes the first one holds it for all.

    Raises:
        NotADirectoryError: it is a file.
        ValueError: another run writes to it.
    """
    if jax.process_index() > 0:
        yield
        return
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{str(folder)!r} is a file; expected a folder, new or old.")
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise ValueError(
            f"another run is writing to {str(folder)!r}; expected one at a time. Wait for it, "
            "stop it, or give another folder."
        ) from None
    try:
        yield
    finally:
        lock.release()
