"""Weights of known spectra, and leaves of every kind."""

import time
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

import jinterp
from jinterp.diagnose import LeafWeights
from jinterp.diagnose._power_law import power_law
from tests import networks

RNG = np.random.default_rng(0)
ORTHOGONAL = np.linalg.qr(RNG.normal(size=(16, 16)))[0]


def only(leaf: Any, num_bins: int = 50) -> LeafWeights:
    (found,) = jinterp.weight_distributions(leaf, num_bins=num_bins).leaves
    return found


def test_an_orthogonal_matrix() -> None:
    leaf = only({"w": 3 * ORTHOGONAL})
    assert leaf.name == "w"
    assert leaf.spectral_norm == pytest.approx(3)
    assert leaf.stable_rank == pytest.approx(16)
    assert np.isnan(leaf.alpha)  # its eigenvalues differ by rounding alone
    assert leaf.num_tail == 0


def test_a_matrix_of_rank_one() -> None:
    a, b = RNG.normal(size=300), RNG.normal(size=20)
    leaf = only(np.outer(a, b).astype(np.float32))
    assert leaf.name == "params"
    assert leaf.spectral_norm == pytest.approx(np.linalg.norm(a) * np.linalg.norm(b), rel=1e-6)
    assert leaf.stable_rank == pytest.approx(1)
    assert np.isnan(leaf.alpha)


def test_a_diagonal_matrix_and_its_histogram() -> None:
    leaf = only(np.diag([1.0, 2.0, 3.0]), num_bins=3)
    assert (leaf.shape, leaf.num_elements, leaf.num_not_finite) == ((3, 3), 9, 0)
    assert (leaf.mean, leaf.minimum, leaf.maximum) == (pytest.approx(2 / 3), 0, 3)
    assert leaf.deviation == pytest.approx(np.sqrt(14 / 9 - 4 / 9))
    assert leaf.zero_share == pytest.approx(6 / 9)
    assert leaf.counts.tolist() == [6, 1, 2]
    assert leaf.edges.tolist() == [0, 1, 2, 3]
    assert leaf.stable_rank == pytest.approx(14 / 9)


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (3, 3, 4, 12)])
def test_a_kernel_is_the_matrix_of_its_last_axis(shape: tuple[int, ...]) -> None:
    weights = RNG.normal(size=shape)
    singular = np.linalg.svd(weights.reshape(-1, shape[-1]), compute_uv=False)
    leaf = only(weights)
    assert leaf.spectral_norm == pytest.approx(singular[0])
    assert leaf.stable_rank == pytest.approx((singular**2).sum() / singular[0] ** 2)
    assert leaf.alpha == pytest.approx(power_law(singular**2).alpha)
    assert leaf.x_min == pytest.approx(power_law(singular**2).x_min)


@pytest.mark.parametrize("alpha", [2.0, 3.5])
def test_the_exponent_of_pareto_eigenvalues_is_found_within_its_standard_error(
    alpha: float,
) -> None:
    found = [_pareto(alpha, seed) for seed in range(15)]
    errors = [(leaf.alpha - alpha) / leaf.alpha_error for leaf in found]
    assert np.abs(np.mean(errors)) < 0.75
    assert np.mean(np.abs(errors) < 2) >= 0.85
    assert all(leaf.ks_distance < 0.1 for leaf in found)


def _pareto(alpha: float, seed: int) -> LeafWeights:
    """A diagonal matrix: p(λ) ∝ λ^−α from 0.1 on, which is x = 0.1·u^(−1/(α−1))."""
    uniform = np.random.default_rng(seed).uniform(size=200)
    return only(np.diag(np.sqrt(0.1 * uniform ** (-1 / (alpha - 1)))))


def test_the_fit_is_clausets_and_its_distance_that_of_scipy() -> None:
    values = np.sort(np.random.default_rng(1).lognormal(size=60))
    found = power_law(RNG.permutation(values))
    fits = []
    for x_min in values[:-1]:
        tail = values[values >= x_min]
        alpha = 1 + len(tail) / np.log(tail / x_min).sum()
        law = stats.pareto(alpha - 1, scale=x_min)
        fits.append((stats.kstest(tail, law.cdf).statistic, alpha, x_min, len(tail)))
    distance, alpha, x_min, num_tail = min(fits)
    assert found.ks_distance == pytest.approx(distance)
    assert found.alpha == pytest.approx(alpha)
    assert (found.x_min, found.num_tail) == (pytest.approx(x_min), num_tail)
    assert found.alpha_error == pytest.approx((alpha - 1) / np.sqrt(num_tail))


def test_the_exponent_does_not_depend_on_the_scale() -> None:
    weights = RNG.normal(size=(60, 30))
    one, small = only(weights), only(weights * 1e-200)
    assert small.alpha == pytest.approx(one.alpha)
    assert small.spectral_norm == pytest.approx(one.spectral_norm * 1e-200)


@pytest.mark.parametrize("num_columns", [9, 10])
def test_fewer_than_ten_eigenvalues_have_no_power_law(num_columns: int) -> None:
    leaf = only(np.random.default_rng(0).normal(size=(20, num_columns)))
    assert np.isnan(leaf.alpha) == (num_columns < 10)
    assert np.isnan(leaf.ks_distance) == (num_columns < 10)


def test_values_that_are_not_finite_are_counted_and_left_out() -> None:
    weights = np.ones((4, 12))
    weights[0, :3] = np.nan, np.inf, -np.inf
    leaf = only(weights)
    assert (leaf.num_not_finite, leaf.mean, leaf.maximum) == (3, 1, 1)
    assert np.isnan(leaf.spectral_norm)
    assert leaf.counts.sum() == 45
    assert np.isnan(only(np.full(3, np.nan)).mean)


def test_leaves_of_every_kind() -> None:
    params = [
        np.float32(2.0),
        0.5,
        jnp.ones((2, 12), jnp.bfloat16),
        np.zeros((0, 3), np.float32),
        np.arange(3),
        np.zeros((3, 3)),
        np.array([True]),
    ]
    rows = jinterp.weight_distributions(params).leaves
    assert [row.name for row in rows] == ["0", "1", "2", "3", "5"]
    assert [row.shape for row in rows] == [(), (), (2, 12), (0, 3), (3, 3)]
    scalar, number, half, empty, zeros = rows
    assert (scalar.mean, number.mean, half.mean) == (2.0, 0.5, 1.0)
    assert np.isnan(scalar.spectral_norm)
    assert half.spectral_norm == pytest.approx(np.sqrt(24))
    assert (empty.num_elements, empty.counts.sum()) == (0, 0)
    assert np.isnan(empty.minimum)
    assert (zeros.spectral_norm, zeros.zero_share) == (0, 1)
    assert np.isnan(zeros.stable_rank)


def test_networks_of_linen_and_nnx_have_the_same_rows() -> None:
    linen = jinterp.weight_distributions(networks.cnn().params)
    state = nnx.state(networks.cnn_nnx_module())
    other = jinterp.weight_distributions(state)
    names = ["conv1/bias", "conv1/kernel", "conv2/bias", "conv2/kernel", "head/bias", "head/kernel"]
    assert [leaf.name for leaf in linen.leaves] == names
    assert [leaf.name for leaf in other.leaves] == names
    assert str(linen) == str(other)


def test_running_statistics_have_their_collection_in_the_name() -> None:
    variables = {"params": {"w": np.ones(2)}, "batch_stats": {"norm": {"mean": np.ones(2)}}}
    rows = jinterp.weight_distributions(variables).leaves
    assert [row.name for row in rows] == ["batch_stats/norm/mean", "w"]


def test_the_table_names_leaves_and_leaves_gaps() -> None:
    lines = str(jinterp.weight_distributions({"a": np.ones(2), "b": np.diag([1.0, 2.0])}))
    header, first, second = lines.splitlines()
    assert header.split()[:2] == ["shape", "mean"]
    assert first.split() == ["a", "[2]", "1", "0", "1", "1", "0%", "0", "-", "-", "-"]
    assert second.split()[-3:] == ["2", "1.25", "-"]


def test_above_the_cap_there_is_a_norm_and_no_power_law(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = RNG.normal(size=(30, 40))
    usual = only(weights)
    monkeypatch.setattr("jinterp.diagnose.weights._LARGEST_SIDE", 29)
    capped = only(weights)
    assert capped.spectral_norm == pytest.approx(usual.spectral_norm)
    assert capped.stable_rank == pytest.approx(usual.stable_rank)
    assert np.isnan(capped.alpha)


@pytest.mark.parametrize("shape", [(5000, 32), (32, 5000)])
def test_a_long_leaf_takes_no_time(shape: tuple[int, int]) -> None:
    weights = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    start = time.monotonic()
    assert only(weights).stable_rank > 20
    assert time.monotonic() - start < 5


def test_what_cannot_be_used(as_user: None) -> None:
    with pytest.raises(ValueError, match=r"`num_bins` is 0; expected at least 1. Try 50."):
        jinterp.weight_distributions(np.ones(3), num_bins=0)
    with pytest.raises(ValueError, match="`params` has 1 leaves, none of floating point; expected"):
        jinterp.weight_distributions({"n": np.arange(3)})
    with pytest.raises(ValueError, match="`params` has 0 leaves, none of floating point"):
        jinterp.weight_distributions({})
