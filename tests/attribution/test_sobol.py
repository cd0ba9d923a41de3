"""Total Sobol indices whose values are known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from jinterp.attribution.sobol import _drawn
from tests.problems import linear

KEY = jax.random.key(0)


def product(params: None, x: jax.Array) -> jax.Array:
    return x.prod(axis=1, keepdims=True)


def ishigami(params: None, x: jax.Array) -> jax.Array:
    """The sum sin x₁ + 7 sin² x₂ + x₃⁴ sin x₁ / 10."""
    first = jnp.sin(x[:, 0]) * (1 + x[:, 2] ** 4 / 10)
    return (first + 7 * jnp.sin(x[:, 1]) ** 2)[:, None]


WEIGHTS = np.array([[1.0], [-2], [3], [0]], np.float32)
PI = np.pi
# Variances of Ishigami's function: of x₁ alone, of x₂, of x₁ with x₃.
ONE, TWO, BOTH = (1 + PI**4 / 50) ** 2 / 2, 49 / 8, PI**8 * 8 / 225 / 100
# E[m²]² − E[m]²E[m²] and so on, for the product of three intensities.
THIRD, QUARTER = 1 / 3, 1 / 4
CASES: dict[str, tuple[Any, Any, np.ndarray, float, list[float]]] = {
    "linear": (linear, WEIGHTS, np.ones((1, 4)), 0.0, [1 / 14, 4 / 14, 9 / 14, 0]),
    "product": (
        product,
        None,
        np.full((1, 3), 5.0),
        0.0,
        [(THIRD**3 - QUARTER * THIRD**2) / (THIRD**3 - QUARTER**3)] * 3,
    ),
    "ishigami": (
        ishigami,
        None,
        np.full((1, 3), PI),
        -PI,
        (np.array([ONE + BOTH, TWO, BOTH]) / (ONE + TWO + BOTH)).tolist(),
    ),
}


def test_ishigami_is_as_published() -> None:
    np.testing.assert_allclose(CASES["ishigami"][4], [0.5576, 0.4424, 0.2437], atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_known_indices(name: str) -> None:
    """Within four standard errors, which are small."""
    apply_fn, params, x, baseline, expected = CASES[name]
    found = jinterp.with_error(jinterp.sobol)(
        apply_fn, params, x.astype(np.float32), 0, key=KEY, num_samples=1000, baseline=baseline
    )
    errors = np.asarray(found.errors)
    assert (np.abs(found.values - np.array([expected])) <= 4 * errors).all()
    assert errors.max() < 0.03
    assert (errors == 0).tolist() == [[value == 0 for value in expected]]


def test_a_group_varies_as_one() -> None:
    """Of (x₁ + x₂) m₁ + x₃ m₂."""
    x = np.ones((2, 4), np.float32)
    found = jinterp.sobol(
        linear, WEIGHTS, x, 0, key=KEY, num_samples=4000, feature_mask=np.array([0, 0, 1, 1])
    )
    np.testing.assert_allclose(found, np.full((2, 4), [0.1, 0.1, 0.9, 0.9]), atol=0.03)


def test_what_does_not_vary_is_zero() -> None:
    def constant(params: None, x: jax.Array) -> jax.Array:
        return 1e-9 * x[:, :1] + 1000

    with pytest.warns(UserWarning, match="`sobol`: 1 of 1 examples are zero everywhere"):
        found = jinterp.sobol(constant, None, np.ones((1, 3), np.float32), 0, key=KEY)
    np.testing.assert_array_equal(found, 0)


def test_strata_of_the_designs() -> None:
    """Every column of both has one value in each of n equal intervals."""
    both = np.asarray(_drawn(KEY, 50, 3))[:100].reshape(2, 50, 3)
    strata = np.sort(np.floor(both * 50), axis=1)
    np.testing.assert_array_equal(strata, np.broadcast_to(np.arange(50)[None, :, None], both.shape))
