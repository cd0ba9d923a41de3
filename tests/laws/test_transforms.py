"""Under jit, vmap, on a mesh and in float64: the same numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests.laws.explainers import CASES, PARAMS, TARGET, Case, X, apply_fn, assert_close, every

NOT_EXPLICIT = {
    "attention_rollout": "JAX refuses the reshape in the model to tokens over explicit axes",
    "guided_integrated_gradients": "JAX fails in a while_loop mapped over an explicit axis",
}
TRACED = [case for case in CASES if not case.returns_record]


@every(TRACED)
def test_jit(case: Case) -> None:
    compiled = jax.jit(lambda params, x, target: case(params, x, target))
    assert_close(compiled(PARAMS, X, TARGET), case())


@every(TRACED)
def test_vmap_over_single_examples(case: Case) -> None:
    def one(x: jax.Array, target: jax.Array) -> jax.Array:
        return case(x=x[None], target=target[None])[0]

    assert_close(jax.jit(jax.vmap(one))(jnp.asarray(X), jnp.asarray(TARGET)), case())


@every([case for case in CASES if case.returns_record])
def test_what_decides_by_values_cannot_be_transformed(case: Case) -> None:
    with pytest.raises(TypeError, match=f"`{case.name}` was called under jit, vmap or grad"):
        jax.jit(functools.partial(case, PARAMS))(X)


@every(CASES)
def test_a_mesh_of_two_devices(case: Case) -> None:
    kind = AxisType.Auto if case.name in NOT_EXPLICIT else AxisType.Explicit
    mesh = jax.make_mesh((2,), ("data",), (kind,), devices=jax.devices()[:2])
    x = jax.device_put(X, NamedSharding(mesh, PartitionSpec("data")))
    params = jax.device_put(PARAMS, NamedSharding(mesh, PartitionSpec()))
    assert_close(case(params, x), case())


SHARDED = {
    "conv": PartitionSpec(None, "model"),
    "bias": PartitionSpec("model"),
    "head": PartitionSpec("model", None),
}


@every(CASES)
def test_parameters_sharded_over_the_devices(case: Case) -> None:
    """No device holds the model: two halves of it, for two halves of the batch."""
    mesh = jax.make_mesh((2, 2), ("data", "model"), (AxisType.Auto,) * 2)
    assert_close(case(*on(mesh)), case())


@every([case for case in CASES if case.name in ("gradient", "conductance", "grad_cam")])
def test_parameters_sharded_over_four_devices(case: Case) -> None:
    mesh = jax.make_mesh((1, 4), ("data", "model"), (AxisType.Auto,) * 2)
    params, x = on(mesh)
    assert {leaf.addressable_shards[0].data.size for leaf in params.values()} == {2, 1, 3}
    assert_close(case(params, x), case())


def on(mesh: jax.sharding.Mesh) -> tuple[dict[str, jax.Array], jax.Array]:
    params = {
        name: jax.device_put(leaf, NamedSharding(mesh, SHARDED[name]))
        for name, leaf in PARAMS.items()
    }
    return params, jax.device_put(X, NamedSharding(mesh, PartitionSpec("data")))


@every(CASES)
def test_float64(case: Case) -> None:
    """In threads too, to which JAX's context does not reach."""
    with jax.enable_x64(True):
        params, x = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (PARAMS, X))
        values = case(params, x)
        assert values.dtype == jnp.float64
        single = np.asarray(case(), np.float64)
        assert_close(single, values, 1e-4 if "guided" in case.name else 1e-5)
        assert (single != np.asarray(values)).any()


def test_adaptive_steps_on_a_mesh_leave_no_shard_ragged() -> None:
    """Where examples converge one after the other."""
    (case,) = (case for case in CASES if case.name == "adaptive_integrated_gradients")
    keywords = {"max_steps": 567, "tolerance": 1e-4}
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    x = jax.device_put(X, NamedSharding(mesh, PartitionSpec("data")))
    params = jax.device_put(PARAMS, NamedSharding(mesh, PartitionSpec()))
    alone = case.explain(cubed, PARAMS, X, TARGET, **keywords)
    found = case.explain(cubed, params, x, TARGET, **keywords)
    assert len(set(alone.num_steps.tolist())) > 1
    np.testing.assert_array_equal(found.num_steps, alone.num_steps)
    assert_close(found.values, alone.values)


def cubed(params: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.tanh(apply_fn(params, x) * jnp.array([[1.0, 10.0, 100.0]]) / 20)
