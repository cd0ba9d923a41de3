"""A pass that goes on where it was stopped: its accumulators, its rows and its position, saved."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jinterp._trace import warn
from jinterp.stream.fingerprint import Seen, difference
from jinterp.stream.mesh import Placement
from jinterp.stream.writer import only_writer


class Done(NamedTuple):
    """What a pass has done.

    Attributes:
        states: the leaves of the accumulators of all that was seen, `[accumulators, ...]`, on the
            host.
        rows: the leaves of the rows of all processes, in parts.
        seen: what this process read, in order; when saved, since the last checkpoint.
    """

    states: list[np.ndarray]
    rows: list[list[np.ndarray]]
    seen: list[Seen]


NOTHING_DONE = Done([], [], [])


class Checkpoints:
    """The checkpoints of one pass, in a folder.

    Accumulators are saved whole each time, and the last two are kept. Rows and what was read grow
    with the data, so each checkpoint adds only what is new.
    """

    def __init__(self, folder: Path, about: dict[str, Any], placement: Placement):
        import orbax.checkpoint as ocp  # takes a second

        self._orbax = ocp
        self._folder = folder
        self._about = about
        self._placement = placement
        self._states = self._manager("states", max_to_keep=2)
        self._rows = self._manager("rows", max_to_keep=None)

    def _manager(self, name: str, max_to_keep: int | None) -> Any:
        options = self._orbax.CheckpointManagerOptions(
            max_to_keep=max_to_keep, enable_async_checkpointing=False
        )
        return self._orbax.CheckpointManager(self._folder / name, options=options)

    def close(self) -> None:
        self._states.close()
        self._rows.close()

    def save(self, done: Done) -> None:
        """Save the accumulators, and those rows that are new.

        Rows first: accumulators without their rows would be a lie.
        """
        args, number = self._orbax.args, max(self._rows.all_steps(), default=0) + 1
        seen = self._placement.gathered(np.array(done.seen, np.int64).reshape(-1, 3))
        rows = {"seen": seen} | {f"rows{n}": _numbered(part) for n, part in enumerate(done.rows)}
        tree = {"number": np.array(number)} | {"states": _numbered(done.states)}
        items = args.Composite(tree=args.StandardSave(tree), about=args.JsonSave(self._about))
        try:
            self._rows.save(number, args=args.StandardSave(rows), force=True)
            self._states.save(number, args=items, force=True)
        except Exception as error:
            raise OSError(
                f"the pass cannot be saved in {str(self._folder)!r}: {_reason(error)} What was "
                "saved before is whole: make room, and call again to go on from it."
            ) from error

    def restore(self) -> Done:
        """What the last checkpoint that can be read holds; nothing where there is none.

        Raises:
            ValueError: it belongs to another pass, or none can be read.
        """
        numbers = sorted(self._states.all_steps(), reverse=True)
        for number in numbers:
            done = self._tried(number)
            # All processes go on from the same one.
            if self._placement.least(int(done is not None)):
                self._forget_after(number)
                return done or NOTHING_DONE
        if numbers:
            raise ValueError(
                f"no checkpoint in {str(self._folder)!r} can be read; expected one that is whole. "
                "Delete the folder to begin anew."
            )
        self._forget_after(0)
        return NOTHING_DONE

    def _tried(self, number: int) -> Done | None:
        try:
            return self._read(number)
        except _Unlike as error:
            raise ValueError(
                f"the checkpoint in {str(self._folder)!r} is of another pass: {error}. Call "
                "with what it was begun with, or begin anew in another folder."
            ) from None
        except Exception as error:
            warn(
                f"checkpoint {number} in {str(self._folder)!r} cannot be read and is left out: "
                f"{_reason(error)}"
            )
            return None

    def _read(self, number: int) -> Done:
        args = self._orbax.args
        about = self._states.restore(number, args=args.Composite(about=args.JsonRestore())).about
        for name, expected in self._about.items():
            if about[name] != expected:
                raise _Unlike(difference(name, about[name], expected))
        tree = self._states.restore(number, args=args.Composite(tree=args.StandardRestore())).tree
        steps = [step for step in sorted(self._rows.all_steps()) if step <= number]
        parts = [self._rows.restore(step, args=args.StandardRestore()) for step in steps]
        process = jax.process_index() if self._placement.num_processes > 1 else 0
        seen = [Seen(*each) for part in parts for each in part["seen"][process].tolist()]
        rows = [_leaves(part["rows0"]) for part in parts if "rows0" in part]
        return Done(_leaves(tree.get("states", {})), rows, seen)

    def _forget_after(self, number: int) -> None:
        """What was not finished, or cannot be read."""
        for manager in (self._states, self._rows):
            for step in manager.all_steps():
                if step > number:
                    manager.delete(step)


class _Unlike(Exception):
    """A checkpoint of another pass."""


@contextlib.contextmanager
def checkpoints(
    folder: str | os.PathLike[str] | None,
    about: Callable[[], dict[str, Any]],
    placement: Placement,
) -> Iterator[Checkpoints | None]:
    """The checkpoints in a folder, which no other pass may write meanwhile; None without one."""
    if folder is None:
        yield None
        return
    path = Path(folder).absolute()
    _is_new_or_of_a_pass(path)
    with only_writer(path), contextlib.closing(Checkpoints(path, about(), placement)) as found:
        yield found


def _is_new_or_of_a_pass(folder: Path) -> None:
    names = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
    others = sorted(name for name in names if not name.startswith("."))
    if others and not names & {"states", "rows"}:
        raise ValueError(
            f"`checkpoint_dir` is {str(folder)!r}, which holds {', '.join(map(repr, others[:3]))}; "
            "expected a new folder, or one with the checkpoints of this pass."
        )


def _numbered(leaves: list[Any]) -> dict[str, Any]:
    """Orbax keeps dicts of arrays as they are, and no other structure."""
    return {f"{number:06}": leaf for number, leaf in enumerate(leaves)}


def _leaves(numbered: dict[str, Any]) -> list[np.ndarray]:
    return [np.asarray(numbered[name]) for name in sorted(numbered)]


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
