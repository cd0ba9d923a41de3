"""One pass kept: every question is answered without running the model again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from tests.problems import identity, labelled_logits

LOGITS, TARGETS = labelled_logits(60, 4)
NAMES = ["ant", "bee", "cat", "dog"]


@pytest.fixture(scope="module")
def kept() -> tuple[jinterp.ClassificationInterpretation, list[int]]:
    """An interpretation, and a list that grows whenever the model is run."""
    runs: list[int] = []

    def apply_fn(params: jax.Array, x: jax.Array) -> jax.Array:
        jax.debug.callback(lambda: runs.append(1))
        return x @ params

    interpretation = jinterp.ClassificationInterpretation.from_model(
        apply_fn, jnp.eye(4), (LOGITS, TARGETS), class_names=NAMES
    )
    jax.effects_barrier()
    return interpretation, runs


def test_no_question_runs_the_model_again(kept, tmp_path) -> None:
    interpretation, runs = kept
    seen = len(runs)
    assert seen > 0
    interpretation.top_losses(5)
    interpretation.plot_top_losses(4)
    interpretation.plot_confusion_matrix(normalize="actual")
    interpretation.most_confused()
    interpretation.plot_most_confused()
    interpretation.print_classification_report()
    interpretation.show_results([0, 3])
    interpretation.plot_calibration(num_bins=5, adaptive=True)
    interpretation.plot_risk_coverage()
    interpretation.plot_score_distributions()
    interpretation.write_report(tmp_path)
    jax.effects_barrier()
    assert len(runs) == seen


def test_answers_are_those_of_the_functions(kept) -> None:
    interpretation, _ = kept
    model = identity(4)
    for largest in (True, False):
        mine = interpretation.top_losses(11, largest=largest)
        alone = jinterp.top_losses(*model, (LOGITS, TARGETS), k=11, largest=largest)
        for a, b in zip(mine, alone, strict=True):
            np.testing.assert_array_equal(a, b)
    matrix = jinterp.confusion_matrix(*model, (LOGITS, TARGETS))
    np.testing.assert_array_equal(interpretation.confusion_matrix(), matrix)
    assert interpretation.most_confused(min_count=3) == jinterp.most_confused(
        matrix, class_names=NAMES, min_count=3
    )
    probabilities = jax.nn.softmax(LOGITS)
    expected = jinterp.calibration(probabilities, TARGETS, num_bins=7)
    assert float(
        interpretation.calibration(num_bins=7).expected_calibration_error
    ) == pytest.approx(float(expected.expected_calibration_error), abs=1e-6)


def test_pictures_show_the_inputs_fetched_by_index(kept) -> None:
    interpretation, _ = kept
    figure = interpretation.plot_top_losses(3)
    top = interpretation.top_losses(3)
    for ax, index, target in zip(figure.axes, top.indices, top.targets, strict=False):
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), LOGITS[index])
        assert f"actual: {NAMES[target]}" in ax.get_title(loc="left")
        assert f"index: {index}" in ax.get_title(loc="left")


def test_the_report_prints_the_names(kept, capsys: pytest.CaptureFixture[str]) -> None:
    kept[0].print_classification_report()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.split()[:1] in [[n] for n in NAMES]] == NAMES


def test_show_results_stops_at_the_end_of_a_small_dataset() -> None:
    found = jinterp.ClassificationInterpretation.from_model(*identity(4), (LOGITS[:2], TARGETS[:2]))
    assert len([ax for ax in found.show_results().axes if ax.lines]) == 2


def test_inputs_of_an_iterator_cannot_be_fetched_and_the_numbers_stay() -> None:
    stream = iter(list(zip(LOGITS, TARGETS, strict=True)))
    found = jinterp.ClassificationInterpretation.from_model(*identity(4), stream)
    assert len(found.top_losses(5).indices) == 5
    with pytest.raises(ValueError, match="iterator"):
        found.plot_top_losses()


def test_k_larger_than_the_dataset_is_named(kept) -> None:
    with pytest.raises(ValueError, match=r"`k` is 61; the dataset has 60 examples"):
        kept[0].top_losses(61)


def test_it_holds_no_inputs(kept) -> None:
    arrays = jax.tree.leaves(tuple(kept[0].evaluation.predictions))
    assert all(array.shape == (60,) for array in arrays)
