"""Max-sensitivity."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from tests.problems import linear

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5)).astype(np.float32)
NUM = 7
WEIGHTS = RNG.normal(size=(5, 2)).astype(np.float32)


def squares(weights: Any, x: jax.Array) -> jax.Array:
    return jnp.square(x) @ weights


def test_draw_by_draw() -> None:
    """Of a square the gradient moves by 2 w δ; all examples see the same δ."""
    values = jinterp.gradient(squares, WEIGHTS, X, 1)
    found = jinterp.max_sensitivity(
        squares,
        WEIGHTS,
        X,
        values,
        1,
        explain=jinterp.gradient,
        key=KEY,
        radius=0.1,
        num_samples=NUM,
    )
    drawn = [
        jax.random.uniform(jax.random.split(key, 1)[0], (5,), jnp.float32, -1, 1)
        for key in jax.random.split(KEY, NUM)
    ]
    moved = [np.linalg.norm(2 * WEIGHTS[:, 1] * 0.1 * np.asarray(each)) for each in drawn]
    assert 0 < int(np.argmax(moved)) < len(moved) - 1  # neither the first nor the last draw
    expected = max(moved) / np.linalg.norm(values, axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_what_never_changes_has_none_and_what_was_nothing_all() -> None:
    asked = functools.partial(jinterp.max_sensitivity, linear, WEIGHTS, X, key=KEY)
    values = jinterp.gradient(linear, WEIGHTS, X, 0)
    np.testing.assert_array_equal(asked(values, 0, explain=jinterp.gradient), 0)
    nothing = np.zeros_like(X)
    np.testing.assert_array_equal(asked(nothing, 0, explain=jinterp.gradient), np.inf)
    np.testing.assert_array_equal(asked(nothing, 0, explain=zeros), 0)


def test_small_values_do_not_underflow() -> None:
    """Slopes of 1e-25, whose squares no float32 holds, move as far as slopes of 1."""
    asked = {"explain": jinterp.gradient, "key": KEY}
    found = [
        jinterp.max_sensitivity(squares, own, X, jinterp.gradient(squares, own, X, 1), 1, **asked)
        for own in (WEIGHTS, np.float32(1e-25) * WEIGHTS)
    ]
    assert (found[0] > 0).all()
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


def zeros(apply_fn: Any, params: Any, x: jax.Array, target: Any = None) -> jax.Array:
    return jnp.zeros_like(x)


def test_the_class_stays_that_of_the_input() -> None:
    """Near the border the noisy copies would be of other classes."""
    x = np.zeros((1, 2), np.float32)
    model = linear, np.eye(2, dtype=np.float32)
    values = jinterp.gradient(*model, x, 0)
    found = jinterp.max_sensitivity(*model, x, values, explain=jinterp.gradient, key=KEY)
    np.testing.assert_array_equal(found, 0)


def test_values_of_several_arrays_have_one_norm() -> None:
    """Of 3 a and 1 it moves by 3 δ of a alone, over the norm of both."""
    x = {"a": X, "b": X[:, :2]}

    def explain(apply_fn: Any, params: Any, x: Any, target: Any = None) -> Any:
        return {"a": 3 * x["a"], "b": jnp.ones_like(x["b"])}

    found = jinterp.max_sensitivity(
        *(of_both, None, x, explain(None, None, x), 0),
        explain=explain,
        key=KEY,
        num_samples=1,
        radius=0.1,
    )
    (own,) = jax.random.split(KEY, 1)
    drawn = jax.random.uniform(jax.random.split(own)[0], (5,), jnp.float32, -1, 1)
    size = np.sqrt(np.square(3 * X).sum(1) + 2)
    np.testing.assert_allclose(found, 0.3 * np.linalg.norm(drawn) / size, rtol=1e-4)


def of_both(params: Any, x: Any) -> jax.Array:
    return x["a"].sum(1, keepdims=True) + x["b"].sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"values": X[:, :2]}, "`values` have the shape"),
        ({"radius": -1.0}, r"`radius` is -1\.0"),
        ({"num_samples": 0}, "`num_samples` is 0"),
    ],
)
def test_bad_input(keywords: dict[str, Any], said: str) -> None:
    asked = {"values": X, **keywords}
    with pytest.raises(ValueError, match=said):
        jinterp.max_sensitivity(
            linear, WEIGHTS, X, asked.pop("values"), 0, explain=jinterp.gradient, key=KEY, **asked
        )
