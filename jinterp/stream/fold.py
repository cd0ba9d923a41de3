"""`fold`: any number of reducers in one pass over a dataset."""

import functools
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jax.stages import Compiled

from jinterp import _check, _functions
from jinterp._types import ApplyFn, Batch, Params
from jinterp.data.batches import DEFAULT_BATCH_SIZE, Batches, batches, peek
from jinterp.stream.memory import choose_batch_size, num_lanes
from jinterp.stream.mesh import Placement, gather_rows, local_rows, place
from jinterp.stream.progress import progress_bar
from jinterp.stream.reduce import Collect, Reducer
from jinterp.stream.shards import Shard, agree
from jinterp.stream.step import Run


class Interrupted(KeyboardInterrupt):
    """A pass was stopped by Ctrl-C; what was done until then is kept.

    Attributes:
        results: what `fold` would have returned for the examples seen.
        num_examples: how many examples these are.
    """

    def __init__(self, results: dict[str, Any], num_examples: int, total: int | None):
        of = f" of {total}" if total else ""
        super().__init__(f"stopped after {num_examples}{of} examples")
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
    _functions.warn_if_made_anew("apply_fn", apply_fn)
    _functions.warn_if_made_anew("preprocess", dataset.preprocess)
    placement = place(mesh, params)
    run = Run(
        apply_fn,
        tuple(reducers.items()),
        dataset.preprocess,
        placement,
        placement.put_params(params),
    )
    # The mesh of the pass takes the place of one the user has set, whose axes may be explicit.
    with jax.set_mesh(placement.mesh):
        return _fold(run, dataset, progress)


def _fold(run: Run, dataset: Batches, progress: bool | None) -> dict[str, Any]:
    plan, stream = _plan(run, dataset)
    lanes = [_Lane(run.initial_states(*plan.abstract)) for _ in range(plan.num_lanes)]
    with (
        progress_bar(plan.shard.total, progress) as advance,
        ThreadPoolExecutor(plan.num_lanes) as pool,
    ):
        try:
            for number, batch in enumerate(stream):
                lane = lanes[number % plan.num_lanes]
                num_valid = int(batch.mask.sum())
                placed = run.placement.put_batch(batch)  # copied while the lane still computes
                lane.wait()
                lane.future = pool.submit(lane.step, plan.step, run.params, placed, num_valid)
                if plan.shard.polled:  # programs of several processes must start in one order
                    lane.wait()
                advance(num_valid)
        except KeyboardInterrupt:
            if run.placement.num_processes > 1:  # merging would wait for the others
                raise
            pool.shutdown(wait=True)
            num_done = sum(lane.num_done for lane in lanes)
            if num_done == 0:
                raise
            results = _finish(run, lanes)
            raise Interrupted(results, num_done, plan.shard.total) from None
    return _finish(run, lanes)


class _Lane:
    """One of the batches in flight, with accumulators and rows of its own."""

    def __init__(self, states: Any):
        self.states = states
        self.rows: list[Any] = []
        self.num_done = 0
        self.future: Future[None] | None = None

    def step(self, step: Compiled, params: Params, batch: Batch, num_valid: int) -> None:
        self.states, rows, _ = jax.block_until_ready(step(params, self.states, batch))
        if rows:
            self.rows.append(local_rows((batch.indices, batch.mask, rows)))
        self.num_done += num_valid

    def wait(self) -> None:
        if self.future is not None:
            self.future.result()
            self.future = None


class _Plan(NamedTuple):
    """How one pass is cut."""

    step: Compiled
    abstract: tuple[Batch, jax.ShapeDtypeStruct]
    num_lanes: int
    shard: Shard


def _plan(run: Run, dataset: Batches) -> tuple[_Plan, Iterator[Batch]]:
    """Look at the first examples, choose the batch size, compile, and start the stream."""
    placement = run.placement
    device = placement.mesh.local_devices[0]
    # Programs with collectives must be launched in one order on every device: one lane.
    lanes = 1 if placement.mesh.size > 1 else num_lanes(device)
    first, blocks = peek(dataset.source.blocks(dataset.batch_size or DEFAULT_BATCH_SIZE))
    compile_at = functools.partial(run.compile, first)
    batch_size = dataset.batch_size or choose_batch_size(
        compile_at,
        device,
        num_shards=placement.num_shards,
        num_lanes=lanes,
        # Processes have parts and memory of their own, and must cut the same batches.
        num_examples=dataset.num_examples if placement.num_processes == 1 else None,
    )
    batch_size = placement.least(batch_size)
    batch_size = -(-batch_size // placement.num_shards) * placement.num_shards
    step = compile_at(batch_size)
    local_size = batch_size // placement.num_processes
    shard = agree(dataset.num_examples, local_size, placement)
    abstract = run.abstract(first, batch_size)
    plan = _Plan(step, abstract, lanes, shard)
    stream = shard.batches(blocks, local_size, abstract[1].shape[1], placement)
    return plan, _checked_independent(run, plan, stream)


def _checked_independent(run: Run, plan: _Plan, stream: Iterator[Batch]) -> Iterator[Batch]:
    """Compare the first example's logits with those it has among copies of itself.

    Once for each model and shape: it costs one batch.
    """
    first = next(stream)
    # Hashes, so that no function is kept alive.
    key = hash((run.apply_fn, run.preprocess)), jax.tree.structure(run.params), str(plan.abstract)
    if key not in _independent:
        alone = Batch(
            jax.tree.map(lambda leaf: np.repeat(leaf[:1], len(leaf), axis=0), first.x),
            first.targets,
            first.mask,
            first.indices,
        )
        among_others, among_copies = (
            local_rows(
                plan.step(
                    run.params,
                    run.initial_states(*plan.abstract),
                    run.placement.put_batch(batch),
                )[2]
            )[0].astype(np.float64)
            for batch in (first, alone)
        )
        scale = np.abs(among_others[np.isfinite(among_others)]).max(initial=0)
        if not np.allclose(among_others, among_copies, rtol=0, atol=1e-3 * scale, equal_nan=True):
            raise _check.examples_interact()
        if np.isfinite(among_others).all() and not _equal(first.x, alone.x):
            _independent.add(key)
    yield first
    yield from stream


_independent: set[Any] = set()


def _equal(a: Any, b: Any) -> bool:
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


def _finish(run: Run, lanes: list[_Lane]) -> dict[str, Any]:
    """The results of all lanes, shards and processes."""
    for lane in lanes:
        lane.wait()
    final = iter(run.merge([lane.states for lane in lanes]))
    rows = iter(_ordered_rows(lanes, run.placement))
    return {
        name: reducer.finalize(next(final)) if isinstance(reducer, Reducer) else next(rows)
        for name, reducer in run.reducers
    }


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
