"""Work shared out among threads that are kept, and the thread that asks."""

import concurrent.futures
import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from jinterp.stream import memory


def side_by_side(fn: Callable[[Any], Any], items: Sequence[Any], num_lanes: int) -> list[Any]:
    """`fn` of every item, in order, so many at a time.

    The caller takes its share, so the work is done also where no thread is free, as in a callback
    of a program that runs here. After an error nothing more begins.
    """
    results = [None] * len(items)
    waiting = deque(range(len(items)))

    def work() -> None:
        while True:
            try:
                number = waiting.popleft()
            except IndexError:
                return
            try:
                results[number] = fn(items[number])
            except BaseException:
                waiting.clear()
                raise

    helpers: list[concurrent.futures.Future[None]] = []
    try:
        for _ in range(min(num_lanes, len(items)) - 1):
            helpers.append(_threads().submit(work))
        work()
    finally:
        waiting.clear()  # also where Ctrl-C came between two items
        begun = [each for each in helpers if not each.cancel()]
        concurrent.futures.wait(begun)
    for each in begun:
        each.result()
    return results


@functools.cache
def _threads() -> concurrent.futures.ThreadPoolExecutor:
    """Kept, since starting a thread and its first allocations cost a millisecond a call."""
    return concurrent.futures.ThreadPoolExecutor(memory.NUM_CORES, "jinterp")
