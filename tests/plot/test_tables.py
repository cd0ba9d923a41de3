"""Pictures of tables: importances, curves, maps."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from jinterp import plot
from jinterp.tabular import Ale, Ice, Importance, Interactions, PartialDependence

MEANS = np.arange(30.0)[::-1] / 100
MANY = Importance(tuple(f"mean ${n}_x" for n in range(30)), MEANS, MEANS / 9, MEANS[:, None], 0.9)
GRID = np.linspace(0, 1, 5)
CODES = np.arange(3.0)
DECILES = np.arange(1, 10) / 10


def curve(categories=None) -> PartialDependence:
    grid = np.array([0.0, 2.0, 3.0]) if categories else GRID
    deciles = np.empty(0) if categories else DECILES
    around = (grid, grid / 9, grid - 1, grid + 2)
    return PartialDependence(("size",), (grid,), (categories,), *around, (deciles,), (0,))


def texts(labels) -> list[str]:
    return [label.get_text() for label in labels]


def test_importances_are_bars_from_the_largest() -> None:
    ax = plot.importances(MANY)
    assert len(ax.patches) == 20
    assert ax.patches[0].get_width() == pytest.approx(0.29)
    assert texts(ax.get_yticklabels())[:2] == ["mean $0_x", "mean $1_x"]
    assert ax.get_title(loc="left") == "20 of 30; 10 less important not shown"
    (container,) = (each for each in ax.containers if isinstance(each, ErrorbarContainer))
    (bars,) = container[2]
    low, high = bars.get_segments()[0][:, 0]
    assert high - low == pytest.approx(2 * 0.29 / 9)
    assert ax.get_xlabel() == "fall of the score, from 0.9"
    assert not plot.importances(MANY, max_vars=30).get_title(loc="left")
    with pytest.raises(ValueError, match="`max_vars` is 0; expected at least 1"):
        plot.importances(MANY, max_vars=0)


def test_a_curve_has_its_band_and_a_rug() -> None:
    ax = plot.partial_dependence(curve())
    mean, *marks = ax.lines
    np.testing.assert_array_equal(mean.get_xydata(), np.c_[GRID, GRID])
    assert [mark.get_xdata()[0] for mark in marks] == DECILES.tolist()
    area = ax.collections[0].get_paths()[0].get_extents()
    assert (area.y0, area.y1) == (-1, 3)
    assert texts(ax.get_legend().get_texts()) == ["90 % of the rows", "mean"]


def test_categories_are_points_with_names() -> None:
    for ax in (
        plot.partial_dependence(curve(("red", "unused", "green", "$blue"))),
        plot.ale(
            Ale(
                ("size",),
                (np.arange(3.0),),
                (("a", "b", "c"),),
                *np.ones((3, 3)),
                (DECILES[:0],),
                0,
            )
        ),
    ):
        assert ax.get_xticks().tolist() == [0, 1, 2]
        points = [line for line in ax.lines if line.get_marker() == "o"]
        assert points[0].get_xdata().tolist() == [0, 1, 2]
    names = texts(plot.partial_dependence(curve(("red", "x", "green", "$b"))).get_xticklabels())
    assert names == ["red", "green", "$b"]


def test_ice_draws_every_row_and_the_mean() -> None:
    curves = np.array([[0.0, 1, 2, 3, 4], [0, -1, -2, -3, -4]])
    result = Ice("size", GRID, None, curves, np.arange(2), True, DECILES, 0)
    ax = plot.ice(result)
    rows = ax.lines[len(DECILES) :]
    np.testing.assert_array_equal([line.get_ydata() for line in rows], [*curves, np.zeros(5)])
    assert ax.get_ylabel() == "output, less its first value"
    assert texts(ax.get_legend().get_texts()) == ["2 rows", "mean"]


def test_maps_have_the_first_column_along_x() -> None:
    values = np.arange(6.0).reshape(2, 3)
    result = PartialDependence(
        ("a", "b"),
        (np.array([0.0, 1.0]), np.array([0.0, 1.0, 2.0])),
        (("no", "yes"), None),
        *[values] * 4,
        (DECILES[:0], DECILES),
        (0, 0),
    )
    ax = plot.partial_dependence(result)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b")
    assert texts(ax.get_xticklabels()) == ["no", "yes"]
    np.testing.assert_array_equal(ax.collections[0].get_array(), values.T)


def test_an_ale_map_is_grey_where_no_row_lies() -> None:
    corners = np.arange(9.0).reshape(3, 3)
    counts = np.array([[1, 0], [2, 3]])
    edges = np.array([0.0, 1, 3])
    result = Ale(
        ("a", "b"), (edges, edges), (None, None), corners, corners, counts, (DECILES, DECILES), 0
    )
    found = plot.ale(result).collections[0].get_array()
    np.testing.assert_array_equal(found.filled(np.nan), [[2, 5], [np.nan, 6]])


def test_interactions_show_the_strongest_first() -> None:
    strengths = np.array([[0, 0.1, 0.2], [0.1, 0, 0.5], [0.2, 0.5, 0]])
    total = np.array([0.1, 0.3, 0.6])
    result = Interactions(("a", "b", "c"), strengths, total, strengths, np.arange(9))
    ax = plot.interactions(result, max_vars=2)
    assert texts(ax.get_yticklabels()) == ["c", "b"]
    assert texts(ax.texts) == ["0.50", "0.50"]
    assert ax.get_title(loc="left") == "2 of 3 columns"
    with pytest.raises(ValueError, match="`max_vars` is 1; expected at least 2"):
        plot.interactions(result, max_vars=1)


def test_they_draw_in_the_axes_given() -> None:
    axes = plt.Figure().subplots(1, 2)
    assert plot.importances(MANY, ax=axes[0]) is axes[0]
    assert plot.partial_dependence(curve(), ax=axes[1]) is axes[1]
    assert plt.get_fignums() == []
