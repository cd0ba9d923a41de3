"""From values with channels to a map."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp._types import EitherArray


def aggregate(
    values: EitherArray,
    how: Literal["sum", "abs_sum", "mean", "max", "norm"] = "sum",
    *,
    channel_axis: int = -1,
) -> Float[Array, "..."]:
    """One number a place, from one a channel.

    Args:
        values: attributions, `[batch, *space, channels]`.
        how: "sum" keeps the sign and the total; "abs_sum" adds absolute values; "mean" is the sum
            over their number; "max" takes the largest absolute value (Simonyan 2013); "norm" is
            the root of the sum of squares.
        channel_axis: where the channels are.

    Returns:
        `[batch, *space]`.

    Raises:
        ValueError: `how` is none of these.

    >>> import jax.numpy as jnp
    >>> aggregate(jnp.array([[[3.0, -4.0]]]), "norm").tolist()
    [[5.0]]
    """
    values = jnp.asarray(values)
    reductions = {
        "sum": lambda v: v.sum(channel_axis),
        "abs_sum": lambda v: jnp.abs(v).sum(channel_axis),
        "mean": lambda v: v.mean(channel_axis),
        "max": lambda v: jnp.abs(v).max(channel_axis),
        "norm": lambda v: jnp.sqrt(jnp.square(v).sum(channel_axis)),
    }
    if how not in reductions:
        raise ValueError(f"`how` is {how!r}; expected one of {', '.join(map(repr, reductions))}.")
    return reductions[how](values)
