"""The random-logit check against explanations of both classes, and who draws which class."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy.stats import spearmanr

import jinterp
from jinterp.faithfulness import RandomLogitCheck
from tests import networks
from tests.attribution.double import double
from tests.networks import CLASSES, CNNS, IMAGES, ROWS, cnn, unet
from tests.problems import count_compiles

KEY = jax.random.key(5)
TARGET = np.array([2, 0, 4, 1])
CLOSE = {"rtol": 0, "atol": 1e-4}


def copied(apply_fn: Any, params: Any, x: Any, target: Any = None) -> Any:
    return x


def check(explain: Any, *arguments: Any, **keywords: Any) -> RandomLogitCheck:
    return jinterp.random_logit_check(explain, *arguments, **{"key": KEY, **keywords})


def test_an_explainer_that_copies_the_input_is_the_same_for_every_class() -> None:
    for own in check(copied, *cnn(), IMAGES, TARGET)[2:]:
        np.testing.assert_allclose(own, np.ones(4), atol=1e-5)


def logits(params: jax.Array, x: jax.Array) -> jax.Array:
    return x @ params


def test_opposite_classes_have_opposite_gradients() -> None:
    weights = np.array([[1, -1], [2, -2], [3, -3]], np.float32)
    found = check(jinterp.gradient, logits, weights, ROWS[:, :3], np.array([0, 1, 1, 0]))
    assert found.others.tolist() == [1, 0, 0, 1]
    np.testing.assert_allclose(found.rank_correlations, -1, atol=1e-6)
    np.testing.assert_allclose(found.absolute_rank_correlations, 1, atol=1e-6)
    assert np.isnan(found.ssims).all()


@pytest.mark.parametrize("kind", CNNS)
@pytest.mark.parametrize("explain", [jinterp.gradient, jinterp.hires_cam])
def test_similarities_are_those_of_both_explanations(kind: str, explain: Any) -> None:
    model = CNNS[kind]()
    found = check(explain, *model, IMAGES, TARGET)
    assert found.targets.tolist() == TARGET.tolist()
    both = (np.asarray(explain(*model, IMAGES, each)) for each in (TARGET, found.others))
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(*both, strict=True)]
    np.testing.assert_allclose(found.rank_correlations, expected, atol=1e-4)
    assert found.ssims.shape == (4,)


def test_another_class_is_drawn_each_as_likely_and_never_the_same() -> None:
    x, targets = np.repeat(ROWS[:1], CLASSES, axis=0), np.arange(CLASSES)
    counts = np.zeros((CLASSES, CLASSES), int)
    for seed in range(300):
        found = check(copied, *networks.mlp(), x, targets, key=jax.random.key(seed))
        counts[targets, np.asarray(found.others)] += 1
    assert (np.diag(counts) == 0).all()
    assert (counts.sum(axis=1) == 300).all()
    drawn = counts[~np.eye(CLASSES, dtype=bool)]
    assert drawn.min() > 75 - 4 * np.sqrt(300 * 0.25 * 0.75)
    assert drawn.max() < 75 + 4 * np.sqrt(300 * 0.25 * 0.75)


@pytest.mark.parametrize("explain", [jinterp.gradient, jinterp.hires_cam])
def test_no_number_nor_class_depends_on_the_batch(explain: Any) -> None:
    whole = check(explain, *cnn(), IMAGES, TARGET)
    order = np.array([2, 0, 3])
    some = check(explain, *cnn(), IMAGES[order], TARGET[order])
    one = check(explain, *cnn(), IMAGES[3:], TARGET[3:])
    for own, of_some, of_one in zip(whole, some, one, strict=True):
        np.testing.assert_allclose(of_some, np.asarray(own)[order], **CLOSE)
        np.testing.assert_allclose(of_one, np.asarray(own)[3:], **CLOSE)


def test_the_predicted_class_where_none_is_given() -> None:
    predicted = np.asarray(cnn().apply_fn(cnn().params, IMAGES)).argmax(axis=1)
    found = check(jinterp.gradient, *cnn(), IMAGES)
    assert found.targets.tolist() == predicted.tolist()
    expected = check(jinterp.gradient, *cnn(), IMAGES, predicted)
    np.testing.assert_array_equal(found.rank_correlations, expected.rank_correlations)


def test_classes_of_a_region() -> None:
    explain = functools.partial(jinterp.gradient, score=jinterp.region(np.eye(8, 12, dtype=bool)))
    found = check(explain, *unet(), IMAGES, TARGET)
    assert np.isfinite(found.rank_correlations).all()
    assert (found.others != TARGET).all()


def test_nothing_is_compiled_twice() -> None:
    check(jinterp.gradient, *cnn(), IMAGES, TARGET)
    with count_compiles() as counter:
        check(jinterp.gradient, *cnn(), IMAGES, TARGET)
    assert counter.compiled == 0


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_two_devices_give_the_same(kind: Any) -> None:
    mesh = jax.make_mesh((2,), ("batch",), (kind,), devices=jax.devices()[:2])
    rows = NamedSharding(mesh, PartitionSpec("batch"))
    params = jax.device_put(cnn().params, NamedSharding(mesh, PartitionSpec()))
    x, target = (jax.device_put(each, rows) for each in (IMAGES, jnp.asarray(TARGET)))
    found = check(jinterp.gradient, cnn().apply_fn, params, x, target)
    for own, expected in zip(found, check(jinterp.gradient, *cnn(), IMAGES, TARGET), strict=True):
        np.testing.assert_allclose(own, expected, **CLOSE)


def test_under_jit() -> None:
    found = jax.jit(lambda x: check(jinterp.gradient, *cnn(), x, TARGET))(IMAGES)
    for own, expected in zip(found, check(jinterp.gradient, *cnn(), IMAGES, TARGET), strict=True):
        np.testing.assert_allclose(own, expected, **CLOSE)


def test_float64(x64: None) -> None:
    found = check(jinterp.gradient, *double(networks.mlp()), ROWS.astype(float), TARGET)
    assert found.rank_correlations.dtype == np.float64
    with jax.enable_x64(False):
        expected = check(jinterp.gradient, *networks.mlp(), ROWS, TARGET)
    np.testing.assert_array_equal(found.others, expected.others)
    np.testing.assert_allclose(found.rank_correlations, expected.rank_correlations, atol=1e-6)


def one_output(params: jax.Array, x: jax.Array) -> jax.Array:
    return x @ params


@pytest.mark.usefixtures("as_user")
def test_models_with_a_single_output() -> None:
    with pytest.raises(ValueError, match=r"returned the shape \(4, 1\); expected logits"):
        check(jinterp.gradient, one_output, np.ones((7, 1), np.float32), ROWS)
    number = functools.partial(jinterp.gradient, score=lambda outputs, target: outputs)
    with pytest.raises(ValueError, match=r"returned the shape \(4,\); expected logits"):
        check(number, one_output, np.ones(7, np.float32), ROWS)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("explain", "keywords", "error", "said"),
    [
        (copied, {"key": None}, TypeError, r"`key` is None; expected a random key"),
        (jinterp.rise, {}, TypeError, r"needs `key`; .*functools.partial\(explain, key=...\)"),
        (lambda *a: a[2].sum(), {}, ValueError, r"returned float32\[\] for 4 examples"),
        (copied, {"target": np.zeros((4, 2), int)}, ValueError, "expected one class an example"),
    ],
)
def test_named_errors(explain: Any, keywords: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        check(explain, *cnn(), IMAGES, **keywords)
