"""TracIn by hand on a linear softmax model, and against gradients of single examples."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jinterp
from tests.attribution.test_influence import SETS, head, in_order
from tests.networks import ROWS, mlp
from tests.problems import count_compiles, linear

RNG = np.random.default_rng(0)
NUM, SIZE, CLASSES = 23, 3, 4
X, Y = RNG.normal(size=(NUM, SIZE)).astype(np.float32), np.arange(NUM) % CLASSES
TEST_X, TEST_Y = RNG.normal(size=(3, SIZE)).astype(np.float32), np.array([0, 3, 1])
CHECKPOINTS = [RNG.normal(size=(SIZE, CLASSES)).astype(np.float32) for _ in range(3)]
RATES = [0.5, 0.1, 0.02]


def errors(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """P − y, by which the gradient of a softmax layer is (p − y) xᵀ."""
    logits = x.astype(np.float64) @ weights
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return p - np.eye(CLASSES)[y]


def by_hand(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`[tests, examples]`."""
    return sum(
        rate * (errors(w, x, y) @ errors(w, X, Y).T) * (x.astype(np.float64) @ X.T)
        for w, rate in zip(CHECKPOINTS, RATES, strict=True)
    )


@settings(max_examples=10)
@given(batch_size=st.sampled_from([None, 1, 4, 7]), devices=st.sampled_from([1, 2, 4]))
def test_a_linear_softmax_by_hand(batch_size: int | None, devices: int) -> None:
    mesh = jax.make_mesh((devices,), ("data",), devices=jax.devices()[:devices])
    ds = jinterp.batches((X, Y), batch_size)
    found = jinterp.tracin(
        linear, CHECKPOINTS, TEST_X, TEST_Y, ds, learning_rates=RATES, k=NUM, mesh=mesh
    )
    expected = by_hand(TEST_X, TEST_Y)
    np.testing.assert_allclose(in_order(found.helpful, NUM), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(in_order(found.harmful, NUM), expected, rtol=1e-4, atol=1e-5)
    assert (np.diff(found.helpful.scores) <= 0).all()
    assert (np.diff(found.harmful.scores) >= 0).all()
    np.testing.assert_array_equal(found.helpful.targets, Y[found.helpful.indices])


def test_the_influence_of_an_example_on_itself_is_its_squared_gradient() -> None:
    found = jinterp.tracin(linear, CHECKPOINTS, X, Y, (X, Y), learning_rates=RATES, k=NUM)
    own = np.diagonal(in_order(found.helpful, NUM))
    squares = [
        rate * (errors(w, X, Y) ** 2).sum(1) * (X**2).sum(1)
        for w, rate in zip(CHECKPOINTS, RATES, strict=True)
    ]
    np.testing.assert_allclose(own, sum(squares), rtol=1e-5)


def test_one_learning_rate_for_all_and_one_checkpoint() -> None:
    call = functools.partial(jinterp.tracin, linear, x=TEST_X, targets=TEST_Y, ds=(X, Y), k=3)
    all_alike = call(CHECKPOINTS, learning_rates=0.5)
    each = call(CHECKPOINTS, learning_rates=[0.5] * 3)
    np.testing.assert_array_equal(all_alike.helpful.scores, each.helpful.scores)
    once, twice = call(CHECKPOINTS[:1], learning_rates=1), call(CHECKPOINTS[:1], learning_rates=2)
    np.testing.assert_allclose(twice.harmful.scores, 2 * once.harmful.scores, rtol=1e-6)


@pytest.mark.parametrize("trainable", [None, head()], ids=["all", "head"])
def test_a_network_against_gradients_of_single_examples(trainable: Any) -> None:
    apply_fn, params = mlp()
    found = jinterp.tracin(
        *(apply_fn, [params], ROWS, np.arange(4), SETS),
        learning_rates=1,
        k=9,
        trainable=trainable,
    )

    def gradient(x: np.ndarray, target: int) -> np.ndarray:
        def loss(params: Any) -> jax.Array:
            return jinterp.cross_entropy(apply_fn(params, x[None]), jnp.array([target]))[0]

        whole = jax.grad(loss)(params)
        chosen = whole if trainable is None else whole["params"]["head"]
        return np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(chosen)])

    tests = np.stack([gradient(*each) for each in zip(ROWS, range(4), strict=True)])
    train = np.stack([gradient(*each) for each in zip(*SETS, strict=True)])
    np.testing.assert_allclose(in_order(found.helpful, 9), tests @ train.T, rtol=1e-4, atol=1e-5)


def test_nothing_is_compiled_again() -> None:
    call = functools.partial(jinterp.tracin, linear, ds=(X, Y), k=3)
    call(CHECKPOINTS, TEST_X, TEST_Y, learning_rates=RATES)
    with count_compiles() as counter:
        call(CHECKPOINTS[::-1], TEST_X + 1, TEST_Y[::-1].copy(), learning_rates=0.1)
    assert counter.compiled == 0


def test_scores_that_are_not_finite_are_said() -> None:
    broken = TEST_X.copy()
    broken[1] = np.nan
    with pytest.warns(UserWarning, match="`tracin`: 1 of 3 test examples have scores that are NaN"):
        found = jinterp.tracin(linear, CHECKPOINTS, broken, TEST_Y, (X, Y), learning_rates=1, k=2)
    assert np.isnan(found.helpful.scores).all(axis=1).tolist() == [False, True, False]


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checkpoints": []}, "`checkpoints` is a list that holds none; expected a list of"),
        ({"checkpoints": CHECKPOINTS[0]}, "`checkpoints` is a ndarray that holds none"),
        (
            {"checkpoints": [CHECKPOINTS[0], CHECKPOINTS[1][:2]]},
            "`checkpoints` differ in structure or shapes: number 1 is not as the first is",
        ),
        ({"learning_rates": [0.1, 0.2]}, "`learning_rates` is [0.1, 0.2]; expected a number"),
        ({"learning_rates": 0}, "or one for each of 3 checkpoints."),
        ({"k": 24}, "`k` is 24; the dataset has 23 examples."),
        ({"targets": np.array([0, 1, 4])}, "the target of example 2 is 4; expected 0 to 3."),
    ],
)
def test_bad_input(change: dict[str, Any], said: str) -> None:
    given = {"checkpoints": CHECKPOINTS, "targets": TEST_Y, "learning_rates": RATES, "k": 2}
    given |= change
    with pytest.raises(ValueError, match=re.escape(said)):
        jinterp.tracin(
            linear, given.pop("checkpoints"), TEST_X, given.pop("targets"), (X, Y), **given
        )
