"""The curves of a training: the learning-rate finder and metrics."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes

from jinterp import plot
from jinterp.diagnose import LrFind

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
