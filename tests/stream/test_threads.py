"""Work shared out among threads."""

import os
import threading
import time
from typing import Any

import pytest

from jinterp.stream import threads
from jinterp.stream.threads import side_by_side


@pytest.mark.parametrize("num_lanes", [1, 2, 3, 50])
@pytest.mark.parametrize("num_items", [0, 1, 2, 7])
def test_results_are_in_order(num_items: int, num_lanes: int) -> None:
    items = list(range(num_items))
    assert side_by_side(lambda item: item**2, items, num_lanes) == [item**2 for item in items]


def test_lanes_run_side_by_side() -> None:
    """Each waits for the other, so one after the other would never end."""
    barrier = threading.Barrier(2, timeout=30)
    side_by_side(lambda item: barrier.wait(), range(6), 2)


def test_no_more_than_the_lanes_run() -> None:
    lock, running, most = threading.Lock(), [0], [0]
    pause = threading.Event()

    def fn(item: int) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        pause.wait(0.01)
        with lock:
            running[0] -= 1

    side_by_side(fn, range(12), 2)
    assert most[0] <= 2


@pytest.mark.parametrize("by_caller", [True, False])
def test_an_error_is_raised_and_nothing_more_begins(by_caller: bool) -> None:
    caller, both, begun = threading.get_ident(), threading.Barrier(2, timeout=30), []

    def fn(item: int) -> None:
        begun.append(item)
        if item < 2:
            both.wait()
            if (threading.get_ident() == caller) == by_caller:
                raise ValueError(f"item {item}")
            failed.wait(30)

    failed = threading.Event()
    threading.Timer(0.2, failed.set).start()
    with pytest.raises(ValueError, match=r"item [01]"):
        side_by_side(fn, range(50), 2)
    assert sorted(begun) == [0, 1]


def test_an_interrupt_between_items_ends_the_work() -> None:
    """As Ctrl-C, which comes anywhere."""
    begun, caller = [], threading.get_ident()

    class Items(list):
        def __getitem__(self, number: int) -> int:
            if threading.get_ident() == caller:
                raise KeyboardInterrupt
            return super().__getitem__(number)

    def fn(item: int) -> None:
        begun.append(item)
        pause.wait(0.02)

    pause = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        side_by_side(fn, Items(range(50)), 2)
    assert len(begun) < 5


def test_an_interrupt_while_threads_start_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, has_begun, pool = [], threading.Event(), threads._threads()

    class Interrupted:
        num_started = 0

        def submit(self, work: Any) -> Any:
            if self.num_started == 1:
                has_begun.wait()
                raise KeyboardInterrupt
            self.num_started += 1
            return pool.submit(work)

    def fn(item: int) -> None:
        begun.append(item)
        has_begun.set()
        time.sleep(0.02)

    interrupted = Interrupted()
    monkeypatch.setattr(threads, "_threads", lambda: interrupted)
    with pytest.raises(KeyboardInterrupt):
        side_by_side(fn, range(50), 3)
    assert len(begun) < 5


def test_work_within_work_ends_where_no_thread_is_free() -> None:
    depth = (os.cpu_count() or 1) + 2

    def nested(level: int) -> int:
        return 1 if level == 0 else sum(side_by_side(nested, [level - 1] * 2, 2))

    assert nested(depth) == 2**depth
