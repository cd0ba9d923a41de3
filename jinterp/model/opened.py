"""What a model with open layers is, whether its program can be taken apart or was exported."""

import abc
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jinterp._types import AnyArray, Inputs, Params
from jinterp.model.nonlinearity import Nonlinearity


class Opened(abc.ABC):
    """A model with some layers open.

    Attributes:
        shapes: of the layers' outputs, `jax.ShapeDtypeStruct`s, in the order of the names.
    """

    shapes: tuple[Any, ...]

    def zeros(self) -> tuple[AnyArray, ...]:
        """A delta for each layer that changes nothing."""
        return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), self.shapes)

    def __call__(
        self, deltas: tuple[AnyArray, ...], params: Params, x: Inputs
    ) -> tuple[Any, tuple[AnyArray, ...]]:
        """The logits, and each layer's output after its delta was added."""
        return self._run(self._checked(deltas), params, x, replace=False)

    def read(self, params: Params, x: Inputs) -> tuple[Any, tuple[AnyArray, ...]]:
        """The logits, and each layer's output as it is."""
        return self._run(self.zeros(), params, x, replace=False)

    def nonlinearities(self) -> list[list[Nonlinearity | None]]:
        """For each output of each layer the function that cuts it, None where none is known."""
        return [[None] * len(jax.tree.leaves(shape)) for shape in self.shapes]

    def replaced(self, values: tuple[AnyArray, ...], params: Params, x: Inputs) -> Any:
        """The logits with these values in place of the layers' outputs."""
        return self._run(self._checked(values), params, x, replace=True)[0]

    @abc.abstractmethod
    def _run(
        self, given: tuple[AnyArray, ...], params: Params, x: Inputs, *, replace: bool
    ) -> tuple[Any, tuple[AnyArray, ...]]:
        """The logits and the layers' outputs, with what is given added to them or in place."""

    def _checked(self, given: tuple[AnyArray, ...]) -> tuple[AnyArray, ...]:
        """What is given in the dtypes of the layers, or a named error."""
        for each, shape in zip(given, self.shapes, strict=True):
            _check(each, shape)
        return jax.tree.map(
            lambda each, shape: jnp.asarray(each).astype(shape.dtype), given, self.shapes
        )


class HoldsLayers(abc.ABC):
    """A model function that opens its layers itself, since no trace shows them as they are."""

    @abc.abstractmethod
    def layers(self, params: Params, x: Inputs) -> list[Any]:
        """As `jinterp.layers`."""

    @abc.abstractmethod
    def opened(self, params: Params, x: Inputs, names: Sequence[str]) -> Opened:
        """The layers of these names, open."""

    @abc.abstractmethod
    def attention(self, params: Params, x: Inputs) -> dict[str, Any]:
        """As `attention_probabilities`."""


def _check(delta: Any, shape: Any) -> None:
    found, expected = jax.tree.map(jnp.shape, delta), jax.tree.map(lambda s: s.shape, shape)
    if found != expected:
        raise ValueError(
            f"`delta` has the shape {found}; the layer's output has {expected}. "
            "Use jnp.zeros of that shape to read the layer unchanged."
        )
    for each, output in zip(jax.tree.leaves(delta), jax.tree.leaves(shape), strict=True):
        dtype = jnp.result_type(each)
        if jnp.issubdtype(dtype, jnp.inexact) > jnp.issubdtype(output.dtype, jnp.inexact):
            raise ValueError(
                f"`delta` is {dtype}; the layer's output is {output.dtype}. "
                "Give integers: a layer of integers has no gradient."
            )
