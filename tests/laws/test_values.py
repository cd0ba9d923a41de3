"""What is known of the values: ignored inputs, scaled logits, keys."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from tests.laws.explainers import (
    CASES,
    DISCOVERED,
    MODEL,
    PARAMS,
    TARGET,
    Case,
    X,
    assert_close,
    every,
)

SPREADS = {
    "grad_cam": "its weights are means over space",
    "grad_cam_plus_plus": "its weights are sums over space",
    "guided_grad_cam": "its map is that of Grad-CAM",
    "xgrad_cam": "its weights are sums over space",
    "eigen_cam": "it sees no score",
    "score_cam": "its weights count for every place",
    "ablation_cam": "its weights count for every place",
    "attention_rollout": "it sees no score",
    "occlusion": "its windows reach over the edge of what the model sees",
    "kernel_shap": "a regression over random coalitions gives it next to nothing",
    "lime": "a regression over random coalitions gives it next to nothing",
    "rise": "a place that does not matter has the mean score",
}


def half_blind(params: Any, x: jax.Array) -> jax.Array:
    """Sees the first two columns of the layer."""
    with jax.named_scope("conv"):
        x = jnp.square(x @ params["conv"] + params["bias"][None, None, None])
    return x[:, :, :2].mean((1, 2)) @ params["head"]


@every([case for case in CASES if case.name not in SPREADS])
def test_what_the_model_ignores_gets_nothing(case: Case) -> None:
    values = np.asarray(case(PARAMS, X, TARGET, half_blind))
    assert (values[:, :, 2:] == 0).all()
    assert (values[:, :, :2] != 0).any()


POWERS = {
    "ablation_cam": 0,  # it divides by the score
    "eigen_cam": 0,  # it sees no score
    "attention_rollout": 0,
    "guided_grad_cam": 2,  # it is a product of two
    "sobol": 0,  # its values are shares of a variance
}
OTHERWISE = {
    "score_cam": "its weights are a softmax of the scores",
    "grad_cam_plus_plus": "its formulas are for exp(logit)",
}


@dataclasses.dataclass(frozen=True)
class Tripled:
    """A model with three times the logits; equal ones compile once."""

    apply_fn: Any

    def __call__(self, params: Any, x: jax.Array) -> jax.Array:
        return 3 * self.apply_fn(params, x)


@every([case for case in CASES if case.name not in OTHERWISE])
def test_scaled_logits_scale_the_values(case: Case) -> None:
    by = 3 ** POWERS.get(case.name, 1)
    values = case(apply_fn=Tripled(case.apply_fn))
    assert_close(values, by * np.asarray(case(), np.float64))


@pytest.mark.filterwarnings("ignore:.* are zero everywhere")
def test_scaled_logits_in_score_cam_without_softmax() -> None:
    case = next(case for case in CASES if case.name == "score_cam")
    expected = 3 * case(channel_softmax=False)
    assert_close(case(apply_fn=Tripled(case.apply_fn), channel_softmax=False), expected)


def test_score_cam_mixes_the_channels() -> None:
    """Weights of a softmax: at each place between its smallest channel and its largest."""
    case = next(case for case in CASES if case.name == "score_cam")
    channels = jinterp.activations(case.apply_fn, PARAMS, X, "conv")["conv"]
    for fn in (case.apply_fn, Tripled(case.apply_fn)):
        values = case(apply_fn=fn)
        assert (values >= channels.min(-1)).all()
        assert (values <= channels.max(-1)).all()


def test_scaled_logits_scale_grad_cam_plus_plus_less() -> None:
    """g·α = g/(2 + ΣA g) grows with g, but no more than g: for positive activations."""
    case = next(case for case in CASES if case.name == "grad_cam_plus_plus")
    once, thrice = case(), case(apply_fn=Tripled(case.apply_fn))
    assert (thrice > once).all()
    assert (thrice < 3 * once).all()


@every([case for case in DISCOVERED if "key" in case.parameters])
def test_the_same_for_a_key_and_another_for_another(case: Case) -> None:
    first, second = case(key=jax.random.key(1)), case(key=jax.random.key(2))
    np.testing.assert_array_equal(first, case(key=jax.random.key(1)))
    assert (first != second).any()


def test_smoothing_draws_by_its_key() -> None:
    def smoothed(key: int) -> Any:
        explain = jinterp.smooth(jinterp.gradient, key=jax.random.key(key), num_samples=3)
        return explain(*MODEL, X, TARGET)

    np.testing.assert_array_equal(smoothed(1), smoothed(1))
    assert (smoothed(1) != smoothed(2)).any()


@every([case for case in CASES if "key" not in case.parameters])
def test_the_same_again(case: Case) -> None:
    np.testing.assert_array_equal(case(), case())
