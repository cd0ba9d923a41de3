"""Concepts that a layer holds: its outputs factorised into a few non-negative parts."""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinterp import _check, _functions
from jinterp._trace import warn
from jinterp._types import ApplyFn, Inputs, Params
from jinterp.attribution._layer import channels_last, floats_of
from jinterp.model.layers import layers
from jinterp.model.tap import activations
from jinterp.stream.rows import map_rows


class ConceptFactors(NamedTuple):
    """A layer's outputs as sums of a few non-negative parts, A ≈ U W.

    Attributes:
        layer: its name.
        channel_axis: of the layer's output.
        bank: W, `[concepts, channels]`, of unit length, not negative.
        maps: U, `[batch, *space, concepts]`, not negative: how much of each concept lies where.
        error: ‖A − U W‖ / ‖A‖, from 0 to 1.
        converged: whether the factorisation did.
    """

    layer: str
    channel_axis: int
    bank: np.ndarray
    maps: np.ndarray
    error: float
    converged: bool


def concept_factors(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    *,
    layer: str,
    num_concepts: int = 10,
    key: jax.Array,
    num_iterations: int = 500,
    channel_axis: int = -1,
) -> ConceptFactors:
    """A few directions of a layer whose non-negative sums are its outputs, and where each lies.

    min ‖A − U W‖² over U ≥ 0, W ≥ 0, with a row of A for each place (or token) of each example and
    `num_concepts` rows in W. Look at the examples where a concept's map is largest to name it.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: examples of a class, or of the data, `[batch, ...]`, as the model takes them. The
            layer's outputs for all of them lie on the host.
        layer: a name that `layers` lists, with outputs that are not negative.
        num_concepts: rows of W.
        key: for the start of the iteration, which ends in a minimum near it.
        num_iterations: the most.
        channel_axis: of the layer's output; 1 for channels first.

    Returns:
        The bank and the maps, `concept_maps` of these examples, with the error. No convergence is
        announced. The order of the concepts means nothing.

    Raises:
        TypeError: the layer has several outputs, or integers; `key` is missing.
        ValueError: there is no such layer; it has negative outputs, or fewer places or channels
            than there are to be concepts.

    >>> import jax, jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         x = jax.nn.relu(x)
    ...     return x @ params
    >>> x = jnp.array([[3.0, 0, 0], [1, 2, 2], [0, 1, 1], [2, 0, 0]])
    >>> found = concept_factors(
    ...     apply_fn, jnp.ones((3, 1)), x, layer="hidden", num_concepts=2, key=jax.random.key(0)
    ... )
    >>> print(found.bank[found.bank[:, 0].argsort()].round(2), found.error < 0.01)
    [[0.   0.71 0.71]
     [1.   0.   0.  ]] True

    Source: Fel et al. 2023 (CRAFT), equation 1; there A is of crops of the images.
    """
    _check.is_layer_name(layer)
    _check.is_key(key)
    _check.at_least_one("num_concepts", num_concepts, 10)
    _check.at_least_one("num_iterations", num_iterations, 500)
    values = outputs_of_layer(apply_fn, params, x, layer, channel_axis)
    rows = values.reshape(-1, values.shape[-1])
    if num_concepts > min(rows.shape):
        raise ValueError(
            f"`num_concepts` is {num_concepts}; the layer {layer!r} has {rows.shape[1]} channels "
            f"at {rows.shape[0]} places of all examples. Use {min(rows.shape)} or less."
        )
    bank, converged = _bank(rows, num_concepts, key, num_iterations)
    maps = factor_maps(rows, bank)
    size = np.linalg.norm(rows)
    error = float(np.linalg.norm(rows - maps @ bank) / size) if size else 0.0
    maps = maps.reshape(*values.shape[:-1], num_concepts)
    return ConceptFactors(layer, channel_axis, bank, maps, error, converged)


def outputs_of_layer(
    apply_fn: ApplyFn, params: Params, x: Inputs, layer: str, channel_axis: int
) -> np.ndarray:
    """`[batch, *space, channels]` on the host, not negative, or a named error."""
    _check.is_model_function(apply_fn)
    _functions.warn_if_made_anew("apply_fn", apply_fn)
    x = jax.tree.map(jnp.asarray, x)
    _check.num_examples(x)
    _check.any_outputs_of(apply_fn, params, x)
    values = np.asarray(map_rows(_outputs, (apply_fn, layer, channel_axis), params, x))
    if not np.isfinite(values).all():
        raise ValueError(
            f"the layer {layer!r} has NaN or infinite outputs. Leave those inputs out."
        )
    if values.min() < 0:
        raise ValueError(
            f"the layer {layer!r} has outputs down to {values.min():.3g}, which no sum of "
            "non-negative parts gives; expected a layer behind a rectifier. "
            f"{_advice(apply_fn, params, x)}"
        )
    return values


def factor_maps(rows: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """U of min ‖A − U W‖² over U ≥ 0, `[rows, concepts]`: a convex problem."""
    from sklearn.decomposition import non_negative_factorization  # takes a second to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's: the error tells
        found, _, _ = non_negative_factorization(
            rows, None, bank, len(bank), update_H=False, tol=1e-8, max_iter=2000
        )
    return found


def _outputs(static: Any, params: Params, x: Inputs, point: None) -> Any:
    apply_fn, layer, channel_axis = static
    return channels_last(floats_of(apply_fn, layer, params, x), layer, channel_axis)


def _advice(apply_fn: ApplyFn, params: Params, x: Inputs) -> str:
    """Which layers put out nothing negative for a few of the examples."""
    few = jax.tree.map(lambda leaf: leaf[:8], x)
    names = [
        each.name
        for each in layers(apply_fn, params, few)
        if each.num_outputs == 1 and jnp.issubdtype(each.dtype, jnp.floating)
    ]
    found = activations(apply_fn, params, few, names)
    usable = [repr(name) for name in names if bool((found[name] >= 0).all())]
    if usable:
        return f"Use {' or '.join(usable[-3:])}."
    return 'None is there: put `with jax.named_scope("name"):` around one and what comes before it.'


def _bank(
    rows: np.ndarray, num_concepts: int, key: jax.Array, num_iterations: int
) -> tuple[np.ndarray, bool]:
    """W with rows of unit length, and whether the iteration converged."""
    from sklearn.decomposition import NMF

    seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
    model = NMF(num_concepts, init="nndsvda", random_state=seed, max_iter=num_iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said below
        bank = model.fit(rows).components_
    converged = model.n_iter_ < num_iterations
    if not converged:
        warn(
            f"`concept_factors`: no convergence in {num_iterations} iterations. Use a larger "
            "num_iterations."
        )
    norms = np.linalg.norm(bank, axis=1, keepdims=True)
    return (bank / np.where(norms == 0, 1, norms)).astype(rows.dtype), converged
