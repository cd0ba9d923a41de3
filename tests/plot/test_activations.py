"""What layers put out: their histograms, moments, zeros and dead units, by layer and by step."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes

import jinterp
from jinterp import plot
from jinterp.diagnose import ActivationStats, ChannelStats, LayerStats, Recorded
from jinterp.plot._value_axis import rows_of
from tests import networks

SIZES = [scale * 2.0**power for power in range(-16, 16) for scale in (1, 1.5)] + [np.inf]
EDGES = np.array([-size for size in SIZES[::-1]] + SIZES)
PLOTS = (plot.hist_chart, plot.layer_stats, plot.dead_chart)
CHANNELS = ChannelStats(*np.zeros((8, 1)))


def counts(*values: float, num: int = 100) -> np.ndarray:
    """So many of each value."""
    found, _ = np.histogram(np.repeat(values, num), np.clip(EDGES, -1e9, 1e9))
    return found.astype(np.int64)


COUNTS = counts(-1, 0, 1)


def layer(name: str, **changes: Any) -> LayerStats:
    usual = LayerStats(
        name,
        (1,),
        "relu",
        0.5,
        1.0,
        -1.0,
        2.0,
        0.3,
        1.0,
        0.0,
        np.nan,
        1.0,
        counts(-1, 0, 1),
        CHANNELS,
    )
    return usual._replace(**changes)


def stats(*layers: LayerStats) -> ActivationStats:
    return ActivationStats(layers, 8, EDGES)


def recorded(num_steps: int, num_layers: int, **changes: Any) -> Recorded:
    """Numbers that tell steps and layers apart."""
    of = np.arange(num_steps)[:, None] + 10 * np.arange(num_layers)[None] + 1.0
    names = tuple(f"layer{number}" for number in range(num_layers))
    share = of / of.max()
    columns = (of, 2 * of, -of, 3 * of, share, share / 2)
    of_each = np.broadcast_to(COUNTS, (*of.shape, len(EDGES) - 1))
    found = Recorded(names, 5 * np.arange(num_steps), *columns, of_each, EDGES)
    return found._replace(**changes)


def ticks(ax: Axes) -> dict[str, float]:
    labels = [label.get_text() for label in ax.get_yticklabels()]
    return dict(zip(labels, ax.get_yticks().tolist(), strict=True))


def legend_texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_rows_keep_every_value_and_cut_what_does_not_occur() -> None:
    found = np.stack([counts(-3.5, 0, 0.2), counts(1.2, 5)])[:, None]
    rows = rows_of(found, EDGES)
    assert (rows.edges[0], rows.edges[-1]) == (-4, 6)
    assert rows.shares.shape == (2, 1, len(rows.edges) - 1)
    np.testing.assert_allclose(rows.shares.sum(-1), 1)
    for value, column, share in ((-3.5, 0, 1 / 3), (0, 0, 1 / 3), (0.2, 0, 1 / 3), (5, 1, 1 / 2)):
        row = np.searchsorted(rows.edges, value, "right") - 1
        assert rows.shares[column, 0, row] == pytest.approx(share), value


def test_the_row_around_0_holds_all_that_is_between_its_edges() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    rows = rows_of(counts(*values, num=1)[None, None], EDGES)
    row = int(np.searchsorted(rows.edges, 0)) - 1
    low, high = rows.edges[row], rows.edges[row + 1]
    assert high == -low == 3 / 64
    assert rows.shares[0, 0, row] == ((low < values) & (values < high)).mean()


def test_small_values_have_rows_unless_they_are_few() -> None:
    """The row around 0 holds less than a tenth of what any layer has beside its zeros."""
    vanishing = rows_of(np.stack([counts(1.0), counts(1e-3)])[:, None], EDGES)
    positive = vanishing.edges[vanishing.edges > 0]
    assert 2**-11 < positive.min() <= 1e-3
    few = counts(1.0) + counts(1e-3, num=5)
    assert rows_of(few[None, None], EDGES).edges[-1] == 1.5
    positive = rows_of(few[None, None], EDGES).edges
    assert np.abs(positive).min() == 3 / 64


def test_a_column_without_numbers_is_grey_and_explained() -> None:
    figure = plot.hist_chart(stats(layer("a"), layer("b", counts=counts(1.0) * 0)))
    chart, bar = figure.axes
    colours = chart.collections[0]
    figure.draw_without_rendering()
    assert np.isnan(np.ma.getdata(colours.get_array())[:, 1]).all()
    assert bar.get_ylabel() == "share of the values, grey: none is finite"
    assert plot.hist_chart(stats(layer("a"))).axes[1].get_ylabel() == "share of the values"


def test_a_chart_of_nothing_is_drawn() -> None:
    plot.hist_chart(stats(layer("a", counts=counts(1.0) * 0))).draw_without_rendering()


def test_ticks_stand_where_their_values_are() -> None:
    values = counts(*np.random.default_rng(0).normal(size=1000), num=1)
    ax = plot.hist_chart(stats(layer("a", counts=values))).axes[0]
    found = ticks(ax)
    assert {"−1", "−¼", "0", "¼", "1"} <= set(found)
    rows = rows_of(values[None, None], EDGES).edges
    for text, value in (("−1", -1), ("−¼", -0.25), ("¼", 0.25), ("1", 1)):
        assert rows[round(found[text])] == value
    places = np.sort(list(found.values()))
    assert np.diff(places).min() >= len(rows) / 14
    assert rows[int(found["0"])] < 0 < rows[int(found["0"]) + 1]


def test_far_powers_are_short() -> None:
    wide = counts(-60000, -1e-4, 1e-4, 60000)
    names = list(ticks(plot.hist_chart(stats(layer("a", counts=wide))).axes[0]))
    assert max(map(len, names)) <= 6
    assert "256" in names
    assert "1/16" not in names


def test_a_dataset_has_a_column_a_layer() -> None:
    result = stats(layer("first_$", counts=counts(1.0)), layer("second", counts=counts(-2.0)))
    ax = plot.hist_chart(result).axes[0]
    rows = rows_of(np.stack([each.counts for each in result.layers])[:, None], EDGES)
    np.testing.assert_array_equal(ax.collections[0].get_array(), rows.shares[:, 0].T)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["first_$", "second"]
    assert ax.get_ylabel() == "value"


def test_a_training_has_a_chart_a_layer_and_a_column_a_step() -> None:
    of = np.stack([[counts(1.0), counts(4.0)], [counts(2.0), counts(0.0)], [counts(1.0)] * 2])
    figure = plot.hist_chart(recorded(3, 2, counts=of))
    assert [ax.get_title(loc="left") for ax in figure.axes[:2]] == ["layer0", "layer1"]
    rows = rows_of(of.swapaxes(0, 1), EDGES)
    for ax, shares in zip(figure.axes, rows.shares, strict=False):
        np.testing.assert_array_equal(ax.collections[0].get_array(), shares.T)
        x = ax.collections[0].get_coordinates()[0, :, 0]
        np.testing.assert_array_equal(x, [-2.5, 2.5, 7.5, 12.5])
    assert figure.get_supxlabel() == "step"


def test_colours_are_of_the_logarithm_of_one_and_the_share() -> None:
    norm = plot.hist_chart(stats(layer("a"))).axes[0].collections[0].norm
    shares = np.array([0, 0.001, 0.05, 1])
    np.testing.assert_allclose(norm(shares), np.log1p(1000 * shares) / np.log(1001))
    np.testing.assert_allclose(norm.inverse(norm(shares)), shares, atol=1e-12)


def test_layers_are_rows_with_their_numbers() -> None:
    result = stats(
        layer("first_$", mean=1.0, deviation=2.0, near_zero=0.25, dead=0.5),
        layer("last", mean=-1.0, deviation=0.5, near_zero=1.0),
    )
    mean, deviation, near_zero, dead = plot.layer_stats(result).axes
    np.testing.assert_array_equal(mean.lines[0].get_xydata(), [[1, 0], [-1, 1]])
    bands = [line[:, 0].tolist() for line in mean.collections[0].get_segments()]
    assert bands == [[-1, 3], [-1.5, -0.5]]
    np.testing.assert_array_equal(deviation.lines[0].get_xdata(), [2, 0.5])
    assert [bar.get_width() for bar in near_zero.patches] == [0.25, 1]
    assert [bar.get_width() for bar in dead.patches] == [0.5, 0]
    assert [label.get_text() for label in mean.get_yticklabels()] == ["first_$", "last"]
    assert all(ax.yaxis_inverted() for ax in (mean, deviation, near_zero, dead))


def test_a_layer_that_is_not_finite_says_so() -> None:
    result = stats(
        layer("a"), layer("b", mean=np.nan, deviation=np.nan), layer("c", deviation=np.inf)
    )
    figure = plot.layer_stats(result)
    said = [(text.get_text(), text.xy[1]) for ax in figure.axes[:2] for text in ax.texts]
    assert said == [("not finite", 1), ("not finite", 1), ("not finite", 2)]
    figure.draw_without_rendering()


def test_steps_are_lines_with_their_numbers() -> None:
    result = recorded(30, 2)
    figure = plot.layer_stats(result)
    fields = ("mean", "deviation", "near_zero", "dead")
    for ax, field in zip(figure.axes, fields, strict=True):
        for number, line in enumerate(ax.lines):
            np.testing.assert_array_equal(line.get_xdata(), result.steps)
            np.testing.assert_array_equal(line.get_ydata(), getattr(result, field)[:, number])
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[0] == "mean ± deviation"
    assert titles[3] == "dead: not active in the batch"
    assert len(figure.axes[0].collections) == 2
    assert legend_texts(figure.axes[1]) == ["layer0", "layer1"]
    band = figure.axes[0].collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == (-30, 90)


def test_more_than_three_layers_have_no_bands() -> None:
    mean = plot.layer_stats(recorded(3, 4)).axes[0]
    assert not mean.collections
    assert mean.get_title(loc="left") == "mean"


def test_steps_that_are_not_finite_are_counted() -> None:
    deviation = np.array([[1, 1], [np.inf, 1], [np.nan, 1]])
    figure = plot.layer_stats(recorded(3, 2, deviation=deviation))
    assert legend_texts(figure.axes[1]) == ["layer0, 2 not finite", "layer1"]
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), [1, np.nan, np.nan])


@pytest.mark.parametrize("is_by_step", [True, False])
def test_an_axis_is_logarithmic_where_one_number_hides_the_others(is_by_step: bool) -> None:
    sizes = [1.0, 2.0, 3.0, 1e9]
    apart: Any = stats(*(layer(f"{size:g}", deviation=size) for size in sizes))
    alike: Any = stats(*(layer(f"{size:g}", deviation=size) for size in sizes[:3]))
    if is_by_step:
        apart = recorded(4, 1, deviation=np.array(sizes)[:, None])
        alike = recorded(3, 1, deviation=np.array(sizes[:3])[:, None])
    along = "y" if is_by_step else "x"

    def scale(result: ActivationStats | Recorded) -> str:
        return getattr(plot.layer_stats(result).axes[1], f"get_{along}scale")()

    assert (scale(apart), scale(alike)) == ("symlog", "linear")
    ax = plot.layer_stats(apart).axes[1]
    places = getattr(ax, f"get_{along}ticks")()
    assert places[0] == 0
    assert 2 <= len(places) <= 6
    assert 1e6 < places[-1] <= 1e9


def test_dead_and_near_zero_stand_beside_each_other() -> None:
    result = stats(
        layer("rectified", dead=0.25, near_zero=0.5),
        layer("none", activation_function=None, near_zero=0.125),
        layer("zero", activation_function=None, dead=1.0, near_zero=1.0),
        layer("alive"),
    )
    ax = plot.dead_chart(result)
    dead, near_zero = ax.containers
    assert [bar.get_width() for bar in dead] == [0.25, 0, 1, 0]
    assert [bar.get_width() for bar in near_zero] == [0.5, 0.125, 1, 0.3]
    assert [(text.get_text(), round(text.get_position()[1])) for text in ax.texts] == [
        ("no rectifier", 1)
    ]
    assert legend_texts(ax) == ["dead: units never active", "near zero: values with |a| < 3/64"]
    assert dead[0].get_facecolor() != near_zero[0].get_facecolor()
    assert dead[1].get_y() + dead[1].get_height() <= near_zero[1].get_y() + 0.08


def test_dead_by_step_is_solid_and_near_zero_dotted() -> None:
    result = recorded(30, 2)
    ax = plot.dead_chart(result)
    for number in range(2):
        dead, near_zero = ax.lines[2 * number : 2 * number + 2]
        np.testing.assert_array_equal(dead.get_xydata().T, [result.steps, result.dead[:, number]])
        np.testing.assert_array_equal(near_zero.get_ydata(), result.near_zero[:, number])
        assert (dead.get_linestyle(), near_zero.get_linestyle()) == ("-", ":")
        assert dead.get_color() == near_zero.get_color()
    assert legend_texts(ax) == ["layer0", "layer1"]
    other = next(each for each in ax.artists if each is not ax.get_legend())
    assert [text.get_text() for text in other.get_texts()] == [
        "dead: units not active in the batch",
        "near zero: values with |a| < 3/64",
    ]


def test_many_layers_are_told_by_some_names() -> None:
    ax = plot.dead_chart(recorded(3, 48))
    names = legend_texts(ax)
    assert (len(names), names[0], names[-1]) == (9, "layer0", "layer47")
    assert ax.get_legend().get_title().get_text() == "9 of 48 layers"
    assert len({line.get_color() for line in ax.lines}) == 48


@pytest.mark.parametrize("draw", PLOTS)
@pytest.mark.parametrize(
    ("num_layers", "is_by_step"),
    [(1, False), (3, False), (48, False), (1, True), (3, True), (12, True)],
)
def test_nothing_is_cut_off_and_names_do_not_touch(
    draw: Callable[..., Any], num_layers: int, is_by_step: bool
) -> None:
    names = tuple(f"stage{number // 10}_block/convolution{number}" for number in range(num_layers))
    result: Any = stats(*map(layer, names))
    if is_by_step:
        result = recorded(1, num_layers)._replace(layers=names)
    drawn = draw(result)
    figure = drawn.get_figure() if isinstance(drawn, Axes) else drawn
    figure.draw_without_rendering()
    whole, page = figure.get_tightbbox(), figure.get_size_inches()
    assert min(whole.x0, whole.y0) >= -0.01
    assert whole.x1 <= page[0] + 0.01
    assert whole.y1 <= page[1] + 0.01
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        boxes = [label.get_window_extent() for label in axis.get_ticklabels() if label.get_text()]
        boxes = [box for box in boxes if box.width]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))


@functools.cache
def of_a_network() -> ActivationStats:
    model = networks.cnn()
    return jinterp.activation_stats(*model, (networks.IMAGES, np.zeros(4, int)))


@pytest.mark.parametrize("draw", PLOTS)
def test_statistics_of_a_network_are_drawn(draw: Callable[..., Any]) -> None:
    drawn = draw(of_a_network())
    figure = drawn.get_figure() if isinstance(drawn, Axes) else drawn
    texts = [label.get_text() for ax in figure.axes for label in ax.get_yticklabels()]
    texts += [label.get_text() for ax in figure.axes for label in ax.get_xticklabels()]
    assert {"conv1", "conv2", "head"} <= set(texts)


@pytest.mark.parametrize("draw", PLOTS)
def test_nothing_to_draw_is_an_error(draw: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="`result` has no layers; expected at least one"):
        draw(stats())
    with pytest.raises(ValueError, match="`result` has no layers; expected at least one"):
        draw(recorded(1, 1)._replace(layers=()))
    empty = recorded(1, 1)._replace(steps=np.arange(0))
    with pytest.raises(ValueError, match=r"`result` has no steps; .* Call `update` in each step"):
        draw(empty)


def test_they_draw_where_they_are_asked_to() -> None:
    figure = plt.Figure(figsize=(9, 6))
    left, right = figure.subfigures(1, 2)
    assert plot.hist_chart(stats(layer("a")), fig=left) is left
    assert plot.layer_stats(recorded(3, 2), fig=right) is right
    ax = plt.Figure().subplots()
    assert plot.dead_chart(stats(layer("a")), ax=ax) is ax
    figure.draw_without_rendering()
    assert plt.get_fignums() == []
