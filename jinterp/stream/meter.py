"""How much is computed, in floating-point operations."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

from jax.stages import Compiled


class Meter:
    """What was computed while it ran.

    Attributes:
        operations: floating-point operations, as the compiler estimates them.
    """

    operations: float = 0.0


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
        meter.operations += num_calls * _operations(program)


def _operations(program: Compiled) -> float:
    analysis: Any = program.cost_analysis()
    return analysis.get("flops", 0.0) if isinstance(analysis, dict) else 0.0
