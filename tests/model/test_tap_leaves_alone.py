"""Tapping a model leaves its functions, caches and classes as they were."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import jinterp
from tests import networks

X = networks.IMAGES


def read_all(model: Any) -> None:
    """Everything that looks into a model."""
    jinterp.layers(*model, X)
    jinterp.activations(*model, X, ["conv1", "conv2"])
    tapped = jinterp.tap(model[0], "conv1")
    jax.grad(lambda delta: tapped(delta, model[1], X)[0].sum())(jnp.ones((4, 8, 12, 6)))


@pytest.mark.parametrize("traced_before", [False, True])
@pytest.mark.parametrize("library", networks.CNNS)
def test_a_users_jitted_function_keeps_its_results_and_its_cache(
    library: str, traced_before: bool
) -> None:
    model = networks.CNNS[library]()
    expected = model.apply_fn(model.params, X)
    traces = []

    @jax.jit
    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        traces.append(1)
        return model.apply_fn(params, x)

    if traced_before:
        apply_fn(model.params, X)
    size = apply_fn._cache_size()
    read_all((apply_fn, model.params))
    assert apply_fn._cache_size() == size == traced_before
    found = apply_fn(model.params, X)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert apply_fn._cache_size() == 1
    read_all((apply_fn, model.params))
    np.testing.assert_array_equal(apply_fn(model.params, X), found)
    assert apply_fn._cache_size() == 1
    assert len(traces) == 1  # jit keeps one trace, the unperturbed one, whoever asked first


def test_linen_modules_keep_their_class_and_get_no_interceptor() -> None:
    before = [cls.__call__ for cls in (networks.Cnn, nn.Conv, nn.Dense)]
    seen = []
    read_all(networks.cnn())
    assert [cls.__call__ for cls in (networks.Cnn, nn.Conv, nn.Dense)] == before

    def spy(call: Any, arguments: Any, keywords: Any, context: Any) -> Any:
        seen.append(context.module.name)
        return call(*arguments, **keywords)

    with nn.intercept_methods(spy):
        networks.Cnn().apply(networks.cnn().params, X)
    assert seen == [None, "conv1", "conv2", "head"]


def test_nnx_modules_keep_their_class_and_enter_no_scopes() -> None:
    module = networks.cnn_nnx_module()
    classes = (networks.NnxCnn, nnx.Conv, nnx.Linear)
    before = [cls.__call__ for cls in classes]
    graph, _ = nnx.split(module)
    read_all(jinterp.from_nnx(module))
    assert [cls.__call__ for cls in classes] == before
    assert [type(each) for each in (module, module.conv1, module.head)] == list(classes)
    assert nnx.split(module)[0] == graph
    assert jinterp.layers(lambda params, x: module(x), {}, X) == []


def test_an_outer_scope_is_left_when_an_nnx_module_fails() -> None:
    model = networks.cnn_nnx()
    with pytest.raises(Exception, match=r"conv_general_dilated|feature"):
        model.apply_fn(model.params, np.zeros((4, 8, 12, 2), np.float32))
    assert [each.name for each in jinterp.layers(*model, X)] == ["conv1", "conv2", "head"]
