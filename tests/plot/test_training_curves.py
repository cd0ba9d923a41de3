"""The curves of a training: the learning-rate finder and metrics."""

import jax.numpy as jnp
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


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("block_11/attention_output/kernel", ["block_11/attention_output/kernel"]),
        (
            "encoder/block_11/attention_output/kernel",
            ["encoder/block_11/", "attention_output/kernel"],
        ),
        ("a" * 20 + "/" + "b" * 40, ["a" * 20 + "/" + "b" * 8, "b" * 32]),
        ("a" * 40 + "/" + "b" * 40, ["a" * 31 + "…", "b" * 32]),
    ],
)
def test_a_long_name_has_two_lines(name: str, lines: list[str]) -> None:
    found = jinterp.weight_distributions({name: np.ones(2)})
    drawn = plot.weight_distributions(found).axes[0].get_title(loc="left")
    assert drawn.splitlines() == lines


def test_weights_without_leaves() -> None:
    with pytest.raises(ValueError, match="`result` has no leaves; expected at least one"):
        plot.weight_distributions(WeightDistributions(()))


STEPS = [
    {"step": 0, "train_loss": 3.0},
    {"step": 10, "train_loss": 2.0, "val_loss": 2.5, "val_accuracy": 0.5, "epoch": 1},
    {"step": 20, "train_loss": np.nan, "learning_rate": 0.1},
    {"step": 30, "train_loss": 0.5, "val_loss": 2.0, "val_accuracy": 0.7, "epoch": 2},
    {"step": 40, "train_loss": 0.4, "val_loss": 2.2, "val_accuracy": 0.6, "epoch": None},
]


def labelled(ax: Axes) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for line in ax.lines if line.get_label()[0] != "_"}


def test_metrics_of_a_list_of_steps() -> None:
    figure = plot.metrics(STEPS)
    assert titles(figure) == ["loss", "accuracy", "learning_rate"]
    assert {ax.get_xlabel() for ax in figure.axes} == {"step"}
    loss, accuracy, rate = map(labelled, figure.axes)
    assert list(loss) == ["train, 1 not finite", "val, best 2 at 30"]
    train = [[0, 3], [10, 2], [20, np.nan], [30, 0.5], [40, 0.4]]
    np.testing.assert_array_equal(loss["train, 1 not finite"], train)
    np.testing.assert_array_equal(loss["val, best 2 at 30"], [[10, 2.5], [30, 2], [40, 2.2]])
    assert list(accuracy) == ["val, best 0.7 at 30"]
    assert list(rate) == ["learning_rate"]
    stars = [
        line.get_xydata().tolist() for line in figure.axes[0].lines if line.get_marker() == "*"
    ]
    assert stars == [[[30, 2]]]


def test_metrics_of_lists_by_name_and_an_axis_of_epochs() -> None:
    history = {
        "epoch": [1, 2],
        "test/mse": jnp.array([2.0, 1.0]),
        "mse": [np.inf, 3],
        "val_x": [1, 2],
    }
    figure = plot.metrics(history)
    assert titles(figure) == ["mse", "x"]
    assert figure.axes[0].get_xlabel() == "epoch"
    assert list(labelled(figure.axes[0])) == ["test, best 1 at 2", "mse, 1 not finite"]
    assert list(labelled(figure.axes[1])) == ["val"]  # which way x is better is not known


def test_metrics_without_an_axis_count_the_steps() -> None:
    figure = plot.metrics([{"loss": 2.0, "epoch": 1}, {"loss": 1.0}])
    np.testing.assert_array_equal(labelled(figure.axes[0])["loss"], [[0, 2], [1, 1]])
    assert figure.axes[0].get_xlabel() == "step"


def test_a_split_has_one_colour_in_all_panels() -> None:
    figure = plot.metrics({"train_loss": [1.0], "val_loss": [1.0], "val_f1": [1.0]})
    first, second = ([line.get_color() for line in ax.lines] for ax in figure.axes)
    assert first[-1] == second[-1] != first[0]


def test_metrics_that_are_never_finite() -> None:
    figure = plot.metrics({"val_loss": [np.nan, None], "train_loss": [np.nan, np.nan]})
    figure.draw_without_rendering()
    assert list(labelled(figure.axes[0])) == ["val, 1 not finite", "train, 2 not finite"]


def test_a_long_curve_marks_only_what_stands_between_gaps() -> None:
    values = np.ones(100)
    values[[3, 5]] = np.nan
    assert plot.metrics({"loss": values}).axes[0].lines[0].get_markevery() == [4]


@pytest.mark.parametrize("history", [{}, [], [{}], {"step": [1, 2]}])
def test_metrics_without_a_metric(history: object) -> None:
    with pytest.raises(ValueError, match="`history` has no metric; expected numbers by name"):
        plot.metrics(history)


def test_metrics_that_cannot_be_drawn(as_user: None) -> None:
    with pytest.raises(ValueError, match=r"lengths \{'a': 1, 'b': 2\}; expected equally many"):
        plot.metrics({"a": [1.0], "b": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"for 'a' at step 1 a ndarray \(2,\); expected one numb"):
        plot.metrics([{"a": 1.0}, {"a": np.ones(2)}])
    with pytest.raises(ValueError, match=r"for 'a' at step 0 a str \(\); expected one number"):
        plot.metrics({"a": ["high"]})
    with pytest.raises(ValueError, match=r"`history` has for 'a' a float; expected a list"):
        plot.metrics({"a": 1.0})
    with pytest.raises(ValueError, match=r"`history` has a float at step 1; expected a dict"):
        plot.metrics([{"a": 1.0}, 2.0])
