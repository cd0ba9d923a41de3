"""How large a batch is worth while: the noise of the gradient beside its size."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._types import BatchLossFn, Params
from jinterp.model.leaves import is_batch_loss, trained_leaves, with_leaves, working_dtype
from jinterp.model.score import at_least_float32


class NoiseScale(NamedTuple):
    """The simple noise scale B = tr Σ / |G|².

    Attributes:
        noise_scale: B, in examples: batches far below it leave most of the noise in a step, batches
            far above it gain little. Infinite where the estimate of |G|² is not positive, NaN where
            a gradient is not finite.
        standard_error: of B, by jackknife over the parts; NaN where B is not finite for all of them
            but one, whichever is left out.
        trace_covariance: tr Σ, the variance of the gradient of one example, summed over parameters.
        trace_covariance_error: its standard error.
        gradient_norm_squared: the unbiased estimate of |G|², which may come out negative.
        gradient_norm_squared_error: its standard error.
        part_size: examples in a part.
        num_parts: of the batch.
        problems: what the numbers cannot tell, as sentences.
    """

    noise_scale: float
    standard_error: float
    trace_covariance: float
    trace_covariance_error: float
    gradient_norm_squared: float
    gradient_norm_squared_error: float
    part_size: int
    num_parts: int
    problems: list[str]

    def __str__(self) -> str:
        """The three estimates with their standard errors."""
        estimates = (
            f"noise scale {self.noise_scale:.4g} ± {self.standard_error:.2g} examples",
            f"tr Σ {self.trace_covariance:.4g} ± {self.trace_covariance_error:.2g}",
            f"|G|² {self.gradient_norm_squared:.4g} ± {self.gradient_norm_squared_error:.2g}",
        )
        return "\n".join([", ".join(estimates), *self.problems])


def gradient_noise_scale(
    loss_fn: BatchLossFn, params: Params, batch: Any, *, num_parts: int = 16
) -> NoiseScale:
    """The simple noise scale B = tr Σ / |G|², from the gradients of equal parts of a batch.

    With g_p the gradient of part p of P, each of b examples, and ḡ their mean:

        tr Σ = b/(P − 1) Σ_p |g_p − ḡ|²        |G|² = |ḡ|² − tr Σ / (P b)

    Both are unbiased, B as their ratio is not. The parts are taken one after the other, twice:
    for ḡ, and for the distances from it, so that two gradients are in memory and not P.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`, which is the mean over the examples of `batch`
            and takes any number of them.
        params: its parameters.
        batch: arrays that share the leading axis, in random order; it may lie on the host.
        num_parts: at least 3; it divides the number of examples.

    Returns:
        B with its standard error, and what it is made of.

    Raises:
        TypeError: the loss is none.
        ValueError: the parts are too few, or do not divide the examples.

    Source: McCandlish et al. (2018), equations 2.9 and A.1: their two batch sizes are b and P b,
    where S and |G|² are what stands above. The jackknife is ours.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([1.0, 2.0, 3.0, 4.0, 3.0, 2.0])
    >>> found = gradient_noise_scale(lambda w, x: ((w - x) ** 2).mean() / 2, 9.0, x, num_parts=3)
    >>> print(found)
    noise scale 0.04771 ± 0.049 examples, tr Σ 2 ± 2, |G|² 41.92 ± 7.5
    """
    is_batch_loss(loss_fn, params, batch)
    size = _part_size(_check.num_examples(batch, "batch"), num_parts)

    def part(number: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[number * size : (number + 1) * size], batch)

    mean = [jnp.zeros_like(at_least_float32(jnp.asarray(leaf))) for leaf in trained_leaves(params)]
    for number in range(num_parts):
        mean = _added(params, part(number), mean, loss_fn=loss_fn, num_parts=num_parts)
    found = [_compared(params, part(number), mean, loss_fn=loss_fn) for number in range(num_parts)]
    of_mean, along, away = np.asarray(jax.device_get(found), np.float64).T
    return _noise_scale(of_mean[0], along, away, size)


def _part_size(num_examples: int, num_parts: int) -> int:
    _check.at_least_one("num_parts", num_parts, 16)
    if num_parts < 3:
        raise ValueError(f"`num_parts` is {num_parts}; expected at least 3. Try 16.")
    if num_examples % num_parts:
        divisors = [n for n in range(3, num_parts) if num_examples % n == 0]
        advice = f"Use num_parts={divisors[-1]}, or leave" if divisors else "Leave"
        raise ValueError(
            f"`batch` has {num_examples} examples, which {num_parts} equal parts do not hold; "
            f"expected a multiple of `num_parts`. {advice} out {num_examples % num_parts}."
        )
    return num_examples // num_parts


@functools.partial(jax.jit, static_argnames=("loss_fn", "num_parts"))
def _added(
    params: Params, part: Any, mean: list[Array], *, loss_fn: BatchLossFn, num_parts: int
) -> list[Array]:
    """The mean with the gradient of one part more in it."""
    gradient = _gradient(loss_fn, params, part)
    return [a + g / num_parts for a, g in zip(mean, gradient, strict=True)]


@functools.partial(jax.jit, static_argnames="loss_fn")
def _compared(
    params: Params, part: Any, mean: list[Array], *, loss_fn: BatchLossFn
) -> tuple[Array, Array, Array]:
    """With the part's gradient g = ḡ + d: |ḡ|², ḡ · d and |d|²."""
    gradient = _gradient(loss_fn, params, part)
    away = [g - a for a, g in zip(mean, gradient, strict=True)]
    return _dot(mean, mean), _dot(mean, away), _dot(away, away)


def _gradient(loss_fn: BatchLossFn, params: Params, part: Any) -> list[Array]:
    gradient = jax.grad(lambda values: loss_fn(with_leaves(params, values), part))
    return [at_least_float32(leaf) for leaf in gradient(trained_leaves(params))]


def _dot(a: list[Array], b: list[Array]) -> Array:
    dtype = working_dtype(a)
    return jnp.stack([(x * y).sum().astype(dtype) for x, y in zip(a, b, strict=True)]).sum()


def _noise_scale(of_mean: float, along: np.ndarray, away: np.ndarray, size: int) -> NoiseScale:
    """The estimates from |ḡ|² and, of each part, ḡ · d and |d|²."""
    num_parts = len(along)
    rest = num_parts - 1
    whole = np.array(_estimates(of_mean, away.sum(), num_parts, size))
    without_one = np.array(
        _estimates(
            of_mean - 2 * along / rest + away / rest**2,
            away.sum() - away * num_parts / rest,
            rest,
            size,
        )
    )
    with np.errstate(invalid="ignore"):
        spread = without_one - without_one.mean(axis=1, keepdims=True)
    errors = np.sqrt(rest / num_parts * (spread**2).sum(axis=1))
    trace, norm, scale = map(float, whole)
    problems = _problems(norm, float(errors[1]), int((~np.isfinite(along + away)).sum()), num_parts)
    values = (scale, float(errors[2]), trace, float(errors[0]), norm, float(errors[1]))
    return NoiseScale(*values, size, num_parts, problems)


def _estimates(of_mean: Any, away: Any, num_parts: int, size: int) -> tuple[Any, Any, Any]:
    """The trace, |G|² and their ratio, from |ḡ|² and Σ |g_p − ḡ|²."""
    trace = size / (num_parts - 1) * away
    norm = of_mean - trace / (num_parts * size)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(norm > 0, trace / norm, np.where(np.isnan(norm), np.nan, np.inf))
    return trace, norm, scale


def _problems(norm: float, error: float, num_broken: int, num_parts: int) -> list[str]:
    if num_broken:
        return [
            f"The gradient is NaN or infinite in {num_broken} of {num_parts} parts, compared with "
            "the mean. jinterp.gradient_flow names the leaves."
        ]
    if norm <= 0:
        return [
            f"|G|² is estimated as {norm:.2g}, not above 0: the noise of this batch hides the "
            "gradient, so the noise scale is given as infinite. Use more examples."
        ]
    if norm < 2 * error:
        return [
            f"|G|² = {norm:.2g} is within two standard errors ({error:.2g}) of 0, so the noise "
            "scale may be far larger. Use more examples."
        ]
    return []
