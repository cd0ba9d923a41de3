"""Directions of concepts in a layer, each between examples of it and random ones."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinterp import _check, _functions
from jinterp._text import text_table
from jinterp._trace import warn
from jinterp._types import ApplyFn, Inputs, Params
from jinterp.attribution._layer import floats_of
from jinterp.stream.rows import map_rows

_LEAST_EXAMPLES, _LEAST_SETS = 10, 3
_RIDGE = 0.1  # of the mean eigenvalue of the kernel


class ConceptVectors(NamedTuple):
    """Directions in a layer, towards a concept and away from random examples.

    Attributes:
        layer: its name.
        concepts: their names.
        vectors: `[concepts, sets, ...]` in the shape of the layer's output for one example, of unit
            length: one against each random set.
        separations: `[concepts, sets]`, how far apart the means of the two sets lie along each, in
            units of the layer.
        accuracies: `[concepts, sets]`, the share of the examples on the right side of the
            hyperplane fitted without them, the mean of both sets; 0.5 is chance.
        random_vectors: `[pairs, ...]`, from one random set towards another.
        random_separations: `[pairs]`, of these.
        pairs: `[pairs, 2]`, the number of the set towards which, and of the other.
    """

    layer: str
    concepts: tuple[str, ...]
    vectors: np.ndarray
    separations: np.ndarray
    accuracies: np.ndarray
    random_vectors: np.ndarray
    random_separations: np.ndarray
    pairs: np.ndarray

    def __str__(self) -> str:
        """A row for each concept."""
        rows = [
            [name, f"{accuracy:.3f}"]
            for name, accuracy in zip(self.concepts, self.accuracies.mean(axis=1), strict=True)
        ]
        return text_table([self.layer, "accuracy"], rows)


def concept_vectors(
    apply_fn: ApplyFn,
    params: Params,
    concepts: Mapping[str, Inputs],
    random: Sequence[Inputs],
    *,
    layer: str,
) -> ConceptVectors:
    """The normals of hyperplanes between a concept's examples and random ones, in a layer.

    For each concept and each random set, and for each pair of random sets, a ridge regression of
    ±1 on the layer's flattened output. The fit and its accuracy on examples left out have a closed
    form, so nothing is drawn.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        concepts: from a name to examples of the concept `[examples, ...]`, as the model takes them.
        random: sets of examples drawn from the data, at least 3, each about as large as the
            concepts' are; 10 and more give `tcav` something to compare with.
        layer: a name that `layers` lists.

    Returns:
        Unit vectors and accuracies. A concept that cannot be told from random examples is
        announced: its direction means nothing. It holds the layer's outputs for all sets on the
        host.

    Raises:
        TypeError: the layer has several outputs, or integers.
        ValueError: a set has fewer than 10 examples, or others in shape; two sets are the same;
            there are fewer than 3 random sets.

    >>> import jax, jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         x = x @ params
    ...     return x
    >>> rng = np.random.default_rng(0)
    >>> random = [rng.normal(size=(30, 2)).astype(np.float32) for _ in range(3)]
    >>> shifted = {"to the right": random[0] + np.array([9, 0], np.float32)}
    >>> found = concept_vectors(apply_fn, jnp.eye(2), shifted, random, layer="hidden")
    >>> print(found.vectors.shape, (found.vectors[..., 0] > 0.8).all(), found.accuracies)
    (1, 3, 2) True [[1. 1. 1.]]

    Source: Kim et al. 2018, section 3.2; there a linear classifier is fitted by gradient descent.
    """
    _check.is_layer_name(layer)
    _functions.warn_if_made_anew("apply_fn", apply_fn)
    _check_sets(concepts, random)
    named = [(f"the concept {name!r}", x) for name, x in concepts.items()]
    named += [(f"random set {number}", x) for number, x in enumerate(random)]
    sets = _activations(apply_fn, params, layer, named)
    shape = sets[0].shape[1:]
    flat = [rows.reshape(len(rows), -1) for rows in sets]
    own, others = flat[: len(concepts)], flat[len(concepts) :]
    pairs = np.array(list(itertools.combinations(range(len(others)), 2)))
    fits = _stacked([_fitted(rows, other) for rows in own for other in others])
    of_pairs = _stacked([_fitted(others[a], others[b]) for a, b in pairs])
    fits = jax.tree.map(lambda leaf: leaf.reshape(len(own), len(others), *leaf.shape[1:]), fits)
    found = ConceptVectors(
        layer,
        tuple(concepts),
        fits.vector.reshape(len(own), len(others), *shape),
        fits.separation,
        fits.accuracy,
        of_pairs.vector.reshape(len(pairs), *shape),
        of_pairs.separation,
        pairs,
    )
    _tell(found, [len(rows) for rows in own], len(others[0]))
    return found


def _check_sets(concepts: Any, random: Any) -> None:
    if not isinstance(concepts, Mapping) or not concepts:
        raise TypeError(
            f"`concepts` is a {type(concepts).__name__}; expected a dict of name to examples, such "
            "as {'striped': x}."
        )
    if not isinstance(random, list | tuple) or len(random) < _LEAST_SETS:
        num = len(random) if isinstance(random, list | tuple) else 1
        raise ValueError(
            f"`random` holds {num} set{'s' if num > 1 else ''}; expected a list of at least "
            f"{_LEAST_SETS}, since the spread among them is what a concept is compared with. Draw "
            "10 sets from the data."
        )


def _activations(
    apply_fn: ApplyFn, params: Params, layer: str, named: list[tuple[str, Inputs]]
) -> list[np.ndarray]:
    """The layer's output for each set, or a named error."""
    first: Any = None
    sets: list[np.ndarray] = []
    for what, given in named:
        x = jax.tree.map(jnp.asarray, given)
        num, shape = _check.num_examples(x, what), jax.tree.map(lambda leaf: leaf.shape[1:], x)
        first = first or (named[0][0], shape)
        if shape != first[1]:
            raise ValueError(
                f"{what} has examples of shape {shape}; {first[0]} has {first[1]}. Resize them."
            )
        if num < _LEAST_EXAMPLES:
            raise ValueError(
                f"{what} has {num} examples; expected at least {_LEAST_EXAMPLES}, better 50."
            )
        _check.any_outputs_of(apply_fn, params, x)
        rows = np.asarray(map_rows(_outputs, (apply_fn, layer), params, x), np.float64)
        if not np.isfinite(rows).all():
            raise ValueError(
                f"{what} has NaN or infinite activations in {layer!r}. Leave them out."
            )
        for (other, _), before in zip(named, sets, strict=False):
            if np.array_equal(rows, before):
                raise ValueError(
                    f"{what} and {other} are the same in {layer!r}; expected other examples."
                )
        sets.append(rows)
    return sets


def _outputs(static: Any, params: Params, x: Inputs, point: None) -> Any:
    apply_fn, layer = static
    return floats_of(apply_fn, layer, params, x)


class _Fit(NamedTuple):
    """Of a hyperplane between two sets, or arrays of several."""

    vector: Any
    separation: Any
    accuracy: Any


def _fitted(a: np.ndarray, b: np.ndarray) -> _Fit:
    """The unit vector towards `a`, and the accuracy on examples left out one at a time."""
    rows = np.concatenate([a, b])
    labels = np.repeat([1.0, -1.0], [len(a), len(b)])
    num, centred = len(rows), rows - rows.mean(axis=0)
    kernel = centred @ centred.T
    inverse = np.linalg.inv(kernel + _RIDGE * np.trace(kernel) / num * np.eye(num))
    weights = inverse @ (labels - labels.mean())
    vector = weights @ centred
    vector /= np.linalg.norm(vector)
    leverage = np.diagonal(kernel @ inverse) + 1 / num
    errors = (labels - labels.mean() - kernel @ weights) / (1 - leverage)  # of those left out
    is_right = labels * (labels - errors) > 0
    accuracy = (is_right[: len(a)].mean() + is_right[len(a) :].mean()) / 2  # whatever their sizes
    separation = (a.mean(axis=0) - b.mean(axis=0)) @ vector
    return _Fit(vector.astype(np.float32), separation, accuracy)


def _stacked(fits: list[_Fit]) -> _Fit:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *fits)


def _tell(found: ConceptVectors, num_own: list[int], num_others: int) -> None:
    for name, row, num in zip(found.concepts, found.accuracies, num_own, strict=True):
        chance = 0.5 + np.sqrt(1 / num + 1 / num_others) / 2  # two standard errors
        if row.mean() < chance:
            warn(
                f"the concept {name!r} is told from random examples with an accuracy of "
                f"{row.mean():.2f}, which chance gives, too; its vectors mean nothing in "
                f"{found.layer!r}. Use more examples, or another layer."
            )
