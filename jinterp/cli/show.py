"""What rich draws, on standard output."""

from typing import Any

from rich.console import Console


def show(thing: Any) -> None:
    """A table as wide as the terminal; where there is none, as text that can be searched."""
    console = Console()
    if console.is_terminal:
        console.print(thing)
    else:
        print(thing)
