"""Attributions of a whole dataset, streamed to disk."""

import functools
import itertools
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from jinterp import _check
from jinterp._identity import identity
from jinterp._question import ask, default_of, with_predictions
from jinterp._trace import warn
from jinterp._types import ApplyFn, Batch, Explainer, Inputs, Params, PreprocessFn
from jinterp.data.batches import Batches, batches, host_batches
from jinterp.model import logit
from jinterp.stream.fingerprint import (
    Seen,
    blocks_after,
    difference,
    digest_of,
    params_digest,
    same_as,
)
from jinterp.stream.memory import usual_batch_size
from jinterp.stream.mesh import Placement, local_mesh, params_of_this_host, place
from jinterp.stream.progress import progress_bar
from jinterp.stream.shards import own_part, wait_for_all_processes
from jinterp.stream.store import NUMBERS, Store
from jinterp.stream.writer import only_writer

TargetOf = int | Callable[[Batch], Any] | None
_DTYPES = ("float16", "float32")


def explain_dataset(
    explain: Explainer,
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    *,
    out: str | os.PathLike[str],
    target: TargetOf = None,
    dtype: str = "float32",
    resume: bool = False,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> Path:
    """Explain every example of a dataset, and write the values to a Zarr v3 group.

    The group holds `values` `[examples, ...]` (or a group of arrays where the explainer returns
    several), `targets` (the classes explained), `indices` (in the dataset, −1 where there is
    nothing yet) and `digest` (of each batch of the data). A batch is a chunk. What is complete can
    be read while the rest is computed: with `read_explanations`, zarr, TensorStore or xarray.

    In a run of several processes each explains its own part of the dataset on its own devices and
    writes its rows; all must see the folder, and know the length of their part.

    Args:
        explain: an explainer; bind its keywords with `functools.partial`.
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        ds: anything that `batches` takes. Where it has a `preprocess`, values are of what that
            returns.
        out: the folder.
        target: None explains the predicted class, an int that class, and a function of the batch
            what it returns, `[batch]`, such as `operator.attrgetter("targets")` for the label.
        dtype: in which floats are stored, "float32" or "float16".
        resume: go on with what is in `out`. What is complete is not computed again; what is
            damaged is. Nothing there is no error.
        mesh: the devices to cut batches over, of this process.
        progress: show a progress bar; None shows one for a long pass in a terminal.

    Returns:
        The folder.

    Raises:
        ValueError: `out` holds something and `resume` is False; what it holds is of another
            explainer, model or dataset; another run is writing to it.
        OSError: the values cannot be written, as on a full disk; what was written stays.

    >>> import jax.numpy as jnp, jinterp, numpy as np, tempfile
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> ds = (np.ones((3, 2), np.float32), np.zeros(3, int))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = explain_dataset(jinterp.gradient, apply_fn, jnp.eye(2), ds, out=folder + "/g")
    ...     jinterp.read_explanations(out).values.shape
    (3, 2)
    """
    _is_known(dtype)
    folder, dataset = Path(out).absolute(), batches(ds)
    params = params_of_this_host(params)
    placement = place(mesh or local_mesh(), params)
    first, lengths = own_part(dataset.num_examples)
    job = _Job(explain, apply_fn, placement.put_params(params), dataset, target, dtype, placement)
    with only_writer(folder):
        about = job.about(lengths)
        if jax.process_index() == 0:
            _begin(folder, about, resume, dataset.batch_size)
        wait_for_all_processes("the explanations can be written")
        store = Store.open(folder)
        _is_of_the_job(store, about, dataset.batch_size)
        _devices_share(store.about["batch_size"], placement.num_shards)
        _run(job, store, first, progress)
        wait_for_all_processes("the explanations are written")
    if not store.done().all():
        raise OSError(
            f"{int((~store.done()).sum())} explanations in {str(folder)!r} got lost while they "
            "were written; expected a file system whose locks hold for all processes. Go on with "
            "resume=True."
        )
    return folder


class _Job(NamedTuple):
    """What is computed of each batch."""

    explain: Explainer
    apply_fn: ApplyFn
    params: Params
    dataset: Batches
    target: TargetOf
    dtype: str
    placement: Placement

    def about(self, lengths: list[int] | None) -> dict[str, Any]:
        """What a store and the job that goes on with it must have in common."""
        size = self.dataset.batch_size or usual_batch_size(self.placement.mesh.local_devices[0])
        num_shards = self.placement.num_shards
        return {
            "num_examples": sum(lengths) if lengths else None,
            "parts": lengths,
            "batch_size": -(-size // num_shards) * num_shards,
            "dtype": self.dtype,
            "target": identity(self.target),
            "explainer": identity(self.explain),
            "apply_fn": identity(self.apply_fn),
            "preprocess": identity(self.dataset.preprocess),
            "params": params_digest(self.params, self.placement),
        }

    def __call__(self, batch: Batch) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The values by name and the class explained, of the examples that are not padding."""
        num_valid = int(batch.mask.sum())
        placed = self.placement.put_batch(batch)
        x = _preprocessed(self.dataset.preprocess, placed.x)
        targets = self.targets(x, placed)
        values = self.explain(self.apply_fn, self.params, x, targets)
        stored = np.full(len(batch.mask), -1) if targets is None else targets
        values, stored = jax.device_get((values, stored))
        _has_rows(values, len(batch.mask))
        values = jax.tree.map(lambda leaf: leaf[:num_valid], values)
        return _by_name(values, self.dtype), np.asarray(stored)[:num_valid]

    def targets(self, x: Inputs, batch: Batch) -> Array | None:
        if self.target is None:
            score = default_of(self.explain, "score", logit)
            question = ask(self.apply_fn, self.params, x, None, score, differentiable=False)
            return with_predictions(question).target
        given = self.target(batch) if callable(self.target) else self.target
        given = _check.array("target", given)
        if given.shape not in ((), batch.mask.shape):
            raise ValueError(
                f"`target` gives an array of shape {given.shape} for {len(batch.mask)} examples; "
                "expected one class, or a function of the batch that returns one for each."
            )
        return jnp.broadcast_to(given, batch.mask.shape)


def _run(job: _Job, store: Store, first: int, progress: bool | None) -> None:
    total = job.dataset.num_examples
    with progress_bar(total, progress) as advance, ThreadPoolExecutor(1) as writer:
        written: Future[None] | None = None
        for batch, digest in _left(job.dataset, store, first, advance):
            values, targets = job(batch)
            start = int(batch.indices[0])
            if written is not None:
                written.result()
            written = writer.submit(store.write, start, values, targets, digest)
            advance(len(targets))
        if written is not None:
            written.result()


def _left(
    dataset: Batches, store: Store, first: int, advance: Callable[[int], None]
) -> Iterator[tuple[Batch, int]]:
    """The batches that are not complete, with their digests; those that are, are compared."""
    size = store.about["batch_size"]
    end = len(store) if dataset.num_examples is None else first + dataset.num_examples
    done, digests = store.done()[first:end], store.digests()[first:end]
    starts = range(0, len(done), size)
    complete = {
        start: Seen(start, len(part), int(digests[start]))
        for start in starts
        if (part := done[start : start + size]).all()
    }
    seen = [complete[start] for start in itertools.takewhile(complete.__contains__, starts)]
    num_seen = sum(each.length for each in seen)
    advance(num_seen)
    if complete:
        num_done = sum(each.length for each in complete.values())
        _log.info("going on with %s of %s explanations complete", num_done, len(done))
    _, blocks = blocks_after(dataset.source, seen, size)
    for batch in host_batches(blocks, size, first_index=first + num_seen):
        found = digest_of(batch, int(batch.indices[0]) - first)
        if found.start not in complete:
            yield batch, found.digest
        else:
            same_as(complete[found.start], found)
            advance(found.length)


def _begin(folder: Path, about: dict[str, Any], resume: bool, batch_size: int | None) -> None:
    """Make a new store, or mend the one there is."""
    there = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if not there or (resume and "zarr.json" not in there and there <= set(NUMBERS)):
        Store.create(folder, about)
        return
    if not resume:
        raise ValueError(
            f"`out` is {str(folder)!r}, which is not empty; expected a new folder. Go on with what "
            "it holds by resume=True, or delete it."
        )
    store = Store.open(folder)
    _is_of_the_job(store, about, batch_size)
    store.mend()


def _is_of_the_job(store: Store, about: dict[str, Any], batch_size: int | None) -> None:
    """What the store was begun with is what this call has, or a named error."""
    for name, expected in about.items():
        if name == "batch_size" and batch_size is None:
            continue
        found = store.about.get(name)
        if found != expected:
            reason = difference(name, found, expected)
            if name == "parts" and found and expected and len(found) != len(expected):
                reason = f"{len(found)} processes began it, this call has {len(expected)}"
            raise ValueError(
                f"`out` holds explanations of another kind: {reason}. Call with what they were "
                "begun with, or give another folder."
            )


def _devices_share(batch_size: int, num_devices: int) -> None:
    if batch_size % num_devices:
        raise ValueError(
            f"`out` was begun with batches of {batch_size}, which {num_devices} devices cannot "
            f"share alike; expected a number of devices that divides {batch_size}. Give such a "
            "`mesh`."
        )


@functools.partial(jax.jit, static_argnames="preprocess")
def _preprocessed(preprocess: PreprocessFn | None, x: Inputs) -> Inputs:
    return preprocess(x) if preprocess else x


def _has_rows(values: Any, num_examples: int) -> None:
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(values)]
    if any(shape[:1] != (num_examples,) for shape in shapes):
        raise ValueError(
            f"`explain` returned arrays of shape {', '.join(map(str, shapes))} for {num_examples} "
            "examples; expected a row for each."
        )


def _by_name(values: Any, dtype: str) -> dict[str, np.ndarray]:
    """The arrays of a pytree by their paths, floats in the dtype they are stored in."""
    return {
        "/".join(["values", *map(_key, path)]): _stored(leaf, dtype)
        for path, leaf in jax.tree_util.tree_leaves_with_path(values)
    }


def _key(key: Any) -> str:
    found = [getattr(key, name) for name in ("key", "name", "idx") if hasattr(key, name)]
    return str(found[0])


def _stored(values: np.ndarray, dtype: str) -> np.ndarray:
    if not jnp.issubdtype(values.dtype, jnp.floating):
        return values
    with np.errstate(over="ignore"):
        stored = values.astype(dtype)
    num = int((np.isinf(stored) & np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum())
    if num:
        warn(
            f"values of {num} of {len(values)} examples are too large for {dtype} and are stored "
            'as infinite. Store them as dtype="float32".'
        )
    return stored


_log = logging.getLogger("jinterp")


def _is_known(dtype: str) -> None:
    if dtype not in _DTYPES:
        raise ValueError(f"`dtype` is {dtype!r}; expected one of {', '.join(map(repr, _DTYPES))}.")
