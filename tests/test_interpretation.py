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
    interpretation.write_report(tmp_path, explain=None)
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


def seen(params: jax.Array, x: jax.Array) -> jax.Array:
    """Two classes that look at the upper and at the lower half of an image."""
    with jax.named_scope("seen"):
        x = jnp.tanh(x) * params
    half = x.shape[1] // 2
    return jnp.stack([x[:, :half].mean((1, 2, 3)), x[:, half:].mean((1, 2, 3))], axis=-1)


def to_float(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32) / 255


@pytest.fixture(scope="module")
def of_images() -> jinterp.ClassificationInterpretation:
    images = np.random.default_rng(0).integers(1, 255, (10, 4, 6, 1)).astype(np.uint8)
    ds = jinterp.batches((images, np.arange(10) % 2), preprocess=to_float)
    return jinterp.ClassificationInterpretation.from_model(seen, jnp.ones(()), ds)


def test_explanations_are_of_the_examples_asked_for(of_images) -> None:
    indices = [7, 2, 5]
    x = to_float(jnp.asarray(np.stack(of_images.dataset.take(indices))))
    expected = jinterp.grad_cam(seen, jnp.ones(()), x, 1)
    np.testing.assert_allclose(of_images.explain(indices, jinterp.grad_cam, 1), expected)
    both = of_images.explain_both(indices, jinterp.gradient)
    rows = of_images.evaluation.predictions.rows(np.array(indices))
    for name, classes in (
        ("for the prediction", rows.predictions),
        ("for the actual class", rows.targets),
    ):
        # Each class sees its own half alone.
        sees_lower = (both[name][:, 2:] != 0).any(axis=(1, 2, 3))
        np.testing.assert_array_equal(sees_lower, classes == 1)


def test_top_losses_are_drawn_with_a_map_for_each_of_two_classes(of_images) -> None:
    figure = of_images.plot_top_losses(3, explain=jinterp.grad_cam)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles.count("for the prediction") == titles.count("for the actual class") == 3
    figure = of_images.plot_top_losses(2, explain=jinterp.grad_cam, evidence=True)
    with_numbers = [
        ax.get_title(loc="left").count("\n")
        for ax in figure.axes
        if ax.get_title(loc="left").startswith("for ")
    ]
    assert with_numbers == [2] * 4
    again = of_images.plot_explanations([0], of_images.explain_both([0], jinterp.saliency))
    assert len(again.axes) == 3


def test_the_report_has_heat_maps_or_says_why_not(of_images, kept, tmp_path) -> None:
    with_maps = of_images.write_report(tmp_path / "images").read_text()
    assert "No heat maps" not in with_maps
    plain = of_images.write_report(tmp_path / "plain", explain=None)
    size = (tmp_path / "images/top_losses.png").stat().st_size
    assert size > (plain.parent / "top_losses.png").stat().st_size
    interpretation, _ = kept
    without = interpretation.write_report(tmp_path / "rows").read_text()
    assert "No heat maps: no layer has an output in space" in without


def test_a_blank_map_is_told_in_the_report(of_images, tmp_path) -> None:
    def blank(apply_fn, params, x, target=None):
        return jinterp.grad_cam(apply_fn, params * 0, x, target)

    page = of_images.write_report(tmp_path, explain=blank).read_text()
    assert "`grad_cam`: 9 of 9 examples are zero everywhere" in page


def weighted(params, x):
    with jax.named_scope("head"):
        return jnp.tensordot(x, params, axes=3)


def copied(apply_fn, params, x, target=None):
    return x


@pytest.fixture(scope="module")
def of_weights() -> jinterp.ClassificationInterpretation:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(12, 4, 6, 1)).astype(np.float32)
    weights = rng.normal(size=(4, 6, 1, 2)).astype(np.float32)
    ds = images, rng.integers(0, 2, 12)
    return jinterp.ClassificationInterpretation.from_model(weighted, weights, ds)


def test_every_heat_map_has_its_evidence(of_weights, tmp_path) -> None:
    explain = jinterp.deep_lift
    page = of_weights.write_report(tmp_path, explain=explain).read_text()
    top = of_weights.evaluation.top_losses
    x = np.stack(of_weights.dataset.take(top.indices))
    values = explain(*of_weights.model, x, top.targets)
    found = jinterp.evidence(
        *(*of_weights.model, x, values, top.targets), explain=explain, key=jax.random.key(0)
    )
    means = [each.mean(axis=0) for each in found[3:]]
    both = (found.deletions, means[0]), (found.insertions, means[1])
    numbers = [float(each[0]) for pair in both for each in pair]
    cells = [f"{number:.3f}" for number in numbers]
    row = f'<td>for the actual class</td><td class="n">{float(found.gaps[0]):.3g}</td>'
    assert row + "".join(f'<td class="n">{cell}</td>' for cell in cells) in page
    assert page.count("<td>for the prediction</td>") == len(x)
    first = jinterp.evidence(
        *(*of_weights.model, x, explain(*of_weights.model, x, top.predictions), top.predictions),
        explain=explain,
        key=jax.random.key(0),
    )
    falling, rising = (
        int(one.sum() + other.sum())
        for one, other in zip(
            (found.falls_faster, found.rises_faster),
            (first.falls_faster, first.rises_faster),
            strict=True,
        )
    )
    said = f"Ahead of random values: {falling} of {2 * len(x)} maps by deletion, {rising} by"
    assert said in page
    assert falling > 0
    assert "Randomisation check passed: with head at random" in page
    assert "fails the randomisation check" not in page


def test_an_explainer_that_copies_the_input_gets_a_red_note(of_weights, tmp_path) -> None:
    page = of_weights.write_report(tmp_path, explain=copied).read_text()
    assert "<strong>copied fails the randomisation check for 9 of 9 examples</strong>" in page
    assert "no better than random" in page


def test_what_cannot_be_asked_is_said(of_images, tmp_path) -> None:
    page = of_images.write_report(tmp_path / "constant").read_text()
    assert "Whether these are maps of this model at all was not asked:" in page


def test_what_one_cannot_answer_the_other_can(of_weights, tmp_path) -> None:
    """Values of another shape have no deletion, and still must depend on the parameters."""

    def summed(apply_fn, params, x, target=None):
        return jinterp.input_x_gradient(apply_fn, params, x, target)[..., :3, :]

    page = of_weights.write_report(tmp_path, explain=summed).read_text()
    assert "What the model does without what the maps show was not asked: `values` has" in page
    assert "Randomisation check passed: with head at random" in page


def test_an_operation_without_a_rule_leaves_the_report(of_weights, tmp_path) -> None:
    def sorted_first(params, x):
        return weighted(params, jnp.sort(x, axis=1))

    ds, params = of_weights.dataset, of_weights.model.params
    found = jinterp.ClassificationInterpretation.from_model(sorted_first, params, ds)
    page = found.write_report(tmp_path, explain=jinterp.lrp).read_text()
    assert "No heat maps: lrp has no rule for the operation" in page
    page = found.write_report(tmp_path, explain=jinterp.rise).read_text()
    assert "No heat maps: `explain` (rise" in page
    assert "needs `key`" in page


def test_maps_that_do_not_tell_the_classes_apart_are_told(tmp_path) -> None:
    rng = np.random.default_rng(0)
    images = np.abs(rng.normal(size=(12, 4, 6, 1))).astype(np.float32)
    params = rng.normal(size=(24, 20)).astype(np.float32), rng.normal(size=(20, 2))
    ds = images, rng.integers(0, 2, 12)
    found = jinterp.ClassificationInterpretation.from_model(two_layers, params, ds)

    def of_body(apply_fn, params, x, target=None):
        return (x.reshape(len(x), -1) * params[0].sum(1)[None]).reshape(x.shape)

    page = found.write_report(tmp_path / "body", explain=of_body).read_text()
    assert "<strong>The maps stay alike with head at random</strong>" in page
    assert "Ahead of random values: " in page


def test_sizes_that_stay_are_told(of_weights, tmp_path) -> None:
    """Of one layer input × gradient keeps the sizes of the input."""

    def signed(apply_fn, params, x, target=None):
        values = jinterp.gradient(apply_fn, params, x, target)
        return jnp.sign(values) * jnp.abs(x)

    page = of_weights.write_report(tmp_path, explain=signed).read_text()
    assert "The sizes of the values stay alike for 9 of 9" in page


def two_layers(params, x):
    with jax.named_scope("body"):
        hidden = jax.nn.relu(x.reshape(len(x), -1) @ params[0])
    with jax.named_scope("head"):
        return hidden @ params[1].astype(hidden.dtype)


def test_values_that_are_no_number_are_not_judged(of_weights, tmp_path) -> None:
    def undefined(apply_fn, params, x, target=None):
        return jinterp.gradient(apply_fn, params, x, target) * jnp.nan

    page = of_weights.write_report(tmp_path, explain=undefined).read_text()
    assert "<td>no number</td>" in page
    assert "<td>no better than random</td>" not in page


def test_maps_that_go_blank_are_no_pass(of_weights, tmp_path) -> None:
    def blank(apply_fn, params, x, target=None):
        return jnp.where(jnp.all(jnp.asarray(params) == learnt), x, 0)

    learnt = jnp.asarray(of_weights.model.params)
    page = of_weights.write_report(tmp_path, explain=blank).read_text()
    assert "The randomisation check has no answer" in page
    assert "Randomisation check passed" not in page
