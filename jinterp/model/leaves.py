"""The leaves of `params` that a loss is differentiated by, their names, and the loss itself."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import GetAttrKey, keystr, tree_flatten_with_path

from jinterp._functions import name_of, warn_if_made_anew
from jinterp._trace import eval_shape
from jinterp._types import BatchLossFn, Params
from jinterp.model.layers import are_variables, trained


def numbers_of_trained(params: Params) -> list[int]:
    """Which leaves of `jax.tree.leaves(params)` are trained: floats, at least one.

    Of Linen variables those of the collection "params", of NNX state the `nnx.Param`s.
    """
    leaves = jax.tree.leaves(params)
    chosen = [n for n, is_trained in enumerate(trained(params)) if is_trained]
    return [n for n in chosen if _floats(leaves[n]) and np.size(leaves[n])]


def trained_leaves(params: Params) -> list[Any]:
    """The leaves that are trained, in the order of the tree."""
    return leaves_at(params, numbers_of_trained(params))


def with_leaves(params: Params, values: Sequence[Any]) -> Params:
    """`params` with others in the place of `trained_leaves(params)`."""
    return with_leaves_at(params, numbers_of_trained(params), values)


def leaves_at(params: Params, numbers: Sequence[int]) -> list[Any]:
    """Some of the leaves."""
    leaves = jax.tree.leaves(params)
    return [leaves[number] for number in numbers]


def with_leaves_at(params: Params, numbers: Sequence[int], values: Sequence[Any]) -> Params:
    """`params` with others in the place of `leaves_at(params, numbers)`."""
    leaves, treedef = jax.tree.flatten(params)
    for number, value in zip(numbers, values, strict=True):
        leaves[number] = value
    return jax.tree.unflatten(treedef, leaves)


def hessian_times(
    loss: Callable[[list[Any]], Any], leaves: list[Any], tangents: list[Any]
) -> list[Any]:
    """Hv for the Hessian of a loss of leaves: the derivative of its gradient along v."""
    return jax.jvp(jax.grad(loss), (leaves,), (tangents,))[1]


_ADVICE = (
    'Of one layer: jax.tree_util.tree_map_with_path(lambda path, leaf: "head" in '
    "jax.tree_util.keystr(path), params)."
)


def trainable_flags(trainable: Any, params: Params) -> np.ndarray:
    """For each leaf what a tree of bools, or a prefix of one, says of it; None says True of all."""
    if trainable is None:
        return np.ones(len(jax.tree.leaves(params)), bool)
    is_flag = [isinstance(flag, bool | np.bool_) for flag in jax.tree.leaves(trainable)]
    if not all(is_flag) or not is_flag:
        raise TypeError(
            f"`trainable` is {trainable!r}; expected a pytree of bools like `params`, or a prefix "
            f"of one. {_ADVICE}"
        )
    try:
        flags = jax.tree.broadcast(trainable, params)
    except ValueError:
        raise ValueError(
            "`trainable` is not built as `params` are; expected a pytree of bools like it, or a "
            f"prefix of one, with every collection, such as batch_stats, too. {_ADVICE}"
        ) from None
    return np.array([bool(flag) for flag in jax.tree.leaves(flags)])


def working_dtype(leaves: Sequence[Any]) -> Any:
    """In which sums over all leaves are made: float64 where one is, else float32."""
    is_double = any(jnp.result_type(leaf) == jnp.float64 for leaf in leaves)
    return jnp.dtype(jnp.float64 if is_double else jnp.float32)


def leaf_names(params: Params) -> list[str]:
    """A name for each of `trained_leaves(params)`: the path to it, such as `conv1/kernel`.

    Linen's collection "params" and the `value` of a variable go without saying.
    """
    known = names_of_all(params)
    return [known[number] for number in numbers_of_trained(params)]


def names_of_all(params: Params) -> list[str]:
    """A name for each leaf, of another of Linen's collections with its own: `batch_stats/bn/mean`.

    Those of a single array are "params".
    """
    paths = [path for path, _ in tree_flatten_with_path(params)[0]]
    in_linen = are_variables(params)
    shown = [path[in_linen and path[0].key == "params" :] for path in paths]
    return [keystr(_without_value(path), simple=True, separator="/") or "params" for path in shown]


def is_batch_loss(loss_fn: BatchLossFn, params: Params, batch: Any) -> None:
    """A loss gives one floating-point number and has leaves to differentiate by, or a named error.

    A function made anew for every call is warned of.
    """
    if not callable(loss_fn):
        raise TypeError(
            f"`loss_fn` is a {type(loss_fn).__name__}; expected a function loss_fn(params, batch) "
            "-> scalar. Use jinterp.mean_loss(apply_fn)."
        )
    try:
        hash(loss_fn)
    except TypeError as error:
        raise TypeError(
            f"`loss_fn` ({name_of(loss_fn)}) cannot be hashed ({error}), so what is compiled for "
            "it could not be found again; expected a function. Write one around it, once."
        ) from None
    warn_if_made_anew("loss_fn", loss_fn)
    if not numbers_of_trained(params):
        raise ValueError(
            "`params` has no trained leaf of floating point; expected at least one. Pass what the "
            "model was trained with: Linen variables, NNX state, a pytree of arrays."
        )
    found = eval_shape(loss_fn, params, batch)
    if getattr(found, "shape", None) != () or not _floats(found):
        returned = (
            f"{found.dtype}[{','.join(map(str, found.shape))}]"
            if hasattr(found, "shape")
            else f"a {type(found).__name__}"
        )
        raise ValueError(
            f"`loss_fn` ({name_of(loss_fn)}) returned {returned}; expected one floating-point "
            "number, the mean over the batch. Take .mean() of losses; of (loss, aux) return the "
            "loss."
        )


def _floats(leaf: Any) -> bool:
    if not hasattr(leaf, "dtype"):
        return isinstance(leaf, float)
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def _without_value(path: tuple[Any, ...]) -> tuple[Any, ...]:
    is_variable = len(path) > 1 and path[-1] == GetAttrKey("value")
    return path[:-1] if is_variable else path
