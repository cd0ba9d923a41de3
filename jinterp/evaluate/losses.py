"""Losses and errors of single examples, from logits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jinterp import _check
from jinterp._types import FloatMaps, Logits, LossFn, MapLogits
from jinterp.model.score import at_least_float32

_SUM_TOLERANCE = 1e-2  # of soft labels, which may be half precision

Targets = Shaped[Array, "batch ..."]


@jax.jit
def cross_entropy(logits: MapLogits, targets: Targets) -> FloatMaps:
    """The cross-entropy of each example: −log p_t, or −Σ_c y_c log p_c for soft labels.

    Args:
        logits: `[batch, classes]`, or `[batch, *space, classes]`.
        targets: `[batch]` integer classes, or `[batch, classes]` floats, the probabilities of a
            soft label; for logits in space label maps `[batch, *space]`. A class outside the
            logits gives NaN, as does a row that does not sum to 1, which is no soft label but
            several labels.

    Returns:
        `[batch]`, or `[batch, *space]`, in nats, not negative; float32 at least.

    Raises:
        TypeError: `targets` are float classes, or integer rows (which are one-hot or
            multi-label).
        ValueError: `targets` have another shape.

    >>> import jax.numpy as jnp
    >>> print(cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3])).round(4))
    [1.3863 1.3863]
    """
    if logits.ndim > 2:
        return _cross_entropy_of_maps(at_least_float32(logits), targets)
    _check_class_labels(logits, targets)
    logits = at_least_float32(logits)
    if targets.ndim == 1:
        return jax.vmap(_cross_entropy_of_class)(logits, targets.astype(jnp.int32))
    return jax.vmap(_cross_entropy_of_distribution)(logits, targets.astype(logits.dtype))


@jax.jit
def sigmoid_cross_entropy(
    logits: Logits, targets: Shaped[Array, "batch classes"]
) -> Float[Array, " batch"]:
    """The multi-label loss of each example: the mean over classes of −log σ(±z_c).

    Args:
        logits: `[batch, classes]`, one independent logit a label.
        targets: `[batch, classes]` zeros and ones, integer or bool.

    Returns:
        `[batch]`, in nats, not negative; float32 at least.

    Raises:
        TypeError: `targets` are floats, which are soft labels elsewhere.
        ValueError: `targets` have another shape than `logits`.

    >>> import jax.numpy as jnp
    >>> print(sigmoid_cross_entropy(jnp.zeros((1, 3)), jnp.array([[1, 0, 1]])).round(4))
    [0.6931]
    """
    if targets.shape != logits.shape:
        raise ValueError(
            f"`targets` have the shape {targets.shape}; expected {logits.shape}, a 0 or 1 for each "
            "label. For one class an example use cross_entropy."
        )
    if jnp.issubdtype(targets.dtype, jnp.floating):
        raise TypeError(
            f"`targets` are {targets.dtype}; expected integers or bools, 0 or 1 for each label. "
            "Use targets.astype(int)."
        )
    logits = at_least_float32(logits)
    return jnp.where(targets.astype(bool), _softplus(-logits), _softplus(logits)).mean(1)


@jax.jit
def brier_score(logits: Logits, targets: Targets) -> Float[Array, " batch"]:
    """The Brier score of each example: Σ_c (p_c − y_c)².

    Args:
        logits: `[batch, classes]`.
        targets: `[batch]` integer classes, or `[batch, classes]` probabilities of a soft label.

    Returns:
        `[batch]`, from 0 to 2. Brier's own definition, which for two classes is twice the binary
        one that scikit-learn computes.

    Source: Brier (1950), equation 2.

    >>> import jax.numpy as jnp
    >>> brier_score(jnp.zeros((1, 2)), jnp.array([1])).tolist()
    [0.5]
    """
    _check_class_labels(logits, targets)
    probabilities = jax.nn.softmax(at_least_float32(logits))
    if targets.ndim == 1:
        targets = jax.nn.one_hot(targets, logits.shape[1], dtype=probabilities.dtype)
    return ((probabilities - targets.astype(probabilities.dtype)) ** 2).sum(1)


def per_example(loss_fn: LossFn, logits: Array, targets: Array) -> Float[Array, " batch"]:
    """Any loss as one number an example: the mean over whatever axes it leaves."""
    _check.losses_of(loss_fn, logits, targets)
    losses = loss_fn(logits, targets)
    return losses.reshape(losses.shape[0], -1).mean(1)


def classes_of(targets: Array) -> Array:
    """Each example's class as int32: the label itself, or the likeliest one of a soft label."""
    if targets.ndim == 2 and not jnp.issubdtype(targets.dtype, jnp.floating):
        raise _integer_rows(targets)
    return (targets if targets.ndim == 1 else targets.argmax(1)).astype(jnp.int32)


def _cross_entropy_of_class(logits: Array, target: Array) -> Array:
    target = jnp.where(target < 0, jnp.array(len(logits), target.dtype), target)
    return -jax.nn.log_softmax(logits).at[target].get(mode="fill", fill_value=jnp.nan)


class ExponentialSums(NamedTuple):
    """Of logits `[batch, *space, classes]`: arrays `[batch, *space]`.

    Attributes:
        largest: max z.
        total: Σ exp(z − max z).
        squares: Σ exp(z − max z)².
    """

    largest: Array
    total: Array
    squares: Array

    def cross_entropy(self, of_target: Array) -> Array:
        """The loss, from the logit of the target."""
        return jnp.log(self.total) - (of_target - self.largest)


def exponential_sums(logits: Array) -> ExponentialSums:
    """What softmax needs, the exponentials taken once; XLA:CPU takes them anew for each sum."""
    largest = logits.max(-1)
    exponentials = jnp.exp(logits - largest[..., None])
    zero = jnp.zeros((), logits.dtype)
    total, squares = jax.lax.reduce(
        (exponentials, exponentials**2),
        (zero, zero),
        lambda a, b: (a[0] + b[0], a[1] + b[1]),
        (logits.ndim - 1,),
    )
    return ExponentialSums(largest, total, squares)


def _cross_entropy_of_maps(logits: Array, targets: Array) -> Array:
    if not jnp.issubdtype(targets.dtype, jnp.integer) or targets.shape != logits.shape[:-1]:
        raise ValueError(
            f"`targets` are {targets.dtype} of shape {targets.shape} for logits {logits.shape}; "
            f"expected label maps of integers, {logits.shape[:-1]}."
        )
    return exponential_sums(logits).cross_entropy(logit_of_target(logits, targets))


def logit_of_target(logits: Array, targets: Array) -> Array:
    """`[batch, *space]`; NaN for a class outside the logits."""
    classes = targets.astype(jnp.int32)
    classes = jnp.where(classes < 0, jnp.int32(logits.shape[-1]), classes)
    found = jnp.take_along_axis(
        logits, classes[..., None], axis=-1, mode="fill", fill_value=jnp.nan
    )
    return found[..., 0]


def _cross_entropy_of_distribution(logits: Array, target: Array) -> Array:
    terms = target * jax.nn.log_softmax(logits)
    loss = -jnp.where(target == 0, jnp.zeros_like(terms), terms).sum()  # 0 · −inf is 0 here
    return jnp.where(jnp.abs(target.sum() - 1) < _SUM_TOLERANCE, loss, jnp.nan)


def _check_class_labels(logits: Array, targets: Array) -> None:
    floating = jnp.issubdtype(targets.dtype, jnp.floating)
    if targets.ndim == 1 and floating:
        raise TypeError(
            f"`targets` are {targets.dtype} of shape [batch]; expected integer classes. "
            "Use targets.astype(int)."
        )
    if targets.ndim == 2 and not floating:
        raise _integer_rows(targets)
    if targets.shape not in (logits.shape[:1], logits.shape):
        raise ValueError(
            f"`targets` have the shape {targets.shape} for logits {logits.shape}; expected "
            f"({logits.shape[0]},) classes or {logits.shape} probabilities."
        )


def _softplus(x: Array) -> Array:
    return jnp.logaddexp(x, jnp.zeros_like(x))


def _integer_rows(targets: Array) -> TypeError:
    return TypeError(
        f"`targets` are {targets.dtype} of shape {targets.shape}; expected integer classes "
        "[batch]. For one-hot rows use targets.argmax(-1), for several labels an example "
        "jinterp.evaluate_multi_label, or jinterp.top_losses(..., "
        "loss_fn=jinterp.sigmoid_cross_entropy), for soft labels floats."
    )
