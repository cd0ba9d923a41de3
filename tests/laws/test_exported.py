"""A model that was exported, and runs without its code, is explained as the model itself."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jinterp
from tests.laws.explainers import CASES, EACH_CLASS, PARAMS, TARGET, Case, X, assert_close, every

NEEDED = {"gradient", "grad_cam", "conductance", "ablation_cam", "at_layer(integrated_gradients)"}
SOME = [*(case for case in CASES if case.name in NEEDED), EACH_CLASS]


@functools.cache
def exported(apply_fn: Any, batch_size: int | None = None) -> Any:
    blob = jinterp.export_model(apply_fn, PARAMS, X, layers=["conv"], batch_size=batch_size)
    return jinterp.from_exported(blob, PARAMS).apply_fn


NEEDS_OPERATIONS = {"lrp", "deep_lift", "deep_lift_shap"}
NEEDS_OPERATIONS |= {"guided_backprop", "deconvolution", "guided_grad_cam"}


@every([case for case in CASES if case.name in NEEDS_OPERATIONS])
def test_rules_on_operations_that_nobody_sees_are_refused(case: Case) -> None:
    with pytest.raises(NotImplementedError, match="is an exported model, whose operations"):
        case(apply_fn=exported(case.apply_fn))


@every([case for case in [*CASES, EACH_CLASS] if case.name not in NEEDS_OPERATIONS])
def test_values(case: Case) -> None:
    assert_close(case(apply_fn=exported(case.apply_fn)), case())


@every(SOME)
def test_a_fixed_batch_size_that_is_not_the_one_given(case: Case) -> None:
    assert_close(case(apply_fn=exported(case.apply_fn, 3)), case())


@every(SOME)
def test_vmap_over_single_examples(case: Case) -> None:
    def one(x: jax.Array, target: jax.Array) -> jax.Array:
        return case(x=x[None], target=target[None], apply_fn=exported(case.apply_fn))[0]

    assert_close(jax.jit(jax.vmap(one))(jnp.asarray(X), jnp.asarray(TARGET)), case())


@every(SOME)
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_a_mesh_of_two_devices(case: Case, kind: AxisType) -> None:
    mesh = jax.make_mesh((2,), ("data",), (kind,), devices=jax.devices()[:2])
    x = jax.device_put(X, NamedSharding(mesh, PartitionSpec("data")))
    params = jax.device_put(PARAMS, NamedSharding(mesh, PartitionSpec()))
    assert_close(case(params, x, apply_fn=exported(case.apply_fn)), case())
