"""A pass over label maps, kept: its answers, its pictures and its page."""

from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

import jinterp
from jinterp import plot
from jinterp.evaluate import PixelMaps
from tests.evaluate.test_segmentation import IGNORED, apply_fn, problem

NAMES = ["sky", "road", "car", "tree", "pole & <sign>"]
X, LABELS = problem()


def scaled(x: Any) -> Any:
    return 2 * x


@pytest.fixture(scope="module")
def kept() -> jinterp.SegmentationInterpretation:
    ds = jinterp.batches((X, LABELS), preprocess=scaled)
    return jinterp.SegmentationInterpretation.from_model(
        apply_fn, 0.5, ds, class_names=NAMES, ignore_index=IGNORED
    )


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    plt.close("all")


def test_answers_are_those_of_the_pass(kept: jinterp.SegmentationInterpretation) -> None:
    found = jinterp.evaluate_segmentation(
        apply_fn, 1.0, (X, LABELS), class_names=NAMES, ignore_index=IGNORED
    )
    np.testing.assert_array_equal(kept.confusion_matrix(), found.confusion_matrix)
    assert kept.most_confused() == found.most_confused
    assert kept.top_losses(3).indices.tolist() == found.top_losses.indices[:3].tolist()
    smallest = kept.top_losses(2, largest=False).losses
    np.testing.assert_array_equal(smallest, np.sort(kept.evaluation.images.losses)[:2])
    assert kept.calibration() is kept.evaluation.calibration
    text = " ".join(kept.answer())
    assert f"mean IoU {found.mean_iou:.3f}" in text
    pair = found.most_confused[0]
    assert f"{pair.actual} taken for {pair.predicted} ({pair.num_examples:,})" in text
    assert NAMES[int(found.ious.argmin())] in text
    with pytest.raises(ValueError, match="`k` is 8; the dataset has 7"):
        kept.top_losses(8)


def test_maps_are_those_of_the_images_asked_for(kept: jinterp.SegmentationInterpretation) -> None:
    maps = kept.maps([4, 1])
    np.testing.assert_array_equal(maps.predictions, X[[4, 1]].argmax(-1))
    np.testing.assert_array_equal(maps.targets, LABELS[[4, 1]])
    np.testing.assert_array_equal(maps.valid, LABELS[[4, 1]] != IGNORED)
    confidences = np.asarray(jax.nn.softmax(X[[4, 1]])).max(-1)
    np.testing.assert_allclose(maps.confidences, confidences, rtol=1e-5)
    assert np.isnan(maps.losses[~maps.valid]).all()
    means = [np.nanmean(each) for each in maps.losses]
    np.testing.assert_allclose(means, kept.evaluation.images.losses[[4, 1]], rtol=1e-5)


def test_maps_of_wrong_labels() -> None:
    labels = LABELS[:2] * 0
    labels[1] = 9
    with pytest.raises(ValueError, match=r"the target of example 1 at \(0, 0\) is 9"):
        jinterp.pixel_maps(apply_fn, 1.0, X[:2], labels)


def test_maps_need_a_label_map_for_each_image() -> None:
    with pytest.raises(ValueError, match="for 3 images; expected a label map for each"):
        jinterp.pixel_maps(apply_fn, 1.0, X[:3], LABELS[:1], ignore_index=IGNORED)


def test_rows_worst_first(kept: jinterp.SegmentationInterpretation) -> None:
    figure = kept.plot_top_losses(2)
    top = kept.top_losses(2)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[0].startswith(f"index {top.indices[0]}: loss {top.losses[0]:.3g}")
    assert titles[1:3] == ["labels", "prediction"]
    assert titles[5].startswith(f"index {top.indices[1]}")
    wrong = 100 * (1 - top.pixel_accuracies[0])
    assert titles[3] == f"errors: {wrong:.1f} % of pixels"
    assert titles[4] == f"loss: mean {top.losses[0]:.3g}"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == NAMES


def test_colours_of_labels_are_those_of_the_legend() -> None:
    labels = np.array([[[0, 1], [255, 1]]])
    maps = jinterp.pixel_maps(
        lambda params, x: np.eye(2, dtype=np.float32)[np.zeros((1, 2, 2), int)] * params,
        jax.numpy.float32(1),
        np.zeros((1, 2, 2), np.float32),
        labels,
        ignore_index=255,
    )
    figure = plot.label_maps(np.zeros((1, 2, 2, 3)), maps, colors=["red", "lime"])
    image = figure.axes[1].get_images()[0]
    shown = image.cmap(image.norm(image.get_array()))[..., :3]
    red, lime, white = [1, 0, 0], [0, 1, 0], [1, 1, 1]
    np.testing.assert_array_equal(shown, [[red, lime], [white, lime]])
    assert figure.axes[3].get_title(loc="left") == "errors: 66.7 % of pixels"


@pytest.mark.parametrize("num_classes", [2, 9, 60])
def test_every_class_has_a_colour_of_its_own(num_classes: int) -> None:
    labels = np.arange(num_classes)[None, None]
    maps = PixelMaps(labels, labels >= 0, labels, labels * 0 + 0.5, labels * 0.1)
    figure = plot.label_maps(np.zeros((1, 1, num_classes, 3)), maps)
    image = figure.axes[1].get_images()[0]
    shown = image.cmap(image.norm(image.get_array()))[0]
    assert len(np.unique(shown.round(3), axis=0)) == num_classes


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"images": X[:1]}, "`images` has 1 images, `maps` 2"),
        ({"titles": ["a"]}, "`titles` has 1 lines for 2 images"),
        ({"colors": ["red"]}, "`colors` has 1 colors; expected 5"),
    ],
)
def test_pictures_that_do_not_fit(
    keywords: dict[str, Any], message: str, kept: jinterp.SegmentationInterpretation
) -> None:
    with pytest.raises(ValueError, match=message):
        plot.label_maps(**{"images": X[:2, ..., :3], "maps": kept.maps([0, 1])} | keywords)


def test_volumes_are_drawn_by_slices() -> None:
    labels = np.zeros((1, 2, 3, 4), int)
    maps = PixelMaps(labels, labels == 0, labels, labels + 0.5, labels + 0.1)
    with pytest.raises(ValueError, match="Of a volume draw slices"):
        plot.label_maps(np.zeros((1, 3, 4)), maps)
    plot.label_maps(np.zeros((1, 3, 4)), PixelMaps(*(each[:, 1] for each in maps)))


def test_bars_of_classes(kept: jinterp.SegmentationInterpretation) -> None:
    ax = kept.plot_class_scores()
    ious = kept.evaluation.ious
    widths = [bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(widths, np.sort(ious))
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [NAMES[c] for c in np.argsort(ious)]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(legend) == ["IoU", "accuracy", "boundary F1, 2 px"]
    missing = plot.class_scores({"IoU": np.array([np.nan, 0.5])})
    assert [text.get_text() for text in missing.texts] == ["does not occur"]
    with pytest.raises(ValueError, match=r"expected \[classes\]"):
        plot.class_scores({"IoU": np.ones(2), "accuracy": np.ones(3)})


def test_pictures_count_pixels(kept: jinterp.SegmentationInterpretation) -> None:
    assert kept.plot_confusion_matrix().get_title() == "pixels"
    assert kept.plot_most_confused().get_xlabel() == "pixels"
    assert kept.plot_calibration().child_axes[0].get_ylabel() == "pixels"
    with pytest.raises(ValueError, match="no adaptive bins"):
        plot.reliability(kept.calibration(), adaptive=True)


def test_the_page(kept: jinterp.SegmentationInterpretation, tmp_path: Path) -> None:
    page = kept.write_report(tmp_path, notes=["said <aside>"], k=2).read_text()
    assert "said &lt;aside&gt;" in page
    assert "pole &amp; &lt;sign&gt;" in page
    assert page.count("data:image/png;base64,") == 4
    found = kept.evaluation
    for number in (f"{found.mean_iou:.3f}", f"{found.num_pixels:,}", f"{found.ious[2]:.3f}"):
        assert number in page
    assert "http:" not in page
    assert "https:" not in page
    pictures = {"top_losses", "class_scores", "confusion_matrix", "reliability"}
    assert {path.stem for path in tmp_path.glob("*.png")} == pictures
