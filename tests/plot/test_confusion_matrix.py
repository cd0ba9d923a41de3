"""What stands in the cells, how it is coloured, and that a thousand classes still show."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from jinterp import plot

MATRIX = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def tick_names(axis: str, ax: Axes) -> list[str]:
    return [label.get_text() for label in getattr(ax, f"get_{axis}ticklabels")()]


def color_bar(ax: Axes) -> Axes:
    return next(other for other in ax.get_figure().axes if other is not ax)


def test_counts_stand_in_rows_of_the_actual_class() -> None:
    ax = plot.confusion_matrix(MATRIX, class_names=["cat", "dog", "fox"])
    assert texts(ax) == ["6", "2", "0", "1", "3", "0", "0", "0", "0"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "actual")
    assert tick_names("x", ax) == tick_names("y", ax) == ["cat", "dog", "fox"]
    np.testing.assert_array_equal(ax.images[0].get_array(), MATRIX)
    assert ax.texts[1].get_position() == (1, 0)


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        ("actual", [[0.75, 0.25, 0], [0.25, 0.75, 0], [0, 0, 0]]),
        ("predicted", [[6 / 7, 2 / 5, 0], [1 / 7, 3 / 5, 0], [0, 0, 0]]),
        ("all", [[0.5, 1 / 6, 0], [1 / 12, 0.25, 0], [0, 0, 0]]),
    ],
)
def test_shares_sum_to_one_and_empty_classes_stay_zero(
    normalize: str, expected: list[list[float]]
) -> None:
    ax = plot.confusion_matrix(MATRIX, normalize=normalize)
    np.testing.assert_allclose(ax.images[0].get_array(), expected)
    assert texts(ax)[2] == "0"
    assert texts(ax)[0] == f"{expected[0][0]:.2f}"
    assert "share" in ax.get_title()


def test_a_small_share_is_not_written_as_nothing() -> None:
    assert texts(plot.confusion_matrix([[999, 1], [0, 1]], normalize="actual"))[1] == "<.01"


def test_text_is_light_on_dark_cells_and_dark_on_light_ones() -> None:
    ax = plot.confusion_matrix([[100, 1], [0, 100]])
    assert [ax.texts[cell].get_color() for cell in (0, 1)] == ["white", "black"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(9999, "9999"), (10_000, "10k"), (25_449, "25.4k"), (999_999, "1M"), (1_234_567, "1.23M")],
)
def test_large_counts_are_shortened(count: int, text: str) -> None:
    assert texts(plot.confusion_matrix([[count, 0], [0, 1]]))[0] == text


def test_numbers_stay_in_their_cells() -> None:
    ax = plot.confusion_matrix(np.full((10, 10), 1_234_567))
    ax.get_figure().draw_without_rendering()
    cell = ax.get_window_extent().width / 10
    assert len(ax.texts) == 100
    assert all(text.get_window_extent().width < cell for text in ax.texts)


def test_ten_long_names_are_rotated_and_cut() -> None:
    names = [f"class {number} with a name that has no end" for number in range(10)]
    ax = plot.confusion_matrix(np.eye(10, dtype=int), class_names=names)
    assert all(label.get_rotation() == 45 for label in ax.get_xticklabels())
    assert tick_names("y", ax)[3] == "class 3 with a name…"


def test_names_are_not_read_as_formulas() -> None:
    ax = plot.confusion_matrix(np.eye(2), class_names=["$5", "a $\\frac$ b"])
    ax.get_figure().draw_without_rendering()
    assert tick_names("y", ax) == ["$5", "a $\\frac$ b"]


def test_forty_classes_are_named_and_coloured_by_logarithm_without_numbers() -> None:
    ax = plot.confusion_matrix(np.eye(40, dtype=int) * 50 + 1)
    assert texts(ax) == []
    assert len(ax.get_yticks()) == 40
    assert isinstance(ax.images[0].norm, LogNorm)
    assert color_bar(ax).get_ylabel() == "examples (0 is white)"


def test_of_a_thousand_classes_a_single_confusion_shows() -> None:
    matrix = np.eye(1000, dtype=int) * 50
    matrix[700, 100] = 1
    ax = plot.confusion_matrix(matrix, class_names=[f"class {number}" for number in range(1000)])
    shown = ax.images[0].get_array()
    assert texts(ax) == []
    assert len(ax.get_xticks()) <= 10
    assert tick_names("x", ax)[1] == "100"
    assert shown.shape == (334, 334)
    assert (shown[700 // 3, 100 // 3], shown[200, 200]) == (1, 50)
    assert shown.mask.sum() == 334**2 - 334 - 1
    assert ax.images[0].cmap(ax.images[0].norm(shown[:1, 1:2]))[0, 0].tolist() == [1, 1, 1, 1]
    assert ax.images[0].cmap(ax.images[0].norm(1.0))[0] < 0.8
    assert ax.get_xlim() == (-0.5, 999.5)
    assert "3×3" in color_bar(ax).get_ylabel()


@pytest.mark.parametrize("normalize", [None, "actual", "predicted", "all"])
@pytest.mark.parametrize("num_classes", [1, 100])
def test_a_matrix_of_zeros_draws(num_classes: int, normalize: str | None) -> None:
    ax = plot.confusion_matrix(np.zeros((num_classes, num_classes)), normalize=normalize)
    ax.get_figure().draw_without_rendering()
    assert not np.ma.filled(ax.images[0].get_array(), 0).any()


@pytest.mark.parametrize("num_classes", [3, 100])
def test_nan_is_shown_as_missing(num_classes: int) -> None:
    matrix = np.eye(num_classes)
    matrix[0, 1] = np.nan
    ax = plot.confusion_matrix(matrix, normalize="actual")
    ax.get_figure().draw_without_rendering()
    assert ax.images[0].get_array().mask[0, 1]
    assert ax.images[0].get_array()[1, 1] == 1


def test_it_draws_in_the_axes_given_and_opens_no_figure() -> None:
    ax = plt.Figure(figsize=(1, 1)).subplots()
    assert plot.confusion_matrix(np.eye(10, dtype=int), ax=ax) is ax
    assert texts(ax) == []
    assert plt.get_fignums() == []


def test_errors_name_what_was_given_and_expected() -> None:
    with pytest.raises(ValueError, match="`normalize` is 'rows'; expected None, 'actual', 'pred"):
        plot.confusion_matrix(MATRIX, normalize="rows")
    with pytest.raises(ValueError, match="`class_names` has 2 names; expected 3"):
        plot.confusion_matrix(MATRIX, class_names=["a", "b"])
    with pytest.raises(ValueError, match=r"shape \(2, 3\); expected \[classes, classes\]"):
        plot.confusion_matrix(MATRIX[:2])
