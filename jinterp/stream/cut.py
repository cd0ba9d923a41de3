"""One way to cut a computation on the examples of a batch, and the one that fits the machine."""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Compiled, Lowered

from jinterp._trace import abstract, eval_shape, settings, warn
from jinterp._types import AnyArray, Inputs, Params
from jinterp.stream import memory, meter
from jinterp.stream.threads import side_by_side
from jinterp.stream.with_rows import rows_of, weights_of, with_rows

RowsFn = Callable[..., Any]
"""`fn(static, params, rows, point) -> result`, all of `rows` and `result` `[batch, ...]`."""

Kind = Literal["sum", "stack", "carry"]


@dataclasses.dataclass(frozen=True)
class Call:
    """What is static in the program."""

    fn: RowsFn
    static: Hashable
    kind: Kind

    def __call__(self, params: Params, rows: Inputs, points: Any) -> Any:
        """The result at each point, `[points, batch, ...]`."""
        one = functools.partial(self.fn, self.static, params, rows)
        if points is None:
            return jax.tree.map(lambda leaf: leaf[None], one(None))
        if len(jax.tree.leaves(points)[0]) == 1:  # a smaller program than vmap's
            only = one(jax.tree.map(lambda leaf: leaf[0], points))
            return jax.tree.map(lambda leaf: leaf[None], only)
        return jax.vmap(one)(points)


def _step(
    call: Call, params: Params, rows: Inputs, points: Any, valid: AnyArray, total: Any
) -> Any:
    """The total after some more points, or their results `[batch, points, ...]`.

    A total of None is nothing yet.
    """
    if call.kind == "carry":
        point = jax.tree.map(lambda leaf: leaf[0], points)
        return call.fn(call.static, params, rows, point, total)
    results = call(params, rows, points)
    if call.kind == "stack":
        return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), results)
    sums = jax.tree.map(functools.partial(_summed, valid), results)
    return sums if total is None else jax.tree.map(jnp.add, total, sums)


_over_devices = jax.jit(_step, static_argnames="call")  # donates nothing: totals come unsharded
_on_one_device = jax.jit(_step, static_argnames="call", donate_argnames="total")


def _summed(valid: AnyArray, results: AnyArray) -> AnyArray:
    if len(results) == 1:
        return results[0]
    mask = valid.reshape(-1, *[1] * (results.ndim - 1))
    return jnp.where(mask, results, jnp.zeros((), results.dtype)).sum(axis=0)


def _placed(leaf: Any) -> Hashable:
    """Where an array lies, how, and whether it has to stay there."""
    return getattr(leaf, "format", None), getattr(leaf, "committed", None)


@dataclasses.dataclass(frozen=True)
class Cut:
    """One way to cut a computation.

    Attributes:
        multiple: what the size of slices is a multiple of; None where one device computes.
    """

    call: Call
    params: Params
    rows: Inputs
    points: Any
    initial: Any
    num_examples: int
    num_points: int
    slice_size: int
    chunk: int
    num_lanes: int
    multiple: int | None

    def run(self, compiled: Compiled) -> Any:
        """Compute every strand: some of the chunks of points for one slice, one after the other."""
        # Over several devices totals come in other layouts than the program was compiled for.
        over_devices = self.multiple is not None
        program = functools.partial(_over_devices, self.call) if over_devices else compiled
        groups = [self.chunks[n :: self.num_groups] for n in range(self.num_groups)]
        strands = [(one, group) for one in self.slices for group in groups]
        results = side_by_side(functools.partial(self.strand, program), strands, self.num_lanes)
        by_slice = [
            results[n : n + self.num_groups] for n in range(0, len(results), self.num_groups)
        ]
        if self.call.kind == "stack":
            return _joined_stacks(by_slice, self.num_examples, self.num_points)
        return _joined_sums(by_slice, self.num_examples)

    def strand(self, program: Callable[..., Any], strand: tuple[Any, Any]) -> Any:
        (params, rows, initial), chunks = strand
        total = jax.tree.map(jnp.copy, initial)  # the program donates it
        stacked = []
        for chunk in chunks:
            total = program(params, rows, *chunk, total)
            if self.num_lanes > 1:
                jax.block_until_ready(total)
            if self.call.kind == "stack":
                stacked.append(total)
                total = None
        return stacked or total

    def compile(self) -> Compiled:
        """The program, which JAX keeps for these shapes, devices and settings.

        Compiled here and not by the first call, since other threads have settings of their own:
        float64 and the precision of products are those of the caller.
        """
        return self.lower().compile()

    def lower(self) -> Lowered:
        params, rows, initial = self.slices[0]
        program = _on_one_device if self.multiple is None else _over_devices
        return program.lower(self.call, params, rows, *self.chunks[0], initial)

    def of_usual_work(self) -> "Cut":
        """Made finer where the program would have more to do than is fast."""
        cut, num_rows = self, self.slice_size * self.chunk
        for _ in range(memory.num_halvings(self.lower, _device(self.rows), num_rows)):
            cut = cut if cut.is_finest else cut.finer()
        return cut

    def key(self, budget: int) -> tuple[Hashable, ...]:
        """What decides how it has to be cut further, and what its program is."""
        arguments = self.params, self.rows, self.points, self.initial
        placed = tuple(map(_placed, jax.tree.leaves(arguments)))
        cut = self.call, self.slice_size, self.chunk, self.num_lanes, self.multiple
        return cut, settings(), *abstract(arguments), placed, budget

    @property
    def is_on_this_host(self) -> bool:
        return all(leaf.is_fully_addressable for leaf in jax.tree.leaves((self.params, self.rows)))

    @property
    def is_finest(self) -> bool:
        return self.chunk == 1 and self.slice_size <= (self.multiple or 1)

    def finer(self) -> "Cut":
        """With half of the points in a program, or of the examples where it has one point."""
        if self.chunk > 1:
            return dataclasses.replace(self, chunk=_divided(self.chunk, 2))
        multiple = self.multiple or 1
        size = _divided(_divided(self.slice_size, 2), multiple) * multiple
        return dataclasses.replace(self, slice_size=size)

    @property
    def num_groups(self) -> int:
        """In how many parts the points of a slice are computed side by side."""
        if self.call.kind == "carry":
            return 1
        num_slices = _divided(self.num_examples, self.slice_size)
        return min(_divided(self.num_lanes, num_slices), len(self.chunks))

    @functools.cached_property
    def slices(self) -> list[tuple[Params, Inputs, Any]]:
        """Parts of the batch of one size; the last takes examples again to be full.

        Each with what is added to first: zeros, where several calls of the program add up.
        """
        parts = [(rows_of(self.params), self.rows, self.initial)]
        if self.slice_size != self.num_examples:
            starts = range(0, self.num_examples, self.slice_size)
            indices = [np.arange(n, n + self.slice_size) % self.num_examples for n in starts]
            parts = [_some(parts[0], each) for each in indices]
        slices = [
            (with_rows(self.params, own, self.weights), rows, initial)
            for own, rows, initial in parts
        ]
        if self.call.kind == "sum" and len(self.chunks) > self.num_groups:
            params, rows, _ = slices[0]
            results = eval_shape(self.call, params, rows, self.chunks[0][0])
            zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), results)
            return [(params, rows, zeros) for params, rows, _ in slices]
        return slices

    @functools.cached_property
    def weights(self) -> Params:
        """The parameters, on a mesh as the slices are."""
        params = weights_of(self.params)
        return automatic(params) if self.slice_size != self.num_examples else params

    @functools.cached_property
    def chunks(self) -> list[tuple[Any, AnyArray]]:
        """Parts of the points of one size, and which of them count."""
        parts = []
        for start in range(0, self.num_points, self.chunk):
            indices = np.arange(start, start + self.chunk)
            points = _taken(self.points, np.minimum(indices, self.num_points - 1))
            parts.append((points, indices < self.num_points))
        return parts


def usual_cut(call: Call, params: Params, rows: Inputs, points: Any, initial: Any) -> Cut:
    """The cut that is fastest on the backend, whatever the memory."""
    over_devices = is_sharded((params, rows))
    device = _device(rows)
    num_examples = len(jax.tree.leaves(rows)[0])
    num_points = 1 if points is None else len(jax.tree.leaves(points)[0])
    lanes = 1 if over_devices else memory.num_row_lanes(device)
    most = num_examples if over_devices else memory.rows_per_program(device)
    size = _even(num_examples, min(most, _divided(num_examples, lanes)))
    num_groups = _divided(lanes, _divided(num_examples, size))
    # What is stacked are scores, of forward passes alone: they are fastest with twice the rows.
    most *= 2 if call.kind == "stack" else 1
    most = min(max(1, most // size), _divided(num_points, num_groups))
    chunk = 1 if call.kind == "carry" else _even(num_points, most)
    multiple = _num_shards(rows) if over_devices else None
    return Cut(
        call, params, rows, points, initial, num_examples, num_points, size, chunk, lanes, multiple
    )


class _Fitting:
    """The program of a computation as it turned out to fit, with its slice size and chunk.

    None before it ran.
    """

    found: tuple[Compiled, int, int] | None = None


@functools.lru_cache(maxsize=64)
def _fitting(key: Hashable) -> _Fitting:
    """Of the last 64, since JAX needs milliseconds to find a program with many parameters again.

    Their functions are kept alive, as by `jax.jit`.
    """
    return _Fitting()


def run_fitting(cut: Cut) -> Any:
    """Run the cut made finer until its program fits the memory, as foreseen and as it turns out."""
    budget = memory.rounded_budget(_device(cut.rows), of_all=not cut.is_on_this_host)
    fitting = _fitting(cut.key(budget))
    known = fitting.found is not None
    if fitting.found is not None:
        program, slice_size, chunk = fitting.found
        cut = dataclasses.replace(cut, slice_size=slice_size, chunk=chunk)
    else:
        cut, program = _fitted(cut.of_usual_work(), budget)
    while True:
        try:
            results = cut.run(program)
            if not known:
                jax.block_until_ready(results)  # else it fails where nobody can mend it
        except jax.errors.JaxRuntimeError as error:
            can_retry = not cut.is_finest and cut.is_on_this_host
            if not can_retry or not memory.is_out_of_memory(error):
                raise
            known = False
            _tell(cut)
            cut, program = _fitted(cut.finer(), budget)
        else:
            fitting.found = program, cut.slice_size, cut.chunk
            meter.count(program, len(cut.slices) * len(cut.chunks))
            return results


def _fitted(cut: Cut, budget: int) -> tuple[Cut, Compiled]:
    """The cut made finer until its program fits, as foreseen, and the program."""
    while not cut.is_finest:
        program = memory.compile_within(cut.compile)
        if program is not None and memory.fits(program, budget, cut.num_lanes):
            return cut, program
        cut = cut.finer()
    program = cut.compile()
    what, exact = f"programs of {_examples_or_points(cut)}", memory.budget_of(_device(cut.rows))
    memory.warn_if_over_budget(program, exact, cut.num_lanes, what)
    return cut, program


def _tell(cut: Cut) -> None:
    warn(
        f"the device ran out of memory with programs of {_examples_or_points(cut)}; going on with "
        f"{_examples_or_points(cut.finer())}."
    )


def _examples_or_points(cut: Cut) -> str:
    num = cut.slice_size * cut.chunk
    return f"{num} examples or points" if num > 1 else "one example"


def _device(rows: Inputs) -> jax.Device:
    """Of those that this process has."""
    devices = jax.tree.leaves(rows)[0].sharding.addressable_devices
    return min(devices, key=lambda each: each.id)


def _num_shards(rows: Inputs) -> int:
    """Devices that share the rows: what a part of them must be a multiple of to be shared alike."""
    return max(
        len(leaf) // leaf.sharding.shard_shape(leaf.shape)[0] for leaf in jax.tree.leaves(rows)
    )


def _some(rows: Any, indices: np.ndarray) -> Any:
    """Some of the rows, on all devices that all of them are on."""
    rows = automatic(rows)
    part = _taken(rows, indices)
    if not is_sharded(rows):
        return part
    return jax.tree.map(lambda leaf, whole: jax.device_put(leaf, whole.sharding), part, rows)


def automatic(tree: Any) -> Any:
    """Arrays on the same devices, with axes that are not explicit, which cannot be indexed."""

    def one(leaf: Any) -> Any:
        sharding = None if isinstance(leaf, jax.core.Tracer) else getattr(leaf, "sharding", None)
        if not isinstance(sharding, jax.NamedSharding):
            return leaf
        mesh = jax.sharding.Mesh(sharding.mesh.devices, sharding.mesh.axis_names)
        return jax.device_put(leaf, jax.NamedSharding(mesh, sharding.spec))

    return jax.tree.map(one, tree)


def is_sharded(tree: Any) -> bool:
    """Whether an array is on several devices; then one program spans them all."""
    arrays = (leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array))
    return any(len(leaf.sharding.device_set) > 1 for leaf in arrays)


def _divided(a: int, b: int) -> int:
    return -(-a // b)


def _even(total: int, most: int) -> int:
    """The size of parts of at most `most` that are about equal."""
    return _divided(total, _divided(total, most))


@jax.jit
def _taken(tree: Any, indices: AnyArray) -> Any:
    return jax.tree.map(lambda leaf: leaf[indices], tree)


@functools.partial(jax.jit, static_argnames="num_examples")
def _joined_sums(by_slice: Sequence[Sequence[Any]], num_examples: int) -> Any:
    sums = [functools.reduce(functools.partial(jax.tree.map, jnp.add), parts) for parts in by_slice]
    return _concatenated(sums, num_examples)


def _joined_stacks(
    by_slice: Sequence[Sequence[Sequence[Any]]], num_examples: int, num_points: int
) -> Any:
    """Groups hold every so many chunks; put them back in order."""
    stacks = []
    for groups in by_slice:
        longest = max(map(len, groups))
        ordered = [group[n] for n in range(longest) for group in groups if n < len(group)]
        while len(ordered) > _MOST_PARTS:
            starts = range(0, len(ordered), _MOST_PARTS)
            ordered = [_along_points(ordered[n : n + _MOST_PARTS]) for n in starts]
        stacks.append(ordered)
    return _ordered_stacks(stacks, num_examples, num_points)


_MOST_PARTS = 64  # A program that takes thousands of arrays compiles for a minute.


@jax.jit
def _along_points(parts: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *parts)


@functools.partial(jax.jit, static_argnames=("num_examples", "num_points"))
def _ordered_stacks(stacks: Sequence[Sequence[Any]], num_examples: int, num_points: int) -> Any:
    whole = [_along_points(parts) for parts in stacks]
    whole = jax.tree.map(lambda leaf: leaf[:, :num_points], whole)
    return _concatenated(whole, num_examples)


def _concatenated(parts: Sequence[Any], num_examples: int) -> Any:
    if len(parts) == 1:
        return parts[0]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:num_examples], *parts)
