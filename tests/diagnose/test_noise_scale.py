"""The noise scale: closed forms of a quadratic, its stated error over seeds, and errors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from tests import networks
from tests.problems import count_compiles

DEVIATIONS = np.array([0.5, 1.0, 2.0, 3.0], np.float32)
TRACE, NORM = 14.25, 9.0  # Σ σ², and |θ − μ|² below


def distance(params: Any, x: Any) -> Any:
    """½|θ − x|², whose gradient is θ − x: tr Σ is the variance of x, |G|² = |θ − mean|²."""
    return ((params["theta"][None] - x) ** 2).sum(1).mean() / 2


def drawn(seed: int, num: int) -> np.ndarray:
    normal = np.random.default_rng(seed).normal(size=(num, 4))
    return (DEVIATIONS * normal).astype(np.float32)


PARAMS = {"theta": np.array([3, 0, 0, 0], np.float32), "steps": np.arange(2)}


def test_it_is_the_ratio_of_what_two_batch_sizes_tell() -> None:
    """Equation A.1 of the paper, with all parts' gradients at hand."""
    x = drawn(0, 96)
    found = jinterp.gradient_noise_scale(distance, PARAMS, x, num_parts=8)
    parts = PARAMS["theta"] - x.reshape(8, 12, 4).mean(1)
    small, big = (parts**2).sum(1).mean(), (parts.mean(0) ** 2).sum()
    norm = (96 * big - 12 * small) / (96 - 12)
    trace = (small - big) / (1 / 12 - 1 / 96)
    assert found.gradient_norm_squared == pytest.approx(norm, rel=1e-4)
    assert found.trace_covariance == pytest.approx(trace, rel=1e-4)
    assert found.noise_scale == pytest.approx(trace / norm, rel=1e-4)
    assert (found.part_size, found.num_parts, found.problems) == (12, 8, [])


def test_the_errors_are_those_of_leaving_parts_out() -> None:
    x = drawn(1, 40)
    found = jinterp.gradient_noise_scale(distance, PARAMS, x, num_parts=5)
    without = [
        jinterp.gradient_noise_scale(
            distance, PARAMS, np.delete(x.reshape(5, 8, 4), n, 0).reshape(-1, 4), num_parts=4
        )
        for n in range(5)
    ]
    for field in ("trace_covariance", "gradient_norm_squared"):
        values = np.array([getattr(each, field) for each in without])
        error = np.sqrt(4 / 5 * ((values - values.mean()) ** 2).sum())
        assert getattr(found, f"{field}_error") == pytest.approx(error, rel=1e-3)
    values = np.array([each.noise_scale for each in without])
    error = np.sqrt(4 / 5 * ((values - values.mean()) ** 2).sum())
    assert found.standard_error == pytest.approx(error, rel=1e-3)


def test_estimates_are_unbiased_and_within_their_errors_over_seeds() -> None:
    """Two standard errors of 32 parts cover about 95 of 100."""
    found = [
        jinterp.gradient_noise_scale(distance, PARAMS, drawn(seed, 512), num_parts=32)
        for seed in range(150)
    ]
    truths = {
        "trace_covariance": (TRACE, "trace_covariance_error"),
        "gradient_norm_squared": (NORM, "gradient_norm_squared_error"),
        "noise_scale": (TRACE / NORM, "standard_error"),
    }
    for field, (truth, error) in truths.items():
        values = np.array([getattr(each, field) for each in found])
        errors = np.array([getattr(each, error) for each in found])
        covered = (abs(values - truth) < 2 * errors).mean()
        assert 0.88 < covered <= 1, field
        assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(150) + 0.01 * truth
        assert errors.mean() == pytest.approx(values.std(), rel=0.2)


def test_a_gradient_hidden_by_noise_is_said() -> None:
    at_the_mean = {"theta": np.zeros(4, np.float32)}
    found = [
        jinterp.gradient_noise_scale(distance, at_the_mean, drawn(seed, 48)) for seed in range(8)
    ]
    hidden = [each for each in found if each.gradient_norm_squared <= 0]
    assert 0 < len(hidden) < 8
    for each in hidden:
        assert each.noise_scale == np.inf
        assert np.isnan(each.standard_error)
        assert "not above 0: the noise of this batch hides the gradient" in each.problems[0]
        assert "noise scale inf ± nan examples" in str(each)
    assert all(
        "within two standard errors" in each.problems[0] for each in found if each not in hidden
    )


def test_a_gradient_that_is_not_finite_is_said() -> None:
    x = drawn(0, 48)
    x[5] = np.nan
    found = jinterp.gradient_noise_scale(distance, PARAMS, x)
    assert np.isnan(found.noise_scale)
    assert "NaN or infinite in 16 of 16 parts" in found.problems[0]


@pytest.mark.parametrize("name", ["cnn", "cnn_nnx"])
def test_networks_and_one_program_for_all_parts(name: str) -> None:
    model = getattr(networks, name)()
    loss = jinterp.mean_loss(model.apply_fn)
    batch = (np.repeat(networks.IMAGES, 3, 0), np.arange(12) % 5)
    first = jinterp.gradient_noise_scale(loss, model.params, batch, num_parts=3)
    other = jax.tree.map(lambda leaf: leaf * 2, model.params)
    with count_compiles() as counter:
        second = jinterp.gradient_noise_scale(loss, other, batch, num_parts=3)
    assert counter.compiled == 0
    assert first.trace_covariance > 0
    assert second.trace_covariance != first.trace_covariance


def test_float64_and_half_precision_agree() -> None:
    x = drawn(0, 96)
    single = jinterp.gradient_noise_scale(distance, PARAMS, x)
    with jax.enable_x64(True):
        double = jinterp.gradient_noise_scale(
            distance, {"theta": PARAMS["theta"].astype(float)}, x.astype(float)
        )
    half = jinterp.gradient_noise_scale(
        distance, {"theta": jnp.asarray(PARAMS["theta"], jnp.bfloat16)}, x.astype(jnp.bfloat16)
    )
    assert double.noise_scale == pytest.approx(single.noise_scale, rel=1e-5)
    assert half.noise_scale == pytest.approx(single.noise_scale, rel=0.05)


def test_errors() -> None:
    x = drawn(0, 100)
    with pytest.raises(ValueError, match=r"do not hold; .* Use num_parts=10, or leave out 4\."):
        jinterp.gradient_noise_scale(distance, PARAMS, x)
    with pytest.raises(ValueError, match="`num_parts` is 2; expected at least 3"):
        jinterp.gradient_noise_scale(distance, PARAMS, x, num_parts=2)
    with pytest.raises(ValueError, match=r"`batch` has the shapes .* share the leading axis"):
        jinterp.gradient_noise_scale(
            lambda params, batch: params["theta"].sum(), PARAMS, (x, x[:5]), num_parts=5
        )
