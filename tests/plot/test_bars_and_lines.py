"""The most confused pairs and the loss curves."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes

from jinterp import plot
from jinterp.evaluate import ConfusedPair

PAIRS = [ConfusedPair("cat", "dog", 12), ConfusedPair("dog", "cat", 7), ConfusedPair(3, 5, 2)]


def legend_texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_most_confused_are_bars_from_the_top() -> None:
    ax = plot.most_confused(PAIRS)
    assert [bar.get_width() for bar in ax.patches] == [12, 7, 2]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["cat → dog", "dog → cat", "3 → 5"]
    assert [text.get_text() for text in ax.texts] == ["12", "7", "2"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("examples", "actual → predicted")
    assert ax.yaxis_inverted()


def test_most_confused_shows_as_many_as_asked() -> None:
    assert len(plot.most_confused(PAIRS, num_pairs=2).patches) == 2
    assert len(plot.most_confused(PAIRS * 10).patches) == 20


def test_no_confusion_says_so() -> None:
    ax = plot.most_confused([])
    assert [text.get_text() for text in ax.texts] == ["no class was taken for another"]


def test_no_pairs_asked_is_an_error() -> None:
    with pytest.raises(ValueError, match="`num_pairs` is 0; expected at least 1"):
        plot.most_confused(PAIRS, num_pairs=0)


def test_multi_losses_draw_a_line_a_run_with_gaps() -> None:
    ax = plot.multi_losses([[3.0, 2.0, np.nan, np.inf, 1.0], np.array([2.0, 1.0])], ["a", "_$b"])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [3, 2, np.nan, np.nan, 1])
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), [[0, 2], [1, 1]])
    assert legend_texts(ax) == ["a", "_$b"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss")


def test_a_loss_between_gaps_is_a_point() -> None:
    ax = plot.multi_losses([[3.0, 2.0, np.nan, 1.0, np.nan], [1.0], [2.0, 1.0]], ["a", "b", "c"])
    assert [line.get_markevery() for line in ax.lines] == [[3], [0], None]
    assert [line.get_marker() for line in ax.lines] == [".", ".", "None"]


def test_runs_without_a_loss_draw_nothing() -> None:
    ax = plot.multi_losses([[], [np.nan, np.nan]], ["empty", "nan"])
    ax.get_figure().draw_without_rendering()
    assert legend_texts(ax) == ["empty", "nan"]


def test_many_runs_differ_in_colour_or_style_and_stand_beside() -> None:
    ax = plot.multi_losses(np.ones((20, 3)), [str(number) for number in range(20)])
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 20
    ax.get_figure().draw_without_rendering()
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1


def test_multi_losses_errors() -> None:
    with pytest.raises(ValueError, match="`losses_list` has 1 runs and `labels` 2 names"):
        plot.multi_losses([[1.0]], ["a", "b"])
    with pytest.raises(ValueError, match="at least one run"):
        plot.multi_losses([], [])
    with pytest.raises(
        ValueError, match=r"losses of 'a' have the shape \(2, 2\); expected \[steps"
    ):
        plot.multi_losses([np.ones((2, 2))], ["a"])


def test_they_draw_in_the_axes_given() -> None:
    axes = plt.Figure().subplots(1, 2)
    assert plot.most_confused(PAIRS, ax=axes[0]) is axes[0]
    assert plot.multi_losses([[1.0, 2.0]], ["a"], ax=axes[1]) is axes[1]
    assert plt.get_fignums() == []
