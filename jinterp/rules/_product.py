"""Dense layers and convolutions in a traced program, with what scales and shifts their results."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.extend.core as jex
import jax.numpy as jnp
from jaxtyping import Array

from jinterp.model.program import Atom

_SCALINGS = {"mul", "div", "neg"}
_SHIFTS = {"add", "sub"}
Values = Any


class Constant(NamedTuple):
    """What a product is scaled or shifted by, which differs from unit to unit alone.

    Attributes:
        atom: the variable or literal that holds it.
        shape: it has among the axes of the result, of which all others are 1.
    """

    atom: Atom
    shape: tuple[int, ...]

    def array(self, values: Values, dtype: Any) -> Array:
        held = self.atom.val if isinstance(self.atom, jex.Literal) else values[self.atom]
        return jnp.asarray(held, dtype).reshape(self.shape)


class Product(NamedTuple):
    """A product of a value with weights, and what follows it unit by unit, as BatchNorm does.

    Attributes:
        kind: "dense" or "convolution".
        eqn: the product itself.
        position: of the value among its two arguments.
        weights: the other argument.
        dims: for each axis of the result the one of the weights that it comes from, or None.
        tail: primitive, constant, and whether the constant stands first, of what follows.
        is_nonnegative: whether the value is known to have no negative element.
    """

    kind: str
    eqn: Any
    position: int
    weights: Atom
    dims: tuple[int | None, ...]
    tail: tuple[tuple[str, Constant | None, bool], ...]
    is_nonnegative: bool

    def folded(self, values: Values) -> tuple[Array, Array]:
        """The weights and the bias of the same layer in one product."""
        held = self.weights
        weights = held.val if isinstance(held, jex.Literal) else values[held]
        scale, shift = self._scale_and_shift(values, weights.dtype)
        along = [(dim, axis) for axis, dim in enumerate(self.dims) if dim is not None]
        sizes = [scale.shape[axis] for _, axis in along]
        order = sorted(range(len(along)), key=lambda n: along[n][0])
        by_unit = scale.reshape(sizes).transpose(order)
        shape = [1] * weights.ndim
        for (dim, _), size in zip(along, sizes, strict=True):
            shape[dim] = size
        return weights * by_unit.reshape(shape), shift

    def by(self, weights: Array) -> Callable[[Array], Array]:
        """The product of a value with other weights."""

        def product(value: Array) -> Array:
            pair = (value, weights) if self.position == 0 else (weights, value)
            return self.eqn.primitive.bind(*pair, **self.eqn.params)

        return product

    def _scale_and_shift(self, values: Values, dtype: Any) -> tuple[Array, Array]:
        one = jnp.ones((1,) * len(self.dims), dtype)
        scale, shift = one, jnp.zeros_like(one)
        for name, constant, is_first in self.tail:
            by = one if constant is None else constant.array(values, dtype)
            if name == "mul":
                scale, shift = scale * by, shift * by
            elif name == "div":
                scale, shift = scale / by, shift / by
            elif name == "neg" or (name == "sub" and is_first):
                scale, shift = -scale, -shift
            if name == "sub":
                shift = shift + by if is_first else shift - by
            elif name == "add":
                shift = shift + by
        return jnp.broadcast_to(scale, self._unit_shape()), shift

    def _unit_shape(self) -> tuple[int, ...]:
        shape = self.eqn.outvars[0].aval.shape
        return tuple(1 if dim is None else size for dim, size in zip(self.dims, shape, strict=True))


def dims_of(eqn: Any, position: int) -> tuple[int | None, ...] | None:
    """For each axis of the result the one of the weights that it comes from, or None.

    None alone where the weights are no convolution's kernel.
    """
    if eqn.primitive.name == "conv_general_dilated":
        numbers = eqn.params["dimension_numbers"]
        if position != 0 or eqn.params["batch_group_count"] != 1:
            return None
        found: list[int | None] = [None] * len(numbers.out_spec)
        found[numbers.out_spec[1]] = numbers.rhs_spec[0]
        return tuple(found)
    contracted, batch = eqn.params["dimension_numbers"]
    own, other = position, 1 - position
    num_axes = [each.aval.ndim for each in eqn.invars]
    free = [
        [axis for axis in range(num_axes[n]) if axis not in (*contracted[n], *batch[n])]
        for n in (0, 1)
    ]
    by_side: dict[int, list[int | None]] = {own: [None] * len(free[own]), other: [*free[other]]}
    return (*batch[other], *by_side[0], *by_side[1])


def constant_of(atom: Atom, dims: Sequence[int | None], steps: dict[Atom, Any]) -> Constant | None:
    """A constant that differs from unit to unit alone; None for another one."""
    if isinstance(atom, jex.Literal) or not atom.aval.shape:
        return Constant(atom, (1,) * len(dims))
    if _is_by_unit(atom.aval.shape, dims):
        return Constant(atom, atom.aval.shape)
    step = steps.get(atom)
    if step is None or step.eqn.primitive.name != "broadcast_in_dim":
        return None
    source = step.eqn.invars[0]
    shape = [1] * len(dims)
    for axis, size in zip(step.eqn.params["broadcast_dimensions"], source.aval.shape, strict=True):
        shape[axis] = size
    return Constant(source, tuple(shape)) if _is_by_unit(shape, dims) else None


def _is_by_unit(shape: Sequence[int], dims: Sequence[int | None]) -> bool:
    if len(shape) != len(dims):
        return False
    return all(size == 1 for size, dim in zip(shape, dims, strict=True) if dim is None)


def tail_link(
    eqn: Any, value: Atom, dims: Sequence[int | None], steps: dict[Atom, Any]
) -> tuple[str, Constant | None, bool] | None:
    """What an equation does to a product's result; None where it is no scale or shift of units."""
    name = eqn.primitive.name
    if name == "neg":
        return name, None, False
    if name not in _SCALINGS | _SHIFTS:
        return None
    is_first = eqn.invars[0] is not value
    other = eqn.invars[0] if is_first else eqn.invars[1]
    if other is value or (name == "div" and is_first):
        return None
    constant = constant_of(other, dims, steps)
    return None if constant is None else (name, constant, is_first)
