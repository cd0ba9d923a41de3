"""Street scenes: a small U-Net trained on CamVid, and what the pass says of it."""

from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn import metrics

import jinterp
from tests.real.camvid import CLASS_NAMES, UNLABELLED, camvid, preprocess, trained_unet

pytestmark = pytest.mark.slow
CAR = CLASS_NAMES.index("car")


@pytest.fixture(scope="module")
def val(shared: Path) -> tuple[np.ndarray, np.ndarray]:
    return camvid(shared, "val")


@pytest.fixture(scope="module")
def model(shared: Path) -> jinterp.Model:
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return trained_unet(shared)


@pytest.fixture(scope="module")
def interpretation(
    model: jinterp.Model, val: tuple[np.ndarray, np.ndarray]
) -> jinterp.SegmentationInterpretation:
    return jinterp.SegmentationInterpretation.from_model(
        *model,
        jinterp.batches(val, preprocess=preprocess),
        class_names=CLASS_NAMES,
        ignore_index=UNLABELLED,
    )


@pytest.fixture(scope="module")
def logits(model: jinterp.Model, val: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    apply_fn = jax.jit(lambda params, x: model.apply_fn(params, preprocess(x)))
    return np.concatenate([apply_fn(model.params, part) for part in np.array_split(val[0], 5)])


def test_the_network_is_plainly_better_than_chance(
    interpretation: jinterp.SegmentationInterpretation,
) -> None:
    found = interpretation.evaluation
    assert found.num_examples == 101
    assert found.mean_iou > 0.30
    assert found.pixel_accuracy > 0.75
    assert found.ious[CLASS_NAMES.index("road")] > 0.8
    assert 0 < found.mean_boundary_f1 < 1


def test_numbers_are_those_of_scikit_learn_on_flattened_pixels(
    interpretation: jinterp.SegmentationInterpretation,
    val: tuple[np.ndarray, np.ndarray],
    logits: np.ndarray,
) -> None:
    found = interpretation.evaluation
    valid = val[1] != UNLABELLED
    actual, predicted = val[1][valid], logits.argmax(-1)[valid]
    assert found.num_pixels == len(actual)
    matrix = metrics.confusion_matrix(actual, predicted, labels=range(len(CLASS_NAMES)))
    # A pixel whose two best logits are nearly equal may fall either way in another batch.
    assert np.abs(matrix - found.confusion_matrix).sum() <= 1e-5 * len(actual)
    each = {"average": None, "labels": range(len(CLASS_NAMES))}
    np.testing.assert_allclose(
        found.ious, metrics.jaccard_score(actual, predicted, **each), atol=1e-4
    )
    np.testing.assert_allclose(found.dices, metrics.f1_score(actual, predicted, **each), atol=1e-4)


def test_losses_of_images_in_float64(
    interpretation: jinterp.SegmentationInterpretation,
    val: tuple[np.ndarray, np.ndarray],
    logits: np.ndarray,
) -> None:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    for index in range(0, 101, 10):
        labels = val[1][index]
        valid = labels != UNLABELLED
        expected = -log_p[index][valid, labels[valid]].mean()
        found = interpretation.evaluation.images.losses[index]
        assert found == pytest.approx(expected, rel=1e-4)


def test_seg_grad_cam_of_the_cars_lies_on_the_cars(
    interpretation: jinterp.SegmentationInterpretation, logits: np.ndarray
) -> None:
    """In the images with most of them, at the fine end of the way up."""
    cars = logits.argmax(-1) == CAR
    indices = np.argsort(-cars.sum((1, 2)))[:6]
    maps = interpretation.explain(
        indices,
        lambda *question: jinterp.grad_cam(*question, layer="up0", score=jinterp.region()),
        CAR,
    )
    maps = np.asarray(jax.image.resize(maps, (len(maps), 90, 120), "bilinear"))
    share_inside = (maps * cars[indices]).sum((1, 2)) / maps.sum((1, 2))
    share_of_area = cars[indices].mean((1, 2))
    assert (share_inside > 2 * share_of_area).sum() >= 5, (share_inside, share_of_area)


def test_pictures_and_page(
    interpretation: jinterp.SegmentationInterpretation, tmp_path: Path
) -> None:
    page = interpretation.write_report(tmp_path, title="CamVid", k=4)
    assert page.stat().st_size > 100_000
    plt.close("all")
