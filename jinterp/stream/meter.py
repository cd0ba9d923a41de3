"""How much is computed, in floating-point operations."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

from jax.stages import Compiled


class Meter:
    """Which programs ran in its block, and how often."""

    def __init__(self) -> None:
        self.runs: list[tuple[Compiled, int]] = []

    @property
    def operations(self) -> float:
        """Floating-point operations, as the compiler estimates them; a loop's body counts once."""
        return sum((num * _operations(program) for program, num in self.runs), 0.0)


_current: contextvars.ContextVar[Meter | None] = contextvars.ContextVar("meter", default=None)


@contextlib.contextmanager
def metered() -> Iterator[Meter]:
    """A meter of all programs over examples and points that run in this block."""
    meter = Meter()
    token = _current.set(meter)
    try:
        yield meter
    finally:
        _current.reset(token)


def count(program: Compiled, num_calls: int) -> None:
    """Tell the meter, if there is one, that a program ran so often."""
    meter = _current.get()
    if meter is not None:
        meter.runs.append((program, num_calls))


def _operations(program: Compiled) -> float:
    analysis: Any = program.cost_analysis()
    return analysis.get("flops", 0.0) if isinstance(analysis, dict) else 0.0
