"""`fold`: any number of reducers in one pass over a dataset."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, PartitionSpec
from jax.stages import Compiled

from jinterp import _check
from jinterp._types import ApplyFn, Batch, Params, PreprocessFn
from jinterp.data.batches import Batches, batches, host_batches, peek
from jinterp.data.sources import Block
from jinterp.stream.memory import choose_batch_size, num_lanes
from jinterp.stream.mesh import Placement, gather_rows, local_rows, place
from jinterp.stream.progress import progress_bar
from jinterp.stream.reduce import Collect, Reducer

Reducers = tuple[tuple[str, Reducer | Collect], ...]


class Interrupted(KeyboardInterrupt):
    """A pass was stopped by Ctrl-C; what was done until then is kept.

    Attributes:
        results: what `fold` would have returned for the examples seen.
        num_examples: how many examples these are.
    """

    def __init__(self, results: dict[str, Any], num_examples: int, total: int | None):
        of = f" of {total}" if total else ""
        super().__init__(
            f"stopped after {num_examples}{of} examples; their results are in `.results`"
        )
        self.results = results
        self.num_examples = num_examples


def fold(
    reducers: Mapping[str, Reducer | Collect],
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    *,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Run the model over a dataset once, and keep what the reducers say.

    Each batch is one call of one compiled program: preprocessing, the model and every reducer.
    Accumulators stay on the device, one for each shard of the mesh and each batch in flight, and
    are merged at the end. The answer is the same on one device, on a mesh and across processes.

    Args:
        reducers: what to keep, by name; see `jinterp.stream`.
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters, replicated over the mesh unless they are sharded on it already.
        ds: anything that `batches` takes. In a run of several processes, each gives its own
            part: the dataset indices of sized parts follow each other in order of process, those
            of streams alternate.
        mesh: the devices to cut batches over, along the axis `"data"` where it has one. None uses
            the mesh that `params` are on, all devices in a run of several processes, else one.
        progress: show a progress bar; None shows one for a long pass in a terminal.

    Returns:
        The result of each reducer under its name, as NumPy arrays on the host.

    Raises:
        ValueError: the dataset is empty, its shapes change, its targets are out of range, or the
            model mixes examples.
        TypeError: the model does not return one array of logits.
        Interrupted: Ctrl-C; it holds the results so far.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jinterp.stream import mean
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> ds = (np.arange(6.0, dtype=np.float32).reshape(3, 2), np.zeros(3, int))
    >>> fold({"first": mean(lambda batch, logits: logits[:, 0])}, apply_fn, jnp.eye(2), ds)
    {'first': np.float64(2.0)}
    """
    dataset = batches(ds)
    _check.warn_if_made_anew("apply_fn", apply_fn)
    _check.warn_if_made_anew("preprocess", dataset.preprocess)
    placement = place(mesh, params)
    run = _Run(
        apply_fn,
        tuple(reducers.items()),
        dataset.preprocess,
        placement,
        placement.put_params(params),
    )
    plan, stream = _plan(run, dataset)
    lanes = [_Lane(run.initial_states(plan)) for _ in range(plan.num_lanes)]
    done = 0
    with (
        progress_bar(plan.num_examples, progress) as advance,
        ThreadPoolExecutor(plan.num_lanes) as pool,
    ):
        try:
            for number, batch in enumerate(stream):
                num_valid = int(batch.mask.sum())
                lane = lanes[number % plan.num_lanes]
                lane.wait()
                lane.future = pool.submit(
                    lane.step, plan.step, run.params, placement.put_batch(batch)
                )
                if plan.polled:  # programs of several processes must start in one order
                    lane.wait()
                done += num_valid
                advance(num_valid)
        except KeyboardInterrupt:
            raise Interrupted(run.finish(lanes), done, plan.num_examples) from None
    return run.finish(lanes)


class _Lane:
    """One of the batches in flight, with accumulators and rows of its own."""

    def __init__(self, states: Any):
        self.states = states
        self.rows: list[Any] = []
        self.future: Future[None] | None = None

    def step(self, step: Compiled, params: Params, batch: Batch) -> None:
        self.states, rows, _ = jax.block_until_ready(step(params, self.states, batch))
        if rows:
            self.rows.append(local_rows((batch.indices, batch.mask, rows)))

    def wait(self) -> None:
        if self.future is not None:
            self.future.result()
            self.future = None


class _Plan(NamedTuple):
    """How one pass is cut."""

    step: Compiled
    abstract: tuple[Batch, jax.ShapeDtypeStruct]
    num_lanes: int
    num_examples: int | None
    polled: bool


class _Run(NamedTuple):
    """What one pass computes, and where."""

    apply_fn: ApplyFn
    reducers: Reducers
    preprocess: PreprocessFn | None
    placement: Placement
    params: Params

    def abstract(self, block: Block, batch_size: int) -> tuple[Batch, jax.ShapeDtypeStruct]:
        """The shapes of a batch and of its logits, checked."""

        def struct(leaf: np.ndarray) -> jax.ShapeDtypeStruct:
            dtype = jax.dtypes.canonicalize_dtype(leaf.dtype)
            return jax.ShapeDtypeStruct((batch_size, *leaf.shape[1:]), dtype)

        x, targets = jax.tree.map(struct, tuple(block))
        mask = jax.ShapeDtypeStruct((batch_size,), np.bool_)
        batch = Batch(x, targets, mask, jax.ShapeDtypeStruct((batch_size,), np.int32))
        seen = jax.eval_shape(self.preprocess, x) if self.preprocess else x
        logits = _check.logits_of(self.apply_fn, self.params, seen)
        _check.targets_match(block.targets, logits.shape[1])
        return batch, logits

    def compile(self, block: Block, batch_size: int) -> Compiled:
        """The step for this batch size; JAX keeps it, so a second call costs a millisecond."""
        batch, logits = self.abstract(block, batch_size)
        states = [
            jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(
                    (self.placement.num_shards, *leaf.shape),
                    leaf.dtype,
                    sharding=self.placement.data,
                ),
                state,
            )
            for state in self._states(batch, logits)
        ]
        batch = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.placement.data),
            batch,
        )
        lowered = _step.lower(
            self.apply_fn,
            self.reducers,
            self.preprocess,
            self.placement,
            self.params,
            states,
            batch,
        )
        return lowered.compile()

    def initial_states(self, plan: _Plan) -> Any:
        return self.placement.put_states(self._states(*plan.abstract))

    def _states(self, batch: Batch, logits: Any) -> list[Any]:
        return [r.init(batch, logits) for _, r in self.reducers if isinstance(r, Reducer)]

    def finish(self, lanes: list[_Lane]) -> dict[str, Any]:
        """The results of all lanes, shards and processes."""
        for lane in lanes:
            lane.wait()
        states = _merge(self.reducers, self.placement, [lane.states for lane in lanes])
        final = iter(jax.device_get(states))
        rows = iter(_ordered_rows(lanes, self.placement))
        return {
            name: reducer.finalize(next(final)) if isinstance(reducer, Reducer) else next(rows)
            for name, reducer in self.reducers
        }


@functools.partial(
    jax.jit,
    static_argnames=("apply_fn", "reducers", "preprocess", "placement"),
    donate_argnames="states",
)
def _step(
    apply_fn: ApplyFn,
    reducers: Reducers,
    preprocess: PreprocessFn | None,
    placement: Placement,
    params: Params,
    states: list[Any],
    batch: Batch,
) -> tuple[list[Any], list[Any], jax.Array]:
    """New states, collected rows, and the logits of each shard's first example, for one batch."""
    logits = apply_fn(params, preprocess(batch.x) if preprocess else batch.x)

    def update(states: list[Any], batch: Batch, logits: jax.Array) -> tuple[Any, ...]:
        states = jax.tree.map(lambda leaf: leaf[0], states)
        updates = [r.update for _, r in reducers if isinstance(r, Reducer)]
        states = [f(state, batch, logits) for f, state in zip(updates, states, strict=True)]
        rows = [r.value_fn(batch, logits) for _, r in reducers if isinstance(r, Collect)]
        return jax.tree.map(lambda leaf: leaf[None], states), rows, logits[:1]

    # Each shard updates a state of its own, so no batch waits for a collective.
    cut = PartitionSpec(placement.axes)
    return jax.shard_map(update, mesh=placement.mesh, in_specs=cut, out_specs=cut, check_vma=False)(
        states, batch, logits
    )


@functools.partial(jax.jit, static_argnames=("reducers", "placement"))
def _merge(reducers: Reducers, placement: Placement, lanes: list[list[Any]]) -> list[Any]:
    """The states of all lanes and shards as one, on every device."""
    merges = [r.merge for _, r in reducers if isinstance(r, Reducer)]
    merged = []
    for merge, *states in zip(merges, *lanes, strict=True):
        stacked = jax.tree.map(lambda *leaves: jax.numpy.concatenate(leaves), *states)
        stacked = jax.lax.with_sharding_constraint(stacked, placement.replicated)
        first = jax.tree.map(lambda leaf: leaf[0], stacked)
        rest = jax.tree.map(lambda leaf: leaf[1:], stacked)
        merged.append(jax.lax.scan(functools.partial(_scanned, merge), first, rest)[0])
    return merged


def _scanned(merge: Callable[[Any, Any], Any], a: Any, b: Any) -> tuple[Any, None]:
    return merge(a, b), None


def _plan(run: _Run, dataset: Batches) -> tuple[_Plan, Iterator[Batch]]:
    """Look at the first examples, choose the batch size, compile, and start the stream."""
    placement = run.placement
    device = placement.mesh.local_devices[0]
    # Programs with collectives must be launched in one order on every device: one lane.
    lanes = 1 if placement.mesh.size > 1 else num_lanes(device)
    first, blocks = peek(dataset.source.blocks(dataset.batch_size or 256))
    compile_at = functools.partial(run.compile, first)
    batch_size = dataset.batch_size or choose_batch_size(
        compile_at,
        device,
        num_shards=placement.num_shards,
        num_lanes=lanes,
        num_examples=dataset.num_examples,
    )
    batch_size = -(-batch_size // placement.num_shards) * placement.num_shards
    step = compile_at(batch_size)
    local_size = batch_size // placement.num_processes
    shards = _Shards.agree(dataset.num_examples, local_size, placement)
    plan = _Plan(step, run.abstract(first, batch_size), lanes, shards.total, shards.polled)
    stream = host_batches(blocks, local_size, first_index=shards.first_index, stride=shards.stride)
    stream = _checked(stream, plan.abstract[1].shape[1], shards.stride)
    if placement.num_processes > 1:
        stream = _in_step(stream, shards.num_batches)
    return plan, _checked_independent(run, plan, stream)


class _Shards(NamedTuple):
    """Which part of the dataset this process gives, and how long they all go on."""

    first_index: int
    stride: int
    total: int | None
    num_batches: int | None

    @property
    def polled(self) -> bool:
        """Whether the processes must ask each other, before each batch, if any has more."""
        return self.stride > 1

    @classmethod
    def agree(cls, num_examples: int | None, batch_size: int, placement: Placement) -> "_Shards":
        if placement.num_processes == 1:
            return cls(0, 1, num_examples, None)
        own = -1 if num_examples is None else num_examples
        lengths = multihost_utils.process_allgather(np.int32(own))
        process = jax.process_index()
        if (lengths < 0).any():
            return cls(process, len(lengths), None, None)
        num_batches = -(-int(lengths.max()) // batch_size)
        return cls(int(lengths[:process].sum()), 1, int(lengths.sum()), num_batches)


def _checked(stream: Iterator[Batch], num_classes: int, stride: int) -> Iterator[Batch]:
    for batch in stream:
        valid = batch.targets[: batch.mask.sum()]
        _check.targets_in_range(valid, int(batch.indices[0]), stride, num_classes)
        yield batch


def _in_step(stream: Iterator[Batch], num_batches: int | None) -> Iterator[Batch]:
    """As many batches on every process: one that has no more gives padding until all are done."""
    batch = None
    for number in itertools.count():
        following = next(stream, None)
        if num_batches is None:
            more = multihost_utils.process_allgather(np.bool_(following is not None)).any()
        else:
            more = number < num_batches
        if not more:
            return
        batch = following or _padding(batch)
        yield batch


def _padding(batch: Batch | None) -> Batch:
    if batch is None:
        raise ValueError("this process has no examples; expected at least one on each.")
    return Batch(batch.x, batch.targets, np.zeros_like(batch.mask), batch.indices)


def _checked_independent(run: _Run, plan: _Plan, stream: Iterator[Batch]) -> Iterator[Batch]:
    """Compare the first example's logits with those it has among copies of itself.

    Once for each model and shape: it costs one batch.
    """
    first = next(stream)
    key = (run.apply_fn, jax.tree.structure(run.params), str(plan.abstract))
    if key not in _independent:
        alone = Batch(
            jax.tree.map(lambda leaf: np.repeat(leaf[:1], len(leaf), axis=0), first.x),
            first.targets,
            first.mask,
            first.indices,
        )
        among_others, among_copies = (
            local_rows(
                plan.step(run.params, run.initial_states(plan), run.placement.put_batch(batch))[2]
            )[0].astype(np.float64)
            for batch in (first, alone)
        )
        scale = np.abs(among_others[np.isfinite(among_others)]).max(initial=0)
        if not np.allclose(among_others, among_copies, rtol=0, atol=1e-3 * scale, equal_nan=True):
            raise _check.examples_interact()
        _independent.add(key)
    yield first
    yield from stream


_independent: set[Any] = set()


def _ordered_rows(lanes: list[_Lane], placement: Placement) -> list[Any]:
    """The rows of every lane and process, without padding, in order of dataset index."""
    parts = [part for lane in lanes for part in lane.rows]
    if not parts:
        return []
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    indices, mask, rows = gather_rows(joined, placement)
    order = np.flatnonzero(mask)
    order = order[np.argsort(indices[order], kind="stable")]
    return jax.tree.map(lambda leaf: leaf[order], rows)
