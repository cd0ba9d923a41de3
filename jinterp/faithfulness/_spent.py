"""What explainers and metrics cost."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jinterp.faithfulness._comparison import Cost
from jinterp.stream.meter import Meter, metered


class Spent:
    """What was computed and how long it took, batch by batch."""

    def __init__(self) -> None:
        self.num_examples: list[int] = []
        self.forward: list[Meter] = []
        self.meters: list[list[Meter]] = []
        self.seconds: list[list[float]] = []

    def begin(self, forward: Meter) -> None:
        """Of a batch, with the meter of its forward pass."""
        self.forward.append(forward)
        self.meters.append([])
        self.seconds.append([])

    def timed(self, fn: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """The result of a function, once it is there."""
        start = time.perf_counter()
        with metered() as meter:
            result = jax.block_until_ready(fn(*arguments, **keywords))
        self.seconds[-1].append(time.perf_counter() - start)
        self.meters[-1].append(meter)
        return result

    def costs(self, num_explainers: int) -> tuple[Cost, Cost]:
        """Of the explainers `[explainers]`, and of the metrics `[explainers, metrics]`."""
        steady = slice(len(self.seconds) > 1, None)
        seconds = np.array(self.seconds)[steady].sum(axis=0) / sum(self.num_examples[steady])
        forward = sum(meter.operations for meter in self.forward)
        operations = [[meter.operations for meter in each] for each in self.meters]
        counted = np.array(operations).sum(axis=0)
        passes = np.where(counted > 0, counted, np.nan) / (forward if forward else np.nan)
        is_steady = len(self.seconds) > 1
        passes, seconds = (each.reshape(num_explainers, -1) for each in (passes, seconds))
        return (
            Cost(passes[:, 0], seconds[:, 0], is_steady),
            Cost(passes[:, 1:], seconds[:, 1:], is_steady),
        )
