"""A computation written by hand, as programs of every shape of which one may be the fastest.

What is computed is a `Work`: plain JAX for the examples of a slice, at some points (of a path, of a
sample, of a set of channels). How it is cut is a `Shape`.
"""

import functools
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_SLICES, _GROUPS = ThreadPoolExecutor(CORES), ThreadPoolExecutor(CORES)  # nested: no deadlock
_MOST_CONSTANTS = 20e6  # bytes; with more the program's text alone is hundreds of megabytes
_TRIED_AGAIN = 0.5  # seconds below which a trial is repeated


def _as_given(params: Any, x: Any, targets: Any) -> Any:
    return x, targets


def _as_found(params: Any, rows: Any, total: Any) -> Any:
    return total


class Work(NamedTuple):
    """What is computed.

    Attributes:
        fn: `fn(params, rows, points) -> [batch, ...]`, the sum over these points (or, with `stack`,
            `[batch, points]`).
        points: a pytree of arrays `[points, ...]`; None is one call with None.
        start: `start(params, x, targets) -> rows`, what is kept of a slice, `[batch, ...]`.
        finish: `finish(params, rows, total) -> values`.
        stack: whether the results of the points are kept, and not summed.
    """

    fn: Callable[..., Any]
    points: Any = None
    start: Callable[..., Any] = _as_given
    finish: Callable[..., Any] = _as_found
    stack: bool = False


class Shape(NamedTuple):
    """How it is cut.

    Attributes:
        rows: examples in a slice.
        points: points in a program.
        threads: that run programs side by side; they share the points where slices are few.
        parts: independent parts of a slice inside a program.
        constants: whether the weights are compiled in.
    """

    rows: int
    points: int = 1
    threads: int = CORES
    parts: int = 1
    constants: bool = False

    def __str__(self) -> str:
        name = f"slices of {self.rows}"
        name += f", {self.points} points at once" if self.points > 1 else ""
        name += f", {self.parts} independent parts in one program" if self.parts > 1 else ""
        name += f", {self.threads} threads" if self.threads > 1 else ""
        return name + (", weights as constants" if self.constants else "")


class Cut:
    """A work in a shape, for a batch."""

    def __init__(self, work: Work, shape: Shape, params: Any, x: Any, targets: Any):
        self.work, self.shape = work, shape
        host, labels, rows = np.asarray(x), np.asarray(targets), shape.rows
        self.slices = [
            (host[n : n + rows], labels[n : n + rows]) for n in range(0, len(host), rows)
        ]
        self.chunks = list(_chunks(work.points, shape.points))
        num_groups = max(1, min(shape.threads // len(self.slices), len(self.chunks)))
        bounds = np.linspace(0, len(self.chunks), num_groups + 1).round().astype(int)
        self.groups = [self.chunks[a:b] for a, b in itertools.pairwise(bounds)]
        bind = functools.partial(_bound, params, shape.constants)
        fn = functools.partial(_in_parts, work.fn, shape.parts) if shape.parts > 1 else work.fn
        self.whole = bind(functools.partial(_whole, work._replace(fn=fn)))
        self.start, self.finish = bind(work.start), bind(work.finish)
        self.fn = bind(fn)
        self.add = bind(functools.partial(_add, fn), donate_argnums=3)

    def __call__(self) -> np.ndarray:
        return self.over(self.slices, self.groups)

    def tried(self) -> float:
        """Seconds of the whole, in proportion to those of a part of it."""
        some = self.slices[: 2 * self.shape.threads]
        first = [group[:1] for group in self.groups]
        self.over(some, first, finish=False)  # compiles
        seconds: list[float] = []
        while len(seconds) < 3 and sum(seconds) < _TRIED_AGAIN:
            begin = time.perf_counter()
            self.over(some, first, finish=False)
            seconds.append(time.perf_counter() - begin)
        longest = max(map(len, self.groups))  # the chunks that follow each other
        return min(seconds) * len(self.slices) / len(some) * longest

    def over(self, slices: Sequence[Any], groups: Sequence[Any], finish: bool = True) -> np.ndarray:
        one = functools.partial(self.slice, groups, finish)
        side_by_side = self.shape.threads > 1 and len(slices) > 1
        return np.concatenate(list((_SLICES.map if side_by_side else map)(one, slices)))

    def slice(self, groups: Sequence[Any], finish: bool, x_and_targets: Any) -> np.ndarray:
        if self.work.points is None:
            return np.asarray(self.whole(*x_and_targets))
        rows = self.start(*x_and_targets)
        one = functools.partial(self.group, rows)
        found = list((_GROUPS.map if len(groups) > 1 else map)(one, groups))
        total = jnp.concatenate(found, axis=1) if self.work.stack else sum(found[1:], found[0])
        return np.asarray(self.finish(rows, total) if finish else total)

    def group(self, rows: Any, chunks: Sequence[Any]) -> Any:
        if self.work.stack:
            found = [self.fn(rows, chunk).block_until_ready() for chunk in chunks]
            return jnp.concatenate(found, axis=1)
        total = self.fn(rows, chunks[0])
        for chunk in chunks[1:]:
            total = self.add(rows, chunk, total)
            total.block_until_ready()  # at most one program a thread
        return total.block_until_ready()


def shapes_of(work: Work, params: Any, num_examples: int) -> list[Shape]:
    """The shapes that were the fastest of something, or might be, for so many examples."""
    usual = min(16, max(1, num_examples // CORES))  # what was the fastest most often
    slices = [size for size in (1, 2, 4, 8, 16, 32, 64) if size < num_examples][-3:]
    shapes = [Shape(min(num_examples, 64), threads=1), *map(Shape, slices)]
    few_weights = sum(leaf.nbytes for leaf in jax.tree.leaves(params)) < _MOST_CONSTANTS
    if few_weights:
        shapes.append(Shape(usual, constants=True))
    if work.points is None:
        if few_weights and 8 <= num_examples <= 64:
            shapes.append(Shape(num_examples, threads=1, parts=4))
        return shapes
    if num_examples < CORES:
        shapes.append(Shape(num_examples))
    num_points = len(jax.tree.leaves(work.points)[0])
    at_once = [num for num in (4, 16) if num * usual <= 64 and num < num_points]
    return shapes + [Shape(usual, points=num) for num in at_once]


def _chunks(points: Any, num: int) -> Iterator[Any]:
    if points is None:
        yield None
        return
    total = len(jax.tree.leaves(points)[0])
    for start in range(0, total, num):
        yield jax.tree.map(lambda leaf, start=start: leaf[start : start + num], points)


def _bound(params: Any, constants: bool, fn: Callable[..., Any], **keywords: Any) -> Any:
    """The compiled function of all but the weights."""
    if constants:
        donated = {name: number - 1 for name, number in keywords.items()}
        return jax.jit(functools.partial(fn, params), **donated)
    return functools.partial(jax.jit(fn, **keywords), params)


def _whole(work: Work, params: Any, x: Any, targets: Any) -> Any:
    rows = work.start(params, x, targets)
    return work.finish(params, rows, work.fn(params, rows, None))


def _add(fn: Callable[..., Any], params: Any, rows: Any, points: Any, total: Any) -> Any:
    return total + fn(params, rows, points)


def _in_parts(fn: Callable[..., Any], num_parts: int, params: Any, rows: Any, points: Any) -> Any:
    """Parts of a slice that do not depend on each other, side by side inside a program."""
    leaves, treedef = jax.tree.flatten(rows)
    parts = zip(*(jnp.array_split(leaf, num_parts) for leaf in leaves), strict=True)
    return jnp.concatenate(
        [fn(params, jax.tree.unflatten(treedef, part), points) for part in parts]
    )
