"""Eigenvalues and trace of a Hessian: known quadratics, jax.hessian of a network, stated errors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from tests import networks
from tests.problems import count_compiles

KEY = jax.random.key(0)


def quadratic(params: Any, matrix: Any) -> Any:
    """½ θᵀAθ + a constant pull: its Hessian is A."""
    whole = jnp.concatenate([params["a"].reshape(-1), params["b"]])
    return whole @ matrix @ whole / 2 + whole.sum()


def parameters(size: int) -> dict[str, np.ndarray]:
    """Of an integer no gradient exists."""
    return {
        "a": np.ones((2, 3), np.float32),
        "b": np.ones(size - 6, np.float32),
        "steps": np.arange(3),
    }


def symmetric(eigenvalues: np.ndarray) -> np.ndarray:
    size = len(eigenvalues)
    basis = np.linalg.qr(np.random.default_rng(size).normal(size=(size, size)))[0]
    return ((basis * eigenvalues) @ basis.T).astype(np.float32)


@pytest.mark.parametrize("size", [8, 60])
def test_a_dense_indefinite_quadratic(size: int) -> None:
    """Its largest |λ| is negative, and is not what is asked for."""
    eigenvalues = np.concatenate([[-50.0], np.linspace(-3, 5, size - 3), [7.0, 11.0]])
    found = jinterp.hessian_eigenvalues(
        quadratic, parameters(size), symmetric(eigenvalues), k=3, key=KEY
    )
    np.testing.assert_allclose(found.values, [11, 7, 5], rtol=1e-3)
    assert found.converged.all()
    assert (np.abs(found.values - [11, 7, 5]) <= found.residuals + 1e-4).all()
    assert found.num_products >= size if size == 8 else 20 < found.num_products < 200


def test_residuals_bound_the_error_and_less_tolerance_asks_for_more() -> None:
    eigenvalues = np.linspace(0, 1, 200) ** 0.5
    matrix, params = symmetric(eigenvalues), parameters(200)
    products = []
    for tolerance in (1e-1, 1e-4):
        found = jinterp.hessian_eigenvalues(quadratic, params, matrix, tolerance=tolerance, key=KEY)
        gaps = np.abs(eigenvalues[:, None] - found.values).min(0)
        assert (gaps <= found.residuals + 1e-5).all()
        assert found.converged.all()
        products.append(found.num_products)
    assert products[0] < products[1]


def test_no_convergence_is_not_claimed() -> None:
    matrix = symmetric(np.linspace(0.9, 1, 300))
    found = jinterp.hessian_eigenvalues(
        quadratic, parameters(300), matrix, k=3, tolerance=1e-5, num_iterations=1, key=KEY
    )
    assert not found.converged.any()
    assert np.isnan(found.values).all()
    assert np.isnan(found.residuals).all()


def test_what_float32_does_not_reach_has_not_converged() -> None:
    matrix = symmetric(np.linspace(0, 1, 60))
    found = jinterp.hessian_eigenvalues(quadratic, parameters(60), matrix, tolerance=1e-10, key=KEY)
    np.testing.assert_allclose(found.values, [1], rtol=1e-4)
    assert 1e-10 < found.residuals[0] < 1e-4
    assert not found.converged[0]


@pytest.mark.parametrize("size", [8, 60])
def test_products_that_are_not_finite(size: int) -> None:
    matrix = np.full((size, size), np.nan, np.float32)
    found = jinterp.hessian_eigenvalues(quadratic, parameters(size), matrix, key=KEY)
    assert np.isnan(found.values).all()
    assert not found.converged.any()
    assert np.isnan(jinterp.hessian_trace(quadratic, parameters(size), matrix, key=KEY).trace)


@pytest.mark.parametrize("scale", [0.0, 3.0])
def test_a_hessian_whose_eigenvalues_are_all_alike(scale: float) -> None:
    matrix = scale * np.eye(60, dtype=np.float32)
    found = jinterp.hessian_eigenvalues(quadratic, parameters(60), matrix, k=2, key=KEY)
    np.testing.assert_allclose(found.values, [scale] * 2, rtol=1e-5)
    assert found.converged.all()


def test_a_network_s_hessian_is_that_of_jax() -> None:
    """In float64, and in float32 beside it."""
    model = networks.mlp()
    loss = jinterp.mean_loss(model.apply_fn)
    batch = (networks.ROWS, np.arange(4))
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), model.params)
        exact = (networks.ROWS.astype(np.float64), jnp.arange(4))
        flat, unravel = jax.flatten_util.ravel_pytree(params)
        hessian = jax.jit(jax.hessian(lambda flat: loss(unravel(flat), exact)))(flat)
        double = jinterp.hessian_eigenvalues(loss, params, exact, k=4, tolerance=1e-8, key=KEY)
        trace = jinterp.hessian_trace(loss, params, exact, num_samples=64, key=KEY)
    single = jinterp.hessian_eigenvalues(loss, model.params, batch, k=4, key=KEY)
    expected = np.linalg.eigvalsh(hessian)[::-1]
    assert (double.values.dtype, single.values.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(double.values, expected[:4], atol=1e-7 * expected[0])
    np.testing.assert_allclose(single.values, expected[:4], atol=1e-3 * expected[0])
    assert double.converged.all()
    assert single.converged.all()
    assert abs(trace.trace - expected.sum()) < 4 * trace.standard_error


def test_dicts_and_nnx_state_have_one_hessian() -> None:
    batch, found = (networks.IMAGES[:2], np.arange(2)), []
    for model in (networks.cnn_nnx(), networks.cnn_plain()):
        loss = jinterp.mean_loss(model.apply_fn)
        found.append(jinterp.hessian_eigenvalues(loss, model.params, batch, key=KEY))
        assert found[-1].converged.all()
    np.testing.assert_allclose(found[0].values, found[1].values, rtol=1e-3)


def test_statistics_are_no_parameters() -> None:
    def loss(variables: Any, matrix: Any) -> Any:
        weights = variables["params"]["w"] * variables["batch_stats"]["scale"]
        return weights @ matrix @ weights / 2

    eigenvalues = np.array([1.0, 2.0, 5.0])
    variables = {
        "params": {"w": np.ones(3, np.float32)},
        "batch_stats": {"scale": np.full(3, 2, np.float32)},
    }
    found = jinterp.hessian_eigenvalues(loss, variables, symmetric(eigenvalues), k=3, key=KEY)
    np.testing.assert_allclose(found.values, [20, 8, 4], rtol=1e-4)
    with pytest.raises(ValueError, match="`k` is 4; there are 3 parameters"):
        jinterp.hessian_eigenvalues(loss, variables, symmetric(eigenvalues), k=4, key=KEY)


def test_the_trace_is_within_its_stated_error_over_seeds() -> None:
    eigenvalues = np.linspace(-2, 6, 12)
    matrix, params = symmetric(eigenvalues), parameters(12)
    found = [
        jinterp.hessian_trace(quadratic, params, matrix, num_samples=16, key=key)
        for key in jax.random.split(KEY, 200)
    ]
    traces = np.array([each.trace for each in found])
    errors = np.array([each.standard_error for each in found])
    covered = (abs(traces - eigenvalues.sum()) < 2 * errors).mean()
    assert 0.9 < covered < 0.99
    assert errors.mean() == pytest.approx(traces.std(), rel=0.15)
    off_diagonal = (matrix**2).sum() - (np.diag(matrix) ** 2).sum()
    assert traces.var() == pytest.approx(2 * off_diagonal / 16, rel=0.3)


def test_it_depends_on_the_key_alone_and_compiles_once() -> None:
    matrix, params = symmetric(np.linspace(0, 1, 60)), parameters(60)
    first = jinterp.hessian_eigenvalues(quadratic, params, matrix, key=KEY)
    traced = jinterp.hessian_trace(quadratic, params, matrix, num_samples=4, key=KEY)
    with count_compiles() as counter:
        again = jinterp.hessian_eigenvalues(quadratic, params, matrix, key=KEY)
        assert jinterp.hessian_trace(quadratic, params, matrix, num_samples=4, key=KEY) == traced
        other = jinterp.hessian_trace(
            quadratic, params, 2 * matrix, num_samples=4, key=jax.random.key(1)
        )
    assert counter.compiled == 0
    np.testing.assert_array_equal(first.values, again.values)
    assert other.trace != 2 * traced.trace


def test_errors(as_user: None) -> None:
    matrix, params = symmetric(np.arange(8.0)), parameters(8)
    with pytest.raises(ValueError, match="`k` is 9; there are 8 parameters"):
        jinterp.hessian_eigenvalues(quadratic, params, matrix, k=9, key=KEY)
    with pytest.raises(ValueError, match="`tolerance` is 0; expected above 0"):
        jinterp.hessian_eigenvalues(quadratic, params, matrix, tolerance=0, key=KEY)
    with pytest.raises(ValueError, match="`num_iterations` is 0; expected at least 1"):
        jinterp.hessian_eigenvalues(quadratic, params, matrix, num_iterations=0, key=KEY)
    with pytest.raises(ValueError, match="`num_samples` is 1; expected at least 2"):
        jinterp.hessian_trace(quadratic, params, matrix, num_samples=1, key=KEY)
    with pytest.raises(TypeError, match="`key` is 3; expected a random key"):
        jinterp.hessian_trace(quadratic, params, matrix, key=3)
    with pytest.raises(TypeError, match="`key` is 3; expected a random key"):
        jinterp.hessian_eigenvalues(quadratic, params, matrix, key=3)
