"""Input invariance: whether values stay when inputs are shifted and the model takes it back."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp import _check
from jinterp._types import ApplyFn, Explainer, Inputs, Params, Target
from jinterp.faithfulness._change import relative_change
from jinterp.faithfulness._explained import explained


def input_invariance(
    explain: Explainer,
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    shift: Any,
) -> Float[Array, " batch"]:
    """How far values move when inputs are shifted and the model takes it back.

    ‖φ'(x + b) − φ(x)‖ / ‖φ(x)‖, where φ' explains f'(z) = f(z − b). Its scores for x + b are those
    of f for x: only the numbers that stand for the images are others, as after another
    normalisation. Values that move depend on what is called 0: those that are multiplied by the
    input, and those with a baseline of 0, which is another image for f'. An explainer that takes
    its baseline from the inputs, such as their mean, does not. It says nothing of whether values
    that stay are true.

    Args:
        explain: the explainer, as in `randomization_check`; what it draws it must draw again, as
            with a `key` bound by functools.partial.
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: the class to explain; None is the one predicted for `x`.
        shift: b: a number, or one example, where an axis may be 1 or missing at the front; one in
            the structure of `x` for several arrays.

    Returns:
        `[batch]`, from 0, and of an invariant explainer 0 but for rounding; infinite where values
        of 0 change.

    Raises:
        TypeError: `x` is not floating point; `explain` needs another keyword.
        ValueError: `shift` fits no example; `explain` returns no arrays `[batch, ...]`, or others
            for the shifted model.

    >>> import jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> model, x = (apply_fn, jnp.ones((2, 1))), jnp.array([[3.0, 1.0], [2.0, 2.0]])
    >>> input_invariance(jinterp.gradient, *model, x, 0, shift=1.0).tolist()
    [0.0, 0.0]
    >>> print(input_invariance(jinterp.input_x_gradient, *model, x, 0, shift=1.0).round(2))
    [0.45 0.5 ]

    Source: Kindermans et al. 2017, of a shift by a constant.
    """
    asked = explained(explain, apply_fn, params, x, target)
    x, target = asked.question.x, asked.question.target
    _check.is_differentiable(x)
    by = _shift_like(shift, x)
    values = asked(apply_fn, params, x, target)
    moved = jax.tree.map(jnp.add, x, by)
    others = asked(Shifted(apply_fn), (params, by), moved, target, like=values)
    return relative_change(others, values)


@dataclasses.dataclass(frozen=True)
class Shifted:
    """A model of shifted inputs: `apply_fn((params, shift), x + shift) -> logits`."""

    apply_fn: ApplyFn

    def __call__(self, params: tuple[Params, Any], x: Inputs) -> Any:
        own, shift = params
        return self.apply_fn(own, jax.tree.map(jnp.subtract, x, shift))


def _shift_like(shift: Any, x: Inputs) -> Any:
    """One example, `[1, ...]`, in the structure and dtypes of the inputs, or a named error."""
    treedef = jax.tree.structure(x)
    found: Any = jax.tree.structure(shift)
    if found == treedef:
        return jax.tree.map(_leaf_like, shift, x)
    if not jax.tree_util.treedef_is_leaf(found):
        raise ValueError(
            f"`shift` is a {found}; expected a number, or the structure of `x`, {treedef}."
        )
    return jax.tree.map(lambda leaf: _leaf_like(shift, leaf), x)


def _leaf_like(shift: Any, leaf: Array) -> Array:
    given = _check.array("shift", shift)
    try:
        return jnp.broadcast_to(given.astype(leaf.dtype), leaf.shape[1:])[None]
    except ValueError:
        raise ValueError(
            f"`shift` has the shape {given.shape}; expected a number, or one example "
            f"{leaf.shape[1:]}, where an axis may be 1 or missing at the front."
        ) from None
