"""Grids of examples: `top_losses`, `results`, and how an input becomes a picture."""

from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes

from jinterp import plot
from jinterp.evaluate import TopLosses
from jinterp.plot import _labels, _pictures

NAMES = ["cat", "dog", "fox"]
TOP = TopLosses(
    losses=np.array([np.nan, 4.25]),
    indices=np.array([17, 3]),
    targets=np.array([2, 1]),
    predictions=np.array([-1, 0]),
    target_probabilities=np.array([np.nan, 0.0143]),
    prediction_probabilities=np.array([np.nan, 0.9999]),
)
PIXELS = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


def titles(figure: Any) -> list[str]:
    return [ax.get_title(loc="left") for ax in figure.axes]


def drawn(image: Any) -> Axes:
    ax = plt.Figure().subplots()
    _pictures.draw(ax, image)
    ax.get_figure().draw_without_rendering()
    return ax


def test_top_losses_say_everything_of_each_example() -> None:
    figure = plot.top_losses(TOP, PIXELS, class_names=NAMES)
    assert titles(figure) == [
        "prediction: none\nactual: fox\nloss: nan\np(prediction): nan\np(actual): nan\nindex: 17",
        "prediction: cat\nactual: dog\nloss: 4.25\np(prediction): >0.999\np(actual): 0.0143\n"
        "index: 3",
    ]
    np.testing.assert_allclose(figure.axes[1].images[0].get_array(), PIXELS[1] / 255, rtol=1e-6)


def test_top_losses_of_several_labels_name_the_set() -> None:
    top = TOP._replace(
        targets=np.array([[1, 0, 1], [0, 0, 0]]), predictions=np.array([[0, 1, 0], [1, 1, 1]])
    )
    figure = plot.top_losses(top, PIXELS, class_names=NAMES)
    assert titles(figure)[0].startswith("prediction: dog\nactual: cat, fox\n")
    assert titles(figure)[1].startswith("prediction: cat, dog, fox\nactual: none\n")
    with pytest.raises(ValueError, match="`class_names` has 2 names; expected 3"):
        plot.top_losses(top, PIXELS, class_names=NAMES[:2])


def test_top_losses_errors() -> None:
    with pytest.raises(ValueError, match=r"`images` has 1 images; `top` has 2.*images\[top\.ind"):
        plot.top_losses(TOP, PIXELS[:1])
    with pytest.raises(ValueError, match="`class_names` has 2 names; the class 2 occurs"):
        plot.top_losses(TOP, PIXELS, class_names=NAMES[:2])
    with pytest.raises(ValueError, match="`top` has no examples"):
        plot.top_losses(TopLosses(*(column[:0] for column in TOP)), [])


def test_results_mark_right_and_wrong_by_sign_and_colour() -> None:
    figure = plot.results(
        np.zeros((3, 4, 4)), [0, 1, 2], [0, 2, -1], probabilities=[0.5, 0.25, np.nan],
        class_names=NAMES,
    )  # fmt: skip
    assert titles(figure) == [
        "✓ cat\np(prediction): 0.5",
        "✗ fox\nactual: dog\np(prediction): 0.25",
        "✗ none\nactual: fox\np(prediction): nan",
    ]
    colors = [ax._left_title.get_color() for ax in figure.axes]
    assert colors[0] != colors[1] == colors[2]


def test_results_take_the_prediction_from_all_probabilities() -> None:
    rows = jnp.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.1, 0.1, 0.8]])
    figure = plot.results(
        np.zeros((3, 4, 4)), jnp.array([0, 1, 2]), jnp.array([0, 2, -1]), probabilities=rows
    )
    assert [title.splitlines()[-1] for title in titles(figure)] == [
        "p(prediction): 0.7",
        "p(prediction): 0.6",
        "p(prediction): nan",
    ]


def test_results_of_one_example() -> None:
    assert titles(plot.results(PIXELS[:1], [1], [1])) == ["✓ 1"]


def test_a_font_without_signs_gets_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class Font:
        def get_char_index(self, code: int) -> int:
            return 0

    monkeypatch.setattr(_labels, "get_font", lambda path: Font())
    assert titles(plot.results(PIXELS, [1, 1], [1, 0])) == ["right: 1", "wrong: 0\nactual: 1"]


def test_results_errors() -> None:
    with pytest.raises(
        ValueError, match="`images` has 2 examples, `targets` 1 and `predictions` 2"
    ):
        plot.results(PIXELS, [1], [1, 1])
    with pytest.raises(ValueError, match="at least one"):
        plot.results([], [], [])
    with pytest.raises(ValueError, match=r"`probabilities` has the shape \(3,\) for 2 examples"):
        plot.results(PIXELS, [1, 1], [1, 1], probabilities=[1, 1, 1])
    with pytest.raises(ValueError, match="`class_names` has 1 names; the class 1 occurs"):
        plot.results(PIXELS, [1, 1], [1, 1], class_names=["a"])
    with pytest.raises(ValueError, match="`class_names` has 3 names; expected 2"):
        plot.results(PIXELS, [1, 1], [1, 1], probabilities=np.ones((2, 2)), class_names=NAMES)


def test_a_grid_draws_in_the_figure_given() -> None:
    figure = plt.Figure(figsize=(4, 4))
    assert plot.results(PIXELS, [1, 1], [1, 1], fig=figure) is figure
    part = plt.Figure(figsize=(4, 4)).subfigures(1, 2)[1]
    assert plot.top_losses(TOP, PIXELS, fig=part) is part
    assert (len(figure.axes), len(part.axes)) == (2, 2)
    assert plt.get_fignums() == []


def test_titles_are_cut_to_the_width_of_their_column() -> None:
    figure = plot.results(PIXELS, [0, 0], [0, 0], class_names=["a name\nwithout end " * 9])
    assert all(len(title) < 35 and title.endswith("…") for title in titles(figure))


@pytest.mark.parametrize("size", [None, (10, 11.6), (14, 9)])
def test_grids_do_not_overlap(size: tuple[float, float] | None) -> None:
    top = TopLosses(*(np.tile(column, 10) for column in TOP))
    signals_and_images = [np.zeros(9), np.zeros((2, 3, 4, 5)), *[PIXELS[0], PIXELS[1, :2]] * 9]
    figure = plt.Figure(figsize=size, layout="constrained") if size else None
    figure = plot.top_losses(top, signals_and_images, class_names=NAMES, fig=figure)
    figure.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    assert all(upper.y0 >= lower.y1 for upper, lower in zip(boxes, boxes[5:], strict=False))
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes[:5]))
    assert boxes[0].y1 <= figure.bbox.y1


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (1, 5, 4), (5, 4, 3), (3, 5, 4), (5, 4, 4)])
def test_every_layout_of_an_image_is_drawn_upright(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    shown = drawn(image).images[0].get_array()
    assert shown.shape == (5, 4, 4 if shape == (5, 4, 4) else 3)
    first_channel = image if image.ndim == 2 else image[0] if shape[0] in (1, 3) else image[..., 0]
    np.testing.assert_allclose(shown[..., 0], first_channel)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.array([[0, 51], [102, 255]], np.uint8), [0, 0.2, 0.4, 1]),
        (np.array([[0.0, 0.25], [0.5, 0.5]]), [0, 0.25, 0.5, 0.5]),
        (np.array([[-1.0, 0.0], [1.0, 3.0]]), [0, 0.25, 0.5, 1]),
        (np.array([[-1.0, 0.0], [0.5, 1.0]]), [0, 0.5, 0.75, 1]),
        (np.array([[0, 50], [100, 200]]), [0, 0.25, 0.5, 1]),
        (np.array([[7.0, 7.0], [7.0, 7.0]]), [0, 0, 0, 0]),
        (np.array([[True, False], [True, True]]), [1, 0, 1, 1]),
        (jnp.array([[0, 2], [1, 2]], jnp.bfloat16), [0, 1, 0.5, 1]),
    ],
)
def test_the_range_of_an_image(image: Any, expected: list[float]) -> None:
    shown = drawn(image).images[0].get_array()
    np.testing.assert_allclose(shown[..., 0].ravel(), expected, rtol=1e-6)


def test_pixels_that_are_not_finite_are_orange_and_leave_the_range_alone() -> None:
    image = np.array([[-1.0, np.nan], [np.inf, 1.0]])
    shown = drawn(image).images[0].get_array()
    np.testing.assert_allclose(shown[0, 1], _pictures.NOT_FINITE)
    np.testing.assert_allclose(shown[1, 0], _pictures.NOT_FINITE)
    np.testing.assert_allclose(shown[[0, 1], [0, 1], 0], [0, 1])
    assert drawn(np.full((2, 2, 3), np.nan)).images


@pytest.mark.parametrize("shape", [(9,), (9, 1), (1, 9)])
def test_a_signal_is_a_line(shape: tuple[int, ...]) -> None:
    signal = np.linspace(-1, 1, 9).reshape(shape)
    signal.ravel()[3] = np.nan
    ax = drawn(signal)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), signal.ravel(), rtol=1e-6)


@pytest.mark.parametrize("shape", [(40, 3), (3, 40), (128, 16)])
def test_a_signal_of_several_channels_is_as_many_lines(shape: tuple[int, int]) -> None:
    signal = np.random.default_rng(0).random(shape)
    lines = drawn(signal).lines
    found = np.stack([line.get_ydata() for line in lines], axis=-1)
    np.testing.assert_allclose(found, signal if shape[0] > shape[1] else signal.T, rtol=1e-6)


@pytest.mark.parametrize("shape", [(23, 3), (136, 17)])
def test_a_long_picture_is_no_signal(shape: tuple[int, int]) -> None:
    assert drawn(np.zeros(shape)).images


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (np.zeros((2, 3, 4, 5)), "(2, 3, 4, 5)"),
        (np.zeros((5, 4, 7)), "(5, 4, 7)"),
        (np.zeros((0, 4)), "(0, 4)"),
        (np.float32(1), "()"),
        (np.array(["a", "b"]), "(2,)"),
        ({"text": [1]}, "()"),
    ],
)
def test_what_is_no_image_says_its_shape(x: Any, shape: str) -> None:
    ax = drawn(x)
    assert [text.get_text() for text in ax.texts] == [f"no picture,\nshape {shape}"]
    assert not ax.images
