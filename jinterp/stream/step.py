"""The compiled step of a pass: preprocessing, the model and every reducer, for one batch."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec
from jax.stages import Compiled, Lowered

from jinterp import _check
from jinterp._types import ApplyFn, Batch, Params, PreprocessFn
from jinterp.data.items import Block
from jinterp.stream.mesh import Placement
from jinterp.stream.reduce import Collect, Reducer
from jinterp.stream.task import Task

Reducers = tuple[tuple[str, Reducer | Collect], ...]
Prepare = Callable[[Params, Batch, Any], Any]


class Run(NamedTuple):
    """What one pass computes, and where."""

    apply_fn: ApplyFn
    reducers: Reducers
    preprocess: PreprocessFn | None
    placement: Placement
    params: Params
    task: Task
    prepare: Prepare | None

    def abstract(self, block: Block, batch_size: int) -> tuple[Batch, Any]:
        """The shapes of a batch and of its logits, checked."""

        def struct(leaf: np.ndarray) -> jax.ShapeDtypeStruct:
            dtype = jax.dtypes.canonicalize_dtype(leaf.dtype)
            return jax.ShapeDtypeStruct((batch_size, *leaf.shape[1:]), dtype)

        x, targets = jax.tree.map(struct, tuple(block))
        mask = jax.ShapeDtypeStruct((batch_size,), np.bool_)
        batch = Batch(x, targets, mask, jax.ShapeDtypeStruct((batch_size,), np.int32))
        seen = jax.eval_shape(self.preprocess, x) if self.preprocess else x
        logits = _check.any_outputs_of(self.apply_fn, self.params, seen)
        self.task.check_outputs(logits, batch_size)
        self.task.check_targets(block.targets, logits)
        return batch, logits

    def compile(self, block: Block, batch_size: int) -> Compiled:
        """The step for this batch size; JAX keeps it, so a second call costs a millisecond."""
        return self.lower(block, batch_size).compile()

    def lower(self, block: Block, batch_size: int) -> Lowered:
        """The step for this batch size, traced."""
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
        return _step.lower(
            self.apply_fn,
            self.reducers,
            self.preprocess,
            self.prepare,
            self.placement,
            self.params,
            states,
            batch,
        )

    def initial_states(self, batch: Batch, logits: Any) -> Any:
        """Accumulators of one lane, one for each shard, on the devices."""
        num = self.placement.num_shards
        return self.placement.put_states(
            jax.tree.map(
                lambda leaf: np.broadcast_to(leaf, (num, *leaf.shape)), self._states(batch, logits)
            )
        )

    def _states(self, batch: Batch, logits: Any) -> list[Any]:
        seen = self._seen(batch, logits)
        return [r.init(batch, seen) for _, r in self.reducers if isinstance(r, Reducer)]

    def _seen(self, batch: Batch, logits: Any) -> Any:
        """The shapes of what the reducers are given."""
        return jax.eval_shape(self.prepare, self.params, batch, logits) if self.prepare else logits

    def structure(self, batch: Batch, logits: Any) -> tuple[Any, Any]:
        """The structures of the accumulators, and of the rows with their indices and mask."""
        collected = [r.value_fn for _, r in self.reducers if isinstance(r, Collect)]
        seen = self._seen(batch, logits)
        rows = jax.eval_shape(lambda b, scores: [f(b, scores) for f in collected], batch, seen)
        states = self._states(batch, logits)
        return jax.tree.structure(states), jax.tree.structure((batch.indices, batch.mask, rows))

    def stack(self, states: list[Any]) -> list[Any]:
        """Accumulators of lanes and shards, of all processes, one behind the other on the host."""
        return jax.device_get(_stack(self.placement, states))

    def merge(self, states: list[Any]) -> list[Any]:
        """The accumulators of all lanes, shards and processes as one, on the host."""
        return jax.device_get(_merge(self.reducers, self.placement, states))


@functools.partial(
    jax.jit,
    static_argnames=("apply_fn", "reducers", "preprocess", "prepare", "placement"),
)  # donates nothing: a step that runs out of memory is computed again from the same states
def _step(
    apply_fn: ApplyFn,
    reducers: Reducers,
    preprocess: PreprocessFn | None,
    prepare: Prepare | None,
    placement: Placement,
    params: Params,
    states: list[Any],
    batch: Batch,
) -> tuple[list[Any], list[Any], Any]:
    """New states, collected rows, and the logits of each shard's first example, for one batch."""
    logits = apply_fn(params, preprocess(batch.x) if preprocess else batch.x)

    def update(states: list[Any], batch: Batch, logits: Any, params: Params) -> tuple[Any, ...]:
        states = jax.tree.map(lambda leaf: leaf[0], states)
        updates = [r.update for _, r in reducers if isinstance(r, Reducer)]
        seen = prepare(params, batch, logits) if prepare else logits
        states = [f(state, batch, seen) for f, state in zip(updates, states, strict=True)]
        rows = [r.value_fn(batch, seen) for _, r in reducers if isinstance(r, Collect)]
        first = jax.tree.map(lambda leaf: leaf[:1], logits)
        return jax.tree.map(lambda leaf: leaf[None], states), rows, first

    # Each shard updates a state of its own, so no batch waits for a collective.
    cut, whole = PartitionSpec(placement.axes), PartitionSpec()
    return jax.shard_map(
        update,
        mesh=placement.mesh,
        in_specs=(cut, cut, cut, whole),
        out_specs=cut,
        check_vma=False,
    )(states, batch, logits, params if prepare else ())


@functools.partial(jax.jit, static_argnames="placement")
def _stack(placement: Placement, states: list[Any]) -> Any:
    stacked = jax.tree.map(lambda *leaves: jax.numpy.concatenate(leaves), *states)
    return jax.lax.with_sharding_constraint(stacked, placement.replicated)


@functools.partial(jax.jit, static_argnames=("reducers", "placement"))
def _merge(reducers: Reducers, placement: Placement, states: list[Any]) -> list[Any]:
    """The states of all lanes and shards as one, on every device."""
    merges = [r.merge for _, r in reducers if isinstance(r, Reducer)]
    merged = []
    for merge, stacked in zip(merges, _stack(placement, states), strict=True):
        first = jax.tree.map(lambda leaf: leaf[0], stacked)
        rest = jax.tree.map(lambda leaf: leaf[1:], stacked)
        merged.append(jax.lax.scan(functools.partial(_scanned, merge), first, rest)[0])
    return merged


def _scanned(merge: Callable[[Any, Any], Any], a: Any, b: Any) -> tuple[Any, None]:
    return merge(a, b), None
