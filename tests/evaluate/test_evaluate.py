"""Every number of a pass against scikit-learn or a plain loop, and what cannot be computed."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

import jinterp
from jinterp.evaluate import Evaluation
from jinterp.evaluate.calibration import calibration_of
from tests.problems import identity, labelled_logits

NUM, CLASSES = 300, 5
LOGITS, TARGETS = labelled_logits(NUM, CLASSES)
PROBABILITIES = np.exp(LOGITS.astype(np.float64))
PROBABILITIES /= PROBABILITIES.sum(1, keepdims=True)
PREDICTED = LOGITS.argmax(1)


@functools.cache
def evaluation() -> Evaluation:
    return jinterp.evaluate(*identity(CLASSES), (LOGITS, TARGETS), k=7)


# ---------------------------------------------------------------- confusion


def test_confusion_equals_scikit_learn() -> None:
    found = jinterp.confusion_matrix(*identity(CLASSES), (LOGITS, TARGETS))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, sk.confusion_matrix(TARGETS, PREDICTED))
    np.testing.assert_array_equal(found, evaluation().confusion_matrix)


def test_more_classes_may_be_asked_for() -> None:
    found = jinterp.confusion_matrix(*identity(CLASSES), (LOGITS, TARGETS), num_classes=7)
    assert found.shape == (7, 7)
    np.testing.assert_array_equal(found[:5, :5], evaluation().confusion_matrix)


def test_small_integer_labels_do_not_overflow() -> None:
    logits, targets = labelled_logits(200, 100)
    found = jinterp.confusion_matrix(*identity(100), (logits, targets.astype(np.uint8)))
    np.testing.assert_array_equal(
        found, sk.confusion_matrix(targets, logits.argmax(1), labels=range(100))
    )


@pytest.mark.parametrize(
    ("num_classes", "message"),
    [(4, "`num_classes` is 4; the model has 5 logits"), (50_000, "for 46340 at most")],
)
def test_a_wrong_number_of_classes_is_named(num_classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jinterp.confusion_matrix(*identity(CLASSES), (LOGITS, TARGETS), num_classes=num_classes)


@given(st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=4, max_size=4))
def test_most_confused_sorts_the_cells_off_the_diagonal(rows: list[list[int]]) -> None:
    matrix = np.array(rows)
    cells = [(a, p, rows[a][p]) for a in range(4) for p in range(4) if a != p and rows[a][p] > 1]
    expected = sorted(cells, key=lambda cell: -cell[2])
    assert [tuple(pair) for pair in jinterp.most_confused(matrix, min_count=2)] == expected


# ---------------------------------------------------------------- report


def test_the_report_equals_scikit_learn() -> None:
    found = evaluation().report
    expected = sk.classification_report(TARGETS, PREDICTED, output_dict=True)
    for c in range(CLASSES):
        row = expected[str(c)]
        assert found.precision[c] == pytest.approx(row["precision"])
        assert found.recall[c] == pytest.approx(row["recall"])
        assert found.f1[c] == pytest.approx(row["f1-score"])
        assert found.support[c] == row["support"]
    for mean, name in ((found.macro, "macro avg"), (found.weighted, "weighted avg")):
        assert mean.precision == pytest.approx(expected[name]["precision"])
        assert mean.recall == pytest.approx(expected[name]["recall"])
        assert mean.f1 == pytest.approx(expected[name]["f1-score"])
    assert found.accuracy == pytest.approx(expected["accuracy"])


def test_the_report_names_classes_without_predictions_or_examples() -> None:
    report = jinterp.classification_report(
        np.array([[3, 0, 0], [2, 0, 0], [0, 0, 0]]), class_names=["cat", "dog", "bird"]
    )
    assert report.precision.tolist() == [0.6, 0, 0]
    assert report.never_predicted == ["dog"]
    assert report.never_occurring == ["bird"]
    text = str(report)
    assert "never predicted: dog" in text
    assert "never occurring: bird" in text
    assert [line.split()[:2] for line in text.splitlines() if line.startswith("cat")] == [
        ["cat", "0.6000"]
    ]


# ---------------------------------------------------------------- calibration


def expected_calibration_error(confidences, correct, num_bins: int) -> float:
    """The definition as a loop over bins (lower, upper]."""
    edges = np.linspace(0, 1, num_bins + 1)
    total = 0.0
    for lower, upper in itertools.pairwise(edges):
        inside = (confidences > lower) & (confidences <= upper)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidences[inside].mean())
    return total


@pytest.mark.parametrize("num_bins", [1, 10, 15, 100])
def test_calibration_equals_its_definition(num_bins: int) -> None:
    found = jinterp.calibration(PROBABILITIES.astype(np.float32), TARGETS, num_bins=num_bins)
    confidences = PROBABILITIES.astype(np.float32).max(1)
    correct = PREDICTED == TARGETS
    expected = expected_calibration_error(confidences, correct, num_bins)
    assert float(found.expected_calibration_error) == pytest.approx(expected, abs=1e-6)
    one_hot = np.eye(CLASSES)[TARGETS]
    assert float(found.brier_score) == pytest.approx(
        ((PROBABILITIES - one_hot) ** 2).sum(1).mean(), rel=1e-5
    )
    order = np.argsort(confidences, kind="stable")
    parts = np.array_split(order, num_bins)
    assert found.adaptive_bins.counts.tolist() == [len(part) for part in parts]
    np.testing.assert_allclose(
        found.adaptive_bins.accuracies, [correct[part].mean() for part in parts], rtol=1e-5
    )
    gaps = [abs(correct[part].mean() - confidences[part].mean()) * len(part) for part in parts]
    assert float(found.adaptive_calibration_error) == pytest.approx(sum(gaps) / NUM, abs=1e-6)


def test_the_bins_equal_scikit_learns_calibration_curve() -> None:
    from sklearn.calibration import calibration_curve

    found = jinterp.calibration(PROBABILITIES.astype(np.float32), TARGETS, num_bins=10)
    accuracy, confidence = calibration_curve(PREDICTED == TARGETS, PROBABILITIES.max(1), n_bins=10)
    some = np.asarray(found.bins.counts) > 0
    np.testing.assert_allclose(np.asarray(found.bins.accuracies)[some], accuracy, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(found.bins.confidences)[some], confidence, rtol=1e-5)
    assert float(found.maximum_calibration_error) == pytest.approx(
        np.abs(accuracy - confidence).max(), rel=1e-4
    )


def test_the_pass_and_the_probabilities_give_the_same_calibration() -> None:
    from_pass = evaluation().calibration
    alone = jinterp.calibration(PROBABILITIES.astype(np.float32), TARGETS)
    for field in ("expected_calibration_error", "adaptive_calibration_error", "brier_score"):
        assert float(getattr(from_pass, field)) == pytest.approx(
            float(getattr(alone, field)), abs=2e-6
        )


def test_calibration_of_a_million_examples_loses_nothing() -> None:
    num = 1_280_000
    confidences = np.full(num, 0.97, np.float32)
    correct = np.arange(num) % 100 < 97
    found = calibration_of(confidences, correct, confidences, 15)
    assert found.expected_calibration_error == pytest.approx(0, abs=1e-6)


@given(st.permutations(range(12)))
def test_the_order_of_the_data_does_not_change_the_calibration(order: list[int]) -> None:
    confidences = np.full(12, 0.75, np.float32)
    correct = (np.arange(12) < 6)[order]
    found = calibration_of(confidences, correct, confidences, 4)
    assert found.adaptive_calibration_error == pytest.approx(0.25)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75], [0.0, 1.0]], np.float32)
    found = jinterp.calibration(probabilities, np.array([0, 1, 1]), num_bins=4)
    assert found.bins.counts.tolist() == [0, 1, 1, 1]


def test_a_calibrated_model_has_no_error() -> None:
    """Of the examples with confidence c a share of exactly c is right."""
    confidences = np.repeat([0.6, 0.8], 10)
    correct = np.array([1] * 6 + [0] * 4 + [1] * 8 + [0] * 2)
    probabilities = np.stack([confidences, 1 - confidences], 1).astype(np.float32)
    found = jinterp.calibration(probabilities, 1 - correct, num_bins=5)
    assert float(found.expected_calibration_error) == pytest.approx(0, abs=1e-6)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("probabilities", "num_bins", "message"),
    [
        (PROBABILITIES[:, 0], 15, "expected .n, classes. and .n."),
        (PROBABILITIES, 0, "`num_bins` is 0; expected at least 1"),
        (PROBABILITIES[:0], 15, "there are no examples"),
    ],
)
def test_wrong_calibration_input_is_named(probabilities, num_bins: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jinterp.calibration(probabilities, TARGETS[: len(probabilities)], num_bins=num_bins)


# ---------------------------------------------------------------- top losses


LOSSES = -np.log(PROBABILITIES[np.arange(NUM), TARGETS])


@pytest.mark.parametrize("largest", [True, False])
def test_top_losses_are_the_ends_of_the_ranking(largest: bool) -> None:
    top = jinterp.top_losses(*identity(CLASSES), (LOGITS, TARGETS), k=7, largest=largest)
    order = np.argsort(-LOSSES if largest else LOSSES, kind="stable")[:7]
    np.testing.assert_array_equal(top.indices, order)
    np.testing.assert_allclose(top.losses, LOSSES[order], rtol=1e-4)
    np.testing.assert_array_equal(top.targets, TARGETS[order])
    np.testing.assert_array_equal(top.predictions, PREDICTED[order])
    np.testing.assert_allclose(
        top.target_probabilities, PROBABILITIES[order, TARGETS[order]], rtol=1e-4
    )
    np.testing.assert_allclose(top.prediction_probabilities, PROBABILITIES[order].max(1), rtol=1e-4)


def test_the_pass_and_the_function_give_the_same_top_losses() -> None:
    alone = jinterp.top_losses(*identity(CLASSES), (LOGITS, TARGETS), k=7)
    for mine, theirs in zip(alone, evaluation().top_losses, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_multi_label_top_losses_speak_of_whole_sets() -> None:
    labels = (np.roll(LOGITS, 1, 1) > 0).astype(np.int32)
    top = jinterp.top_losses(
        *identity(CLASSES), (LOGITS, labels), k=4, loss_fn=jinterp.sigmoid_cross_entropy
    )
    np.testing.assert_array_equal(top.targets, labels[top.indices])
    np.testing.assert_array_equal(top.predictions, LOGITS[top.indices] > 0)
    np.testing.assert_allclose(top.target_probabilities, np.exp(-CLASSES * top.losses), rtol=1e-4)


def test_k_larger_than_the_dataset_is_named_before_the_pass() -> None:
    with pytest.raises(ValueError, match=r"`k` is 301; the dataset has 300 examples\. Use k=300"):
        jinterp.top_losses(*identity(CLASSES), (LOGITS, TARGETS), k=301)


def test_k_larger_than_a_stream_returns_all_and_says_so() -> None:
    stream = zip(LOGITS[:5], TARGETS[:5], strict=True)
    with pytest.warns(UserWarning, match="`k` is 9; the dataset had only 5 examples"):
        top = jinterp.top_losses(*identity(CLASSES), stream)
    assert sorted(top.indices.tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("loss_fn", "message"),
    [
        (lambda logits, targets: logits.mean(), r"returned the shape \(\) for a batch of"),
        (lambda logits, targets: logits @ targets, "`loss_fn` .* failed on logits float32"),
    ],
)
def test_a_wrong_loss_is_named(loss_fn, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jinterp.top_losses(*identity(CLASSES), (LOGITS, TARGETS), loss_fn=loss_fn)


# ---------------------------------------------------------------- predictions


def test_risk_coverage_is_the_running_error_rate() -> None:
    curve = evaluation().risk_coverage
    order = np.argsort(-PROBABILITIES.max(1), kind="stable")
    errors = (PREDICTED != TARGETS)[order]
    np.testing.assert_allclose(curve.risk, np.cumsum(errors) / np.arange(1, NUM + 1), rtol=1e-5)
    np.testing.assert_allclose(curve.coverage, np.arange(1, NUM + 1) / NUM, rtol=1e-6)
    assert float(curve.area) == pytest.approx(float(np.mean(curve.risk)), rel=1e-5)


@given(st.permutations(range(8)))
def test_ties_make_risk_coverage_independent_of_the_order(order: list[int]) -> None:
    confidences = np.array([0.9, 0.9, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7], np.float32)
    correct = np.array([1, 0, 1, 1, 0, 0, 1, 0], bool)
    curve = jinterp.risk_coverage(confidences[order], correct[order])
    errors = np.array([1 / 3] * 3 + [0] + [3 / 4] * 4)
    np.testing.assert_allclose(curve.risk, np.cumsum(errors) / np.arange(1, 9), rtol=1e-5)


def test_error_analysis_follows_its_rule() -> None:
    found = evaluation().error_analysis
    thresholds = [PROBABILITIES[k == TARGETS, k].mean() for k in range(CLASSES)]
    np.testing.assert_allclose(found.thresholds, thresholds, rtol=1e-5)
    for example in np.flatnonzero(PREDICTED != TARGETS):
        k, y = PREDICTED[example], TARGETS[example]
        sure = PROBABILITIES[example, k] >= thresholds[k]
        implausible = PROBABILITIES[example, y] < 0.1 / CLASSES
        assert (example in found.likely_label_errors) == (sure and implausible)
        assert (example in found.confident_errors) == (sure and not implausible)
        assert (example in found.uncertain) == (not sure)
    assert min(map(len, found[:3])) > 0


def test_an_error_in_a_class_without_examples_is_uncertain() -> None:
    found = jinterp.evaluate(*identity(2), (np.array([[0, 9.0]], np.float32), np.array([0])))
    assert found.error_analysis.uncertain.tolist() == [0]
    assert np.isnan(found.error_analysis.thresholds[1])


def test_score_distributions_equal_numpys_histogram() -> None:
    found = jinterp.score_distributions(evaluation().predictions, CLASSES, num_bins=8)
    for c in range(CLASSES):
        expected, _ = np.histogram(
            PROBABILITIES[c == TARGETS, c].astype(np.float32), bins=8, range=(0, 1)
        )
        np.testing.assert_array_equal(found.counts[c], expected)


# ---------------------------------------------------------------- NaN, and small data


def with_nan() -> tuple[np.ndarray, np.ndarray]:
    logits = LOGITS[:20].copy()
    logits[3, 1] = np.nan
    logits[8, 0] = np.inf
    return logits, TARGETS[:20]


def test_nan_is_counted_and_shown() -> None:
    with pytest.warns(UserWarning, match="NaN") as said:
        found = jinterp.evaluate(*identity(CLASSES), with_nan())
    assert [str(each.message).split(" have ")[0] for each in said] == [
        "2 examples",
        "2 of 20 examples",
    ]
    assert found.num_examples == 20
    assert found.num_unpredicted == 2
    assert found.num_non_finite_inputs == 2
    assert found.predictions.predictions[[3, 8]].tolist() == [-1, -1]
    assert found.top_losses.indices[:2].tolist() == [3, 8]
    assert found.confusion_matrix.sum() == 18
    assert np.isnan(found.mean_loss)
    assert np.isfinite(found.calibration.expected_calibration_error)
    assert found.accuracy == (PREDICTED[:20] == TARGETS[:20])[found.predictions.valid].sum() / 20


def as_logits(params, x):
    return x


def without_nan(params, x):
    """A model that loses NaN on the way, as a compiled maximum may."""
    return jnp.nan_to_num(x)


@pytest.mark.parametrize(
    "function", [jinterp.top_losses, jinterp.confusion_matrix, jinterp.evaluate]
)
def test_nan_in_the_inputs_is_announced_even_where_the_logits_are_finite(function) -> None:
    with pytest.warns(UserWarning, match="2 examples have NaN or infinite inputs"):
        function(without_nan, None, with_nan())


def test_several_labels_are_no_soft_label() -> None:
    rows = np.eye(CLASSES, dtype=np.float32)[TARGETS]
    rows[4] = 1
    with pytest.warns(UserWarning, match=r"1 examples have a loss that is NaN.*do not sum to 1"):
        top = jinterp.top_losses(*identity(CLASSES), (LOGITS, rows))
    assert top.indices[0] == 4
    with pytest.warns(UserWarning, match=r"1 of \d+ examples have finite logits and a loss of NaN"):
        jinterp.evaluate(*identity(CLASSES), (LOGITS, rows))


def test_nan_comes_first_in_top_losses_and_is_announced() -> None:
    with (
        pytest.warns(UserWarning, match="2 examples have a loss that is NaN"),
        pytest.warns(UserWarning, match="2 examples have NaN or infinite inputs"),
    ):
        top = jinterp.top_losses(*identity(CLASSES), with_nan(), k=3)
    assert top.indices[:2].tolist() == [3, 8]
    assert np.isnan(top.losses[:2]).all()


def test_nan_stands_in_no_cell_and_is_announced() -> None:
    with (
        pytest.warns(UserWarning, match="2 examples have NaN or infinite logits and stand in no"),
        pytest.warns(UserWarning, match="2 examples have NaN or infinite inputs"),
    ):
        assert jinterp.confusion_matrix(*identity(CLASSES), with_nan()).sum() == 18


def test_a_model_that_predicts_nothing_has_no_calibration() -> None:
    logits = np.full((4, CLASSES), np.nan, np.float32)
    with (
        pytest.warns(UserWarning, match="4 of 4 examples have NaN"),
        pytest.warns(UserWarning, match="4 examples have NaN or infinite inputs"),
    ):
        found = jinterp.evaluate(*identity(CLASSES), (logits, TARGETS[:4]))
    assert found.calibration is None
    assert found.risk_coverage is None
    assert found.accuracy == 0


@settings(max_examples=10)
@given(st.integers(1, 12))
def test_a_dataset_shorter_than_a_batch_works(num: int) -> None:
    ds = jinterp.batches((LOGITS[:num], TARGETS[:num]), 16)
    found = jinterp.evaluate(*identity(CLASSES), ds)
    assert found.num_examples == num
    np.testing.assert_array_equal(
        found.confusion_matrix,
        sk.confusion_matrix(TARGETS[:num], PREDICTED[:num], labels=range(CLASSES)),
    )


def test_an_empty_dataset_is_named() -> None:
    for function in (jinterp.evaluate, jinterp.top_losses):
        with pytest.raises(ValueError, match="`ds` is empty; expected at least one example"):
            function(*identity(CLASSES), (LOGITS[:0], TARGETS[:0]))


@pytest.mark.parametrize(
    "call",
    [
        lambda names: jinterp.evaluate(*identity(CLASSES), (LOGITS, TARGETS), class_names=names),
        lambda names: jinterp.classification_report(np.eye(5, dtype=int), class_names=names),
        lambda names: jinterp.most_confused(np.eye(5, dtype=int), class_names=names),
    ],
    ids=["evaluate", "classification_report", "most_confused"],
)
def test_class_names_of_another_length_are_named(call) -> None:
    with pytest.raises(ValueError, match="`class_names` has 2 names; expected 5"):
        call(["a", "b"])


@pytest.mark.parametrize("wrong", [{"class_names": ["a", "b"]}, {"k": 0}, {"num_bins": 0}], ids=str)
def test_wrong_arguments_are_named_before_the_data_is_read(wrong) -> None:
    read = []

    def rows():
        for row in zip(LOGITS, TARGETS, strict=True):
            read.append(row)
            yield row

    with pytest.raises(ValueError, match="expected"):
        jinterp.evaluate(*identity(CLASSES), jinterp.batches(rows(), 4), **wrong)
    assert len(read) <= 64


def test_logits_of_minus_infinity_alone_predict_nothing() -> None:
    logits = np.full((2, CLASSES), -np.inf, np.float32)
    logits[0, 1] = 0
    with (
        pytest.warns(UserWarning, match="1 of 2 examples have NaN or infinite logits"),
        pytest.warns(UserWarning, match="2 examples have NaN or infinite inputs"),
    ):
        found = jinterp.evaluate(as_logits, None, (logits, np.array([1, 1])))
    assert found.predictions.predictions.tolist() == [1, -1]


def test_integer_rows_have_no_confusion_matrix() -> None:
    labels = np.eye(CLASSES, dtype=int)[TARGETS]
    with pytest.raises(TypeError, match="`targets` are int32 of shape"):
        jinterp.confusion_matrix(*identity(CLASSES), (LOGITS, labels))


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("names", ["abcde", {0: "a"}, {"a", "b", "c", "d", "e"}])
def test_class_names_without_an_order_are_named(names) -> None:
    with pytest.raises(TypeError, match=r"`class_names` is a .*; expected a list of names in"):
        jinterp.classification_report(np.eye(5, dtype=int), class_names=names)


def test_soft_labels_are_evaluated_by_their_likeliest_class() -> None:
    soft = np.full((NUM, CLASSES), 0.1, np.float32)
    soft[np.arange(NUM), TARGETS] = 0.6
    found = jinterp.evaluate(*identity(CLASSES), (LOGITS, soft))
    np.testing.assert_array_equal(found.confusion_matrix, evaluation().confusion_matrix)
    assert found.mean_loss == pytest.approx(-(soft * np.log(PROBABILITIES)).sum(1).mean(), rel=1e-5)


def test_results_are_numpy_arrays_on_the_host() -> None:
    for column in evaluation().predictions:
        assert isinstance(column, np.ndarray)
    assert not isinstance(evaluation().confusion_matrix, jax.Array)
