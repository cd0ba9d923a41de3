"""Scores: which number of the logits is read, `score(logits, target) -> [batch]`.

`target` is None (the predicted class), one class for all examples, or one class for each.
A target outside the classes scores NaN, since a compiled function cannot raise.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp._types import Logits, Target


def logit(logits: Logits, target: Target = None) -> Float[Array, " batch"]:
    """The logit of the target: z_t.

    Args:
        logits: `[batch, classes]`.
        target: the class to read; None reads the predicted one.

    Returns:
        `[batch]`, unbounded.

    >>> import jax.numpy as jnp
    >>> logit(jnp.array([[1.0, 3.0], [2.0, 0.0]])).tolist()
    [3.0, 2.0]
    """
    picked = jnp.take_along_axis(
        logits, _classes(logits, target)[:, None], axis=1, mode="fill", fill_value=jnp.nan
    )
    return picked[:, 0]


def log_probability(logits: Logits, target: Target = None) -> Float[Array, " batch"]:
    """The logarithm of the target's probability: z_t − log Σ_j exp z_j, in nats, at most 0.

    Args:
        logits: `[batch, classes]`.
        target: the class to read; None reads the predicted one.

    Returns:
        `[batch]`, float32 at least.

    >>> import jax.numpy as jnp
    >>> print(log_probability(jnp.zeros((1, 4)), 2).round(4))
    [-1.3863]
    """
    return logit(jax.nn.log_softmax(at_least_float32(logits)), _classes(logits, target))


def probability(logits: Logits, target: Target = None) -> Float[Array, " batch"]:
    """The softmax probability of the target: exp z_t / Σ_j exp z_j, from 0 to 1.

    Args:
        logits: `[batch, classes]`.
        target: the class to read; None reads the predicted one.

    Returns:
        `[batch]`, float32 at least.

    >>> import jax.numpy as jnp
    >>> probability(jnp.zeros((1, 4)), 2).tolist()
    [0.25]
    """
    return jnp.exp(log_probability(logits, target))


def margin(logits: Logits, target: Target = None) -> Float[Array, " batch"]:
    """The target's logit less the largest other one: z_t − max_{j≠t} z_j.

    Args:
        logits: `[batch, classes]`.
        target: the class to read; None reads the predicted one, whose margin is not negative.

    Returns:
        `[batch]`, negative where the target is not the predicted class.

    >>> import jax.numpy as jnp
    >>> margin(jnp.array([[1.0, 3.0, 0.0]]), 0).tolist()
    [-2.0]
    """
    classes = _classes(logits, target)
    others = jnp.where(
        jnp.arange(logits.shape[1])[None, :] == classes[:, None],
        jnp.array(-jnp.inf, logits.dtype),
        logits,
    )
    return logit(logits, classes) - others.max(axis=1)


def loss(logits: Logits, target: Target = None) -> Float[Array, " batch"]:
    """The cross-entropy with the target: −log p_t, in nats, not negative.

    Args:
        logits: `[batch, classes]`.
        target: the class to read; None reads the predicted one.

    Returns:
        `[batch]`, float32 at least.

    >>> import jax.numpy as jnp
    >>> print(loss(jnp.zeros((1, 4)), 2).round(4))
    [1.3863]
    """
    return -log_probability(logits, target)


def channel(outputs: Array, target: Target = None) -> Float[Array, " batch"]:
    """The mean over space of a channel, of a layer's output: for `truncate`.

    Args:
        outputs: `[batch, *space, channels]`.
        target: the channel; None reads the one with the largest mean.

    Returns:
        `[batch]`; NaN for a channel that does not exist.

    >>> import jax.numpy as jnp
    >>> channel(jnp.array([[[1.0, 5.0], [3.0, 5.0]]]), 0).tolist()
    [2.0]
    """
    return logit(outputs.mean(axis=tuple(range(1, outputs.ndim - 1))), target)


@dataclasses.dataclass(frozen=True)
class Neuron:
    """A score that reads one unit: what `neuron` returns."""

    position: tuple[int, ...]

    def __call__(self, outputs: Array, target: Target = None) -> Float[Array, " batch"]:
        shape = outputs.shape[1:]
        inside = [-size <= place < size for place, size in zip(self.position, shape, strict=False)]
        if len(self.position) != len(shape) or not all(inside):
            raise ValueError(
                f"`position` is {self.position}; expected a place in an output of shape {shape}."
            )
        return outputs[:, *self.position]


def neuron(*position: int) -> Neuron:
    """A score that reads one unit of a layer's output, for `truncate`; it needs no target.

    Args:
        *position: of the unit, without the batch axis: `neuron(3, 3, 17)` in `[batch, h, w, c]`.

    Raises:
        ValueError: when called, if there is no such unit.

    >>> import jax.numpy as jnp
    >>> neuron(1, 0)(jnp.array([[[1.0, 5.0], [3.0, 5.0]]])).tolist()
    [3.0]
    """
    return Neuron(position)


def _classes(logits: Array, target: Target) -> Array:
    """The target as one class for each example; a negative one goes out of range, not round."""
    if logits.ndim != 2:
        raise ValueError(
            f"`logits` has the shape {logits.shape}; expected [batch, classes]. For a label at "
            "every pixel use score=jinterp.region(mask) or jinterp.pixel(row, column), for a unit "
            "of a layer score=jinterp.channel or jinterp.neuron, for one number an example "
            "a `score` of your own: lambda outputs, target: outputs."
        )
    if target is None:
        return logits.argmax(axis=1)
    target = jnp.asarray(target)
    if not jnp.issubdtype(target.dtype, jnp.integer):
        raise TypeError(
            f"`target` is {target.dtype}; expected integers. Use target.argmax(-1) for one-hot "
            "rows, target.astype(int) for whole numbers stored as floats."
        )
    if target.shape not in ((), logits.shape[:1]):
        raise ValueError(
            f"`target` has the shape {target.shape} for {logits.shape[0]} examples; expected one "
            f"class, or an array of shape ({logits.shape[0]},)."
        )
    target = target.astype(jnp.int32)
    target = jnp.where(target < 0, jnp.int32(logits.shape[1]), target)
    return jnp.broadcast_to(target, logits.shape[:1])


def at_least_float32(logits: Array) -> Array:
    """Half-precision logits as float32, in which probabilities are computed; integers, too."""
    is_float = jnp.issubdtype(logits.dtype, jnp.inexact)
    is_wide = is_float and jnp.finfo(logits.dtype).bits >= 32
    return logits if is_wide else logits.astype(jnp.float32)
