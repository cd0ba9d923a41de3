"""The numbers beside a map."""

import jax
import jax.numpy as jnp
import numpy as np

import jinterp
from jinterp.faithfulness import Evidence
from tests.problems import linear

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 6)).astype(np.float32)
WEIGHTS = RNG.normal(size=(6, 2)).astype(np.float32)


def test_each_number_is_that_of_its_metric() -> None:
    values = 2 * X * WEIGHTS[:, 1]
    found = jinterp.evidence(linear, WEIGHTS, X, values, 1, key=KEY, baseline=0.5, num_steps=3)
    asked = linear, WEIGHTS, X
    gaps = jinterp.completeness_gap(*asked, values, 1, baseline=0.5)
    np.testing.assert_allclose(found.gaps, gaps, rtol=1e-6)
    drawn = jax.random.normal(jax.random.split(KEY, 1)[0], (6,), jnp.float32)
    for own, (deleted, inserted) in (
        (values, (found.deletions, found.insertions)),
        (np.tile(drawn, (3, 1)), (found.random_deletions, found.random_insertions)),
    ):
        for measure, numbers in ((jinterp.deletion, deleted), (jinterp.insertion, inserted)):
            expected = measure(*asked, own, 1, baseline=0.5, num_steps=3)
            np.testing.assert_allclose(numbers, expected, rtol=1e-6)


def test_random_values_are_beaten_in_both_or_not_at_all() -> None:
    terms = X * WEIGHTS[:, 1] - X * WEIGHTS[:, 0]
    assert jinterp.evidence(linear, WEIGHTS, X, terms, 1, key=KEY).beats_random.all()
    assert not jinterp.evidence(linear, WEIGHTS, X, -terms, 1, key=KEY).beats_random.any()


def test_one_of_the_two_is_not_enough() -> None:
    low, high = jnp.zeros(1), jnp.ones(1)
    for deleted, inserted, expected in (
        (low, high, True),
        (low, low, False),
        (high, high, False),
    ):
        found = Evidence(low, deleted, inserted, low + 0.5, low + 0.5)
        assert bool(found.beats_random[0]) is expected


def test_maps_have_no_gap() -> None:
    x = RNG.normal(size=(2, 4, 4, 3)).astype(np.float32)
    weights = RNG.normal(size=(4, 4, 3, 2)).astype(np.float32)

    def weighted(params: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.tensordot(x, params, axes=3)

    found = jinterp.evidence(weighted, weights, x, x.sum(-1), 0, key=KEY)
    assert np.isnan(found.gaps).all()
    assert np.isfinite(np.stack(found[1:])).all()
