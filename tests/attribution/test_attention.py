"""Attention maps and their product, against softmaxes and loops by hand."""

from typing import Any

import jax
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import jinterp
from tests import networks
from tests.networks import IMAGES, TOKENS

X = np.random.default_rng(0).normal(size=(3, 5, 6)).astype(np.float32)


def softmax(scores: np.ndarray) -> np.ndarray:
    exp = np.exp(scores - scores.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def by_hand(query: Any, key: Any, x: np.ndarray) -> np.ndarray:
    """`[batch, heads, queries, keys]` from kernels `[features, heads, size]` and biases."""
    q, k = (
        np.einsum("bnd,dhs->bnhs", x, np.asarray(kernel)) + np.asarray(bias)
        for kernel, bias in (query, key)
    )
    return softmax(np.einsum("bqhs,bkhs->bhqk", q, k) / np.sqrt(q.shape[-1]))


class LinenAttention(nn.Module):
    sow: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        attention = nn.MultiHeadDotProductAttention(2, name="attention")
        x = x + attention(x, sow_weights=self.sow)
        return nn.Dense(3, name="head")(x.mean(1))


class NnxAttention(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.attention = nnx.MultiHeadAttention(2, 6, decode=False, rngs=rngs)
        self.head = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head((x + self.attention(x)).mean(1))


def test_linen_attention() -> None:
    model = networks.linen(LinenAttention(), X)
    found = jinterp.attention_maps(*model, X)
    weights = model.params["params"]["attention"]
    query, key = ((weights[name]["kernel"], weights[name]["bias"]) for name in ("query", "key"))
    assert list(found) == ["attention"]
    np.testing.assert_allclose(found["attention"], by_hand(query, key, X), rtol=1e-4, atol=1e-6)


def test_nnx_attention() -> None:
    module = NnxAttention(nnx.Rngs(0))
    found = jinterp.attention_maps(*jinterp.from_nnx(module), X)
    parts = module.attention
    query, key = ((each.kernel[...], each.bias[...]) for each in (parts.query, parts.key))
    assert list(found) == ["attention"]
    np.testing.assert_allclose(found["attention"], by_hand(query, key, X), rtol=1e-4, atol=1e-6)


def test_they_are_what_flax_sows() -> None:
    model = networks.linen(LinenAttention(), X)
    _, sown = LinenAttention(sow=True).apply(model.params, X, mutable=["intermediates"])
    (expected,) = sown["intermediates"]["attention"]["attention_weights"]
    found = jinterp.attention_maps(*model, X)["attention"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jinterp.rollout([expected]), jinterp.rollout([found]), rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "x", "num_tokens"),
    [(networks.vit, IMAGES, 7), (networks.vit_mean, IMAGES, 6), (networks.text, TOKENS, 9)],
    ids=["vit", "vit_mean", "text"],
)
def test_every_layer_is_found_in_order(model: Any, x: np.ndarray, num_tokens: int) -> None:
    found = jinterp.attention_maps(*model(), x)
    assert list(found) == ["block0/attention", "block1/attention"]
    for each in found.values():
        assert each.shape == (4, 2, num_tokens, num_tokens)
        np.testing.assert_allclose(each.sum(-1), 1, rtol=1e-5)
        assert each.min() >= 0


def test_the_second_layer_reads_what_the_first_one_made() -> None:
    model = networks.vit()
    found = jinterp.attention_maps(*model, IMAGES)["block1/attention"]
    normed = np.asarray(jinterp.activations(*model, IMAGES, "block1/norm1")["block1/norm1"])
    weights = model.params["params"]["block1"]["attention"]
    query, key = ((weights[name]["kernel"], weights[name]["bias"]) for name in ("query", "key"))
    np.testing.assert_allclose(found, by_hand(query, key, normed), rtol=1e-4, atol=1e-6)


def test_a_model_without_attention_says_so() -> None:
    with pytest.raises(ValueError, match="computes no attention probabilities"):
        jinterp.attention_maps(*networks.mixer(), IMAGES)


# Their product.

ATTENTIONS = [
    softmax(np.random.default_rng(seed).normal(size=(2, 3, 5, 5))).astype(np.float32)
    for seed in range(4)
]


def product(attentions: list[np.ndarray]) -> np.ndarray:
    found = []
    for example in range(len(attentions[0])):
        mixed = np.eye(attentions[0].shape[-1])
        for attention in attentions:
            one = 0.5 * attention[example].mean(0) + 0.5 * np.eye(len(mixed))
            mixed = (one / one.sum(-1, keepdims=True)) @ mixed
        found.append(mixed)
    return np.stack(found)


def test_rollout_is_the_product_of_the_layers() -> None:
    found = jinterp.rollout(ATTENTIONS)
    np.testing.assert_allclose(found, product(ATTENTIONS), rtol=1e-5)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    backwards = jinterp.rollout(ATTENTIONS[::-1])
    assert np.abs(backwards - found).max() > 0.01


def test_rollout_normalises_rows_that_do_not_sum_to_one() -> None:
    found = jinterp.rollout([3 * each for each in ATTENTIONS])
    np.testing.assert_allclose(found, product([3 * each for each in ATTENTIONS]), rtol=1e-5)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)


def test_attention_rollout_of_the_class_token() -> None:
    model = networks.vit()
    maps = [np.asarray(each) for each in jinterp.attention_maps(*model, IMAGES).values()]
    expected = product(maps)
    found = jinterp.attention_rollout(*model, IMAGES, token=0)
    assert found.shape == (4, 7)
    np.testing.assert_allclose(found, expected[:, 0], rtol=1e-4)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    every = jinterp.attention_rollout(*model, IMAGES)
    np.testing.assert_allclose(every, expected.mean(1), rtol=1e-4)


def test_attention_rollout_reads_tokens_of_text() -> None:
    found = jinterp.attention_rollout(*networks.text(), TOKENS, 2)
    assert found.shape == (4, 9)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    other = jinterp.attention_rollout(*networks.text(), TOKENS, 1)
    np.testing.assert_array_equal(found, other)


def test_there_is_no_such_token() -> None:
    with pytest.raises(ValueError, match="`token` is 7; expected 0 to 6"):
        jinterp.attention_rollout(*networks.vit(), IMAGES, token=7)
