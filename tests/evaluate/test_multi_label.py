"""Several labels an example, against scikit-learn."""

import warnings
from typing import Any

import jax
import numpy as np
import pytest
from sklearn import metrics

import jinterp

_RNG = np.random.default_rng(1)
LOGITS = _RNG.normal(size=(60, 4)).astype(np.float32)
Y = (LOGITS + _RNG.normal(size=LOGITS.shape) > 0.3).astype(np.int32)


def apply_fn(params: Any, x: Any) -> Any:
    return x * params


def evaluated(x: np.ndarray = LOGITS, y: Any = Y, **keywords: Any) -> Any:
    return jinterp.evaluate_multi_label(apply_fn, 1.0, (x, y), **keywords)


def test_printed_the_worst_label_comes_first() -> None:
    found = evaluated(label_names=["ant", "bee", "cat", "dog"])
    header, *lines = str(found).splitlines()
    assert header.split() == ["precision", "recall", "f1", "support", "missed", "invented"]
    order = np.argsort(found.f1, kind="stable")
    assert [line.split()[0] for line in lines] == [found.label_names[n] for n in order]
    worst = found.confusion_matrices[order[0]]
    assert lines[0].split()[4:] == [str(n) for n in (worst[1].sum(), worst[1, 0], worst[0, 1])]


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool])
def test_everything_is_as_in_scikit_learn(dtype: Any) -> None:
    found = evaluated(y=Y.astype(dtype), label_names=list("abcd"))
    predicted = LOGITS > 0
    matrices = metrics.multilabel_confusion_matrix(Y, predicted)
    np.testing.assert_array_equal(found.confusion_matrices, matrices)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(Y, predicted)
    np.testing.assert_allclose(found.precision, precision)
    np.testing.assert_allclose(found.recall, recall)
    np.testing.assert_allclose(found.f1, f1)
    np.testing.assert_array_equal(found.support, support)
    assert found.subset_accuracy == pytest.approx(metrics.accuracy_score(Y, predicted))
    assert found.hamming_loss == pytest.approx(metrics.hamming_loss(Y, predicted))
    p = 1 / (1 + np.exp(-LOGITS.astype(float)))
    losses = -np.log(np.where(Y, p, 1 - p)).mean(1)
    np.testing.assert_allclose(found.examples.losses, losses, rtol=1e-5)
    np.testing.assert_array_equal(found.top_losses.indices, np.argsort(-losses)[:9])


def test_top_losses_are_those_of_the_function() -> None:
    alone = jinterp.top_losses(
        apply_fn, 1.0, (LOGITS, Y), k=5, loss_fn=jinterp.sigmoid_cross_entropy
    )
    found = evaluated(k=5).top_losses
    np.testing.assert_array_equal(found.indices, alone.indices)
    np.testing.assert_array_equal(found.predictions, alone.predictions)


def test_a_label_that_never_occurs_or_is_never_predicted() -> None:
    y, logits = Y.copy(), LOGITS.copy()
    y[:, 1] = 0
    logits[:, 2] = -1
    found = evaluated(logits, y)
    assert np.isnan(found.recall[1])
    assert np.isnan(found.precision[2])
    assert found.f1[1] == found.f1[2] == 0


def test_logits_that_are_not_finite() -> None:
    logits = LOGITS.copy()
    logits[5, 2] = np.nan
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = evaluated(logits)
    assert any("1 of 60 examples have a NaN logit" in str(each.message) for each in caught)
    kept = np.arange(60) != 5
    without = evaluated(LOGITS[kept], Y[kept])
    np.testing.assert_array_equal(found.confusion_matrices, without.confusion_matrices)
    lost = Y[5]  # its labels are missed
    np.testing.assert_allclose(
        found.recall * (without.support + lost), without.recall * without.support
    )
    assert found.top_losses.indices[0] == 5
    assert found.hamming_loss == pytest.approx(
        ((LOGITS[kept] > 0) != Y[kept]).sum() / Y.size + 4 / Y.size
    )


@pytest.mark.parametrize(
    ("y", "keywords", "error", "message"),
    [
        (Y.astype(np.float32), {}, TypeError, "expected integers or bools"),
        (Y[:, 0], {}, TypeError, r"use jinterp\.evaluate"),
        (Y[:, :3], {}, ValueError, r"`targets` have the shape \[batch, 3\]"),
        (Y + 1, {}, ValueError, "the target of example 0 is 2 for label .; expected 0 or 1"),
        (Y, {"label_names": ["a"]}, ValueError, "has 1 names; expected 4"),
    ],
)
def test_bad_input(y: Any, keywords: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        evaluated(y=y, **keywords)


def test_in_float64() -> None:
    with jax.enable_x64(True):
        found = evaluated(LOGITS.astype(np.float64), Y.astype(np.int64))
    np.testing.assert_array_equal(found.confusion_matrices, evaluated().confusion_matrices)
    assert found.examples.losses.dtype == np.float64
