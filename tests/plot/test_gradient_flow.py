"""The gradient by depth."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest

from jinterp import plot
from jinterp.diagnose import GradientFlow, LeafGradient


def leaf(name: str, size: float, **changes: object) -> LeafGradient:
    row = LeafGradient(
        name, (3, 3), 3 * size, 1.0, 3 * size, size, 0.0, 0, 0, 1e-3, 1e-3, "healthy"
    )
    return row._replace(**changes)


def flow(rows: list[LeafGradient]) -> GradientFlow:
    return GradientFlow(rows, 2.0, 1.0, "healthy", [])


ROWS = [
    leaf("first_$kernel", 1e-2),
    leaf("dead", 0.0, zero_share=1.0, verdict="no gradient"),
    leaf("broken", np.nan, num_nan=1, verdict="not finite"),
    leaf("sparse", 1e-1, zero_share=0.75),
    leaf("last", 1e-1, ratio=np.inf),
]


def test_every_leaf_has_a_line_from_the_top_and_points_where_it_has_numbers() -> None:
    ax = plot.gradient_flow(flow(ROWS))
    sizes, ratios, updates = (line.get_xdata() for line in ax.lines)
    np.testing.assert_array_equal(sizes, [1e-2, np.nan, np.nan, 1e-1, 1e-1])
    np.testing.assert_allclose(ratios, [3e-2, np.nan, np.nan, 3e-1, np.nan])
    np.testing.assert_array_equal(updates, [1e-3] * 5)
    assert [label.get_text() for label in ax.get_yticklabels()] == [row.name for row in ROWS]
    assert (ax.get_xscale(), ax.yaxis_inverted()) == ("log", True)


def test_zeros_and_nan_are_said_beside_their_leaf() -> None:
    ax = plot.gradient_flow(flow(ROWS))
    said = {ROWS[round(text.xy[1])].name: text.get_text() for text in ax.texts if text.get_text()}
    assert said == {"dead": "no gradient", "broken": "not finite", "sparse": "75% zeros"}


def test_updates_are_drawn_where_there_are_some() -> None:
    ax = plot.gradient_flow(flow([leaf("a", 1.0, update_ratio=None)]))
    assert len(ax.lines) == 2
    assert len(ax.patches) == 0


@pytest.mark.parametrize("num_leaves", [1, 60])
def test_nothing_is_cut_off_and_names_do_not_touch(num_leaves: int) -> None:
    name = "encoder/block_{}/attention/query/kernel"
    rows = [leaf(name.format(number), 1e-3, verdict="frozen") for number in range(num_leaves)]
    ax = plot.gradient_flow(flow(rows))
    figure = ax.get_figure()
    figure.draw_without_rendering()
    whole = figure.get_tightbbox()
    assert whole.x0 >= 0
    assert whole.y0 >= 0
    assert whole.x1 <= figure.get_figwidth()
    assert whole.y1 <= figure.get_figheight()
    boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert all(low.y1 <= high.y0 for high, low in itertools.pairwise(boxes))
    assert ax.get_legend().get_window_extent().y1 <= ax.get_window_extent().y0


def test_it_draws_in_the_axes_given() -> None:
    ax = plt.Figure().subplots()
    assert plot.gradient_flow(flow(ROWS), ax=ax) is ax
    assert plt.get_fignums() == []
