"""Influence against closed forms, leaving out and training again; TracIn by hand."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jinterp
from jinterp.attribution._conjugate_gradients import conjugate_gradients
from tests import faults
from tests.networks import CLASSES, IMAGES, ROWS, cnn, mlp
from tests.problems import count_compiles, linear

RNG = np.random.default_rng(0)


def squared(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.square(outputs[:, 0] - targets)


# ---------------------------------------------------------------- least squares


NUM, SIZE = 40, 3
X = RNG.normal(size=(NUM, SIZE))
Y = X @ np.array([1.0, -2.0, 0.5]) + RNG.normal(size=NUM)
TEST_X, TEST_Y = RNG.normal(size=(4, SIZE)), RNG.normal(size=4)
WEIGHTS = np.linalg.lstsq(X, Y)[0]
INVERSE = np.linalg.inv(X.T @ X)
ERRORS, TEST_ERRORS = X @ WEIGHTS - Y, TEST_X @ WEIGHTS - TEST_Y


def influence_of_least_squares(**keywords: Any) -> Any:
    settings = {"k": NUM, "loss_fn": squared, "damping": 0, "tolerance": 1e-10, **keywords}
    return jinterp.influence(
        linear, WEIGHTS[:, None], TEST_X, TEST_Y, settings.pop("ds", (X, Y)), **settings
    )


def in_order(examples: Any, num: int = NUM) -> np.ndarray:
    """All scores, in order of dataset index."""
    scores = np.empty((len(examples.scores), num))
    np.put_along_axis(scores, examples.indices, examples.scores, axis=1)
    return scores


@pytest.mark.usefixtures("x64")
def test_least_squares_have_a_closed_form() -> None:
    """∇ℓ = 2 e x and H = 2 XᵀX / n."""
    found = influence_of_least_squares()
    expected = 2 * NUM * TEST_ERRORS[:, None] * (TEST_X @ INVERSE @ X.T) * ERRORS[None]
    np.testing.assert_allclose(in_order(found.helpful), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(in_order(found.harmful), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(found.helpful.indices, np.argsort(-expected, axis=1))
    np.testing.assert_array_equal(found.harmful.indices, np.argsort(expected, axis=1))
    assert found.num_examples == NUM
    assert found.converged.all()
    assert (found.residuals < 1e-10).all()
    assert found.num_products <= SIZE + 2  # conjugate gradients end in as many steps


@pytest.mark.usefixtures("x64")
def test_leaving_an_example_out_of_least_squares_changes_the_loss_as_the_hat_matrix_says() -> None:
    """Without i the weights move by (XᵀX)⁻¹ x e / (1 − h): the score is all but 1 / (1 − h)."""
    found = in_order(influence_of_least_squares().helpful)
    hat = np.einsum("ns,st,nt->n", X, INVERSE, X)
    for i in range(NUM):
        rest = np.arange(NUM) != i
        without = np.linalg.lstsq(X[rest], Y[rest])[0]
        first_order = 2 * TEST_ERRORS * (TEST_X @ (without - WEIGHTS))
        np.testing.assert_allclose(found[:, i] / NUM / (1 - hat[i]), first_order, rtol=1e-8)


@pytest.mark.usefixtures("x64")
def test_weight_decay_is_damping() -> None:
    decay = 0.3
    curvature = 2 * X.T @ X / NUM + decay * np.eye(SIZE)
    weights = np.linalg.solve(curvature, 2 * X.T @ Y / NUM)
    errors, test_errors = X @ weights - Y, TEST_X @ weights - TEST_Y
    found = jinterp.influence(
        *(linear, weights[:, None], TEST_X, TEST_Y, (X, Y)),
        k=NUM,
        loss_fn=squared,
        damping=decay,
        tolerance=1e-12,
    )
    slopes = TEST_X @ np.linalg.inv(curvature) @ X.T
    expected = 4 * test_errors[:, None] * slopes * errors[None]
    np.testing.assert_allclose(in_order(found.helpful), expected, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- logistic regression


DECAY, MANY = 0.05, 150
MANY_X = RNG.normal(size=(MANY, SIZE))
LABELS = (MANY_X[:, 0] + RNG.normal(size=MANY) > 0).astype(int)
TEST_LABELS = np.array([0, 1, 1, 0])


def probability_of_1(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(x @ (weights[:, 0] - weights[:, 1])))


def trained(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Softmax weights at the minimum of Σ loss / `MANY` + decay/2 ‖θ‖², by Newton's method."""
    weights = np.zeros((SIZE, 2))
    for _ in range(20):
        p = probability_of_1(weights, x)
        slope = np.outer(x.T @ (p - labels) / MANY, [-1, 1]) + DECAY * weights
        bend = np.kron((x.T * (p * (1 - p))) @ x / MANY, [[1, -1], [-1, 1]])
        step = np.linalg.solve(bend + DECAY * np.eye(2 * SIZE), slope.ravel())
        weights = weights - step.reshape(SIZE, 2)
    assert np.abs(step).max() < 1e-12
    return weights


@pytest.mark.usefixtures("x64")
def test_influence_predicts_what_leaving_out_does_to_logistic_regression() -> None:
    weights = trained(MANY_X, LABELS)
    found = jinterp.influence(
        *(linear, weights, TEST_X, TEST_LABELS, (MANY_X, LABELS)),
        k=MANY,
        damping=DECAY,
        tolerance=1e-10,
    )
    predicted = in_order(found.helpful, MANY) / MANY

    def losses(weights: np.ndarray) -> np.ndarray:
        p = probability_of_1(weights, TEST_X)
        return -np.log(np.where(TEST_LABELS == 1, p, 1 - p))

    actual = np.empty_like(predicted)
    for i in range(MANY):
        rest = np.arange(MANY) != i
        actual[:, i] = losses(trained(MANY_X[rest], LABELS[rest])) - losses(weights)
    assert np.corrcoef(predicted.ravel(), actual.ravel())[0, 1] > 0.999
    slope = (predicted * actual).sum() / (predicted**2).sum()
    assert slope == pytest.approx(1, abs=0.06)  # leverage adds about 3 parameters / 150


@pytest.mark.usefixtures("x64")
def test_a_network_against_its_whole_hessian() -> None:
    """The last layer and all layers of a small one, with a damping that makes it definite."""
    apply_fn, params = mlp()
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
    rows, labels = np.float64(ROWS), np.array([0, 3, 1, 4])
    for trainable, damping in ((None, 12.0), ({"params": only_head(params)}, 0.1)):
        flags = jax.tree.leaves(jax.tree.broadcast(trainable or True, params))
        leaves, treedef = jax.tree.flatten(params)
        chosen = [leaf for leaf, flag in zip(leaves, flags, strict=True) if flag]
        flat, back = jax.flatten_util.ravel_pytree(chosen)

        def losses(flat: jax.Array, flags=flags, leaves=leaves, treedef=treedef, back=back):
            own = iter(back(flat))
            both = [next(own) if flag else leaf for leaf, flag in zip(leaves, flags, strict=True)]
            logits = apply_fn(jax.tree.unflatten(treedef, both), jnp.asarray(rows))
            return jinterp.cross_entropy(logits, labels)

        gradients = np.asarray(jax.jacobian(losses)(flat))
        hessian = np.asarray(jax.hessian(lambda flat, f=losses: f(flat).mean())(flat))
        assert np.linalg.eigvalsh(hessian).min() + damping > 0
        whole = np.linalg.inv(hessian + damping * np.eye(len(flat)))
        found = jinterp.influence(
            *(apply_fn, params, rows[:2], labels[:2], (rows, labels)),
            k=4,
            damping=damping,
            trainable=trainable,
            tolerance=1e-9,
        )
        expected = gradients[:2] @ whole @ gradients.T
        np.testing.assert_allclose(in_order(found.helpful, 4), expected, rtol=1e-6)


def only_head(params: Any) -> dict[str, bool]:
    return {name: name == "head" for name in params["params"]}


# ---------------------------------------------------------------- the pass


SOME = {"k": 5, "damping": 0.1, "tolerance": 1e-5}
SETS = (ROWS[[0, 1, 2, 3, 1, 2, 3, 0, 0]], np.array([0, 3, 1, 4, 2, 2, 0, 1, 0]))


def influence_of_mlp(**keywords: Any) -> Any:
    ds = keywords.pop("ds", SETS)
    found = jinterp.influence(
        *mlp(), ROWS[:2], np.array([0, 3]), ds, **{**SOME, "trainable": head(), **keywords}
    )
    assert found.converged.all()
    return found


def head() -> Any:
    return {"params": only_head(mlp().params)}


@settings(max_examples=8)
@given(batch_size=st.sampled_from([1, 2, 4, 7, 16]), devices=st.sampled_from([1, 2, 4]))
def test_batches_and_devices_change_nothing(batch_size: int, devices: int) -> None:
    mesh = jax.make_mesh((devices,), ("data",), devices=jax.devices()[:devices])
    expected = influence_of_mlp()
    found = influence_of_mlp(ds=jinterp.batches(SETS, batch_size), mesh=mesh)
    np.testing.assert_allclose(found.helpful.scores, expected.helpful.scores, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.harmful.scores, expected.harmful.scores, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(found.helpful.targets, SETS[1][found.helpful.indices])
    np.testing.assert_array_equal(found.harmful.targets, SETS[1][found.harmful.indices])
    assert found.num_examples == 9


def test_an_example_helps_itself_and_one_with_another_label_harms() -> None:
    found = influence_of_mlp(k=1)
    same = SETS[0][found.helpful.indices[:, 0]] == ROWS[:2]
    assert same.all()
    np.testing.assert_array_equal(found.helpful.targets[:, 0], [0, 3])
    assert (found.harmful.scores < 0).all()
    assert (found.harmful.targets[:, 0] != [0, 3]).all()


def test_preprocessing_is_that_of_the_dataset() -> None:
    ds = jinterp.batches((SETS[0] * 2, SETS[1]), preprocess=half)
    found, expected = influence_of_mlp(ds=ds), influence_of_mlp()
    np.testing.assert_allclose(found.helpful.scores, expected.helpful.scores, rtol=1e-4)


def half(x: jax.Array) -> jax.Array:
    return x / 2


PROCESS = """
import jinterp
from tests.attribution.test_influence import SETS, influence_of_mlp

ds = jinterp.batches(SETS, 4).part(process, num_processes)
found = influence_of_mlp(ds=ds)
print([found.helpful.indices.tolist(), found.harmful.indices.tolist(), found.num_examples])
"""


def test_two_processes_give_the_answer_of_one() -> None:
    found = influence_of_mlp()
    expected = [found.helpful.indices.tolist(), found.harmful.indices.tolist(), 9]
    for output in faults.outputs(faults.start_together(PROCESS, 2)):
        assert f"{expected}" in output


def test_convolutions_and_nothing_is_compiled_again() -> None:
    ds = (IMAGES, np.arange(4))
    keywords = {"k": 2, "damping": 20, "num_iterations": 30}
    first = jinterp.influence(*cnn(), IMAGES[:2], np.arange(2), ds, **keywords)
    assert first.converged.all()
    with count_compiles() as counter:
        jinterp.influence(*cnn(), IMAGES[1:3], np.arange(1, 3), ds, **keywords)
    assert counter.compiled == 0
    assert first.helpful.indices[:, 0].tolist() == [0, 1]


# ---------------------------------------------------------------- what cannot be computed


def test_negative_curvature_is_said_with_a_damping_that_works() -> None:
    def apply_fn(params: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.cos(params[None]) * x[:, :1]

    def first(outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return outputs[:, 0]

    ds = (np.ones((3, 1), np.float32), np.zeros(3, int))
    call = functools.partial(
        jinterp.influence, apply_fn, jnp.array([0.5]), ds[0][:1], ds[1][:1], ds, k=1, loss_fn=first
    )
    said = r"damping of 0.01 has the curvature -0.87; .* of 1 of 1 .* Use a damping of 2 or more"
    with pytest.warns(UserWarning, match=said):
        found = call()
    assert np.isnan(found.helpful.scores).all()
    assert not found.converged.any()
    assert call(damping=2).converged.all()


def test_what_does_not_converge_is_said() -> None:
    said = r"2 of 2 test examples did not converge to 1e-05 in 2 passes; the largest residual is "
    with pytest.warns(UserWarning, match=said + r".*Use more damping, or a larger num_iterations"):
        found = jinterp.influence(
            *mlp(), ROWS[:2], np.arange(2), SETS, **{**SOME, "trainable": head()}, num_iterations=1
        )
    assert (found.residuals > 1e-5).all()
    assert np.isfinite(found.helpful.scores).all()


@pytest.mark.parametrize("where", ["train", "test"])
def test_gradients_that_are_not_finite_are_said(where: str) -> None:
    broken = np.full_like(ROWS[:1], np.nan)
    data = np.concatenate([SETS[0][1:], broken]) if where == "train" else SETS[0]
    tests = broken if where == "test" else ROWS[:1]
    with pytest.warns(UserWarning, match="1 of 1 test examples have NaN or infinite gradients"):
        found = jinterp.influence(*mlp(), tests, np.array([0]), (data, SETS[1]), **SOME)
    assert np.isnan(found.helpful.scores).all()


def test_a_gradient_of_zero_owes_nothing() -> None:
    """A test example that the model fits exactly."""
    ds = (np.ones((3, 1), np.float32), np.arange(3.0, dtype=np.float32))
    weights = jnp.ones((1, 1))
    found = jinterp.influence(
        linear, weights, ds[0][:1], ds[1][1:2], ds, k=3, loss_fn=squared, damping=0
    )
    assert found.helpful.scores.tolist() == [[0, 0, 0]]
    assert found.helpful.indices.tolist() == [[0, 1, 2]]
    assert found.converged.all()


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("error", "change", "said"),
    [
        (ValueError, {"damping": -1}, "`damping` is -1; expected at least 0. Try 0.01."),
        (ValueError, {"tolerance": 0}, "`tolerance` is 0; expected above 0 and below 1."),
        (ValueError, {"num_iterations": 0}, "`num_iterations` is 0; expected at least 1."),
        (ValueError, {"k": 10}, "`k` is 10; the dataset has 9 examples."),
        (ValueError, {"trainable": {"params": False}}, "`trainable` leaves no trained leaf"),
        (ValueError, {"trainable": {"weights": True}}, "`trainable` is not built as `params` are"),
        (ValueError, {"targets": np.array([0, CLASSES])}, "the target of example 1 is 5; expected"),
        (ValueError, {"targets": np.array([0])}, "`targets` have the shape (1,) for 2 examples"),
        (TypeError, {"targets": np.array([0.0, 1.0])}, "`targets` are float32 of shape [batch]"),
        (ValueError, {"ds": (SETS[0], SETS[1] + 1)}, "the target of example 3 is 5; expected"),
    ],
)
def test_bad_input(error: type[Exception], change: dict[str, Any], said: str) -> None:
    given = {"targets": np.array([0, 3]), "ds": SETS, **SOME, **change}
    with pytest.raises(error) as raised:
        jinterp.influence(*mlp(), ROWS[:2], given.pop("targets"), given.pop("ds"), **given)
    assert said in str(raised.value)


def test_an_exported_model_has_no_forward_derivatives() -> None:
    apply_fn, params = mlp()
    exported = jinterp.from_exported(jinterp.export_model(apply_fn, params, ROWS), params)
    with pytest.raises(ValueError, match="`apply_fn` is an exported model, which holds no"):
        jinterp.influence(*exported, ROWS[:2], np.arange(2), SETS, **SOME)


@settings(max_examples=20)
@given(size=st.integers(1, 8), rows=st.integers(1, 4), seed=st.integers(0, 99))
def test_conjugate_gradients_solve(size: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size))
    matrix = root @ root.T + np.eye(size)
    right = rng.normal(size=(rows, size))
    right[0] = 0
    found = conjugate_gradients(
        lambda rows: rows @ matrix, right, tolerance=1e-12, num_iterations=10 * size
    )
    np.testing.assert_allclose(found.solutions, np.linalg.solve(matrix, right.T).T, atol=1e-8)
    assert (found.residuals < 1e-10).all()
    assert (found.curvatures[1:] > 0).all()
