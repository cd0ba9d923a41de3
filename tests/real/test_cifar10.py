"""He's ResNets with pretrained weights on the CIFAR-10 test images."""

from pathlib import Path

import jax
import numpy as np
import pytest
import sklearn.metrics as sk

import jinterp
from jinterp.evaluate import Evaluation
from tests.real.resnet import linen_resnet, nnx_resnet, preprocess

CLASS_NAMES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]


def model(shared: Path, depth: int, library: str) -> jinterp.Model:
    path = shared / f"data/models/resnet{depth}_cifar10.npz"
    if library == "nnx":
        return jinterp.from_nnx(nnx_resnet(path, depth))
    return jinterp.from_linen(*linen_resnet(path, depth))


@pytest.fixture(scope="module")
def interpretation(shared: Path, cifar10) -> jinterp.ClassificationInterpretation:
    ds = jinterp.batches(cifar10, preprocess=preprocess)
    return jinterp.ClassificationInterpretation.from_model(
        *model(shared, 20, "linen"), ds, class_names=CLASS_NAMES
    )


@pytest.mark.parametrize("library", ["linen", "nnx"])
def test_logits_are_those_of_torch(shared: Path, cifar10, library: str) -> None:
    with np.load(shared / "goldens/captum_resnet20.npz") as golden:
        index, expected = golden["index"], golden["logits"]
    apply_fn, params = model(shared, 20, library)
    logits = apply_fn(params, preprocess(cifar10[0][index]))
    assert np.linalg.norm(logits - expected) / np.linalg.norm(expected) < 1e-5


def test_resnet_20_is_right_on_8103(interpretation) -> None:
    assert interpretation.evaluation.accuracy == 0.8103


def test_two_devices_give_the_same_counts_and_top_losses(
    shared: Path, cifar10, interpretation
) -> None:
    ds = jinterp.batches(cifar10, preprocess=preprocess)
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    found = jinterp.evaluate(*model(shared, 20, "linen"), ds, k=50, mesh=mesh)
    np.testing.assert_array_equal(found.confusion_matrix, interpretation.confusion_matrix())
    one = interpretation.top_losses(50)
    np.testing.assert_array_equal(found.top_losses.indices, one.indices)
    np.testing.assert_allclose(found.top_losses.losses, one.losses, rtol=1e-5)


@pytest.mark.slow
def test_resnet_56_in_nnx_is_right_on_8320(shared: Path, cifar10) -> None:
    ds = jinterp.batches(cifar10, preprocess=preprocess)
    matrix = jinterp.confusion_matrix(*model(shared, 56, "nnx"), ds)
    assert np.trace(matrix) == 8320
    assert matrix.sum() == 10_000


def test_the_whole_pass_equals_scikit_learn_on_the_same_logits(
    shared: Path, cifar10, interpretation
) -> None:
    images, labels = (array[:1000] for array in cifar10)
    apply_fn, params = model(shared, 20, "linen")
    logits = np.asarray(jax.jit(apply_fn)(params, preprocess(images)), np.float64)
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    rows = interpretation.evaluation.predictions.rows(np.arange(1000))
    np.testing.assert_array_equal(rows.predictions, logits.argmax(1))
    np.testing.assert_allclose(
        rows.target_probabilities, probabilities[np.arange(1000), labels], rtol=1e-3, atol=1e-6
    )
    assert rows.losses.mean() == pytest.approx(sk.log_loss(labels, probabilities), rel=1e-4)


def test_top_losses_and_confusion_speak_of_the_same_pass(interpretation, cifar10) -> None:
    top = interpretation.top_losses(50)
    assert (np.diff(top.losses) <= 0).all()
    np.testing.assert_array_equal(top.targets, cifar10[1][top.indices])
    matrix = interpretation.confusion_matrix()
    np.testing.assert_array_equal(matrix.sum(1), [1000] * 10)
    pairs = {(pair.actual, pair.predicted) for pair in interpretation.most_confused()[:4]}
    assert {("automobile", "truck"), ("cat", "dog")} <= pairs


@pytest.fixture(scope="module")
def out_of_sample(shared: Path, cifar10) -> Evaluation:
    """The pass over the out-of-sample probabilities, as if a model gave their logarithms."""
    with np.load(shared / "data/cifar10/out_of_sample_probabilities.npz") as arrays:
        log_probability = np.log(arrays["probability"].astype(np.float32))
    return jinterp.evaluate(lambda params, x: x, None, (log_probability, cifar10[1]), k=500)


@pytest.fixture(scope="module")
def confirmed(shared: Path) -> set[int]:
    with np.load(shared / "data/cifar10/label_errors.npz") as arrays:
        return set(arrays["index"][arrays["votes_given"] < 3].tolist())


def test_confirmed_label_errors_lead_the_ranking(out_of_sample, confirmed: set[int]) -> None:
    """54 confirmed label errors: 15, 37 and 54 of them in the top 54, 200 and 500 losses."""
    assert len(confirmed) == 54
    indices = out_of_sample.top_losses.indices
    found = [len(confirmed & set(indices[:k].tolist())) for k in (54, 200, 500)]
    assert found == [15, 37, 54]


def test_confirmed_label_errors_are_likely_ones(out_of_sample, confirmed: set[int]) -> None:
    kinds = out_of_sample.error_analysis[:3]
    assert [len(kind) for kind in kinds] == [120, 124, 462]
    assert [len(confirmed & set(kind.tolist())) for kind in kinds] == [28, 20, 6]
