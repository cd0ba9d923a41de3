"""`layer_outputs`: shapes and ranges of every layer for one batch, and where NaN comes from."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinterp import _check
from jinterp._text import text_table
from jinterp._types import ApplyFn, Inputs, Params
from jinterp.diagnose._observed import first_of
from jinterp.model.layers import layers
from jinterp.model.leaves import names_of_all
from jinterp.model.opened import HoldsLayers
from jinterp.model.origins import Origins, origins
from jinterp.model.score import at_least_float32
from jinterp.model.tap import activations


class LayerOutput(NamedTuple):
    """The first output of a layer for a batch.

    Attributes:
        name: of the layer.
        shape: with the batch.
        dtype: of its values.
        minimum: of the finite values, NaN where there is none.
        maximum: of the finite values, NaN where there is none.
        mean: of the finite values, NaN where there is none.
        num_nan: how many values are NaN.
        num_infinite: how many are ±∞.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    minimum: float
    maximum: float
    mean: float
    num_nan: int
    num_infinite: int


class LayerOutputs(NamedTuple):
    """What the layers give for a batch.

    Attributes:
        layers: in the order in which they are entered.
        origins: the operations that made the first NaN and the first infinity of finite numbers;
            None of an exported model, whose operations cannot be seen.
        not_finite: the leaves of `params` and of `x` that hold NaN or infinities.
    """

    layers: tuple[LayerOutput, ...]
    origins: Origins | None
    not_finite: tuple[str, ...]

    @property
    def first_nan(self) -> str | None:
        """The layer that made the first NaN; None if none did."""
        if self.origins is not None:
            return self.origins.nan.layer if self.origins.nan else None
        return next((layer.name for layer in self.layers if layer.num_nan), None)

    def __str__(self) -> str:
        """A row for each layer, and where the first NaN comes from."""
        header = ["", "shape", "dtype", "least", "mean", "largest", "NaN", "infinite"]
        rows = [
            [
                layer.name,
                str(layer.shape),
                layer.dtype,
                *(f"{value:.3g}" for value in (layer.minimum, layer.mean, layer.maximum)),
                str(layer.num_nan),
                str(layer.num_infinite),
            ]
            for layer in self.layers
        ]
        return "\n".join([text_table(header, rows), *self._remarks()])

    def _remarks(self) -> list[str]:
        remarks = [f"{name} is not finite." for name in self.not_finite]
        nan, infinite = self.origins or (None, None)
        if nan:
            remarks.append(f"The first NaN was made by {nan}.")
        if infinite and (nan or self.not_finite):
            remarks.append(f"The first infinity was made by {infinite}.")
        return ["", *remarks] if remarks else []


def layer_outputs(apply_fn: ApplyFn, params: Params, x: Inputs) -> LayerOutputs:
    """Shapes and ranges of what every layer gives for a batch, and which operation made a NaN.

    The first NaN is the first result with a NaN of an operation that was given none, in the order
    of the traced program: not the first layer whose output has one, which may only pass it on.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]`.

    Returns:
        A `LayerOutputs`; `print` shows it as a table.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("root"):
    ...         x = jnp.sqrt(x - params)
    ...     with jax.named_scope("sum"):
    ...         return x.sum(axis=1, keepdims=True)
    >>> found = layer_outputs(apply_fn, 2.0, jnp.array([[3.0, 1.0]]))
    >>> found.first_nan, found.origins.nan.operation
    ('root', 'sqrt')
    """
    _check.is_model_function(apply_fn)
    x = jax.tree.map(jnp.asarray, x)
    _check.num_examples(x)
    _check.any_outputs_of(apply_fn, params, x)
    known = {layer.name: layer for layer in layers(apply_fn, params, x)}
    values = activations(apply_fn, params, x, list(known)) if known else {}
    first = {name: first_of(value) for name, value in values.items()}
    ranges = jax.device_get(_ranges(first))
    rows = tuple(
        LayerOutput(name, known[name].shape, str(first[name].dtype), *map(_plain, ranges[name]))
        for name in known
    )
    found = None if isinstance(apply_fn, HoldsLayers) else origins(apply_fn, params, x)
    return LayerOutputs(rows, found, _not_finite(params, x))


@jax.jit
def _ranges(values: dict[str, jax.Array]) -> dict[str, tuple[jax.Array, ...]]:
    return {name: _range(value) for name, value in values.items()}


def _range(values: jax.Array) -> tuple[jax.Array, ...]:
    """Minimum, maximum, mean, and the numbers of NaN and infinities."""
    is_number = jnp.issubdtype(values.dtype, jnp.floating)
    values = at_least_float32(values) if is_number else values.astype(jnp.float32)
    finite, dtype = jnp.isfinite(values), values.dtype
    infinity = jnp.array(jnp.inf, dtype)
    num = finite.sum(dtype=jnp.int32)

    def known(value: jax.Array) -> jax.Array:
        return jnp.where(num > 0, value, jnp.array(jnp.nan, dtype))

    total = jnp.where(finite, values, jnp.zeros((), dtype)).sum()
    return (
        known(jnp.where(finite, values, infinity).min(initial=jnp.inf)),
        known(jnp.where(finite, values, -infinity).max(initial=-jnp.inf)),
        known(total / jnp.maximum(num, jnp.int32(1)).astype(dtype)),
        jnp.isnan(values).sum(dtype=jnp.int32),
        jnp.isinf(values).sum(dtype=jnp.int32),
    )


def _plain(value: np.ndarray) -> Any:
    return value.item()


def _not_finite(params: Params, x: Inputs) -> tuple[str, ...]:
    names = [f"the parameter {name!r}" for name in names_of_all(params)]
    names += ["the input"] * len(jax.tree.leaves(x))
    leaves = jax.tree.leaves((params, x))
    return tuple(
        name
        for name, leaf in zip(names, leaves, strict=True)
        if _has_floats(leaf) and not _all_finite(leaf)
    )


def _has_floats(leaf: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.inexact))


@jax.jit
def _all_finite(leaf: jax.Array) -> jax.Array:
    return jnp.isfinite(leaf).all()
