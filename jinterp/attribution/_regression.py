"""Weighted least squares of scores by who is in a coalition, for all examples at once."""

import jax
import jax.numpy as jnp
from jaxtyping import Array


def coefficients(scores: Array, design: Array, weights: Array, penalty: Array) -> Array:
    """The minimum φ of Σ_k w_k (y_k − Z_k φ)² + φᵀ P φ, `[..., groups]`.

    It is one linear map (Zᵀ W Z + P)⁻¹ Zᵀ W of the scores, the same for every example.

    Args:
        scores: y, `[..., coalitions]`.
        design: Z, `[coalitions, groups]`.
        weights: w, `[coalitions]`.
        penalty: P, `[groups, groups]`.
    """
    highest = jax.lax.Precision.HIGHEST
    weighted = design * weights[:, None]
    gram = jnp.matmul(weighted.T, design, precision=highest) + penalty
    projection = jax.scipy.linalg.solve(gram, weighted.T, assume_a="pos")
    return jnp.einsum("...k,gk->...g", scores, projection, precision=highest)
