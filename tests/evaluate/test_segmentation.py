"""Label maps, against loops in float64, scikit-learn and scipy's distances."""

import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn import metrics

import jinterp
from jinterp.evaluate import SegmentationEvaluation
from jinterp.stream import total
from tests import faults
from tests.problems import count_compiles

IGNORED = 255
CLASSES = 5


def apply_fn(params: Any, x: Any) -> Any:
    """The inputs are the logits."""
    return x * params


def problem(
    seed: int = 0, num: int = 7, space: tuple[int, ...] = (9, 11), classes: int = CLASSES
) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and label maps in blobs of which the logits know something; a tenth is ignored."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num, *space, classes)).astype(np.float32)
    smooth = ndimage.gaussian_filter(logits, (0, *[1.0] * len(space), 0))
    labels = (smooth + 0.15 * rng.normal(size=smooth.shape)).argmax(-1).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.1] = IGNORED
    return 6 * smooth, labels


def evaluated(
    x: np.ndarray, labels: np.ndarray, ignore_index: int | None = IGNORED, **keywords: Any
) -> SegmentationEvaluation:
    return jinterp.evaluate_segmentation(
        apply_fn, 1.0, (x, labels), ignore_index=ignore_index, **keywords
    )


def by_loop(logits: np.ndarray, labels: np.ndarray, width: float) -> dict[str, Any]:
    """Pixel by pixel, in float64."""
    classes = logits.shape[-1]
    matrix = np.zeros((classes, classes), int)
    edges = np.zeros((2, classes, 2), int)
    losses, ious = [], []
    for image, truth in zip(logits.astype(np.float64), labels, strict=True):
        valid = truth != IGNORED
        predicted = image.argmax(-1)
        log_p = image - image.max(-1, keepdims=True)
        log_p = log_p - np.log(np.exp(log_p).sum(-1, keepdims=True))
        own = np.zeros((classes, classes), int)
        loss = []
        for place in np.argwhere(valid):
            a, p = truth[tuple(place)], predicted[tuple(place)]
            own[a, p] += 1
            loss.append(-log_p[(*place, a)])
        matrix += own
        losses.append(np.mean(loss))
        right, union = np.diag(own), own.sum(0) + own.sum(1) - np.diag(own)
        ious.append((right[union > 0] / union[union > 0]).mean())
        sides = [edge_by_loop(each, valid) for each in (truth.astype(int), predicted)]
        maps = [truth.astype(int), predicted]
        for side in (0, 1):
            for c in range(classes):
                here = sides[side] & (maps[side] == c)
                other = sides[1 - side] & (maps[1 - side] == c)
                distances = np.full(here.shape, np.inf)
                if other.any():
                    distances = ndimage.distance_transform_edt(~other)
                edges[side, c] += [
                    (distances[here] > width).sum(),
                    (distances[here] <= width).sum(),
                ]
    return {"matrix": matrix, "losses": losses, "ious": ious, "edges": edges}


def edge_by_loop(classes: np.ndarray, valid: np.ndarray) -> np.ndarray:
    found = np.zeros(classes.shape, bool)
    for place in np.argwhere(valid):
        for axis in range(classes.ndim):
            for step in (-1, 1):
                other = place.copy()
                other[axis] += step
                if 0 <= other[axis] < classes.shape[axis] and valid[tuple(other)]:
                    found[tuple(place)] |= classes[tuple(place)] != classes[tuple(other)]
    return found


@pytest.mark.parametrize(
    ("space", "classes", "width"),
    [((9, 11), 5, 2), ((9, 11), 5, 0), ((8, 7), 40, 1.5), ((6, 5, 4), 3, 1), ((40,), 4, 3)],
)
def test_everything_against_a_loop(space: tuple[int, ...], classes: int, width: float) -> None:
    x, labels = problem(space=space, classes=classes)
    found = evaluated(x, labels, boundary_width=width)
    expected = by_loop(x, labels, width)
    matrix = expected["matrix"]
    np.testing.assert_array_equal(found.confusion_matrix, matrix)
    np.testing.assert_allclose(found.images.losses, expected["losses"], rtol=2e-6)
    np.testing.assert_allclose(found.images.mean_ious, expected["ious"], rtol=1e-6)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = (side[:, 1] / side.sum(1) for side in expected["edges"])
        missing = np.isnan(recall) & np.isnan(precision)
        recall, precision = np.nan_to_num(recall), np.nan_to_num(precision)
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))
    np.testing.assert_allclose(found.boundary_f1, np.where(missing, np.nan, f1), rtol=1e-12)
    valid = (labels != IGNORED).reshape(len(labels), -1).sum(1)
    np.testing.assert_array_equal(found.images.num_pixels, valid)
    assert found.num_pixels == valid.sum() == matrix.sum()
    assert found.mean_loss == pytest.approx(np.average(expected["losses"], weights=valid), rel=1e-6)


def test_against_scikit_learn_on_flattened_pixels() -> None:
    x, labels = problem()
    found = evaluated(x, labels)
    valid = labels != IGNORED
    actual, predicted = labels[valid], x.argmax(-1)[valid]
    each = {"average": None, "labels": range(CLASSES)}
    np.testing.assert_allclose(found.ious, metrics.jaccard_score(actual, predicted, **each))
    np.testing.assert_allclose(found.dices, metrics.f1_score(actual, predicted, **each))
    recall = metrics.recall_score(actual, predicted, **each)
    np.testing.assert_allclose(found.per_class_accuracy, recall)
    assert found.pixel_accuracy == pytest.approx(metrics.accuracy_score(actual, predicted))
    weighted = metrics.jaccard_score(actual, predicted, average="weighted")
    assert found.frequency_weighted_iou == pytest.approx(weighted)
    assert found.mean_iou == pytest.approx(found.ious.mean())
    assert found.mean_dice == pytest.approx(found.dices.mean())
    probabilities = np.asarray(jax.nn.softmax(x))[valid]
    expected = jinterp.calibration(probabilities, actual.astype(int))
    calibration = found.calibration
    assert calibration.expected_calibration_error == pytest.approx(
        expected.expected_calibration_error, rel=1e-5
    )
    assert calibration.maximum_calibration_error == pytest.approx(
        expected.maximum_calibration_error, rel=1e-5
    )
    assert calibration.brier_score == pytest.approx(expected.brier_score, rel=1e-6)
    np.testing.assert_array_equal(calibration.bins.counts, expected.bins.counts)
    np.testing.assert_allclose(
        calibration.bins.confidences, expected.bins.confidences, rtol=1e-6, equal_nan=True
    )


def test_metrics_of_a_confusion_matrix(as_user: None) -> None:
    matrix = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    np.testing.assert_allclose(jinterp.per_class_accuracy(matrix), [3 / 4, 4 / 6, np.nan])
    np.testing.assert_allclose(jinterp.intersection_over_union(matrix), [3 / 6, 4 / 7, np.nan])
    np.testing.assert_allclose(jinterp.dice(jnp.asarray(matrix)), [6 / 9, 8 / 11, np.nan])
    for metric in (jinterp.per_class_accuracy, jinterp.intersection_over_union, jinterp.dice):
        with pytest.raises(ValueError, match=r"expected a confusion matrix \[classes, classes\]"):
            metric(matrix[:2])


def test_a_class_that_never_occurs_is_nan_and_left_out_of_means() -> None:
    x = np.zeros((1, 2, 2, 3), np.float32)
    x[..., 0] = 1
    found = evaluated(x, np.zeros((1, 2, 2), int))
    np.testing.assert_array_equal(found.ious, [1, np.nan, np.nan])
    np.testing.assert_array_equal(found.boundary_f1, [np.nan] * 3)
    assert found.mean_iou == found.mean_dice == found.frequency_weighted_iou == 1
    assert np.isnan(found.mean_boundary_f1)
    labels = np.ones((1, 2, 2), int)
    np.testing.assert_array_equal(evaluated(x, labels).ious, [0, 0, np.nan])


def test_a_class_that_is_ignored_is_left_out_of_means() -> None:
    x, labels = problem()
    found = evaluated(x, np.where(labels == IGNORED, 0, labels), ignore_index=0)
    for scores, mean in (
        (found.ious, found.mean_iou),
        (found.dices, found.mean_dice),
        (found.boundary_f1, found.mean_boundary_f1),
    ):
        np.testing.assert_array_equal(np.isnan(scores), np.arange(CLASSES) == 0)
        assert mean == pytest.approx(scores[1:].mean())
    labelled = (labels != 0) & (labels != IGNORED)
    expected = metrics.jaccard_score(
        labels[labelled], x.argmax(-1)[labelled], labels=range(1, CLASSES), average=None
    )
    np.testing.assert_allclose(found.ious[1:], expected)
    first = labelled[0]
    of_one = metrics.jaccard_score(
        labels[0][first],
        x[0].argmax(-1)[first],
        labels=np.unique(labels[0][first]),
        average="macro",
    )
    assert found.images.mean_ious[0] == pytest.approx(of_one)
    assert found.confusion_matrix[1:, 0].sum() > 0  # taken for it all the same


def test_a_straight_boundary_off_by_some_pixels() -> None:
    """Labels change at column 10, the prediction at column 13: three pixels apart."""
    labels = np.zeros((1, 8, 20), int)
    labels[..., 10:] = 1
    predicted = np.zeros((1, 8, 20), int)
    predicted[..., 13:] = 1
    x = np.eye(2, dtype=np.float32)[predicted]
    f1 = [evaluated(x, labels, boundary_width=width).mean_boundary_f1 for width in (0, 2, 3, 6)]
    assert f1 == [0, 0, 1, 1]


def test_pixels_that_are_not_finite_are_wrong_and_counted() -> None:
    x, labels = problem()
    x[2, 3, 4] = np.nan
    labels[2, 3, 4] = 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = evaluated(x, labels)
    texts = [str(each.message) for each in caught]
    assert any("1 of" in text and "count as wrong" in text for text in texts)
    assert found.num_unpredicted == 1
    assert found.confusion_matrix.sum() == found.num_pixels - 1
    assert found.top_losses.indices[0] == 2  # NaN before all
    assert found.per_class_accuracy[1] < 1
    clean, _ = problem()
    clean[2, 3, 4] = np.eye(CLASSES)[0]
    assert found.pixel_accuracy == evaluated(clean, labels).pixel_accuracy


def test_boundaries_under_pixels_without_a_prediction_are_missed() -> None:
    labels = np.zeros((1, 16, 16), int)
    labels[:, :, 8:] = 1
    x = 5 * np.eye(2, dtype=np.float32)[labels]
    x[:, 4:] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = evaluated(x, labels)
    recall = (4 + 2) / 16  # the two rows below are within two pixels of what was found
    np.testing.assert_allclose(found.boundary_f1, 2 * recall / (1 + recall))
    np.testing.assert_allclose(found.ious, 0.25)


def test_the_calibration_of_a_large_image() -> None:
    """One confidence at all pixels, whose float32 sum one by one would be off."""
    x = np.zeros((1, 1024, 1024, 2), np.float32)
    x[..., 0] = 4
    found = evaluated(x, np.zeros((1, 1024, 1024), np.uint8), num_bins=1, boundary_width=0)
    wrong = 1 - 1 / (1 + np.exp(-4.0))
    assert found.calibration.expected_calibration_error == pytest.approx(wrong, rel=1e-3)


def test_a_confidence_on_the_edge_of_two_bins_is_in_the_lower() -> None:
    even = np.zeros((1, 2, 2, 2), np.float32)  # a confidence of 1/2
    found = evaluated(even, np.zeros((1, 2, 2), int), num_bins=2)
    assert found.calibration is not None
    np.testing.assert_array_equal(found.calibration.bins.counts, [4, 0])


def test_an_image_without_labels_stands_in_no_top_losses() -> None:
    x, labels = problem()
    labels[3] = IGNORED
    with pytest.warns(UserWarning, match="1 of 7 images, the first at index 3, have no pixel"):
        found = evaluated(x, labels)
    assert found.num_unlabelled == 1
    assert np.isnan(found.images.losses[3])
    assert sorted(found.top_losses.indices.tolist()) == [0, 1, 2, 4, 5, 6]
    assert np.isfinite(found.mean_loss)


def test_top_losses_are_the_largest_means_over_valid_pixels() -> None:
    x, labels = problem()
    found = evaluated(x, labels, k=3)
    order = np.argsort(-found.images.losses)[:3]
    np.testing.assert_array_equal(found.top_losses.indices, order)
    np.testing.assert_array_equal(found.top_losses.losses, found.images.losses[order])


@settings(max_examples=6)
@given(st.integers(1, 9), st.integers(0, 3), st.sampled_from([np.uint8, np.int32, np.int64]))
def test_batches_and_padding_change_nothing(batch_size: int, seed: int, dtype: Any) -> None:
    x, labels = problem(seed, num=5, space=(4, 6), classes=3)
    ds = jinterp.batches((x, labels.astype(dtype)), batch_size)
    found = jinterp.evaluate_segmentation(apply_fn, 1.0, ds, ignore_index=IGNORED)
    whole = evaluated(x, labels)
    np.testing.assert_array_equal(found.confusion_matrix, whole.confusion_matrix)
    np.testing.assert_array_equal(found.boundary_f1, whole.boundary_f1)
    np.testing.assert_allclose(found.images.losses, whole.images.losses, rtol=1e-6)
    np.testing.assert_array_equal(found.calibration.bins.counts, whole.calibration.bins.counts)


def test_a_mesh_gives_the_same() -> None:
    x, labels = problem()
    found = evaluated(x, labels, mesh=jax.make_mesh((2,), ("data",)))
    whole = evaluated(x, labels)
    np.testing.assert_array_equal(found.confusion_matrix, whole.confusion_matrix)
    np.testing.assert_array_equal(found.boundary_f1, whole.boundary_f1)
    np.testing.assert_array_equal(found.calibration.bins.counts, whole.calibration.bins.counts)
    np.testing.assert_allclose(found.images.losses, whole.images.losses, rtol=1e-6)
    assert found.calibration.expected_calibration_error == pytest.approx(
        whole.calibration.expected_calibration_error, rel=1e-5
    )
    assert found.calibration.brier_score == pytest.approx(whole.calibration.brier_score, rel=1e-6)


def test_counts_beyond_32_bits() -> None:
    """A cell of pixels outgrows uint32 after 100 000 images of 43 200 pixels."""
    reducer = total(lambda batch, logits: logits)
    a, b = jnp.uint32([[[0], [2**32 - 5]], [[3], [7]]])
    state = reducer.merge((a[0], a[1]), (b[0], b[1]))
    assert reducer.finalize(jax.device_get(state)).tolist() == [3 * 2**32 + 2**32 - 5 + 7]


def test_another_loss() -> None:
    def one_minus_p(logits: Any, targets: Any) -> Any:
        return 1 - jnp.take_along_axis(jax.nn.softmax(logits), targets[..., None], -1)[..., 0]

    x, labels = problem()
    found = evaluated(x, labels, loss_fn=one_minus_p)
    p = np.take_along_axis(np.asarray(jax.nn.softmax(x)), np.minimum(labels, 4)[..., None], -1)
    valid = labels != IGNORED
    expected = [(1 - p[i, ..., 0])[valid[i]].mean() for i in range(len(x))]
    np.testing.assert_allclose(found.images.losses, expected, rtol=1e-5)


def test_a_dataset_of_single_images_with_their_label_maps() -> None:
    """As a PyTorch dataset gives them: targets as long as the inputs, and no batch."""
    x, labels = problem()
    ds = [(x[i], labels[i]) for i in range(len(x))]
    found = jinterp.evaluate_segmentation(apply_fn, 1.0, ds, ignore_index=IGNORED)
    np.testing.assert_array_equal(found.confusion_matrix, evaluated(x, labels).confusion_matrix)
    sequences = [(x[i], labels[i, ..., 0] % 3) for i in range(len(x))]
    assert next(iter(jinterp.batches(sequences))).x.shape[1:] == x.shape[2:]
    tagged = [(x[i, 0], labels[i, 0]) for i in range(len(x))]
    assert next(iter(jinterp.batches(tagged))).x.shape[1:] == x.shape[3:]
    whole = next(iter(jinterp.batches(tagged, batched=False)))
    assert whole.x.shape[1:] == x.shape[2:]
    split = next(iter(jinterp.batches(ds, batched=True)))
    assert split.x.shape[1:] == x.shape[2:]


X, LABELS = problem(num=2)


@pytest.mark.parametrize(
    ("x", "labels", "keywords", "message"),
    [
        (X, LABELS[:, :-1], {}, r"`targets` have the shape \[batch, 8, 11\] for logits"),
        (X, LABELS[:, :-1], {}, r"jax.image.resize\(logits, \(len\(logits\), 8, 11, 5\)"),
        (
            X,
            np.eye(CLASSES, dtype=int)[LABELS % CLASSES],
            {},
            r"For one-hot maps use targets\.argmax",
        ),
        (X, LABELS[..., None], {}, r"Use targets\[..., 0\]\."),
        (np.moveaxis(X, -1, 1), LABELS, {}, "classes first: use jnp.moveaxis"),
        (X, LABELS, {"ignore_index": None}, r"is 255; expected 0 to 4.*ignore_index=255"),
        (X, LABELS.astype(int) - 1, {"ignore_index": 254}, r"is -1; expected 0 to 4"),
        (X, LABELS * 0 + 255, {}, r"every pixel of the 2 images is ignored"),
        (X[:, 0, 0], LABELS[:, 0, 0], {}, "For one label an image use jinterp.evaluate"),
        (X[..., :1], LABELS * 0, {}, "one logit a pixel"),
        (X, LABELS, {"class_names": ["a"]}, "`class_names` has 1 names; expected 5"),
        (X, LABELS, {"boundary_width": -1}, "`boundary_width` is -1; expected pixels"),
        (X, LABELS, {"boundary_width": np.inf}, "`boundary_width` is inf; expected pixels"),
        (X, LABELS, {"k": 0}, "`k` is 0"),
        (X, LABELS, {"loss_fn": lambda z, t: z.mean((1, 2, 3))}, "one loss for each pixel"),
    ],
)
def test_bad_input(x: Any, labels: Any, keywords: dict[str, Any], message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=message):
            evaluated(x, labels, **{"ignore_index": IGNORED} | keywords)


def test_an_ignored_label_that_is_no_integer(as_user: None) -> None:
    with pytest.raises(TypeError, match="`ignore_index` is '255'; expected the integer"):
        evaluated(X, LABELS, ignore_index="255")


def test_an_ignored_label_of_more_than_32_bits() -> None:
    labels = np.where(LABELS == IGNORED, np.uint32(2**32 - 1), LABELS)
    with pytest.raises(ValueError, match=r"`ignore_index` is 4294967295; .* as labels are"):
        evaluated(X, labels, ignore_index=2**32 - 1)
    found = evaluated(X, labels.astype(np.int32), ignore_index=-1)
    assert found.num_pixels == (LABELS != IGNORED).sum()


def test_labels_that_are_no_integers() -> None:
    with pytest.raises(TypeError, match="expected label maps of integers"):
        evaluated(X, LABELS.astype(np.float32))


def test_classification_says_where_to_go_with_label_maps() -> None:
    with pytest.raises(ValueError, match=r"use jinterp\.evaluate_segmentation"):
        jinterp.evaluate(apply_fn, 1.0, (X, LABELS))


def test_nothing_is_compiled_again() -> None:
    x, labels = problem(num=3, space=(3, 5), classes=3)
    evaluated(x, labels)
    with count_compiles() as counter:
        evaluated(x, labels)
    assert counter.compiled == 0


def test_a_pass_that_was_stopped_goes_on(tmp_path: Path) -> None:
    x, labels = problem()
    whole = evaluated(x, labels)

    class Stops:
        def __len__(self) -> int:
            return len(x)

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            if index == stop:
                raise faults.Crash
            return x[index], labels[index]

    def run() -> SegmentationEvaluation:
        ds = jinterp.batches(Stops(), 2)
        saved = {"checkpoint_dir": tmp_path, "checkpoint_every": 1}
        return jinterp.evaluate_segmentation(apply_fn, 1.0, ds, ignore_index=IGNORED, **saved)

    stop = 5
    with pytest.raises(faults.Crash):
        run()
    stop = -1
    found = run()
    np.testing.assert_array_equal(found.confusion_matrix, whole.confusion_matrix)
    np.testing.assert_array_equal(found.boundary_f1, whole.boundary_f1)
    np.testing.assert_allclose(found.images.losses, whole.images.losses, rtol=1e-6)


def test_float64_and_half_precision() -> None:
    x, labels = problem()
    whole = evaluated(x, labels)
    half = evaluated(x.astype(jnp.bfloat16), labels)
    np.testing.assert_allclose(half.images.losses, whole.images.losses, rtol=0.02)
    assert half.images.losses.dtype == np.float32
    with jax.enable_x64(True):
        double = evaluated(x.astype(np.float64), labels)
    assert double.images.losses.dtype == np.float64
    np.testing.assert_array_equal(double.confusion_matrix, whole.confusion_matrix)
    np.testing.assert_allclose(double.images.losses, whole.images.losses, rtol=1e-5)
