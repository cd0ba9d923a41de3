"""The numbers of a gradient and of an optimizer's update, in one compiled program."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array

from jinterp._types import BatchLossFn, Params
from jinterp.model.layers import are_variables
from jinterp.model.leaves import trained_leaves, with_leaves
from jinterp.model.score import at_least_float32


@functools.partial(jax.jit, static_argnames=("loss_fn", "optimizer"))
def measured(
    params: Params,
    batch: Any,
    state: Any,
    *,
    loss_fn: BatchLossFn,
    optimizer: optax.GradientTransformation | None,
) -> tuple[Array, list[dict[str, Array]]]:
    """The loss, and for each trained leaf what is told of its gradient and its update."""
    leaves = trained_leaves(params)

    def loss_of(values: list[Array]) -> Array:
        return loss_fn(with_leaves(params, values), batch)

    loss, gradients = jax.value_and_grad(loss_of)(leaves)
    found = [_measures(*pair) for pair in zip(leaves, gradients, strict=True)]
    if optimizer is not None:
        updates = _updates(optimizer, state, params, gradients, loss)
        for measures, update in zip(found, updates, strict=True):
            measures["update_norm"] = _norm(update)
    return loss, found


def _measures(weights: Array, gradient: Array) -> dict[str, Array]:
    return {
        "gradient_norm": _norm(gradient),
        "weight_norm": _norm(weights),
        "num_zero": (gradient == 0).sum(),
        "num_nan": jnp.isnan(gradient).sum(),
        "num_inf": jnp.isinf(gradient).sum(),
    }


def _norm(values: Array) -> Array:
    """The norm of what may be 1e-30 or 1e30, whose squares float32 has not."""
    values = at_least_float32(values)
    largest = jnp.abs(values).max()
    is_scale = jnp.isfinite(largest) & (largest >= jnp.finfo(values.dtype).tiny)
    scale = jnp.where(is_scale, largest, jnp.ones_like(largest))
    return scale * jnp.sqrt(((values / scale) ** 2).sum())


def state_for(optimizer: Any, state: Any, params: Params) -> Any:
    """The optimizer's state in the structure that it makes itself, or a named error."""
    if optimizer is None:
        if state is not None:
            raise ValueError(
                "`optimizer_state` is given without `optimizer`; expected both. Pass the optax "
                "optimizer that the state is of."
            )
        return None
    if not (callable(getattr(optimizer, "init", None)) and hasattr(optimizer, "update")):
        raise TypeError(
            f"`optimizer` is a {type(optimizer).__name__}; expected an optax optimizer. Use "
            "optax.adam(1e-3), made once."
        )
    if state is None:
        return None
    leaves = jax.tree.leaves(state)
    for optimized in (trained_part(params), params):
        expected = jax.eval_shape(optimizer.init, optimized)
        if [*map(jnp.shape, leaves)] == [leaf.shape for leaf in jax.tree.leaves(expected)]:
            return jax.tree.unflatten(jax.tree.structure(expected), leaves)
    raise ValueError(
        "`optimizer_state` has other shapes than `optimizer` makes for `params`; expected the "
        "state of this optimizer for these parameters. Leave it out to see the first step."
    )


def _updates(
    optimizer: optax.GradientTransformation,
    state: Any,
    params: Params,
    gradients: list[Array],
    loss: Array,
) -> list[Array]:
    """The update of each trained leaf; leaves that are not trained have the gradient 0."""
    part = trained_part(params)
    structure: Any = jax.tree.structure(jax.eval_shape(optimizer.init, part))
    is_of_part = state is None or structure == jax.tree.structure(state)
    gradient = with_leaves(jax.tree.map(_zeros, params), gradients)
    if is_of_part:
        gradient = trained_part(gradient)
    optimized = part if is_of_part else params
    state = optimizer.init(part) if state is None else state
    update = optax.with_extra_args_support(optimizer).update
    updates, _ = update(gradient, state, optimized, value=loss)
    return trained_leaves({"params": updates} if is_of_part and are_variables(params) else updates)


def trained_part(params: Params) -> Params:
    """What optimizers are usually given."""
    if are_variables(params):
        return params["params"]
    return nnx.filter_state(params, nnx.Param) if isinstance(params, nnx.State) else params


def _zeros(leaf: Any) -> Any:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
    return leaf if is_key else jnp.zeros_like(leaf)
