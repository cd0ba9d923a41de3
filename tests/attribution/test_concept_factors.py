"""Planted concepts are found, lie where they were planted, and are missed when they are gone."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls

import jinterp
from tests.networks import IMAGES, cnn, vit

KEY = jax.random.key(0)
BANK = np.array([[3, 0, 4, 0, 0, 0], [0, 1, 0, 1, 0, 0], [0, 0, 0, 0, 2, 1]], np.float32)
BANK /= np.linalg.norm(BANK, axis=1, keepdims=True)
HEAD = np.array([[5, 0], [0, 1], [5, 0], [0, 1], [0, 0], [0, 0]], np.float32)


def apply_fn(params: Any, x: jax.Array) -> jax.Array:
    """The input holds how much of each concept lies where."""
    with jax.named_scope("before"):
        x = x - 1
    with jax.named_scope("hidden"):
        x = jax.nn.relu((x + 1) @ params["bank"])
    with jax.named_scope("pooled"):
        x = x.mean((1, 2))
    return x @ params["head"]


MODEL = jinterp.Model(apply_fn, {"bank": BANK, "head": HEAD})


def planted(seed: int, num: int = 6) -> np.ndarray:
    """Each concept at some places, and nothing elsewhere."""
    rng = np.random.default_rng(seed)
    size = (num, 4, 5, 3)
    return (rng.uniform(0.5, 2, size) * (rng.random(size) < 0.3)).astype(np.float32)


X = planted(0)
factorise = functools.partial(jinterp.concept_factors, *MODEL, layer="hidden", key=KEY)


@functools.cache
def factors() -> jinterp.attribution.ConceptFactors:
    return factorise(X, num_concepts=3)


def order() -> np.ndarray:
    """Which found concept is each planted one."""
    return (BANK @ factors().bank.T).argmax(axis=1)


def test_planted_concepts_are_found_up_to_their_order() -> None:
    assert sorted(order().tolist()) == [0, 1, 2]
    np.testing.assert_allclose(factors().bank[order()], BANK, atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(factors().bank, axis=1), 1, rtol=1e-5)
    assert factors().error < 0.01
    assert factors().converged


def test_maps_lie_where_the_concepts_were_planted() -> None:
    assert factors().maps.shape == (6, 4, 5, 3)
    np.testing.assert_allclose(factors().maps[..., order()], X, atol=0.03)
    new = planted(1)
    maps = jinterp.concept_maps(*MODEL, new, factors())
    np.testing.assert_allclose(maps[..., order()], new, atol=0.03)
    again = jinterp.concept_maps(*MODEL, X, factors())
    np.testing.assert_array_equal(again, factors().maps)


def test_maps_are_non_negative_least_squares() -> None:
    rng = np.random.default_rng(2)
    rows = rng.random((12, 6)).astype(np.float32)
    bank = rng.random((4, 6)).astype(np.float32)
    given = factors()._replace(bank=bank)
    model = jinterp.Model(apply_fn, {"bank": np.eye(6, dtype=np.float32), "head": HEAD})
    maps = jinterp.concept_maps(*model, rows.reshape(2, 2, 3, 6), given).reshape(12, 4)
    expected = np.array([nnls(bank.T.astype(np.float64), row)[0] for row in rows])
    np.testing.assert_allclose(maps, expected, atol=1e-3)


def test_importance_is_what_the_head_makes_of_a_concept() -> None:
    """The head is linear: a concept's part of the score is its mean map times W · head."""
    new = planted(3)
    for target in (0, 1):
        found = jinterp.concept_importance(*MODEL, new, factors(), target)
        expected = new.mean((1, 2)) * (BANK @ HEAD)[:, target]
        np.testing.assert_allclose(found[:, order()], expected, atol=0.05)
    predicted = np.argmax(apply_fn(MODEL.params, new), axis=1)
    np.testing.assert_array_equal(
        jinterp.concept_importance(*MODEL, new, factors()),
        jinterp.concept_importance(*MODEL, new, factors(), predicted),
    )


def test_the_same_for_a_key() -> None:
    np.testing.assert_array_equal(factorise(X, num_concepts=3).bank, factors().bank)


def test_channels_first_and_layers_without_space() -> None:
    def first(params: Any, x: jax.Array) -> jax.Array:
        with jax.named_scope("hidden"):
            x = jax.nn.relu(jnp.moveaxis(x @ params["bank"], -1, 1))
        return x.mean((2, 3)) @ params["head"]

    found = jinterp.concept_factors(
        first, MODEL.params, X, layer="hidden", num_concepts=3, key=KEY, channel_axis=1
    )
    np.testing.assert_allclose(found.maps, factors().maps, atol=1e-5)
    lost = jinterp.concept_importance(first, MODEL.params, X, found, 0)
    np.testing.assert_allclose(
        lost, jinterp.concept_importance(*MODEL, X, factors(), 0), rtol=1e-3, atol=1e-5
    )
    flat = jinterp.concept_factors(*MODEL, X, layer="pooled", num_concepts=2, key=KEY)
    assert flat.maps.shape == (6, 2)
    assert jinterp.concept_importance(*MODEL, X, flat, 0).shape == (6, 2)


def test_no_convergence_is_said() -> None:
    x = np.random.default_rng(0).random((4, 4, 4, 3)).astype(np.float32)
    with pytest.warns(UserWarning, match="`concept_factors`: no convergence in 1 iterations"):
        found = factorise(x, num_concepts=2, num_iterations=1)
    assert not found.converged


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("error", "change", "said"),
    [
        (
            ValueError,
            {"layer": "before"},
            "the layer 'before' has outputs down to -1, which no sum of non-negative parts gives; "
            "expected a layer behind a rectifier. Use 'hidden' or 'pooled'.",
        ),
        (ValueError, {"num_concepts": 7}, "`num_concepts` is 7; the layer 'hidden' has 6 channels"),
        (ValueError, {"num_concepts": 0}, "`num_concepts` is 0; expected at least 1. Try 10."),
        (ValueError, {"x": X * np.float32(np.nan)}, "'hidden' has NaN or infinite outputs"),
        (TypeError, {"key": 0}, "`key` is 0; expected a random key"),
        (ValueError, {"channel_axis": 4}, "`channel_axis` is 4; the layer 'hidden' has the axes"),
    ],
)
def test_bad_input(error: type[Exception], change: dict[str, Any], said: str) -> None:
    given = {"x": X, "layer": "hidden", "num_concepts": 2, "key": KEY} | change
    with pytest.raises(error) as raised:
        jinterp.concept_factors(*MODEL, **given)
    assert said in str(raised.value)


def test_a_network_without_a_rectified_layer() -> None:
    with pytest.raises(ValueError, match="None is there: put `with jax"):
        jinterp.concept_factors(*vit(), IMAGES, layer="block1", key=KEY)


def test_factors_of_another_model() -> None:
    other = factors()._replace(bank=BANK[:, :4])
    with pytest.raises(ValueError, match="'hidden' has 6 channels; `factors` are of 4"):
        jinterp.concept_maps(*MODEL, X, other)
    with pytest.raises(ValueError, match="no layer 'hidden'"):
        jinterp.concept_maps(*cnn(), IMAGES, factors())
