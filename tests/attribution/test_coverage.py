"""Intervals of `with_error` hold what is estimated as often as they say.

Over 200 keys each interval of 95 % holds the truth a number of times that is binomial: with
p = 0.95 it is from 177 to 199 but for 2 in 10 000.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jinterp
from tests.attribution.test_lime import regression
from tests.attribution.test_rise import WEIGHTS, expected, squared
from tests.attribution.test_rise import X as IMAGES
from tests.attribution.test_shapley import TWELVE, deep
from tests.attribution.test_sobol import CASES as OF_SOBOL

NUM_KEYS, CONFIDENCE = 200, 0.95
FEWEST, MOST = stats.binom.ppf([1e-4, 1 - 1e-4], NUM_KEYS, CONFIDENCE)


class Sampled(NamedTuple):
    """An explainer that samples, what of, and the truth."""

    explain: Callable[..., Any]
    model: tuple[Any, Any]
    x: Any
    keywords: dict[str, Any]
    truth: Callable[[], Any]


def exact() -> Any:
    return jinterp.exact_shapley(deep, None, TWELVE, 0)


def limit_of_lime() -> Any:
    """Of all coalitions, each as likely."""
    coalitions = np.stack(np.meshgrid(*[[0.0, 1.0]] * 12), -1).reshape(-1, 12)
    scores = np.asarray(deep(None, jnp.asarray(coalitions * TWELVE, jnp.float32)))[:, 0]
    return regression(coalitions, scores[None], 0.25, 0.0)


def cubed(params: None, x: jax.Array) -> jax.Array:
    return (x**3).sum(axis=1, keepdims=True)


ROWS = np.array([[1.0, -2.0, 0.5]], np.float32)
NOISE = 0.1 * np.ptp(ROWS)


def limit_of_gradient_shap() -> Any:
    """E[x · 3 (αx + ε)²] = x³ + 3 x σ²."""
    return ROWS**3 + 3 * ROWS * NOISE**2


METHODS = {
    "permutation_shapley": Sampled(
        jinterp.permutation_shapley, (deep, None), TWELVE, {"num_samples": 10}, exact
    ),
    "kernel_shap": Sampled(jinterp.kernel_shap, (deep, None), TWELVE, {"num_samples": 200}, exact),
    "rise": Sampled(
        jinterp.rise,
        (squared, WEIGHTS),
        IMAGES,
        {"num_samples": 200, "num_cells": 2},
        lambda: expected(IMAGES, 0.5, 0.0),
    ),
    "sobol": Sampled(
        jinterp.sobol,
        OF_SOBOL["ishigami"][:2],
        OF_SOBOL["ishigami"][2].astype(np.float32),
        {"num_samples": 200, "baseline": OF_SOBOL["ishigami"][3]},
        lambda: np.array([OF_SOBOL["ishigami"][4]]),
    ),
    "gradient_shap": Sampled(
        jinterp.gradient_shap,
        (cubed, None),
        ROWS,
        {"num_samples": 50, "noise": 0.1, "baselines": 0 * ROWS},
        limit_of_gradient_shap,
    ),
    "lime": Sampled(
        jinterp.lime, (deep, None), TWELVE, {"num_samples": 1000, "ridge": 0.0}, limit_of_lime
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_intervals_hold_the_truth(name: str) -> None:
    explain, model, x, keywords, truth = METHODS[name]

    def once(key: jax.Array) -> Any:
        return jinterp.with_error(explain)(*model, x, 0, key=key, **keywords)

    found = jax.jit(jax.vmap(once))(jax.random.split(jax.random.key(0), NUM_KEYS))
    low, high = found._replace(num_repeats=10).interval(CONFIDENCE)
    true = np.asarray(truth())[None]
    held = np.asarray((low <= true) & (true <= high)).sum(axis=0)
    assert (held >= FEWEST).all()
    assert (held <= MOST).all()
