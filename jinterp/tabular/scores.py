"""How good the outputs of a whole dataset are: one number, larger is better."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp.model.score import at_least_float32

Weights = Float[Array, " rows"] | None


def accuracy(outputs: Array, targets: Array, weights: Weights = None) -> Array:
    """The share of rows whose largest output is the target: from 0 to 1.

    Args:
        outputs: `[rows, classes]`.
        targets: integer classes `[rows]`.
        weights: `[rows]` not negative; None weighs all rows alike.

    >>> import jax.numpy as jnp
    >>> float(accuracy(jnp.eye(2), jnp.array([0, 0])))
    0.5
    """
    _classes(outputs, targets, "accuracy")
    right = (outputs.argmax(axis=1).astype(jnp.int32) == targets.astype(jnp.int32)).astype(
        at_least_float32(outputs).dtype
    )
    return _mean(right, weights)


def negative_cross_entropy(outputs: Array, targets: Array, weights: Weights = None) -> Array:
    """The mean log-probability of the target, log p_t: in nats, at most 0.

    Args:
        outputs: logits `[rows, classes]`.
        targets: integer classes `[rows]`.
        weights: `[rows]` not negative; None weighs all rows alike.

    >>> import jax.numpy as jnp
    >>> print(negative_cross_entropy(jnp.zeros((1, 4)), jnp.array([2])).round(4))
    -1.3863
    """
    _classes(outputs, targets, "negative_cross_entropy")
    log_probabilities = jax.nn.log_softmax(at_least_float32(outputs))
    classes = targets.astype(jnp.int32)
    classes = jnp.where(classes < 0, jnp.int32(outputs.shape[1]), classes)[:, None]
    of_target = jnp.take_along_axis(
        log_probabilities, classes, axis=1, mode="fill", fill_value=jnp.nan
    )
    return _mean(of_target[:, 0], weights)


def r2(outputs: Array, targets: Array, weights: Weights = None) -> Array:
    """The share of variance explained, 1 − Σ (y − f)² / Σ (y − ȳ)²: at most 1.

    The mean over the outputs, where there are several; NaN where the targets of one are all the
    same.

    Args:
        outputs: `[rows]` or `[rows, outputs]`.
        targets: of that shape.
        weights: `[rows]` not negative; None weighs all rows alike.

    >>> import jax.numpy as jnp
    >>> float(r2(jnp.array([1.0, 2.0]), jnp.array([1.0, 3.0])))
    0.5
    """
    outputs, targets = _numbers(outputs, targets, "r2")
    return jax.vmap(_r2_of_one, (1, 1, None))(outputs, targets, weights).mean()


def _r2_of_one(outputs: Array, targets: Array, weights: Weights) -> Array:
    counted = jnp.ones(targets.shape, bool) if weights is None else weights > 0
    infinity = jnp.array(jnp.inf, targets.dtype)
    least, largest = jnp.where(counted, targets, infinity), jnp.where(counted, targets, -infinity)
    is_constant = least.min() == largest.max()  # whose variance is rounding, and not 0
    spread = _mean((targets - _mean(targets, weights)) ** 2, weights)
    found = 1 - _mean((targets - outputs) ** 2, weights) / spread
    return jnp.where(is_constant, jnp.array(jnp.nan, found.dtype), found)


def negative_mean_squared_error(outputs: Array, targets: Array, weights: Weights = None) -> Array:
    """The mean of −(y − f)², over the outputs too where there are several: at most 0.

    Args:
        outputs: `[rows]` or `[rows, outputs]`.
        targets: of that shape.
        weights: `[rows]` not negative; None weighs all rows alike.

    >>> import jax.numpy as jnp
    >>> float(negative_mean_squared_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
    -2.0
    """
    outputs, targets = _numbers(outputs, targets, "negative_mean_squared_error")
    return -_mean(((targets - outputs) ** 2).mean(1), weights)


def _mean(values: Array, weights: Weights) -> Array:
    if weights is None:
        return values.mean()
    weights = weights.astype(values.dtype)
    return (weights * values).sum() / weights.sum()


def _classes(outputs: Array, targets: Array, name: str) -> None:
    if outputs.ndim == 2 and outputs.shape[1] == 1:
        raise ValueError(
            f"`{name}` was given one logit a row; expected one for each class. For a binary model "
            "give the other class the logit 0: jnp.pad(outputs, ((0, 0), (1, 0)))."
        )
    if outputs.ndim != 2 or targets.ndim != 1 or not jnp.issubdtype(targets.dtype, jnp.integer):
        raise ValueError(
            f"`{name}` was given outputs {list(outputs.shape)} and targets {targets.dtype}"
            f"{list(targets.shape)}; expected [rows, classes] and integers [rows]. For a "
            "regression use jinterp.tabular.r2."
        )


def _numbers(outputs: Array, targets: Array, name: str) -> tuple[Array, Array]:
    """Both as floats `[rows, outputs]`."""
    size = len(targets)
    if len(outputs) != size or outputs.size != targets.size:
        raise ValueError(
            f"`{name}` was given outputs {list(outputs.shape)} and targets {list(targets.shape)}; "
            "expected as many numbers a row in both. For classes use jinterp.tabular.accuracy."
        )
    outputs = at_least_float32(outputs).reshape(size, -1)
    return outputs, targets.reshape(size, -1).astype(outputs.dtype)
