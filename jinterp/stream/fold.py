"""`fold`: any number of reducers in one pass over a dataset."""

import contextlib
import functools
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jinterp import _check, _functions
from jinterp._identity import identity
from jinterp._trace import abstract, settings
from jinterp._types import ApplyFn, Batch, Params
from jinterp.data.batches import DEFAULT_BATCH_SIZE, Batches, batches
from jinterp.data.items import Block
from jinterp.stream import memory
from jinterp.stream.checkpoint import NOTHING_DONE, Checkpoints, checkpoints
from jinterp.stream.fingerprint import Seen, blocks_after, digest_of, params_digest
from jinterp.stream.lanes import Pass, Plan
from jinterp.stream.memory import choose_batch_size, num_lanes
from jinterp.stream.mesh import place
from jinterp.stream.progress import progress_bar
from jinterp.stream.reduce import Collect, Reducer
from jinterp.stream.shards import agree
from jinterp.stream.step import Prepare, Run
from jinterp.stream.task import Classification, Task

CLASSIFICATION = Classification()


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
    task: Task = CLASSIFICATION,
    prepare: Prepare | None = None,
    mesh: Mesh | None = None,
    progress: bool | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 100,
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
        task: what outputs and targets must be: `Classification`, `Segmentation`, `Regression` or
            `AnyOutputs` of `jinterp.stream`.
        prepare: `prepare(params, batch, logits)`, computed once a batch, on each device for its
            part of it, and given to the reducers in place of the logits. `batch.x` is not
            preprocessed, and padding is not left out.
        mesh: the devices to cut batches over, along the axis `"data"` where it has one. None uses
            the mesh that `params` are on, all devices in a run of several processes, else one.
        progress: show a progress bar; None shows one for a long pass in a terminal.
        checkpoint_dir: a folder where the pass is saved as it goes, with Orbax. The same call
            after a stop goes on from what was saved. The folder stays when the pass is done. In a
            run of several processes all must see it.
        checkpoint_every: after how many batches each time.

    Returns:
        The result of each reducer under its name, as NumPy arrays on the host.

    Raises:
        ValueError: the dataset is empty, its shapes change, its targets are out of range, or the
            model mixes examples; what is in `checkpoint_dir` is of another pass, dataset or model,
            cannot be read, or is being written by another run.
        OSError: the pass cannot be saved.
        TypeError: the model does not return one array, or of another dtype.
        Interrupted: Ctrl-C; it holds the results so far.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jinterp.stream import mean
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> ds = (np.arange(6.0, dtype=np.float32).reshape(3, 2), np.zeros(3, int))
    >>> fold({"first": mean(lambda batch, logits: logits[:, 0])}, apply_fn, jnp.eye(2), ds)
    {'first': np.float64(2.0)}
    """
    _check.at_least_one("checkpoint_every", checkpoint_every, 100)
    dataset = batches(ds)
    _functions.warn_if_made_anew("apply_fn", apply_fn)
    _functions.warn_if_made_anew("preprocess", dataset.preprocess)
    placement = place(mesh, params)
    if checkpoint_dir is not None and placement.num_processes != jax.process_count():
        raise ValueError(
            f"`mesh` is on {placement.num_processes} of {jax.process_count()} processes; expected "
            "all of them with a checkpoint_dir."
        )
    run = Run(
        apply_fn,
        tuple(reducers.items()),
        dataset.preprocess,
        placement,
        placement.put_params(params),
        task,
        prepare,
    )
    # The mesh of the pass takes the place of one the user has set, whose axes may be explicit.
    with (
        jax.set_mesh(placement.mesh),
        checkpoints(checkpoint_dir, functools.partial(_about, run, dataset), placement) as saved,
    ):
        return _fold(run, dataset, progress, saved, checkpoint_every)


def _about(run: Run, dataset: Batches) -> dict[str, Any]:
    """What a checkpoint and the pass that goes on from it must have in common."""
    placement = run.placement
    own = -1 if dataset.num_examples is None else dataset.num_examples
    return {
        "number of examples": placement.gathered(np.array([own]))[:, 0].tolist(),
        "reducers": [f"{name}: {identity(reducer)}" for name, reducer in run.reducers],
        "apply_fn": identity(run.apply_fn),
        "preprocess": identity(run.preprocess),
        "prepare": identity(run.prepare),
        "params": params_digest(run.params, placement),
        "float64": bool(_config.jax_enable_x64),
    }


_log = logging.getLogger("jinterp")
_config: Any = jax.config  # whose flags type checkers do not know


def _fold(
    run: Run, dataset: Batches, progress: bool | None, saved: Checkpoints | None, every: int
) -> dict[str, Any]:
    done = saved.restore() if saved else NOTHING_DONE
    plan, stream = _plan(run, dataset, done.seen)
    seen: list[Seen] = []  # since the last checkpoint
    total = dataset.num_examples  # of this process, as is what it has done
    num_done = sum(each.length for each in done.seen)
    if num_done and jax.process_index() == 0:
        _log.info("going on from example %s of %s", num_done, total or "an unknown number")
    with (
        progress_bar(total, progress) as advance,
        contextlib.ExitStack() as threads,
    ):
        running = Pass(run, plan, done, threads)
        advance(num_done)
        try:
            for number, batch in enumerate(stream):
                num_valid = int(batch.mask.sum())
                running.give(batch, num_valid)
                if number == 0:
                    running.check_independent(batch)
                if plan.shard.polled:  # programs of several processes must start in one order
                    running.wait_for_all()
                if saved:
                    seen.append(digest_of(batch, num_done))
                    if (number + 1) % every == 0:
                        saved.save(running.done(seen))
                        seen = []
                num_done += num_valid
                advance(num_valid)
        except KeyboardInterrupt:
            if run.placement.num_processes > 1:  # merging would wait for the others
                raise
            running.wait_for_all()
            num_done = running.num_done
            if num_done == 0:
                raise
            raise Interrupted(running.results(), num_done, total) from None
        running.wait_for_all()
    return running.results()


def _plan(run: Run, dataset: Batches, seen: list[Seen]) -> tuple[Plan, Iterator[Batch]]:
    """Look at the first examples, choose the batch size, compile, and start the stream."""
    placement = run.placement
    # Programs with collectives must be launched in one order on every device: one lane.
    lanes = 1 if placement.mesh.size > 1 else num_lanes(_device(run))
    some, blocks = blocks_after(dataset.source, seen, dataset.batch_size or DEFAULT_BATCH_SIZE)
    batch_size = dataset.batch_size or _chosen_size(run, some, dataset.num_examples, lanes)
    batch_size = placement.least(batch_size)
    batch_size = -(-batch_size // placement.num_shards) * placement.num_shards
    local_size = batch_size // placement.num_processes
    num_done = sum(each.length for each in seen)
    shard = agree(dataset.num_examples, num_done, local_size, placement)
    plan = Plan(functools.partial(run.compile, some), run.abstract(some, batch_size), lanes, shard)

    def check(targets: np.ndarray, first_index: int, stride: int) -> None:
        run.task.check_values(targets, plan.abstract[1], first_index, stride)

    return plan, shard.batches(blocks, local_size, check, placement, some)


def _chosen_size(run: Run, some: Block, num_examples: int | None, lanes: int) -> int:
    """The batch size where none was given; that of the same pass before is remembered.

    To look at the program takes a tenth of a second.
    """
    placement = run.placement
    budget = memory.rounded_budget(_device(run), of_all=placement.num_processes > 1)
    # Processes have parts and memory of their own, and must cut the same batches.
    num_examples = num_examples if placement.num_processes == 1 else None
    num = len(some.targets)
    logits = run.abstract(some, num)[1]
    example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), some)
    fixed = run._replace(params=abstract((run.params, example)))
    shardings = tuple(getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(run.params))
    key = fixed, shardings, num_examples, lanes, budget, settings()
    size = _sizes.get(key)
    if size is None:
        size = choose_batch_size(
            functools.partial(run.lower, some),
            _device(run),
            budget=budget,
            num_shards=placement.num_shards,
            num_lanes=lanes,
            num_examples=num_examples,
            output_bytes=max(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(logits))
            // num,
        )
        if len(_sizes) >= _MOST_SIZES:
            _sizes.clear()
        _sizes[key] = size
    return size


_sizes: dict[Any, int] = {}
_MOST_SIZES = 64


def _device(run: Run) -> jax.Device:
    return run.placement.mesh.local_devices[0]
