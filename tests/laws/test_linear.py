"""On a linear model every explainer has a closed form.

The logits are the mean over space of A B, with A = x C in the layer "conv".
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinterp.attribution.blur import blurred_leaf as blur
from tests.laws.explainers import CASES, PARAMS, TARGET, Case, X, assert_close, every

# An example without evidence for its class has an empty map, which is said.
pytestmark = pytest.mark.filterwarnings("ignore:.* are zero everywhere")


def linear(params: Any, x: jax.Array) -> jax.Array:
    with jax.named_scope("conv"):
        x = x @ params["conv"]
    return x.mean((1, 2)) @ params["head"]


PLACES = X.shape[1] * X.shape[2]
A = X @ PARAMS["conv"]  # [batch, *space, channels]
B = PARAMS["head"].T[TARGET][:, None, None] / PLACES  # by which a place's channels count
W = B @ PARAMS["conv"].T  # by which the inputs do
W_X = np.broadcast_to(W, X.shape)
SCORES = (W * X).sum((1, 2, 3))
BLURRED = np.asarray(blur(jnp.asarray(X), jnp.float32(50), -1))


def positive(values: Any) -> np.ndarray:
    return np.maximum(values, 0)


def plus_plus() -> np.ndarray:
    """α = 1/(2 + (ΣA) g) where g is not 0."""
    alpha = 1 / (2 + A.sum((1, 2), keepdims=True) * B)
    return positive((A * (alpha * positive(B) * PLACES)).sum(-1))


def eigen() -> np.ndarray:
    rows = A.reshape(len(A), PLACES, -1)
    maps = []
    for each in rows:
        left, sizes, _ = np.linalg.svd(each - each.mean(0), full_matrices=False)
        first = left[:, 0] * sizes[0]
        maps.append(first * np.sign(first @ each.sum(1)))
    return positive(np.reshape(maps, A.shape[:3]))


def score() -> np.ndarray:
    """Channels are as large as the input here, so nothing is resized."""
    low, high = A.min((1, 2), keepdims=True), A.max((1, 2), keepdims=True)
    masks = (A - low) / (high - low)
    gains = np.einsum("bhwk,bhwc->bk", masks, W * X)
    weights = np.exp(gains) / np.exp(gains).sum(1, keepdims=True)
    return positive((A * weights[:, None, None]).sum(-1))


def ablation() -> np.ndarray:
    drops = (A * B).sum((1, 2)) / np.abs(SCORES)[:, None]
    return positive((A * drops[:, None, None]).sum(-1))


def occluded() -> np.ndarray:
    """The mean over the windows of 2 by 2 that cover a place of what is behind them."""
    behind = (W * X).sum(-1)
    windows = behind[:, :-1, :-1] + behind[:, :-1, 1:] + behind[:, 1:, :-1] + behind[:, 1:, 1:]
    total, num = np.zeros(behind.shape), np.zeros(behind.shape)
    for row, column in np.ndindex(2, 2):
        part = np.s_[:, row : row + 2, column : column + 4]
        total[part] += windows
        num[part] += 1
    return np.broadcast_to((total / num)[..., None], X.shape)


def regions() -> np.ndarray:
    """Of the gradients times the distance from grey: columns, the densest first.

    A pair of columns, or the three others, is never denser than its densest column.
    """
    grey = (X.min((1, 2, 3), keepdims=True) + X.max((1, 2, 3), keepdims=True)) / 2
    columns = (W * (X - grey)).max(-1).mean(1)
    return np.broadcast_to(columns[:, None, :, None], X.shape)


CLOSED_FORMS = {
    "gradient": W_X,
    "smooth(gradient)": W_X,
    "saliency": np.abs(W_X),
    "input_x_gradient": W * X,
    "integrated_gradients": W * X,
    "adaptive_integrated_gradients": W * X,
    "guided_integrated_gradients": W * X,
    "expected_gradients": W * (X - 0.5),  # of black and white
    "gradient_shap": W * (X - 0.5),
    "lrp": W * X,
    "deep_lift": W * X,
    "deep_lift_shap": W * (X - 0.5),
    "guided_backprop": W_X,  # there is no ReLU
    "deconvolution": W_X,
    "guided_grad_cam": W_X * positive((A * B).sum(-1))[..., None],
    "idgi": W_X**2 / (W_X**2).sum((1, 2, 3), keepdims=True) * SCORES[:, None, None, None],
    "blur_integrated_gradients": W * (X - BLURRED),
    "occlusion": occluded(),
    "feature_ablation": W * X,
    "exact_shapley": np.broadcast_to((W * X).sum((1, 3), keepdims=True), X.shape),  # of columns
    "permutation_shapley": W * X,
    "kernel_shap": W * X,
    "lime": W * X,
    "xrai": regions(),
    "grad_cam": positive((A * B).sum(-1)),
    "xgrad_cam": positive((A * B).sum(-1)),
    "hires_cam": positive((A * B).sum(-1)),
    "layer_cam": positive((A * positive(B)).sum(-1)),
    "grad_cam_plus_plus": plus_plus(),
    "eigen_cam": eigen(),
    "score_cam": score(),
    "ablation_cam": ablation(),
    "conductance": A * B,
    "internal_influence": np.broadcast_to(B, A.shape),
    "at_layer(gradient)": np.broadcast_to(B, A.shape),
    "at_layer(integrated_gradients)": A * B,
}
NOT_LINEAR = {
    "attention_rollout": "a linear model has no attention",
    "rise": "its masks are random; their expectation is in test_rise",
    "sobol": "its intensities are random; the limit is in test_sobol",
    "smooth(integrated_gradients)": "each noisy copy has other values; their mean is not exact",
}


MORE: dict[str, dict[str, Any]] = {
    "blur_integrated_gradients": {"num_steps": 100},
    "lime": {"num_samples": 100, "ridge": 0.0},  # with which it is shrunk
}


@every([case for case in CASES if case.name not in NOT_LINEAR])
def test_exact_on_a_linear_model(case: Case) -> None:
    assert case.name in CLOSED_FORMS, "give the values on a linear model, or say in NOT_LINEAR why"
    more = MORE.get(case.name, {})
    tolerance = 2e-3 if case.name == "blur_integrated_gradients" else 2e-5  # no straight path
    assert_close(case(PARAMS, X, TARGET, linear, **more), CLOSED_FORMS[case.name], tolerance)
