"""Adapters: stable functions, evaluation mode, the user's module left alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import jinterp


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(x))


class NnxNormalised(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.dense = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dense(self.dropout(self.norm(x)))


X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))


def variables() -> dict:
    return Normalised().init(jax.random.key(0), X)


def test_from_linen_applies_the_module() -> None:
    model = jinterp.from_linen(Normalised(), variables(), train=False)
    np.testing.assert_array_equal(
        model.apply_fn(model.params, X), Normalised().apply(variables(), X, train=False)
    )


def test_equal_modules_make_equal_functions() -> None:
    first, second = (jinterp.from_linen(Normalised(), variables(), train=False) for _ in range(2))
    assert first.apply_fn == second.apply_fn
    assert hash(first.apply_fn) == hash(second.apply_fn)
    assert first.apply_fn != jinterp.from_linen(Normalised(), variables(), train=True).apply_fn
    module = NnxNormalised(nnx.Rngs(0))
    first, second = jinterp.from_nnx(module), jinterp.from_nnx(module)
    assert first.apply_fn == second.apply_fn
    assert hash(first.apply_fn) == hash(second.apply_fn)


def test_from_nnx_evaluates_and_leaves_the_module_in_training() -> None:
    module = NnxNormalised(nnx.Rngs(0))
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(module, nnx.Param)))
    model = jinterp.from_nnx(module)
    alone = jnp.concatenate([model.apply_fn(model.params, X[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(model.apply_fn(model.params, X), alone, rtol=1e-5)
    assert module.norm.use_running_average is False
    assert module.dropout.deterministic is False
    after = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_params_alone_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"expected collections such as 'params'.*whole `variables`"
    ):
        jinterp.from_linen(Normalised(), variables()["params"])


def test_an_unhashable_keyword_is_named() -> None:
    with pytest.raises(TypeError, match="`mutable` is a list, which cannot be hashed"):
        jinterp.from_linen(Normalised(), variables(), mutable=["batch_stats"])


@pytest.mark.usefixtures("as_user")
def test_a_linen_module_given_to_from_nnx_is_named() -> None:
    with pytest.raises(TypeError, match="`module` is a Normalised; expected an NNX module"):
        jinterp.from_nnx(Normalised())
