"""The library that a model is written in makes no difference."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import jinterp
from tests.laws.explainers import CASES, CLASSES, PARAMS, TARGET, Case, X, assert_close, every
from tests.networks import CNNS, IMAGES

CHANNELS = 4


class LinenLayer(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.square(nn.Dense(CHANNELS, name="dense")(x))


class LinenNetwork(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = LinenLayer(name="conv")(x)
        return nn.Dense(CLASSES, use_bias=False, name="head")(x.mean((1, 2)))


class NnxLayer(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.dense = nnx.Linear(2, CHANNELS, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.square(self.dense(x))


class NnxNetwork(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.conv = NnxLayer(rngs)
        self.head = nnx.Linear(CHANNELS, CLASSES, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.conv(x).mean((1, 2)))


def variables() -> dict[str, Any]:
    dense = {"kernel": PARAMS["conv"], "bias": PARAMS["bias"]}
    return {"conv": {"dense": dense}, "head": {"kernel": PARAMS["head"]}}


@functools.cache
def linen_network() -> jinterp.Model:
    return jinterp.from_linen(LinenNetwork(), {"params": variables()})


@functools.cache
def nnx_network() -> jinterp.Model:
    graphdef, state = nnx.split(nnx.eval_shape(lambda: NnxNetwork(nnx.Rngs(0))))
    nnx.replace_by_pure_dict(state, jax.tree.map(jnp.asarray, variables()))
    return jinterp.from_nnx(nnx.merge(graphdef, state))


@every([case for case in CASES if case.name != "attention_rollout"])
@pytest.mark.parametrize("network", [linen_network, nnx_network])
def test_the_law_network_of_another_library(case: Case, network: Any) -> None:
    apply_fn, params = network()
    assert_close(case(params, X, TARGET, apply_fn), case())


@pytest.mark.parametrize("explain", [jinterp.gradient, jinterp.grad_cam])
def test_convolutions(explain: Any) -> None:
    """Which may be summed in another order."""
    found = [explain(*model(), IMAGES, TARGET) for model in CNNS.values()]
    assert_close(found[1], found[0])
    assert_close(found[2], found[0])


@pytest.mark.parametrize("kind", CNNS)
def test_attention_is_missed_alike(kind: str) -> None:
    with pytest.raises(ValueError, match="computes no attention probabilities"):
        jinterp.attention_rollout(*CNNS[kind](), np.asarray(IMAGES[:2]))
