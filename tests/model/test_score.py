"""Scores against their definitions in float64, and their targets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jinterp

LOGITS = np.array([[1.0, 3.0, -2.0], [0.5, 0.25, 4.0]], np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


EXPECTED = {
    "logit": lambda z, t: z[t],
    "probability": lambda z, t: softmax(z[None])[0, t],
    "log_probability": lambda z, t: np.log(softmax(z[None])[0, t]),
    "margin": lambda z, t: z[t] - np.delete(z, t).max(),
    "loss": lambda z, t: -np.log(softmax(z[None])[0, t]),
}
SCORES = list(EXPECTED)


@pytest.mark.parametrize("name", SCORES)
@given(
    st.lists(
        st.lists(st.floats(-30, 30, width=32), min_size=4, max_size=4), min_size=1, max_size=5
    ),
    st.integers(0, 3),
)
def test_scores_match_their_definition(name: str, rows: list[list[float]], target: int) -> None:
    logits = np.array(rows, np.float32)
    expected = [EXPECTED[name](row.astype(np.float64), target) for row in logits]
    found = getattr(jinterp, name)(jnp.asarray(logits), target)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", SCORES)
def test_a_target_may_be_none_one_class_or_one_for_each(name: str) -> None:
    score = getattr(jinterp, name)
    by_class = np.stack([score(jnp.asarray(LOGITS), c) for c in range(3)], axis=1)
    np.testing.assert_array_equal(score(jnp.asarray(LOGITS)), by_class[[0, 1], [1, 2]])
    np.testing.assert_array_equal(
        score(jnp.asarray(LOGITS), jnp.array([2, 0])), by_class[[0, 1], [2, 0]]
    )


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("target", [-1, 3])
def test_a_target_outside_the_classes_scores_nan(name: str, target: int) -> None:
    found = jax.jit(getattr(jinterp, name))(jnp.asarray(LOGITS), jnp.array([target, 0]))
    assert np.isnan(found).tolist() == [True, False]


def test_scores_differentiate_to_one_at_the_target() -> None:
    gradient = jax.grad(lambda z: jinterp.logit(z, 1).sum())(jnp.asarray(LOGITS))
    np.testing.assert_array_equal(gradient, [[0, 1, 0], [0, 1, 0]])


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (jnp.array([1.0, 0.0]), TypeError, r"`target` is float32; expected integers. Use target"),
        (jnp.array([1, 0, 1]), ValueError, r"`target` has the shape \(3,\) for 2 examples"),
        (jnp.array([[0, 1, 0]] * 2), ValueError, r"`target` has the shape \(2, 3\)"),
    ],
)
@pytest.mark.usefixtures("as_user")
def test_a_wrong_target_is_named(target: jax.Array, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        jinterp.logit(jnp.asarray(LOGITS), target)


@pytest.mark.usefixtures("as_user")
def test_dense_logits_are_named() -> None:
    with pytest.raises(ValueError, match=r"`logits` has the shape \(2, 4, 4, 3\); expected"):
        jinterp.logit(jnp.zeros((2, 4, 4, 3)), 0)
