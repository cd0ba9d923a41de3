"""Permutation importance: closed forms, scikit-learn, laws, and what goes wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.inspection import permutation_importance as of_sklearn

import jinterp
from jinterp.tabular import accuracy, negative_cross_entropy, negative_mean_squared_error, r2
from tests.problems import count_compiles
from tests.tabular.models import estimator, independent, linear, trained, two_classes

KEY = jax.random.key(0)


def test_linear_columns_have_twice_their_share_of_the_variance() -> None:
    """Case 21: 2 w² Var(x) / Var(y)."""
    x, weights = independent(2000, 4), np.float32([3, -2, 1, 0])
    found = jinterp.permutation_importance(
        linear, weights, (x, x @ weights), score=r2, num_repeats=20, key=KEY
    )
    expected = 2 * weights**2 / (weights**2).sum()
    np.testing.assert_allclose(found.mean, expected, atol=4 * found.deviation.max() / np.sqrt(20))
    assert found.mean[3] == 0
    assert found.baseline_score == pytest.approx(1)
    np.testing.assert_allclose(found.mean, found.per_repeat.mean(1))
    np.testing.assert_allclose(found.deviation, found.per_repeat.std(1))


@pytest.mark.parametrize(("name", "score"), [("breast_cancer", accuracy), ("diabetes", r2)])
def test_it_agrees_with_scikit_learn(name: str, score) -> None:
    model, ds = trained(name)
    num_repeats = 30
    found = jinterp.permutation_importance(
        *model, ds, score=score, num_repeats=num_repeats, key=KEY
    )
    scoring = "accuracy" if score is accuracy else "r2"
    peer = of_sklearn(
        estimator(model, ds),
        ds.x,
        ds.targets,
        scoring=scoring,
        n_repeats=num_repeats,
        random_state=0,
    )
    error = np.hypot(found.deviation, peer.importances_std) / np.sqrt(num_repeats)
    assert (np.abs(found.mean - peer.importances_mean) < 5 * error + 1e-6).all()
    assert np.corrcoef(found.mean, peer.importances_mean)[0, 1] > 0.98


def test_groups_are_shuffled_together() -> None:
    x = independent(1000, 3)
    x[:, 1] = x[:, 0]
    weights = np.float32([1, 1, 1])
    found = jinterp.permutation_importance(
        linear,
        weights,
        (x, x @ weights),
        score=negative_mean_squared_error,
        groups={"both": ["x0", "x1"]},
        key=KEY,
    )
    assert found.names == ("both", "x2")
    # (2 (a − a'))² has the mean 8, (c − c')² the mean 2.
    np.testing.assert_allclose(found.mean, [8, 2], rtol=0.1)


def test_correlated_columns_are_groups() -> None:
    x = np.c_[independent(500, 3), np.zeros(500)]
    x[:, 2] = -np.exp(x[:, 0])
    found = jinterp.correlated_columns(jinterp.table(x, column_names=["a", "b", "c", "zero"]))
    assert found == {"a + c": ["a", "c"]}
    assert jinterp.correlated_columns(x, threshold=1.0) == {"x0 + x2": ["x0", "x2"]}
    x[::7, 2] = np.nan
    assert jinterp.correlated_columns(x, threshold=0.7) == {"x0 + x2": ["x0", "x2"]}
    assert jinterp.correlated_columns(x[:, :1]) == {}
    with pytest.raises(ValueError, match=r"`threshold` is 1\.5; expected 0 to 1"):
        jinterp.correlated_columns(x, threshold=1.5)


def test_the_same_key_gives_the_same_and_compiles_nothing_again() -> None:
    model, ds = trained("wine")

    def ask(seed: int) -> np.ndarray:
        key = jax.random.key(seed)
        found = jinterp.permutation_importance(*model, ds, score=negative_cross_entropy, key=key)
        return found.per_repeat

    first = ask(0)
    with count_compiles() as counter:
        np.testing.assert_array_equal(ask(0), first)
        assert not np.array_equal(ask(1), first)
    assert counter.compiled == 0


def test_a_small_memory_budget_changes_nothing_but_the_programs(monkeypatch) -> None:
    from jinterp.stream import cut

    model, ds = trained("breast_cancer")
    sizes = []
    run = cut.Cut.run

    def measured(self, program):
        memory = program.memory_analysis()
        sizes.append(memory.temp_size_in_bytes + memory.output_size_in_bytes)
        return run(self, program)

    monkeypatch.setattr(cut.Cut, "run", measured)
    ask = {"score": accuracy, "num_repeats": 2, "key": KEY}
    whole = jinterp.permutation_importance(*model, ds, **ask)
    usual = max(sizes)
    sizes.clear()
    with jinterp.memory_budget(num_bytes=2**16):
        cut_fine = jinterp.permutation_importance(*model, ds, **ask)
    np.testing.assert_array_equal(cut_fine.per_repeat, whole.per_repeat)
    assert max(sizes) <= 2**16 < usual


@settings(max_examples=10)
@given(order=st.permutations(range(4)), seed=st.integers(0, 5))
def test_columns_in_another_order_have_the_same_importance(order: list[int], seed: int) -> None:
    x, weights = independent(40, 4, seed), np.float32([3, -2, 1, 0])
    ask = {"score": r2, "key": KEY}
    found = jinterp.permutation_importance(linear, weights, (x, x @ weights), **ask)
    order = list(order)
    turned = jinterp.permutation_importance(
        linear, weights[order], (x[:, order], x @ weights), **ask
    )
    np.testing.assert_allclose(turned.per_repeat, found.per_repeat[order], atol=1e-5)


def test_missing_cells_are_shuffled_among_the_others() -> None:
    def takes_missing(params, x):
        return two_classes(params, jnp.where(jnp.isnan(x), jnp.zeros((), x.dtype), x))

    x, weights = independent(200, 2), np.float32([2, 1])
    y = (x @ weights > 0).astype(int)
    x[::3, 0] = np.nan
    found = jinterp.permutation_importance(takes_missing, weights, (x, y), score=accuracy, key=KEY)
    assert np.isfinite(found.per_repeat).all()
    with pytest.raises(
        ValueError, match=r"NaN or infinite for 67 of 200 rows, and cells are missing in 'x0' \(67"
    ):
        jinterp.permutation_importance(two_classes, weights, (x, y), score=accuracy, key=KEY)


def test_a_model_of_infinite_outputs_is_an_error() -> None:
    x = independent(20, 2)
    with pytest.raises(ValueError, match="for 20 of 20 rows, and no cell is missing"):
        jinterp.permutation_importance(
            linear, np.float32([np.inf, 0]), (x, x[:, 0]), score=r2, key=KEY
        )


def test_duplicated_and_constant_columns_are_named_once() -> None:
    x = np.c_[independent(50, 2), np.ones(50, np.float32)]
    x[:, 1] = 2 * x[:, 0]
    weights = np.float32([1, 1, 1])
    with pytest.warns(
        UserWarning, match="'x0', 'x1' order the rows alike.*'x2' have one"
    ) as caught:
        found = jinterp.permutation_importance(
            linear, weights, (x, x @ weights), score=r2, num_repeats=3, key=KEY
        )
    assert len(caught) == 1
    assert found.mean[2] == 0


def test_importance_prints_as_a_table_largest_first() -> None:
    found = jinterp.tabular.Importance(
        ("small", "large"), np.array([0.1, 0.5]), np.array([0, 0.02]), np.zeros((2, 1)), 1.0
    )
    assert str(found).splitlines() == [
        "feature  importance  deviation",
        "large        0.5000     0.0200",
        "small        0.1000     0.0000",
        "",
        "from a score of 1.0000",
    ]


def test_one_class_is_told() -> None:
    x = independent(20, 2)
    ask = {"key": KEY}
    with pytest.warns(UserWarning, match="all targets are 0: a score of one class"):
        jinterp.permutation_importance(
            two_classes, np.ones(2, np.float32), (x, np.zeros(20, int)), score=accuracy, **ask
        )
    with pytest.raises(ValueError, match=r"All targets are 3\.0, which no score of variance"):
        jinterp.permutation_importance(
            linear, np.ones(2, np.float32), (x, np.full(20, 3.0)), score=r2, **ask
        )


def vector(outputs, targets):
    return (outputs.argmax(1) == targets).astype(jnp.float32)


def of_numpy(outputs, targets):
    return float(np.mean(np.asarray(outputs)[:, 0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_repeats": 0}, "`num_repeats` is 0; expected at least 1. Try 5."),
        ({"num_repeats": 2.5}, "`num_repeats` is 2.5; expected an integer"),
        ({"score": vector}, r"returned an array \[20\] for 20 rows; expected one number"),
        ({"score": of_numpy}, "cannot be traced.*expected a function of JAX arrays"),
        ({"score": "accuracy"}, "`score` is 'accuracy'; expected a function"),
        ({"score": r2}, r"`r2` was given outputs \[20, 2\].*use jinterp.tabular.accuracy"),
        ({"key": 0}, "`key` is 0; expected a random key"),
        ({"groups": ["x0"]}, "`groups` is a list; expected a dict of names"),
        ({"groups": {"a": "x0"}}, "`groups` has 'x0' for 'a'; expected a list"),
        ({"groups": {"a": []}}, r"`groups` has \[\] for 'a'"),
        ({"groups": {"a": ["size"]}}, "no column 'size'; expected one of 'x0', 'x1', or a number"),
        ({"groups": {"a": ["x0"], "b": [0]}}, "has 'x0' in 'a' and in 'b'; expected each"),
        ({"groups": {"x1": ["x0"]}}, "names 'x1' repeat"),
    ],
)
@pytest.mark.usefixtures("as_user")
def test_bad_input_gets_a_named_error(change: dict, message: str) -> None:
    x = independent(20, 2)
    ask = {"score": accuracy, "key": KEY} | change
    with pytest.raises((ValueError, TypeError), match=message):
        jinterp.permutation_importance(
            two_classes, np.ones(2, np.float32), (x, (x[:, 0] > 0).astype(int)), **ask
        )


def test_a_model_that_mixes_rows_is_an_error() -> None:
    def mixes(params, x):
        return two_classes(params, x - x.mean(axis=0, keepdims=True))

    x = independent(20, 2) + np.arange(20, dtype=np.float32)[:, None]
    with pytest.raises(ValueError, match="`apply_fn` mixes the examples of a batch"):
        jinterp.permutation_importance(
            mixes, np.ones(2, np.float32), (x, (x[:, 0] > 9).astype(int)), score=accuracy, key=KEY
        )


def test_more_rows_than_a_program_takes_change_nothing(monkeypatch) -> None:
    from jinterp.tabular import _passes

    x, weights = independent(101, 3), np.float32([3, -2, 0])
    ask = {"score": r2, "num_repeats": 2, "key": KEY}
    whole = jinterp.permutation_importance(linear, weights, (x, x @ weights), **ask)
    monkeypatch.setitem(_passes._ROWS, "cpu", 30)
    parts = jinterp.permutation_importance(linear, weights, (x, x @ weights), **ask)
    np.testing.assert_allclose(parts.per_repeat, whole.per_repeat, atol=1e-6)


def test_no_targets_are_an_error() -> None:
    x = independent(20, 2)
    with pytest.raises(ValueError, match="`ds` has no targets, and the score needs them"):
        jinterp.permutation_importance(
            two_classes, np.ones(2, np.float32), x, score=accuracy, key=KEY
        )
    with pytest.raises(ValueError, match=r"use jinterp\.tabular\.r2"):
        jinterp.permutation_importance(
            linear, np.ones(2, np.float32), (x, x[:, 0]), score=accuracy, key=KEY
        )


def test_scores_agree_with_scikit_learn() -> None:
    from sklearn import metrics

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 3)).astype(np.float32)
    targets, weights = rng.integers(0, 3, 50), rng.random(50).astype(np.float32)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y, f = logits[:, 0], logits[:, 1]
    for extra in ({}, {"sample_weight": weights}):
        w = tuple(jnp.asarray(each) for each in extra.values())
        pairs = [
            (
                accuracy(jnp.asarray(logits), jnp.asarray(targets), *w),
                metrics.accuracy_score(targets, logits.argmax(1), **extra),
            ),
            (
                negative_cross_entropy(jnp.asarray(logits), jnp.asarray(targets), *w),
                -metrics.log_loss(targets, p, **extra),
            ),
            (r2(jnp.asarray(f), jnp.asarray(y), *w), metrics.r2_score(y, f, **extra)),
            (
                negative_mean_squared_error(jnp.asarray(f), jnp.asarray(y), *w),
                -metrics.mean_squared_error(y, f, **extra),
            ),
        ]
        for found, expected in pairs:
            assert float(found) == pytest.approx(expected, rel=1e-5)
