"""The pointing game: whether the largest value lies where the answer does."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jinterp import _check
from jinterp._types import ApplyFn, Inputs, Params, Target
from jinterp.faithfulness._features import features_of, finite_only
from jinterp.faithfulness._masks import inside_of


def pointing_game(
    apply_fn: ApplyFn | None,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target = None,
    *,
    mask: Any,
    tolerance: float = 0.0,
    channel_axis: int = -1,
) -> Float[Array, " batch"]:
    """Whether the place of the largest value lies within the mask.

    Only what is known to be the reason can be marked: a model may be right for another one, of
    which an object's outline says nothing.

    Args:
        apply_fn: without effect, as `params` and `target`; taken so that metrics can be exchanged.
        params: without effect.
        x: one array of inputs, as in `deletion`, of which only the shape is read.
        values: attributions, as in `deletion`.
        target: without effect.
        mask: `[batch, *space]` bool, True where the answer lies; `[batch, features]` without axes
            in space.
        tolerance: how far outside of the mask is still a hit, in pixels.
        channel_axis: of `x`, which `mask` has not.

    Returns:
        `[batch]`, 0 or 1; NaN where values are not finite, or all the same. Of several largest
        the first counts.

    Raises:
        TypeError: `mask` is not bool, or `x` is not one array.
        ValueError: `mask` has another shape, or marks nothing in some example.

    >>> import jax.numpy as jnp
    >>> values = jnp.array([[1.0, 5.0, 2.0], [1.0, 5.0, 2.0]])
    >>> mask = jnp.array([[False, True, True], [True, False, False]])
    >>> pointing_game(None, None, values, values, mask=mask).tolist()
    [1.0, 0.0]

    Source: Zhang et al. 2018, section 4.1, whose tolerance is 15 pixels.
    """
    _check.within("tolerance", tolerance, 0, float("inf"))
    x = jax.tree.map(jnp.asarray, x)
    inside = inside_of(mask, x, channel_axis)
    features = features_of("pointing_game", values, x, None, channel_axis)
    (ids,) = jax.tree.leaves(features.groups.ids)
    found = _is_hit(features.values, inside, tolerance, ids.shape[1:])
    return finite_only(found, features)


@functools.partial(jax.jit, static_argnames="space")
def _is_hit(values: Array, inside: Array, tolerance: Any, space: tuple[int, ...]) -> Array:
    dtype = values.dtype
    coordinates = jnp.asarray(np.indices(space).reshape(len(space), -1).T, dtype)
    highest = values.argmax(axis=1)
    apart = coordinates[None] - coordinates[highest][:, None]
    squares = jnp.square(apart).sum(axis=2)
    nearest = jnp.where(inside, squares, jnp.asarray(jnp.inf, dtype)).min(axis=1)
    hit = (jnp.sqrt(nearest) <= jnp.asarray(tolerance).astype(dtype)).astype(dtype)
    return jnp.where(values.max(axis=1) > values.min(axis=1), hit, jnp.nan)
