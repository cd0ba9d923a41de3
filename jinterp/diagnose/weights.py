"""How the weights of each leaf are spread, and their spectra."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse.linalg import svds

from jinterp import _check
from jinterp._text import text_table
from jinterp._types import Params
from jinterp.diagnose._power_law import NO_POWER_LAW, PowerLaw, power_law
from jinterp.model.leaves import names_of_all

_LARGEST_SIDE = 4096  # of a Gram matrix whose eigenvalues take seconds


class LeafWeights(NamedTuple):
    """The weights of one leaf.

    Attributes:
        name: the path to it, such as `conv1/kernel`.
        shape: of the leaf.
        num_elements: how many numbers it holds.
        num_not_finite: how many of them are NaN or infinite; what follows is of the others, and
            NaN where there are none.
        mean: their mean.
        deviation: their standard deviation, over n.
        minimum: the least.
        maximum: the largest.
        zero_share: the share that is exactly 0.
        counts: `[bins]`, how many lie in each bin of equal width.
        edges: `[bins + 1]`, the ends of the bins.
        spectral_norm: the largest singular value of the leaf as a matrix W [all axes but the last,
            the last]; NaN below two axes and where a number is not finite, as with what follows.
        stable_rank: ‖W‖_F² / ‖W‖₂², from 1 to the rank; NaN where W is 0.
        alpha: the exponent of the power law in the eigenvalues of WᵀW; NaN also where fewer than
            10 are positive, where all are alike, or where the smaller side of W is above 4096.
        alpha_error: its standard error, (α − 1)/√n.
        x_min: the eigenvalue that the power law begins at.
        ks_distance: how far the n eigenvalues from x_min on are from it, from 0 to 1.
        num_tail: n.
    """

    name: str
    shape: tuple[int, ...]
    num_elements: int
    num_not_finite: int
    mean: float
    deviation: float
    minimum: float
    maximum: float
    zero_share: float
    counts: np.ndarray
    edges: np.ndarray
    spectral_norm: float
    stable_rank: float
    alpha: float
    alpha_error: float
    x_min: float
    ks_distance: float
    num_tail: int


class WeightDistributions(NamedTuple):
    """The weights of a network.

    Attributes:
        leaves: the leaves of floating point, in the order of the tree.
    """

    leaves: tuple[LeafWeights, ...]

    def __str__(self) -> str:
        """A row for each leaf."""
        header = ["", "shape", "mean", "deviation", "min", "max", "zeros", "not finite"]
        header += ["‖W‖₂", "stable rank", "α"]
        return text_table(header, map(_row, self.leaves))


def weight_distributions(params: Params, *, num_bins: int = 50) -> WeightDistributions:
    """Moments, histogram and spectrum of every leaf of floating point.

    α = 1 + n / Σ ln(λ_i / x_min) over the n eigenvalues λ_i ≥ x_min of WᵀW, with the x_min that
    brings the Kolmogorov-Smirnov distance max |F(λ) − (1 − (λ/x_min)^(1−α))| to its least. Martin
    and Mahoney find α from 2 to 6 in layers that are trained well.

    Everything is computed on the host in float64, eigenvalues from the Gram matrix of the smaller
    side: a leaf of 50 000 × 4096 takes a minute or so.

    Args:
        params: a pytree of arrays: Linen variables, NNX state, a list of matrices. Integer leaves
            are left out; running statistics have a row.
        num_bins: bins of a histogram.

    Returns:
        A row for each leaf; print it for a table. Values that are not finite are counted.

    Raises:
        ValueError: `num_bins` is less than 1, or no leaf is of floating point.

    Source: Clauset, Shalizi and Newman (2009), equations 3.1, 3.2 and 3.9; Martin and Mahoney
    (2021), whose WeightWatcher fits layers from 10 eigenvalues on, as here. It makes a matrix of
    each place in the kernel of a convolution, leaves out eigenvalues below a fixed threshold, and
    compares the law with the lower end of each step of F only; here a kernel is one matrix, what
    is left out is 0 to rounding, and both ends of a step count.

    >>> import numpy as np
    >>> print(weight_distributions({"kernel": np.diag([3.0, 4.0])}))
             shape  mean  deviation  min  max  zeros  not finite  ‖W‖₂  stable rank  α
    kernel  [2, 2]  1.75      1.785    0    4    50%           0     4        1.562  -
    """
    _check.at_least_one("num_bins", num_bins, 50)
    found = [
        _leaf(name, leaf, num_bins)
        for name, leaf in zip(names_of_all(params), jax.tree.leaves(params), strict=True)
        if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    ]
    if not found:
        raise ValueError(
            f"`params` has {len(jax.tree.leaves(params))} leaves, none of floating point; expected "
            "at least one. Pass Linen variables, NNX state or a pytree of arrays."
        )
    return WeightDistributions(tuple(found))


def _leaf(name: str, leaf: Any, num_bins: int) -> LeafWeights:
    weights = np.asarray(leaf).astype(np.float64)
    is_finite = np.isfinite(weights)
    finite = weights.ravel() if is_finite.all() else weights[is_finite]
    num_not_finite = weights.size - finite.size
    counts, edges = np.histogram(finite, num_bins)
    is_matrix = weights.ndim > 1 and weights.size > 0 and num_not_finite == 0
    matrix = weights.reshape(-1, weights.shape[-1]) if is_matrix else None
    norm, stable_rank, law = _NO_SPECTRUM if matrix is None else _spectrum(matrix)
    return LeafWeights(
        name,
        weights.shape,
        weights.size,
        num_not_finite,
        *_moments(finite),
        counts,
        edges,
        norm,
        stable_rank,
        *law,
    )


_NO_SPECTRUM = (math.nan, math.nan, NO_POWER_LAW)


def _moments(weights: np.ndarray) -> tuple[float, float, float, float, float]:
    if not weights.size:
        return math.nan, math.nan, math.nan, math.nan, math.nan
    least, largest = float(weights.min()), float(weights.max())
    zero_share = 1 - np.count_nonzero(weights) / weights.size
    return float(weights.mean()), float(weights.std()), least, largest, zero_share


def _spectrum(matrix: np.ndarray) -> tuple[float, float, PowerLaw]:
    """The spectral norm, the stable rank, and the power law."""
    scale = np.abs(matrix).max()
    if scale == 0:
        return 0.0, math.nan, NO_POWER_LAW
    matrix = matrix / scale  # so that no square over- or underflows
    law = NO_POWER_LAW
    if min(matrix.shape) > _LARGEST_SIDE:
        start = np.ones(min(matrix.shape))
        largest = svds(matrix, k=1, v0=start, return_singular_vectors=False)[0] ** 2
    else:
        eigenvalues = np.linalg.eigvalsh(_gram(matrix))
        largest = eigenvalues[-1]
        rounding = largest * max(matrix.shape) * np.finfo(np.float64).eps
        law = power_law(eigenvalues[eigenvalues > rounding])
    law = law._replace(x_min=law.x_min * float(scale) ** 2)
    return float(scale * np.sqrt(largest)), float((matrix**2).sum() / largest), law


def _gram(matrix: np.ndarray) -> np.ndarray:
    rows, columns = matrix.shape
    return matrix.T @ matrix if columns <= rows else matrix @ matrix.T


def _row(leaf: LeafWeights) -> list[str]:
    numbers = leaf.mean, leaf.deviation, leaf.minimum, leaf.maximum
    return [
        leaf.name,
        str(list(leaf.shape)),
        *map(_text, numbers),
        "-" if math.isnan(leaf.zero_share) else f"{leaf.zero_share:.0%}",
        str(leaf.num_not_finite),
        *map(_text, (leaf.spectral_norm, leaf.stable_rank, leaf.alpha)),
    ]


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"
