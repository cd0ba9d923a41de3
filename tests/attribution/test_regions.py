"""A region, a class or a pixel of a model that labels every pixel: every explainer takes it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jinterp
from jinterp._question import ask
from jinterp.model.attention import attention_probabilities
from tests.laws.explainers import CASES, PARAMS, Case, X, assert_close, every
from tests.problems import count_compiles

SPACE = X.shape[1:3]
TARGET = np.array([2, 0, 1, 0])
_RNG = np.random.default_rng(3)
MASK = _RNG.random(SPACE) < 0.4
MASKS = _RNG.random((len(X), *SPACE)) < 0.4
KEY = jax.random.key(0)


def dense(params: Any, x: jax.Array) -> jax.Array:
    """Logits at every pixel, each of its own pixel and of the mean over all."""
    with jax.named_scope("conv"):
        x = jnp.square(x @ params["conv"] + params["bias"][None, None, None])
    with jax.named_scope("mixed"):
        x = x * (1 + x.mean((1, 2), keepdims=True))
    return x @ params["head"]


def attentive(params: Any, x: jax.Array) -> jax.Array:
    """The same with attention among the places."""
    tokens = x.reshape(x.shape[0], -1, 1, x.shape[-1])
    attention = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", tokens, tokens))
    return dense(params, jnp.einsum("bhqk,bkhd->bqhd", attention, tokens).reshape(x.shape))


def in_region(apply_fn: Any, mask: np.ndarray) -> Any:
    """The mean over the region, in the model itself."""

    def reduced(params: Any, x: jax.Array) -> jax.Array:
        logits = apply_fn(params, x)
        weights = jnp.asarray(mask / mask.sum(), logits.dtype)[None, :, :, None]
        return (logits * weights).sum((1, 2))

    return reduced


REDUCED = {apply_fn: in_region(apply_fn, MASK) for apply_fn in (dense, attentive)}


@every(CASES)
def test_every_explainer_takes_a_region(case: Case) -> None:
    apply_fn = attentive if "token" in case.parameters else dense
    layer = {"layer": "conv"} if "layer" in case.parameters else {}
    found = case(apply_fn=apply_fn, target=TARGET, score=jinterp.region(MASK), **layer)
    expected = case(apply_fn=REDUCED[apply_fn], target=TARGET, **layer)
    assert_close(found, expected)


def test_a_mask_for_each_example() -> None:
    values = jinterp.gradient(dense, PARAMS, X, TARGET, score=jinterp.region(MASKS))
    for i in range(len(X)):
        alone = jinterp.gradient(
            dense, PARAMS, X[i : i + 1], TARGET[i : i + 1], score=jinterp.region(MASKS[i])
        )
        assert_close(values[i : i + 1], alone)


def test_masks_go_with_their_examples_through_everything() -> None:
    """Under a small memory budget the batch is cut; noisy copies come one after the other."""
    score = jinterp.region(MASKS)
    explain = jinterp.smooth(jinterp.integrated_gradients, key=KEY, num_samples=2)
    explain = functools.partial(explain, num_steps=4, score=score)
    whole = explain(dense, PARAMS, X, TARGET)
    with jinterp.memory_budget(num_bytes=20_000):
        assert_close(explain(dense, PARAMS, X, TARGET), whole)
    layer = jinterp.at_layer(jinterp.gradient, "conv")
    of_all = layer(dense, PARAMS, X, TARGET, score=score)
    for i in range(len(X)):
        alone = layer(
            dense, PARAMS, X[i : i + 1], TARGET[i : i + 1], score=jinterp.region(MASKS[i])
        )
        assert_close(of_all[i : i + 1], alone)


def test_masks_go_with_those_examples_that_need_more_steps() -> None:
    x = X * np.array([1, 0, 0, 1], np.float32).reshape(-1, 1, 1, 1)
    explain = functools.partial(jinterp.adaptive_integrated_gradients, tolerance=1e-5)
    found = explain(dense, PARAMS, x, TARGET, score=jinterp.region(MASKS))
    assert len(set(found.num_steps.tolist())) > 1
    for i in range(len(x)):
        score = jinterp.region(MASKS[i])
        alone = explain(dense, PARAMS, x[i : i + 1], TARGET[i : i + 1], score=score)
        assert_close(found.values[i : i + 1], alone.values)


def test_masks_go_with_the_few_examples_by_which_a_layer_is_chosen() -> None:
    def of_tokens(params: Any, x: jax.Array) -> jax.Array:
        tokens = x.reshape(len(x), -1, x.shape[-1])
        for name in ("first", "second"):
            with jax.named_scope(name):
                tokens = jnp.concatenate([tokens.mean(1, keepdims=True), tokens], axis=1)
                tokens = jnp.tanh(tokens @ params["mix"])
            tokens = tokens[:, 1:]
        return (tokens @ params["head"]).reshape(*x.shape[:-1], 3)

    mix, head = _RNG.normal(size=(2, 2)), _RNG.normal(size=(2, 3))
    params = {"mix": mix.astype(np.float32), "head": head.astype(np.float32)}
    x, target = np.tile(X, (3, 1, 1, 1)), np.tile(TARGET, 3)
    score = jinterp.region(np.tile(MASKS, (3, 1, 1)))
    maps = jinterp.grad_cam(of_tokens, params, x, target, score=score)
    expected = jinterp.grad_cam(of_tokens, params, X, TARGET, score=jinterp.region(MASKS))
    assert_close(maps[:4], expected)


def test_attention_is_that_of_the_whole_model() -> None:
    question = ask(attentive, PARAMS, X, TARGET, jinterp.region(MASKS))
    found = attention_probabilities(question.apply_fn, question.params, question.x)
    expected = attention_probabilities(attentive, PARAMS, X)
    assert found.keys() == expected.keys()
    for name, probabilities in expected.items():
        assert_close(found[name], probabilities)


class Convolutional(nn.Module):
    """Logits at every pixel."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(4, (2, 2), name="first")(x))
        return nn.Conv(3, (1, 1), name="head")(x)


def test_layers_keep_their_names() -> None:
    module = Convolutional()
    model = jinterp.from_linen(module, module.init(KEY, X))
    assert [layer.name for layer in jinterp.layers(*model, X)] == ["first", "head"]

    def by_hand(logits: jax.Array, target: jax.Array) -> jax.Array:
        return logits[:, MASK].mean(1)[jnp.arange(len(logits)), target]

    explain = functools.partial(jinterp.grad_cam, layer="first")
    expected = explain(*model, X, TARGET, score=by_hand)
    assert_close(explain(*model, X, TARGET, score=jinterp.region(MASK)), expected)
    exported = jinterp.export_model(*model, X, layers=["first"])
    restored = jinterp.from_exported(exported, model.params)
    assert_close(explain(*restored, X, TARGET, score=jinterp.region(MASK)), expected)
    with pytest.raises(ValueError, match=r"no layer 'firs'. Near it: 'first'.* lists all 2"):
        jinterp.grad_cam(*model, X, TARGET, layer="firs", score=jinterp.region(MASK))


def test_the_region_of_a_class_is_where_it_is_predicted() -> None:
    predicted = np.asarray(dense(PARAMS, X)).argmax(-1)
    masks = predicted == TARGET[:, None, None]
    assert 0 < masks.mean() < 1
    present = masks.any((1, 2))
    found = jinterp.gradient(dense, PARAMS, X[present], TARGET[present], score=jinterp.region())
    expected = jinterp.gradient(
        dense, PARAMS, X[present], TARGET[present], score=jinterp.region(masks[present])
    )
    assert_close(found, expected)


def test_a_pixel() -> None:
    mask = np.zeros(SPACE, bool)
    mask[1, 3] = True
    expected = jinterp.gradient(dense, PARAMS, X, TARGET, score=jinterp.region(mask))
    assert_close(jinterp.gradient(dense, PARAMS, X, TARGET, score=jinterp.pixel(1, 3)), expected)
    back = jinterp.gradient(dense, PARAMS, X, TARGET, score=jinterp.pixel(1, -2))
    assert_close(back, expected)


def test_as_a_score_alone() -> None:
    logits = dense(PARAMS, X)
    expected = np.asarray(logits)[:, MASK].mean(1)[np.arange(len(X)), TARGET]
    np.testing.assert_allclose(jinterp.region(MASK)(logits, TARGET), expected, rtol=1e-5)
    np.testing.assert_array_equal(
        jinterp.pixel(0, 2)(logits, TARGET), logits[np.arange(4), 0, 2, TARGET]
    )


def test_without_a_target_it_is_the_class_predicted_for_the_region() -> None:
    means = np.asarray(dense(PARAMS, X))[:, MASK].mean(1)
    found = jinterp.gradient(dense, PARAMS, X, score=jinterp.region(MASK))
    expected = jinterp.gradient(dense, PARAMS, X, means.argmax(1), score=jinterp.region(MASK))
    assert_close(found, expected)


def test_seg_grad_cam_by_hand() -> None:
    """Vinogradova et al.: the gradient of the region's mean logit, averaged over space."""

    def score(activation: jax.Array) -> jax.Array:
        mixed = activation * (1 + activation.mean((1, 2), keepdims=True))
        logits = mixed @ PARAMS["head"]
        return logits[:, MASK].mean(1)[np.arange(len(X)), TARGET].sum()

    activation = jnp.square(X @ PARAMS["conv"] + PARAMS["bias"][None, None, None])
    weights = jax.grad(score)(activation).mean((1, 2), keepdims=True)
    expected = jax.nn.relu((weights * activation).sum(-1))
    found = jinterp.grad_cam(dense, PARAMS, X, TARGET, layer="conv", score=jinterp.region(MASK))
    assert_close(found, expected)


def test_the_last_layer_in_space_is_not_the_logits() -> None:
    score = jinterp.region(MASK)
    found = jinterp.grad_cam(dense, PARAMS, X, TARGET, score=score)
    assert_close(found, jinterp.grad_cam(dense, PARAMS, X, TARGET, layer="mixed", score=score))


def test_another_mask_or_pixel_compiles_nothing() -> None:
    jinterp.gradient(dense, PARAMS, X, TARGET, score=jinterp.region(MASK))
    jinterp.gradient(dense, PARAMS, X, TARGET, score=jinterp.pixel(0, 0))
    with count_compiles() as counter:
        jinterp.gradient(dense, PARAMS, X, TARGET, score=jinterp.region(~MASK))
        jinterp.gradient(dense, PARAMS, X, TARGET, score=jinterp.pixel(2, 1))
    assert counter.compiled == 0


def test_completeness_of_a_region() -> None:
    score = jinterp.region(MASK)
    values = jinterp.integrated_gradients(dense, PARAMS, X, TARGET, score=score, num_steps=200)
    gap = jinterp.completeness_gap(dense, PARAMS, X, values, TARGET, score=score)
    np.testing.assert_allclose(gap, 0, atol=1e-3 * np.abs(np.asarray(values)).sum())


def test_a_dataset_of_regions(tmp_path: Any) -> None:
    explain = functools.partial(jinterp.gradient, score=jinterp.region(MASK))
    jinterp.explain_dataset(explain, dense, PARAMS, (X, TARGET), out=tmp_path / "one")
    stored = jinterp.read_explanations(tmp_path / "one")
    assert_close(stored.values[:], explain(dense, PARAMS, X))
    other = functools.partial(jinterp.gradient, score=jinterp.region(~MASK))
    with pytest.raises(ValueError, match="explain"):
        jinterp.explain_dataset(
            other, dense, PARAMS, (X, TARGET), out=tmp_path / "one", resume=True
        )


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (jinterp.region(MASK.T), r"`mask` has the shape \(5, 3\) for logits \(4, 3, 5, 3\)"),
        (jinterp.region(MASK & False), "`mask` is empty for example 0"),
        (jinterp.region(MASKS & (np.arange(4) != 2)[:, None, None]), "empty for example 2"),
        (jinterp.pixel(1, 9), r"`place` is \(1, 9\); expected a pixel of \(3, 5\)"),
        (jinterp.pixel(1), r"`place` is \(1,\); expected a pixel"),
        (jinterp.region(MASK * 255), r"`mask` has integers up to 255, such as a label map"),
    ],
)
def test_regions_that_are_none(score: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jinterp.gradient(dense, PARAMS, X, TARGET, score=score)


def test_negative_weights_and_half_precision() -> None:
    with pytest.raises(ValueError, match="`mask` has negative weights"):
        jinterp.gradient(dense, PARAMS, X, TARGET, score=jinterp.region(MASK - 0.5))
    logits = jnp.full((1, 300, 300, 2), 3, jnp.float16)  # more pixels than float16 counts
    for score in (jinterp.region(np.ones((300, 300), bool)), jinterp.region()):
        np.testing.assert_allclose(score(logits, 0), 3, rtol=1e-3)


def test_a_mask_of_zeros_and_ones() -> None:
    found, expected = (
        jinterp.gradient(dense, PARAMS, X, TARGET, score=jinterp.region(mask))
        for mask in (MASK.astype(np.uint8), MASK)
    )
    assert_close(found, expected)


def test_a_place_that_is_no_numbers(as_user: None) -> None:
    with pytest.raises(TypeError, match=r"expected integers, .*: jinterp.pixel\(row, column\)"):
        jinterp.pixel((1, 3))


def test_what_a_region_needs() -> None:
    with pytest.raises(ValueError, match="expected `target` to say which"):
        jinterp.gradient(dense, PARAMS, X, score=jinterp.region())
    with pytest.raises(ValueError, match=r"Use jinterp\.logit"):
        jinterp.gradient(REDUCED[dense], PARAMS, X, TARGET, score=jinterp.region(MASK))


@pytest.mark.parametrize("score", [jinterp.region(MASK), jinterp.pixel(1, -2), jinterp.region()])
def test_in_float64(score: Any) -> None:
    values = jinterp.gradient(dense, PARAMS, X, TARGET, score=score)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: leaf.astype(np.float64), PARAMS)
        found = jinterp.gradient(dense, wide, X.astype(np.float64), TARGET, score=score)
    assert found.dtype == np.float64
    assert_close(values, found)
