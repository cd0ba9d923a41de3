"""Friedman's H: closed forms, loops, and what goes wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from jinterp.tabular import Interactions
from tests.problems import count_compiles
from tests.tabular.models import independent, linear, product, trained

KEY = jax.random.key(0)


def test_an_additive_model_has_none() -> None:
    def additive(params, x):
        return jnp.sin(x[:, 0]) + x[:, 1] ** 3 + 0 * x[:, 2]

    found = jinterp.interaction_strength(additive, None, independent(60, 3), key=KEY)
    np.testing.assert_array_equal(found.pairwise, 0)
    np.testing.assert_array_equal(found.total, 0)


def test_a_product_of_centred_columns_is_all_interaction() -> None:
    x = independent(80, 3)
    found = jinterp.interaction_strength(product, None, x, key=KEY)
    expected = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(found.pairwise, expected, atol=1e-4)
    np.testing.assert_allclose(found.total, [1, 1, 0], atol=1e-4)
    assert found.unscaled[0, 1] == pytest.approx(np.std(x[:, 0] * x[:, 1], ddof=0), rel=0.2)


def test_it_is_what_loops_give() -> None:
    model, ds = trained("wine")
    columns = ["alcohol", "hue", "proline"]
    found = jinterp.interaction_strength(
        *model, ds, columns=columns, target=1, num_rows=15, key=KEY
    )
    x = ds.x[found.rows]

    def pd(numbers: list[int]) -> np.ndarray:
        means = []
        for row in x:
            changed = x.copy()
            changed[:, numbers] = row[numbers]
            outputs = jax.nn.softmax(model.apply_fn(model.params, changed))
            means.append(np.float64(outputs)[:, 1].mean())
        return np.array(means) - np.mean(means)

    a, b = (ds.column_names.index(name) for name in ("alcohol", "proline"))
    together = pd([a, b])
    expected = ((together - pd([a]) - pd([b])) ** 2).sum() / (together**2).sum()
    assert found.pairwise[0, 2] == pytest.approx(np.sqrt(expected), abs=1e-4)
    whole = np.float64(jax.nn.softmax(model.apply_fn(model.params, x)))[:, 1]
    whole -= whole.mean()
    rest = [n for n in range(x.shape[1]) if n != a]
    expected = ((whole - pd([a]) - pd(rest)) ** 2).sum() / (whole**2).sum()
    assert found.total[0] == pytest.approx(np.sqrt(expected), abs=1e-4)


def test_a_small_memory_budget_changes_nothing_and_nothing_compiles_again() -> None:
    x = independent(40, 3)
    ask = {"num_rows": 20, "key": KEY}
    whole = jinterp.interaction_strength(product, None, x, **ask)
    with count_compiles() as counter:
        jinterp.interaction_strength(product, None, x, **ask)
    assert counter.compiled == 0
    with jinterp.memory_budget(num_bytes=4000):
        cut = jinterp.interaction_strength(product, None, x, **ask)
    np.testing.assert_allclose(cut.pairwise, whole.pairwise, atol=1e-5)
    assert len(whole.rows) == 20


def test_bad_input_gets_a_named_error() -> None:
    x, ones = independent(20, 3), np.ones(3, np.float32)
    with pytest.raises(ValueError, match=r"`columns` are \['x0'\]; expected at least two, each"):
        jinterp.interaction_strength(linear, ones, x, columns=[0], key=KEY)
    with pytest.raises(ValueError, match=r"`columns` are \['x0', 'x1', 'x0'\]"):
        jinterp.interaction_strength(linear, ones, x, columns=[0, 1, "x0"], key=KEY)
    with pytest.raises(ValueError, match="`num_rows` is 0; expected at least 1"):
        jinterp.interaction_strength(linear, ones, x, num_rows=0, key=KEY)
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match="cells are missing in 'x1'"):
        jinterp.interaction_strength(linear, ones, x, key=KEY)


def test_printed_the_pair_that_does_most_together_comes_first() -> None:
    unscaled = np.array([[0, 0.1, 2.0], [0.1, 0, 0.5], [2.0, 0.5, 0]])
    found = Interactions(("a", "b", "c"), unscaled / 4, np.zeros(3), unscaled, np.arange(5))
    assert str(found).splitlines() == [
        "columns  joint effect       H",
        "a, c                2  0.5000",
        "b, c              0.5  0.1250",
        "a, b              0.1  0.0250",
    ]
