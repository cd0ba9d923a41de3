"""The curves of a training: the learning-rate finder and metrics."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes

import jinterp
from jinterp import plot
from jinterp.diagnose import LrFind, WeightDistributions
from jinterp.plot._figures import AnyFigure

RATES = np.geomspace(1e-5, 1, 20)
LOSSES = np.linspace(2.0, 1.0, 20)
FOUND = LrFind(RATES, LOSSES + 0.1, LOSSES, 20, "", 1e-3, np.nan, 1e-2, 1e-4)


def legend_texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_lr_find_draws_both_losses_and_marks_the_suggestions_on_the_curve() -> None:
    ax = plot.lr_find(FOUND)
    assert ax.get_xscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate", "loss")
    single, smoothed, *marks = ax.lines
    np.testing.assert_array_equal(single.get_xydata(), np.c_[RATES, LOSSES + 0.1][:-5])
    np.testing.assert_array_equal(smoothed.get_xydata(), np.c_[RATES, LOSSES][:-5])
    assert [mark.get_xdata()[0] for mark in marks] == [1e-3, 1e-2, 1e-4]
    np.testing.assert_allclose([mark.get_ydata()[0] for mark in marks], [1.6, 1.4, 1.8])
    assert legend_texts(ax)[2:] == ["valley 1.00e-03", "minimum 1.00e-02", "steep 1.00e-04"]


def test_lr_find_skips_what_it_is_told() -> None:
    ax = plot.lr_find(FOUND, skip_start=3, skip_end=0)
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), RATES[3:])


def test_lr_find_leaves_exploding_batches_out_of_the_picture() -> None:
    losses = np.where(np.arange(20) == 10, 1e6, LOSSES)
    ax = plot.lr_find(FOUND._replace(losses=losses))
    assert ax.get_ylim()[1] < 3


def test_lr_find_draws_what_is_finite() -> None:
    smoothed = np.where(np.arange(20) == 17, np.nan, LOSSES)
    ax = plot.lr_find(FOUND._replace(smoothed_losses=smoothed, losses=smoothed), skip_end=0)
    ax.get_figure().draw_without_rendering()
    assert np.isnan(ax.lines[1].get_ydata()).sum() == 1


@pytest.mark.parametrize(("skip_start", "skip_end"), [(0, 20), (0, 30), (14, 5), (50, 0), (0, 19)])
def test_lr_find_cannot_skip_all(skip_start: int, skip_end: int) -> None:
    message = f"`skip_start` is {skip_start} and `skip_end` {skip_end}, of 20 steps; expected at"
    with pytest.raises(ValueError, match=message):
        plot.lr_find(FOUND, skip_start=skip_start, skip_end=skip_end)


def test_lr_find_cannot_skip_less_than_nothing() -> None:
    with pytest.raises(ValueError, match=r"`skip_start` is -1; expected 0 or more. Try 0."):
        plot.lr_find(FOUND, skip_start=-1)
    with pytest.raises(ValueError, match=r"`skip_end` is -1; expected 0 or more. Try 5."):
        plot.lr_find(FOUND, skip_end=-1)


def test_they_draw_in_the_axes_given() -> None:
    ax = plt.Figure().subplots()
    assert plot.lr_find(FOUND, ax=ax) is ax
    assert plt.get_fignums() == []


def leaves(*weights: np.ndarray) -> WeightDistributions:
    return jinterp.weight_distributions(dict(zip(map(str, range(100, 200)), weights, strict=False)))


def titles(figure: AnyFigure) -> list[str]:
    return [ax.get_title(loc="left") for ax in figure.axes]


def test_weights_are_a_histogram_a_leaf_with_its_spectrum_above() -> None:
    found = leaves(np.ones(3), np.diag([3.0, 4.0]), np.random.default_rng(0).normal(size=(40, 20)))
    figure = plot.weight_distributions(found)
    law = found.leaves[2]
    spectrum = f"‖W‖₂ {law.spectral_norm:.3g}, α {law.alpha:.2f} ± {law.alpha_error:.2f}"
    assert titles(figure) == ["100", "101\n‖W‖₂ 4, stable rank 1.56", f"102\n{spectrum}"]
    values, edges, _ = figure.axes[2].patches[0].get_data()
    np.testing.assert_array_equal(values, law.counts)
    np.testing.assert_array_equal(edges, law.edges)


def test_weights_that_are_not_finite_are_said() -> None:
    figure = plot.weight_distributions(leaves(np.full(3, np.nan), np.array([1.0, np.inf])))
    assert titles(figure) == ["100\n3 not finite", "101\n1 not finite"]
    assert figure.axes[0].texts[0].get_text() == "no finite value"


def test_weights_of_many_leaves_are_the_largest_in_their_order() -> None:
    figure = plot.weight_distributions(leaves(*[np.ones(1 + (n % 23)) for n in range(23)]))
    assert titles(figure) == [str(100 + n) for n in range(3, 23)]
    assert figure.get_supxlabel() == "3 smaller leaves are not drawn"
    assert plot.weight_distributions(leaves(np.ones(2))).get_supxlabel() == ""


def test_a_long_name_keeps_its_end() -> None:
    found = jinterp.weight_distributions(
        {"encoder": {"block_11": {"attention_output": np.ones(2)}}}
    )
    drawn = plot.weight_distributions(found).axes[0].get_title(loc="left")
    assert drawn == "…coder/block_11/attention_output"


def test_weights_without_leaves() -> None:
    with pytest.raises(ValueError, match="`result` has no leaves; expected at least one"):
        plot.weight_distributions(WeightDistributions(()))
