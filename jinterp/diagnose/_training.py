"""A training in which every step has its own learning rate."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinterp._functions import name_of, warn_if_made_anew
from jinterp._types import Batch, BatchLossFn, Params, PreprocessFn
from jinterp.diagnose._suggestions import smooth, stop
from jinterp.model.layers import are_variables
from jinterp.model.leaves import (
    is_batch_loss,
    numbers_of_trained,
    trained_leaves,
    with_leaves,
)

_STEPS_A_LOOK = 10  # a look waits for the device

OptimizerFn = Callable[[Any], optax.GradientTransformation]
"""`optimizer(learning_rate)`, such as `optax.adam`."""


def losses_at(
    rates: np.ndarray,
    loss_fn: BatchLossFn,
    params: Params,
    optimizer: OptimizerFn,
    stream: Iterator[Batch],
    preprocess: PreprocessFn | None,
) -> np.ndarray:
    """The losses up to the stop or, as a look comes only every few steps, a little further."""
    first = next(stream)
    is_batch_loss(loss_fn, params, jax.eval_shape(lambda batch: _pair(batch, preprocess), first))
    params = with_leaves(params, [_strong(leaf) for leaf in trained_leaves(params)])
    state = _first_state(optimizer, params, float(rates[0]))
    step = functools.partial(_step, loss_fn=loss_fn, optimizer=optimizer, preprocess=preprocess)
    found, waiting = np.empty(0), []
    for rate, batch in zip(rates.tolist(), itertools.chain([first], stream), strict=True):
        params, state, loss = step(params, state, rate, batch)
        waiting.append(loss)
        if len(waiting) == _STEPS_A_LOOK or len(found) + len(waiting) == len(rates):
            found = np.append(found, np.array(jax.device_get(waiting), np.float64))
            waiting = []
            if stop(smooth(found))[1]:
                break
    return found


def is_optimizer(optimizer: Any) -> None:
    """A function of the learning rate, or a named error."""
    advice = "expected a function of the learning rate. Pass optax.adam itself, or "
    advice += "functools.partial(optax.adamw, weight_decay=0.1)."
    if hasattr(optimizer, "init") and hasattr(optimizer, "update"):
        raise TypeError(f"`optimizer` is made already, with a learning rate in it; {advice}")
    if not callable(optimizer):
        raise TypeError(f"`optimizer` is a {type(optimizer).__name__}; {advice}")
    warn_if_made_anew("optimizer", optimizer)


@functools.partial(jax.jit, static_argnames=("loss_fn", "optimizer", "preprocess"))
def _step(
    params: Params,
    state: Any,
    learning_rate: Any,
    batch: Batch,
    *,
    loss_fn: BatchLossFn,
    optimizer: OptimizerFn,
    preprocess: PreprocessFn | None,
) -> tuple[Params, Any, jax.Array]:
    """Nothing is donated: the first parameters are the caller's."""
    pair = _pair(batch, preprocess)

    def loss_of(leaves: list[jax.Array]) -> jax.Array:
        return loss_fn(with_leaves(params, leaves), pair)

    leaves = trained_leaves(params)
    loss, gradients = jax.value_and_grad(loss_of)(leaves)
    with jax.numpy_dtype_promotion("standard"):
        before = _as_in_training(params, leaves)
        updates, state = optimizer(learning_rate).update(
            _as_in_training(params, gradients), state, before
        )
        after = optax.apply_updates(before, updates)
    return with_leaves(params, jax.tree.leaves(after)), jax.tree.map(_strong, state), loss


@functools.partial(jax.jit, static_argnames="optimizer")
def _init(params: Params, learning_rate: Any, *, optimizer: OptimizerFn) -> Any:
    with jax.numpy_dtype_promotion("standard"):
        made = optimizer(learning_rate)
        if not isinstance(made, optax.GradientTransformation):
            raise TypeError(
                f"`optimizer` ({name_of(optimizer)}) returned a {type(made).__name__}; expected "
                "an optax.GradientTransformation, as optax.adam returns for a learning rate."
            )
        return jax.tree.map(_strong, made.init(_as_in_training(params, trained_leaves(params))))


def _first_state(optimizer: OptimizerFn, params: Params, rate: float) -> Any:
    try:
        state = _init(params, rate, optimizer=optimizer)
    except jax.errors.ConcretizationTypeError as error:
        raise TypeError(
            f"`optimizer` ({name_of(optimizer)}) decides by the value of the learning rate, which "
            "is traced; expected the same optimizer for every learning rate. Use jnp.where, or "
            "pass optax.adam itself."
        ) from error
    other = _init(params, 2 * rate, optimizer=optimizer)
    for one, two in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
        if one.ndim == 0 and not jnp.array_equal(one, two):
            raise ValueError(
                f"`optimizer` ({name_of(optimizer)}) keeps the learning rate in its state, as "
                "optax.inject_hyperparams does, so that a new one would change nothing; expected "
                "a state without it. Pass optax.adam itself."
            )
    return state


def _as_in_training(params: Params, leaves: Sequence[Any]) -> Params:
    """The leaves in their tree, None for what is not trained; of Linen variables "params"."""
    slots: list[Any] = [None] * len(jax.tree.leaves(params))
    for number, leaf in zip(numbers_of_trained(params), leaves, strict=True):
        slots[number] = leaf
    tree = jax.tree.unflatten(jax.tree.structure(params), slots)
    return tree["params"] if are_variables(params) else tree


def _strong(leaf: Any) -> jax.Array:
    """An array whose type is its own, as the next step's must be equal."""
    is_key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.extended)
    return leaf if is_key else jnp.asarray(leaf, jnp.result_type(leaf))


def _pair(batch: Batch, preprocess: PreprocessFn | None) -> tuple[Any, Any]:
    return (preprocess(batch.x) if preprocess else batch.x), batch.targets
