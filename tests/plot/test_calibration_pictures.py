"""Reliability diagrams, score distributions and risk-coverage curves."""

from typing import Any

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes

import jinterp
from jinterp import plot
from jinterp.evaluate import Calibration, RiskCoverage
from jinterp.evaluate.predictions import ScoreDistributions


def a_calibration() -> Calibration:
    """Five examples: three of confidence 0.9, two right; two of 0.6, none right."""
    first = jnp.array([0.9, 0.9, 0.9, 0.6, 0.6])
    probabilities = jnp.stack([first, 1 - first], 1)
    return jinterp.calibration(probabilities, jnp.array([0, 0, 1, 1, 1]), num_bins=5)


def legend_texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_reliability_draws_accuracy_gap_and_share_of_the_bins_with_examples() -> None:
    ax = plot.reliability(a_calibration())
    accuracy, gap = ax.containers
    np.testing.assert_allclose([bar.get_height() for bar in accuracy], [0, 2 / 3], atol=1e-6)
    np.testing.assert_allclose([bar.get_x() for bar in accuracy], [0.4, 0.8], atol=1e-6)
    np.testing.assert_allclose([bar.get_width() for bar in accuracy], [0.2, 0.2], atol=1e-6)
    np.testing.assert_allclose([bar.get_height() for bar in gap], [0.6, 0.9 - 2 / 3], atol=1e-6)
    np.testing.assert_allclose([bar.get_y() for bar in gap], [0, 2 / 3], atol=1e-6)
    shares = ax.child_axes[0].containers[0]
    np.testing.assert_allclose([bar.get_height() for bar in shares], [0.4, 0.6], atol=1e-6)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("confidence", "accuracy")
    assert ax.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]


def test_reliability_names_its_errors() -> None:
    calibration = a_calibration()
    ax = plot.reliability(calibration)
    assert ax.get_legend().get_title().get_text() == "ECE 0.380, MCE 0.600"
    assert legend_texts(ax) == ["accuracy", "gap to confidence"]
    adaptive = plot.reliability(calibration, adaptive=True)
    error = float(calibration.adaptive_calibration_error)
    assert adaptive.get_legend().get_title().get_text() == f"ACE {error:.3f}"


def test_adaptive_bins_of_one_confidence_are_still_seen() -> None:
    ax = plot.reliability(a_calibration(), adaptive=True)
    assert len(ax.containers[0]) == 5
    assert all(bar.get_width() >= 0.005 for bar in ax.containers[0])


def test_reliability_of_one_example_and_of_none() -> None:
    calibration = jinterp.calibration(jnp.array([[0.7, 0.3]]), jnp.array([0]))
    ax = plot.reliability(calibration)
    assert [bar.get_height() for bar in ax.containers[0]] == [1]
    empty = calibration.bins._replace(counts=0 * calibration.bins.counts)
    nothing = plot.reliability(calibration._replace(bins=empty))
    nothing.get_figure().draw_without_rendering()
    assert len(nothing.containers[0]) == 0


@pytest.mark.parametrize("layout", [None, "constrained", "tight"])
def test_the_shares_stay_in_the_place_of_their_axes(layout: Any) -> None:
    axes = plt.Figure(layout=layout).subplots(2, 1)
    ax = plot.reliability(a_calibration(), ax=axes[1])
    ax.get_figure().draw_without_rendering()
    assert ax.child_axes[0].get_window_extent().y1 <= axes[0].get_window_extent().y0


def test_a_title_stands_above_the_shares() -> None:
    ax = plot.reliability(a_calibration())
    ax.set_title("mine")
    ax.get_figure().draw_without_rendering()
    assert ax.title.get_window_extent().y0 >= ax.child_axes[0].get_window_extent().y1


def test_score_distributions_are_shares_of_each_class() -> None:
    counts = np.array([[1, 0, 3], [0, 0, 0], [2, 2, 0]])
    ax = plot.score_distributions(
        ScoreDistributions(counts, np.linspace(0, 1, 4)), class_names=["cat", "dog", "fox"]
    )
    shown = ax.images[0].get_array()
    np.testing.assert_allclose(shown[[0, 2]], [[0.25, 0, 0.75], [0.5, 0.5, 0]])
    assert shown.mask[1].all()
    assert ax.images[0].get_extent() == [0, 1, 2.5, -0.5]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog", "fox"]
    assert ax.get_xlabel() == "probability of the actual class"


def test_score_distributions_of_many_classes_have_few_ticks() -> None:
    distributions = ScoreDistributions(np.ones((1000, 20), int), np.linspace(0, 1, 21))
    ax = plot.score_distributions(distributions, class_names=["a name"] * 1000)
    assert ax.get_yticks().tolist() == list(range(0, 1000, 100))


def test_score_distributions_name_a_wrong_number_of_names() -> None:
    with pytest.raises(ValueError, match="`class_names` has 1 names; expected 2"):
        plot.score_distributions(
            ScoreDistributions(np.ones((2, 3), int), np.linspace(0, 1, 4)), class_names=["a"]
        )


def test_risk_coverage_draws_the_curve_and_the_error_rate() -> None:
    curve = jinterp.risk_coverage(jnp.array([0.9, 0.6, 0.8]), jnp.array([True, False, True]))
    ax = plot.risk_coverage(curve)
    np.testing.assert_allclose(ax.lines[0].get_xydata()[:, 0], [1 / 3, 2 / 3, 1], rtol=1e-6)
    np.testing.assert_allclose(ax.lines[0].get_xydata()[:, 1], [0, 0, 1 / 3], rtol=1e-6)
    assert legend_texts(ax) == ["area 0.1111", "error rate 0.3333"]
    assert ax.get_xlabel() == "coverage"
    assert ax.get_ylabel().startswith("risk")


def test_a_long_curve_is_thinned_to_its_ends_and_between() -> None:
    coverage = np.arange(1, 100_001) / 100_000
    ax = plot.risk_coverage(jnp_curve(coverage, 0.2 * coverage))
    drawn = ax.lines[0].get_xydata()
    assert len(drawn) == 2000
    np.testing.assert_allclose(drawn[[0, -1], 0], coverage[[0, -1]], rtol=1e-6)


def test_the_first_examples_do_not_set_the_height() -> None:
    coverage = np.arange(1, 1001) / 1000
    risk = np.where(coverage < 0.005, 1.0, 0.1)
    assert plot.risk_coverage(jnp_curve(coverage, risk)).get_ylim()[1] < 0.2


def test_risk_coverage_of_one_point_of_nan_and_of_none() -> None:
    ax = plot.risk_coverage(jnp_curve(np.ones(1), np.zeros(1)))
    assert ax.lines[0].get_marker() == "o"
    plot.risk_coverage(
        jnp_curve(np.ones(1), np.full(1, np.nan))
    ).get_figure().draw_without_rendering()
    with pytest.raises(ValueError, match="`curve` has no points"):
        plot.risk_coverage(jnp_curve(np.ones(0), np.ones(0)))


def jnp_curve(coverage: np.ndarray, risk: np.ndarray) -> RiskCoverage:
    area = jnp.asarray(risk.mean() if len(risk) else 0.0, jnp.float32)
    return RiskCoverage(jnp.asarray(coverage, jnp.float32), jnp.asarray(risk, jnp.float32), area)


def test_they_draw_in_the_axes_given() -> None:
    axes = plt.Figure(figsize=(9, 3)).subplots(1, 3)
    distributions = ScoreDistributions(np.ones((2, 3), int), np.linspace(0, 1, 4))
    assert plot.reliability(a_calibration(), ax=axes[0]) is axes[0]
    assert plot.score_distributions(distributions, ax=axes[1]) is axes[1]
    assert plot.risk_coverage(jnp_curve(np.ones(1), np.ones(1)), ax=axes[2]) is axes[2]
    assert plt.get_fignums() == []
