"""A progress bar for long passes, silent where nobody looks."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SHOW_AFTER_SECONDS = 2.0


@contextlib.contextmanager
def progress_bar(total: int | None, show: bool | None) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of examples done.

    Args:
        total: how many there are, None where unknown.
        show: None shows the bar once a pass has taken two seconds, True at once, and neither does
            outside a terminal or notebook.
    """
    console = Console(stderr=True)
    delay = 0.0 if show else _SHOW_AFTER_SECONDS
    if show is False or not (console.is_terminal or console.is_jupyter):
        yield lambda num_examples: None
        return
    columns = [TextColumn("examples"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("examples", total=total)
    start = time.monotonic()

    def advance(num_examples: int) -> None:
        bar.advance(task, num_examples)
        if not bar.live.is_started and time.monotonic() - start >= delay:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()
