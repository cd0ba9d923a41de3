"""Max-sensitivity: how far the values move when the input hardly does."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp import _check
from jinterp._types import ApplyFn, Explainer, Inputs, Params, Target
from jinterp.faithfulness._change import relative_change
from jinterp.faithfulness._explained import explained


def max_sensitivity(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target = None,
    *,
    explain: Explainer,
    key: jax.Array,
    radius: float = 0.02,
    num_samples: int = 10,
) -> Float[Array, " batch"]:
    """The largest change of the values nearby: max over δ of ‖φ(x + δ) − φ(x)‖ / ‖φ(x)‖.

    δ is uniform in ±radius for every element. It says whether values are stable, not whether they
    are true: values that never change have 0. The largest of few draws is less than that of many.
    All examples share the draws.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, floating point.
        values: what `explain` gave for `x`, of any shape.
        target: the class that was explained, as in `deletion`; it stays the one predicted for `x`.
        explain: the explainer, `explain(apply_fn, params, x, target)`.
        key: for the draws.
        radius: in units of `x`.
        num_samples: draws, each as costly as the explanation.

    Returns:
        `[batch]`, from 0; infinite where values of 0 change, NaN where they are not finite.

    Raises:
        TypeError: `key` is missing or no key, `x` is not floating point, or `explain` needs another
            keyword.
        ValueError: `values` are not shaped as those that `explain` gives, or `radius` is negative.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> model, x = (apply_fn, jnp.array([[2.0], [1.0]])), jnp.ones((1, 2))
    >>> values, key = jinterp.gradient(*model, x, 0), jax.random.key(0)
    >>> max_sensitivity(*model, x, values, 0, explain=jinterp.gradient, key=key).tolist()
    [0.0]

    Source: Yeh et al. 2019, equation 4, over ‖φ(x)‖ as in Captum.
    """
    _check.is_key(key)
    _check.at_least_one("num_samples", num_samples, 10)
    _check.within("radius", radius, 0, float("inf"))
    asked = explained(explain, apply_fn, params, x, target)
    x, target = asked.question.x, asked.question.target
    _check.is_differentiable(x)
    values = jax.tree.map(jnp.asarray, values)
    largest = None
    for own in jax.random.split(key, num_samples):
        near = asked(apply_fn, params, _near(x, own, radius), target)
        _same_shapes(near, values)
        change = relative_change(near, values)
        largest = change if largest is None else jnp.maximum(largest, change)
    assert largest is not None
    return largest


@jax.jit
def _near(x: Inputs, key: Array, radius: Any) -> Inputs:
    leaves, treedef = jax.tree.flatten(x)

    def one(leaf: Array, own: Array) -> Array:
        drawn = jax.random.uniform(own, leaf.shape[1:], jnp.float32, -1, 1)
        scaled = jnp.asarray(radius).astype(jnp.float32) * drawn
        return leaf + scaled[None].astype(leaf.dtype)

    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(treedef, map(one, leaves, keys))


def _same_shapes(near: Any, values: Any) -> None:
    found, expected = (jax.tree.map(jnp.shape, each) for each in (values, near))
    if found != expected:
        raise ValueError(
            f"`values` have the shape {found}; expected {expected}, that of what `explain` gives."
        )
