"""How sharply the loss bends: the largest eigenvalues of its Hessian, and its trace."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

from jinterp import _check
from jinterp._types import BatchLossFn, Params
from jinterp.diagnose._hessian import Hessian, times
from jinterp.model.leaves import is_batch_loss, trained_leaves, working_dtype

_SMALL = 32  # parameters, up to which the whole Hessian is made


class HessianEigenvalues(NamedTuple):
    """The largest eigenvalues of a Hessian, arrays `[k]`.

    Attributes:
        values: largest first; NaN for those that were not found.
        residuals: ‖Hv − λv‖ for the unit vector v of each: an eigenvalue lies within it of λ.
        converged: whether the residual is at most `tolerance` of the largest |λ| found. Such a
            value is near an eigenvalue; that none is larger, no iteration proves.
        num_products: Hessian-vector products made.
    """

    values: np.ndarray
    residuals: np.ndarray
    converged: np.ndarray
    num_products: int


class HessianTrace(NamedTuple):
    """An estimate of the trace of a Hessian.

    Attributes:
        trace: the mean of v · Hv over the probes v.
        standard_error: of that mean.
        num_samples: the probes.
    """

    trace: float
    standard_error: float
    num_samples: int


def hessian_eigenvalues(
    loss_fn: BatchLossFn,
    params: Params,
    batch: Any,
    *,
    k: int = 1,
    tolerance: float = 1e-3,
    num_iterations: int = 100,
    key: Array,
) -> HessianEigenvalues:
    """The k largest eigenvalues of H = ∇²L(θ), by Lanczos iteration on products Hv.

    The largest one, λ, is called the sharpness: gradient descent with a learning rate η is stable
    where λ < 2/η. Every product is the derivative of the gradient along v, so H is never made.
    The iteration is ARPACK's, which restarts with max(2k + 1, 20) vectors of the size of the
    parameters on the host, and orthogonalises each against all. Up to 32 parameters H is made.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`, twice differentiable.
        params: its parameters; H is by the trained leaves of floating point.
        batch: what the loss takes. H is that of this batch.
        k: how many.
        tolerance: relative to the largest |λ|, above 0; in float32 below 1e-5 is not reached.
        num_iterations: the most restarts, each of about 20 products.
        key: for the first vector.

    Returns:
        Values, residuals, and whether each has converged. Without convergence fewer than k are
        found, and the rest is NaN.

    Raises:
        TypeError: the loss or the key is none.
        ValueError: a number is out of range, or `k` is larger than the parameters are many.

    Source: Lanczos (1950); Lehoucq et al. (1998) for ARPACK; Cohen et al. (2021) for 2/η. The
    residuals are computed anew, from further products, and not taken from ARPACK.

    >>> import jax, jax.numpy as jnp
    >>> bends = jnp.array([1.0, 5.0, -7.0])
    >>> found = hessian_eigenvalues(
    ...     lambda w, batch: (bends * w**2).sum() / 2, jnp.ones(3), None, k=2, key=jax.random.key(0)
    ... )
    >>> found.values.round(3).tolist()
    [5.0, 1.0]
    """
    is_batch_loss(loss_fn, params, batch)
    _check.is_key(key)
    _check.at_least_one("k", k, 1)
    _check.at_least_one("num_iterations", num_iterations, 100)
    if not 0 < tolerance < 1:
        raise ValueError(f"`tolerance` is {tolerance}; expected above 0 and below 1. Try 1e-3.")
    hessian = Hessian(loss_fn, params, batch)
    if k > hessian.size:
        raise ValueError(f"`k` is {k}; there are {hessian.size} parameters. Try 1.")
    values, vectors = _largest(hessian, k, tolerance, num_iterations, key)
    residuals = np.array(
        [
            np.linalg.norm(hessian(vector) - value * vector)
            for value, vector in zip(values, vectors.T, strict=True)
        ]
    )
    scale = np.abs(values).max(initial=0)
    order = np.argsort(-values)
    missing = np.full(k - len(values), np.nan, values.dtype)
    residuals = np.concatenate([residuals[order], missing])
    return HessianEigenvalues(
        np.concatenate([values[order], missing]),
        residuals,
        residuals <= tolerance * scale,
        hessian.num_products,
    )


def hessian_trace(
    loss_fn: BatchLossFn, params: Params, batch: Any, *, num_samples: int = 32, key: Array
) -> HessianTrace:
    """The trace of H = ∇²L(θ), the sum of its eigenvalues, from products with random signs.

    tr H = E[v · Hv] for v of independent ±1. Only what is off the diagonal makes the estimate
    vary: its variance is 2 Σ_{i≠j} H_ij² / num_samples.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`, twice differentiable.
        params: its parameters; H is by the trained leaves of floating point.
        batch: what the loss takes. H is that of this batch.
        num_samples: probes v, at least 2; one product each.
        key: for the probes.

    Returns:
        The estimate and its standard error, NaN where a product is not finite.

    Raises:
        TypeError: the loss or the key is none.
        ValueError: the probes are too few.

    Source: Hutchinson (1990).

    >>> import jax, jax.numpy as jnp
    >>> bends = jnp.array([1.0, 5.0, -7.0])
    >>> def loss(w, batch):
    ...     return (bends * w**2).sum() / 2
    >>> hessian_trace(loss, jnp.ones(3), None, key=jax.random.key(0))
    HessianTrace(trace=-1.0, standard_error=0.0, num_samples=32)
    """
    is_batch_loss(loss_fn, params, batch)
    _check.is_key(key)
    _check.at_least_one("num_samples", num_samples, 32)
    if num_samples < 2:
        raise ValueError("`num_samples` is 1; expected at least 2. Try 32.")
    there = jax.device_put((params, batch))  # once, and not for every probe
    keys = jax.random.split(key, num_samples)
    found = [_probed(*there, each, loss_fn=loss_fn) for each in keys]
    samples = np.asarray(jax.device_get(found), np.float64)
    error = samples.std(ddof=1) / np.sqrt(num_samples)
    return HessianTrace(float(samples.mean()), float(error), num_samples)


def _largest(
    hessian: Hessian, k: int, tolerance: float, num_iterations: int, key: Array
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and unit eigenvectors `[size, k]`, or as many as were found."""
    if hessian.size <= max(2 * k + 1, _SMALL):
        whole = np.stack([hessian(unit) for unit in np.eye(hessian.size)])
        if not np.isfinite(whole).all():
            return whole[0, :0], whole[:, :0]
        values, vectors = np.linalg.eigh((whole + whole.T) / 2)
        return values[-k:], vectors[:, -k:]
    start = np.asarray(jax.random.normal(key, (hessian.size,), hessian.dtype))
    first = hessian(start)
    if not np.isfinite(first).all():
        return start[:0], start[:, None][:, :0]
    if not first.any():  # for a random vector: the Hessian is 0
        return np.zeros(k, hessian.dtype), np.eye(hessian.size, k, dtype=hessian.dtype)
    operator = LinearOperator((hessian.size, hessian.size), hessian, dtype=hessian.dtype)
    try:
        return eigsh(operator, k, which="LA", v0=start, tol=tolerance, maxiter=num_iterations)
    except ArpackNoConvergence as error:
        return error.eigenvalues, error.eigenvectors
    except ArpackError:  # products that are not finite
        return start[:0], start[:, None][:, :0]


@functools.partial(jax.jit, static_argnames="loss_fn")
def _probed(params: Params, batch: Any, key: Array, *, loss_fn: BatchLossFn) -> Array:
    leaves = trained_leaves(params)
    dtype = working_dtype(leaves)
    signs = [
        jax.random.rademacher(each, leaf.shape, leaf.dtype)
        for each, leaf in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
    ]
    product = times(loss_fn, params, batch, signs)
    pairs = zip(signs, product, strict=True)
    return jnp.stack([(v.astype(dtype) * hv.astype(dtype)).sum() for v, hv in pairs]).sum()
