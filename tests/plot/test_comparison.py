"""Explainers compared, as dots with intervals."""

import numpy as np
import pytest

import jinterp
from jinterp.faithfulness import Comparison, Cost


def compared(num_metrics: int = 3) -> Comparison:
    means = np.array([[1.0, 5.0, 2.0], [2.0, 4.0, np.nan], [2.0, 3.0, 1.0]])[:, :num_metrics]
    ranks = np.array([[3.0, 3.0, np.nan], [1.5, 2.0, np.nan], [1.5, 1.0, np.nan]])[:, :num_metrics]
    names, metrics = ("a", "b$_", "c"), ("up", "down", "neither")[:num_metrics]
    cost = Cost(np.ones(3), np.ones(3), True)
    each = Cost(np.ones(means.shape), np.ones(means.shape), True)
    num_counted = np.ones(means.shape, int)
    return Comparison(
        *(names, metrics, means[..., None], means, means - 0.5, means + 1, num_counted, ranks),
        *(cost, each),
    )


def test_a_panel_for_each_metric_and_a_row_for_each_explainer() -> None:
    figure = jinterp.plot.comparison(compared())
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["up", "down", "neither"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b$_", "c"]
    words = [ax.get_xlabel() for ax in figure.axes]
    assert words == ["higher is better →", "← lower is better", ""]


def test_the_best_are_filled_and_intervals_reach_where_they_end() -> None:
    ax = jinterp.plot.comparison(compared()).axes[0]
    lines, others, best = ax.collections
    np.testing.assert_array_equal(best.get_offsets(), [[2, 1], [2, 2]])
    np.testing.assert_array_equal(others.get_offsets(), [[1, 0]])
    ends = [segment[:, 0].tolist() for segment in lines.get_segments()]
    assert ends == [[0.5, 2.0], [1.5, 3.0], [1.5, 3.0]]


@pytest.mark.parametrize("num_metrics", [1, 2])
def test_few_metrics(num_metrics: int) -> None:
    figure = jinterp.plot.comparison(compared(num_metrics))
    figure.canvas.draw()
    assert len(figure.axes) == num_metrics
