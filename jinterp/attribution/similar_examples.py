"""The examples of a dataset that are nearest in a layer's space."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from jinterp import _check, _functions
from jinterp._trace import warn
from jinterp._types import AnyArray, ApplyFn, Batch, Inputs, Params
from jinterp.attribution._layer import pooled
from jinterp.data.batches import batches
from jinterp.stream.fold import fold
from jinterp.stream.mesh import params_of_this_host
from jinterp.stream.reduce import Reducer, counts, top_k_each
from jinterp.stream.rows import map_rows
from jinterp.stream.task import AnyOutputs

Metric = Literal["cosine", "euclidean"]


class SimilarExamples(NamedTuple):
    """The nearest examples of a dataset, for each query the nearest first.

    Attributes:
        similarities: `[queries, k]`, the larger the nearer: the cosine, from −1 to 1, or minus the
            Euclidean distance.
        indices: `[queries, k]` dataset indices.
        targets: `[queries, k]` targets of these examples, or `[queries, k, ...]` as they are.
    """

    similarities: np.ndarray
    indices: np.ndarray
    targets: np.ndarray


def similar_examples(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    ds: Any,
    *,
    layer: str,
    k: int = 9,
    metric: Metric = "cosine",
    channel_axis: int = -1,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> SimilarExamples:
    """The k examples of a dataset that are nearest to each query in a layer's space.

    u · v / (‖u‖ ‖v‖), or −‖u − v‖, of the layer's output for a query and for an example. An output
    in space, or over tokens, is its mean over them, a class token included; a vector is taken as
    it is. The search is exact: one pass compares every example with every query and holds
    queries · k of them, and no activations of the dataset.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`; what it returns is not looked at.
        params: its parameters.
        x: the queries `[queries, ...]`, as the model takes them: preprocessed. In a run of several
            processes each gives all of them.
        ds: anything that `batches` takes, with its own `preprocess`.
        layer: a name that `layers` lists.
        k: how many examples for each query.
        metric: "cosine", or "euclidean" where the length of a vector says something, too.
        channel_axis: of the layer's output; 1 for channels first.
        mesh: the devices to cut batches over.
        progress: show a progress bar; None shows one for a long pass in a terminal.

    Returns:
        Similarities, dataset indices and targets. A query that is in `ds` finds itself. Equal
        similarities go by dataset index. A vector of zeros has the cosine 0 with all; one that is
        not finite has the similarity NaN and comes last. Both are announced.

    Raises:
        TypeError: the layer has several outputs, or integers.
        ValueError: there is no such layer or metric; k is larger than the dataset.

    >>> import jax, jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("embedding"):
    ...         x = x @ params
    ...     return x
    >>> ds = (np.array([[0.0, 1.0], [1.0, 1.0], [3.0, 0.0]], np.float32), np.array([7, 8, 9]))
    >>> x = jnp.array([[1.0, 0.0]])
    >>> found = similar_examples(apply_fn, jnp.eye(2), x, ds, layer="embedding", k=2)
    >>> print(found.indices, found.similarities.round(3), found.targets)
    [[2 1]] [[1.    0.707]] [[9 8]]

    Source: Caruana et al. 1999, nearest neighbours in the space of a hidden layer.
    """
    _check.is_layer_name(layer)
    if metric not in _METRICS:
        raise ValueError(f"`metric` is {metric!r}; expected 'cosine' or 'euclidean'.")
    _functions.warn_if_made_anew("apply_fn", apply_fn)
    dataset = batches(ds)
    # In a run of several processes the dataset is only this one's part.
    _check.at_most_dataset(k, dataset.num_examples if jax.process_count() == 1 else None)
    queries = _queries(apply_fn, params_of_this_host(params), x, layer, channel_axis)
    compare: Any = _Compare(apply_fn, layer, channel_axis, metric)
    reducers = {"nearest": _nearest(k), "not_finite": _not_finite()}
    found = fold(
        reducers,
        compare,
        (params, queries),
        dataset,
        task=AnyOutputs(),
        mesh=mesh,
        progress=progress,
    )
    _tell(found, queries, k, metric)
    nearest = found["nearest"]
    return SimilarExamples(nearest.values, nearest.indices, nearest.payload)


def _queries(
    apply_fn: ApplyFn, params: Params, x: Inputs, layer: str, channel_axis: int
) -> np.ndarray:
    """The vectors of the queries, on the host."""
    x = jax.tree.map(jnp.asarray, x)
    _check.num_examples(x)
    _check.any_outputs_of(apply_fn, params, x)
    return np.asarray(map_rows(_vectors, (apply_fn, layer, channel_axis), params, x))


def _vectors(static: Any, params: Params, x: Inputs, point: None) -> Array:
    apply_fn, layer, channel_axis = static
    return pooled(apply_fn, layer, channel_axis, params, x)


class _Compared(NamedTuple):
    """The examples of a batch beside the queries.

    Attributes:
        similarities: `[batch, queries]`.
        is_finite: `[batch]`, whether all numbers of the example's vector are.
    """

    similarities: AnyArray
    is_finite: AnyArray


@dataclasses.dataclass(frozen=True)
class _Compare:
    """A model whose outputs are similarities; the queries are a part of its parameters."""

    apply_fn: ApplyFn
    layer: str
    channel_axis: int
    metric: Metric

    def __call__(self, params: tuple[Params, Array], x: Inputs) -> _Compared:
        weights, queries = params
        vectors = pooled(self.apply_fn, self.layer, self.channel_axis, weights, x)
        is_finite = jnp.isfinite(vectors).all(axis=1)
        similarities = _METRICS[self.metric](vectors, queries)
        usable = is_finite[:, None] & jnp.isfinite(queries).all(axis=1)[None]
        missing = jnp.array(jnp.nan, similarities.dtype)
        return _Compared(jnp.where(usable, similarities, missing), is_finite)


def _cosine(a: Array, b: Array) -> Array:
    a, b = _directions(a), _directions(b)
    # Not a product of matrices: rounding must not depend on where in a batch an example stands.
    return (a[:, None] * b[None]).sum(axis=2)


def _euclidean(a: Array, b: Array) -> Array:
    return -jnp.sqrt(jnp.square(a[:, None] - b[None]).sum(axis=2))


_METRICS: Mapping[str, Any] = {"cosine": _cosine, "euclidean": _euclidean}


def _directions(vectors: Array) -> Array:
    """Unit vectors; zeros stay zeros."""
    largest = jnp.abs(vectors).max(axis=1, keepdims=True)  # whose square may be infinite
    scaled = vectors / jnp.where(largest == 0, jnp.ones_like(largest), largest)
    norms = jnp.sqrt(jnp.square(scaled).sum(axis=1, keepdims=True))
    return scaled / jnp.where(norms == 0, jnp.ones_like(norms), norms)


@functools.cache
def _nearest(k: int) -> Reducer:
    def value(batch: Batch, compared: _Compared) -> Array:
        return compared.similarities

    def targets(batch: Batch, compared: _Compared) -> Array:
        return batch.targets

    return top_k_each(value, k, targets)


@functools.cache
def _not_finite() -> Reducer:
    def cell(batch: Batch, compared: _Compared) -> Array:
        return compared.is_finite.astype(jnp.int32)

    return counts(cell, 1)


def _tell(found: Mapping[str, Any], queries: np.ndarray, k: int, metric: Metric) -> None:
    """What the similarities cannot tell."""
    if num := int(found["not_finite"][0]):
        warn(
            f"{num} examples of `ds` have NaN or infinite activations; their similarity is NaN and "
            "they come last. jinterp.predictions says whose inputs are not finite."
        )
    if num := int((~np.isfinite(queries).all(axis=1)).sum()):
        warn(f"{num} of {len(queries)} queries have NaN or infinite activations, similar to none.")
    if metric == "cosine" and (num := int((queries == 0).all(axis=1).sum())):
        warn(
            f"{num} of {len(queries)} queries are zero everywhere in this layer, which has no "
            "direction: their cosine with all is 0. Use metric='euclidean', or another layer."
        )
    if (num_found := found["nearest"].values.shape[1]) < k:
        warn(f"`k` is {k}; the dataset had only {num_found} examples, all returned.")
