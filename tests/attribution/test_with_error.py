"""Standard errors of repeats, against the same over explicit keys."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import jinterp
from tests.attribution.double import double
from tests.networks import ROWS, mlp
from tests.problems import count_compiles

KEY = jax.random.key(0)
SAMPLED = functools.partial(jinterp.expected_gradients, baselines=ROWS[:2], num_samples=3)


def test_mean_and_error_of_explicit_repeats(x64: None) -> None:
    model, x = double(mlp()), ROWS.astype(float)
    found = jinterp.with_error(SAMPLED, num_repeats=5)(*model, x, 1, key=KEY)
    single = np.stack([SAMPLED(*model, x, 1, key=key[0]) for key in jax.random.split(KEY, (5, 1))])
    np.testing.assert_allclose(found.values, single.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.errors, single.std(0, ddof=1) / np.sqrt(5), rtol=1e-9)
    assert found.num_repeats == 5


def test_intervals_are_students(x64: None) -> None:
    found = jinterp.with_error(SAMPLED, num_repeats=4)(*double(mlp()), ROWS.astype(float), key=KEY)
    for confidence in (0.5, 0.95):
        ends = found.interval(confidence)
        expected = stats.t.interval(confidence, 3, found.values, found.errors)
        np.testing.assert_allclose(ends, expected, rtol=1e-10)
    np.testing.assert_array_equal(found.interval()[0], found.interval(0.95)[0])


def both(params: Any, x: Any) -> jax.Array:
    return mlp().apply_fn(params, jnp.concatenate([x["a"], x["b"]], axis=1))


def test_errors_have_the_structure_of_the_values() -> None:
    x = {"a": ROWS[:, :3], "b": ROWS[:, 3:]}
    found = jinterp.with_error(jinterp.expected_gradients, num_repeats=3)(
        both, mlp().params, x, 1, baselines=x, num_samples=2, key=KEY
    )
    low, high = found.interval()
    for tree in (found.values, found.errors, low, high):
        assert jax.tree.map(jnp.shape, tree) == jax.tree.map(np.shape, x)
    assert (low["a"] < high["a"]).all()


def test_half_precision_is_kept() -> None:
    params, x = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), (mlp().params, ROWS))
    found = jinterp.with_error(jinterp.expected_gradients, num_repeats=3)(
        mlp().apply_fn, params, x, 1, baselines=x, num_samples=2, key=KEY
    )
    assert {leaf.dtype for leaf in (*found[:2], *found.interval())} == {jnp.dtype(jnp.bfloat16)}


def test_the_key_may_be_bound() -> None:
    bound = jinterp.with_error(functools.partial(SAMPLED, key=KEY))(*mlp(), ROWS, 1)
    given = jinterp.with_error(SAMPLED)(*mlp(), ROWS, 1, key=KEY)
    np.testing.assert_array_equal(bound.errors, given.errors)


def test_it_composes_with_other_transforms() -> None:
    explain = jinterp.at_layer(jinterp.expected_gradients, "hidden1")
    found = jinterp.with_error(explain, num_repeats=2)(
        *mlp(), ROWS, 1, baselines=ROWS, num_samples=2, key=KEY
    )
    assert found.errors.shape == (4, 6)


def test_under_jit_and_vmap() -> None:
    def explained(key: jax.Array, x: jax.Array) -> Any:
        return jinterp.with_error(SAMPLED, num_repeats=3)(*mlp(), x, 1, key=key)

    plain = explained(KEY, ROWS)
    for found in (
        jax.jit(explained)(KEY, jnp.asarray(ROWS)),
        jax.tree.map(
            lambda leaf: leaf[1],
            jax.vmap(explained, (0, None))(jnp.stack([jax.random.key(5), KEY]), jnp.asarray(ROWS)),
        ),
    ):
        np.testing.assert_allclose(found.values, plain.values, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.errors, plain.errors, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(found.interval()[0], plain.interval()[0], rtol=1e-3, atol=1e-5)


traces: list[int] = []


def traced(params: Any, x: jax.Array) -> jax.Array:
    traces.append(len(x))
    return mlp().apply_fn(params, x)


def test_repeats_are_not_traced_again() -> None:
    SAMPLED(traced, mlp().params, ROWS, 1, key=KEY)
    traces.clear()
    explain = jinterp.with_error(SAMPLED, num_repeats=6)
    explain(traced, mlp().params, ROWS, 1, key=KEY)
    with count_compiles() as counter:
        explain(traced, mlp().params, ROWS, 1, key=jax.random.key(1))
    assert (traces, counter.compiled) == ([], 0)
