"""Losses against optax and their definitions, in every dtype, and what they refuse."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

import jinterp
from tests.problems import identity, labelled_logits

LOGITS, TARGETS = labelled_logits(64, 5)
PROBABILITIES = np.exp(LOGITS.astype(np.float64))
PROBABILITIES /= PROBABILITIES.sum(1, keepdims=True)


def test_cross_entropy_equals_scikit_learn() -> None:
    found = jinterp.cross_entropy(LOGITS, TARGETS)
    expected = log_loss(TARGETS, PROBABILITIES, labels=range(5))
    assert float(found.mean()) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(found, -np.log(PROBABILITIES[np.arange(64), TARGETS]), rtol=2e-5)


def test_soft_labels_generalise_classes() -> None:
    soft = np.eye(5, dtype=np.float32)[TARGETS]
    np.testing.assert_allclose(
        jinterp.cross_entropy(LOGITS, soft), jinterp.cross_entropy(LOGITS, TARGETS), rtol=1e-6
    )
    smooth = 0.9 * soft + np.float32(0.02)
    expected = -(smooth * np.log(PROBABILITIES)).sum(1)
    np.testing.assert_allclose(jinterp.cross_entropy(LOGITS, smooth), expected, rtol=1e-5)


def test_sigmoid_cross_entropy_equals_optax() -> None:
    labels = (LOGITS + np.roll(LOGITS, 1, 0) > 0).astype(np.int32)
    expected = optax.sigmoid_binary_cross_entropy(LOGITS, labels.astype(np.float32)).mean(1)
    np.testing.assert_allclose(jinterp.sigmoid_cross_entropy(LOGITS, labels), expected, rtol=1e-5)


def test_brier_score_is_twice_scikit_learns_for_two_classes() -> None:
    logits, targets = labelled_logits(64, 2)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(1, keepdims=True)
    found = float(jinterp.brier_score(logits, targets).mean())
    assert found == pytest.approx(2 * brier_score_loss(targets, p[:, 1]), rel=1e-6)


@given(st.floats(-1e4, 1e4, width=32), st.integers(0, 4))
def test_cross_entropy_is_stable(shift: float, target: int) -> None:
    """A shift of all logits changes nothing, and huge logits overflow nowhere."""
    shifted = LOGITS[:1] + np.float32(shift)
    exact = shifted.astype(np.float64)
    exact = np.log(np.exp(exact - exact.max()).sum()) + exact.max() - exact[0, target]
    found = jinterp.cross_entropy(shifted, np.array([target]))
    np.testing.assert_allclose(found, [exact], rtol=1e-4, atol=1e-4)


def test_masked_logits_are_no_nan() -> None:
    logits = np.array([[0.0, -np.inf]], np.float32)
    assert jinterp.cross_entropy(logits, np.array([0])).tolist() == [0]
    assert jinterp.cross_entropy(logits, np.array([1])).tolist() == [np.inf]
    assert jinterp.cross_entropy(logits, np.array([[1.0, 0.0]], np.float32)).tolist() == [0]


@pytest.mark.parametrize("target", [-1, 5])
def test_a_class_outside_the_logits_gives_nan(target: int) -> None:
    assert np.isnan(jinterp.cross_entropy(LOGITS[:1], np.array([target])))


def test_so_it_does_in_a_label_map() -> None:
    losses = jinterp.cross_entropy(np.zeros((1, 3, 4), np.float32), np.array([[-1, 3, 4]]))
    np.testing.assert_allclose(losses, [[np.nan, np.log(4), np.nan]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_computed_in_float32(dtype) -> None:
    found = jinterp.cross_entropy(jnp.asarray(LOGITS, dtype), TARGETS)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(
        found, jinterp.cross_entropy(jnp.asarray(LOGITS, dtype).astype(jnp.float32), TARGETS)
    )


@pytest.mark.parametrize(
    ("function", "targets", "error", "message"),
    [
        (jinterp.cross_entropy, TARGETS.astype(np.float32), TypeError, "float32 of shape .batch."),
        (jinterp.cross_entropy, np.eye(5, dtype=int)[TARGETS], TypeError, "argmax.*sigmoid_cross"),
        (jinterp.cross_entropy, TARGETS[:3], ValueError, r"`targets` have the shape \(3,\)"),
        (jinterp.sigmoid_cross_entropy, TARGETS, ValueError, "For one class an example use cross"),
        (
            jinterp.sigmoid_cross_entropy,
            np.zeros((64, 5), np.float32),
            TypeError,
            r"Use targets.astype\(int\)",
        ),
    ],
)
@pytest.mark.usefixtures("as_user")
def test_wrong_targets_are_named(function, targets, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        function(LOGITS, targets)


@pytest.mark.parametrize(
    ("loss_fn", "targets"),
    [
        (optax.softmax_cross_entropy_with_integer_labels, TARGETS),
        (optax.softmax_cross_entropy, np.eye(5, dtype=np.float32)[TARGETS]),
        (optax.sigmoid_binary_cross_entropy, np.eye(5, dtype=np.float32)[TARGETS]),
    ],
    ids=["integer", "soft", "elementwise"],
)
def test_any_optax_loss_ranks_the_examples(loss_fn, targets) -> None:
    top = jinterp.top_losses(*identity(5), (LOGITS, targets), k=5, loss_fn=loss_fn)
    losses = np.asarray(loss_fn(LOGITS, targets)).reshape(64, -1).mean(1)
    np.testing.assert_array_equal(top.indices, np.argsort(-losses, kind="stable")[:5])
    np.testing.assert_allclose(top.losses, np.sort(losses)[::-1][:5], rtol=1e-5)
