"""A pass while it runs: batches in flight, each with accumulators and rows of its own."""

import concurrent.futures
import contextlib
import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.stages import Compiled

from jinterp import _check
from jinterp._trace import warn
from jinterp._types import Batch
from jinterp.stream import memory
from jinterp.stream.checkpoint import Done
from jinterp.stream.fingerprint import Seen
from jinterp.stream.mesh import gather_rows, local_rows
from jinterp.stream.reduce import Reducer
from jinterp.stream.shards import Shard
from jinterp.stream.step import Run
from jinterp.stream.task import warn_of_probabilities


class Plan(NamedTuple):
    """How one pass is cut.

    Attributes:
        compile_at: compiles the step for a batch size; JAX keeps the program.
        abstract: the shapes of a batch and of its logits.
        num_lanes: how many batches are in flight.
        shard: what this process gives.
    """

    compile_at: Callable[[int], Compiled]
    abstract: tuple[Batch, Any]
    num_lanes: int
    shard: Shard

    @property
    def batch_size(self) -> int:
        return len(self.abstract[0].mask)


Parts = deque[tuple[Batch, int]]
"""Of a batch, those that are still to be computed, each with its examples that are no padding."""


class Lane:
    """One of the batches that are computed side by side, and the one after it.

    Attributes:
        states: accumulators of its own, one for each shard, on the devices.
        rows: collected rows, with indices and mask, on the host.
        num_done: examples that were computed.
        thread: its own, so that its batches follow each other.
        begun: the batches that were not waited for, with what is left of each.
        has_failed: whether one of these failed; those after it are left as they are.
    """

    def __init__(self, states: Any, thread: ThreadPoolExecutor):
        self.states = states
        self.rows: list[Any] = []
        self.num_done = 0
        self.thread = thread
        self.begun: deque[tuple[Future[None], Parts]] = deque()
        self.has_failed = False

    def begin(self, parts: Iterable[tuple[Batch, int]], step: Compiled, run: Run) -> None:
        left = deque(parts)
        self.begun.append((self.thread.submit(self.compute, left, step, run), left))

    def compute(self, left: Parts, step: Compiled, run: Run) -> None:
        try:
            if not self.has_failed:
                self.compute_parts(left, step, run)
        except BaseException:
            self.has_failed = True
            raise

    def compute_parts(self, left: Parts, step: Compiled, run: Run) -> None:
        while left:
            batch, num_valid = left[0]
            states, rows, _ = jax.block_until_ready(step(run.params, self.states, batch))
            found = local_rows((batch.indices, batch.mask, rows)) if rows else None
            # From here nothing fails, so that a batch that did is computed again as a whole.
            self.states = states
            if found is not None:
                self.rows.append(found)
            self.num_done += num_valid
            left.popleft()


class Pass:
    """The lanes of a pass, and what was done before it began."""

    def __init__(self, run: Run, plan: Plan, done: Done, threads: contextlib.ExitStack):
        self.run, self.plan = run, plan
        self.size = plan.batch_size
        self.step = plan.compile_at(self.size)
        budget = memory.budget_of(run.placement.mesh.local_devices[0])
        memory.warn_if_over_budget(self.step, budget, plan.num_lanes, f"batches of {self.size}")
        initial = run.initial_states(*plan.abstract)
        self.rows: list[Any] = []
        self.lanes = [
            Lane(initial, threads.enter_context(ThreadPoolExecutor(1, "jinterp")))
            for _ in range(plan.num_lanes)
        ]
        self.earlier: list[Any] = []
        if done.seen:
            states, rows = run.structure(*plan.abstract)
            self.rows = [jax.tree.unflatten(rows, part) for part in done.rows]
            if done.states:
                self.go_on_from(jax.tree.unflatten(states, done.states))
        self.num_given = len(done.seen)
        self.num_done_before = sum(each.length for each in done.seen)

    def go_on_from(self, stacked: Any) -> None:
        """Accumulators of before: in the lanes where these are as they were, beside them else.

        So a pass that was stopped adds up in the order in which it would have.
        """
        num = self.run.placement.num_shards
        if len(jax.tree.leaves(stacked)[0]) != num * len(self.lanes):
            self.earlier = [stacked]
            return
        for start, lane in zip(itertools.count(0, num), self.lanes, strict=False):
            part = jax.tree.map(lambda leaf, start=start: leaf[start : start + num], stacked)
            lane.states = self.run.placement.put_states(part)

    def give(self, batch: Batch, num_valid: int) -> None:
        """Begin with a batch; its lane goes on with it when it is done with the one before."""
        placed = self.run.placement.put_batch(batch)  # copied while the lane still computes
        lane = self.lanes[self.num_given % len(self.lanes)]
        self.wait(lane, until=1)
        lane.begin(self.parts(placed, num_valid), self.step, self.run)
        self.num_given += 1

    def wait(self, lane: Lane, until: int = 0) -> None:
        """Until so many batches of the lane are left; out of memory it takes smaller programs."""
        while len(lane.begun) > until:
            try:
                lane.begun[0][0].result()
                lane.begun.popleft()
            except jax.errors.JaxRuntimeError as error:
                concurrent.futures.wait([future for future, _ in lane.begun])
                left = [part for _, parts in lane.begun for part in parts]
                self.make_smaller(len(left[0][0].mask), error)
                lane.begun.clear()
                lane.has_failed = False
                parts = [part for one in left for part in self.parts(*one)]
                lane.begin(parts, self.step, self.run)

    def make_smaller(self, too_large: int, error: jax.errors.JaxRuntimeError) -> None:
        """Halve the program, unless that was done since the one that failed began."""
        placement = self.run.placement
        can_retry = too_large // 2 >= placement.num_shards and placement.num_processes == 1
        if not can_retry or not memory.is_out_of_memory(error):
            raise error
        if self.size == too_large:
            self.size = too_large // 2 // placement.num_shards * placement.num_shards
            warn(
                f"the device ran out of memory with a batch of {too_large}; going on with "
                f"programs for {self.size}."
            )
            self.step = self.plan.compile_at(self.size)

    def parts(self, batch: Batch, num_valid: int) -> list[tuple[Batch, int]]:
        """The batch in parts of the size that programs have by now; the last is padded."""
        if len(batch.mask) == self.size:
            return [(batch, num_valid)]
        host = jax.device_get(batch)
        parts = []
        for start in range(0, len(host.mask), self.size):
            rows = np.arange(start, start + self.size)
            rows, valid = np.minimum(rows, len(host.mask) - 1), rows < len(host.mask)
            part = jax.tree.map(lambda leaf, rows=rows: leaf[rows], host)
            part = dataclasses.replace(part, mask=part.mask & valid)
            parts.append((self.run.placement.put_batch(part), int(part.mask.sum())))
        return parts

    def check_independent(self, batch: Batch) -> None:
        """Compare the first example's logits with those it has among copies of itself.

        Once for each model and shape: it costs two batches.
        """
        run, abstract = self.run, self.plan.abstract
        # Hashes, so that no function is kept alive.
        key = hash((run.apply_fn, run.preprocess)), jax.tree.structure(run.params), str(abstract)
        agreed = run.placement.least  # all processes look, or none
        if agreed(int(key in _independent)):
            return
        self.wait_for_all()
        copies = jax.tree.map(lambda leaf: np.repeat(leaf[:1], len(leaf), axis=0), batch.x)
        among_others, among_copies = (
            self.first_logits(dataclasses.replace(batch, x=x)) for x in (batch.x, copies)
        )
        close = all(map(_close, jax.tree.leaves(among_others), jax.tree.leaves(among_copies)))
        if not agreed(int(close)):
            raise _check.examples_interact()
        warn_of_probabilities(run.task, among_others)
        finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(among_others))
        if agreed(int(finite and not _equal(batch.x, copies))):
            _independent.add(key)

    def first_logits(self, batch: Batch) -> Any:
        while True:
            part, _ = self.parts(self.run.placement.put_batch(batch), len(batch.mask))[0]
            states = self.run.initial_states(*self.plan.abstract)
            try:
                logits = local_rows(self.step(self.run.params, states, part)[2])
                return jax.tree.map(lambda leaf: leaf[:1].astype(np.float64), logits)
            except jax.errors.JaxRuntimeError as error:
                self.make_smaller(len(part.mask), error)

    def wait_for_all(self) -> None:
        for lane in self.lanes:
            self.wait(lane)

    def take_rows(self) -> list[Any]:
        """The rows that are new, of all processes; they leave the lanes."""
        parts = [part for lane in self.lanes for part in lane.rows]
        if not parts:
            return []
        for lane in self.lanes:
            lane.rows = []
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        new = gather_rows(joined, self.run.placement)
        self.rows.append(new)
        return [new]

    @property
    def num_done(self) -> int:
        return self.num_done_before + sum(lane.num_done for lane in self.lanes)

    def done(self, seen: list[Seen]) -> Done:
        """What is to be saved: the accumulators, and the rows that are new."""
        self.wait_for_all()
        rows = [jax.tree.leaves(part) for part in self.take_rows()]
        return Done(jax.tree.leaves(self.run.stack(self.states)), rows, seen)

    @property
    def states(self) -> list[Any]:
        return [*self.earlier, *(lane.states for lane in self.lanes)]

    def results(self) -> dict[str, Any]:
        """What every reducer makes of it."""
        self.take_rows()
        final, rows = iter(self.run.merge(self.states)), iter(self.ordered_rows())
        return {
            name: reducer.finalize(next(final)) if isinstance(reducer, Reducer) else next(rows)
            for name, reducer in self.run.reducers
        }

    def ordered_rows(self) -> list[Any]:
        """Without padding, in order of dataset index."""
        if not self.rows:
            return []
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *self.rows)
        indices, mask, rows = joined
        order = np.flatnonzero(mask)
        order = order[np.argsort(indices[order], kind="stable")]
        return jax.tree.map(lambda leaf: leaf[order], rows)


_independent: set[Any] = set()


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    scale = np.abs(a[np.isfinite(a)]).max(initial=0)
    return np.allclose(a, b, rtol=0, atol=1e-3 * scale, equal_nan=True)


def _equal(a: Any, b: Any) -> bool:
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))
