"""Reducers against NumPy in float64, whatever the batches, lanes and devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jinterp
from jinterp import Batch, stream
from tests.problems import identity, labelled_logits

NUM_CLASSES = 3
SIZES = st.tuples(st.integers(1, 40), st.sampled_from([1, 4, 7, 16]), st.sampled_from([1, 4]))


def first(batch: Batch, logits: jax.Array) -> jax.Array:
    return logits[:, 0]


def whole(batch: Batch, logits: jax.Array) -> jax.Array:
    return logits


def inputs(batch: Batch, logits: jax.Array) -> jax.Array:
    return batch.x


def target(batch: Batch, logits: jax.Array) -> jax.Array:
    return batch.targets


def both(batch: Batch, logits: jax.Array) -> dict[str, jax.Array]:
    return {"logits": logits, "target": batch.targets}


def run(reducer: stream.Reducer | stream.Collect, logits: np.ndarray, batch: int, devices: int):
    mesh = jax.make_mesh((devices,), ("data",), devices=jax.devices()[:devices])
    targets = np.arange(len(logits)) % NUM_CLASSES
    ds = jinterp.batches((logits, targets), batch)
    return jinterp.fold({"it": reducer}, *identity(NUM_CLASSES), ds, mesh=mesh)["it"]


@settings(max_examples=12)
@given(SIZES)
def test_every_reducer_equals_numpy(sizes: tuple[int, int, int]) -> None:
    num, batch, devices = sizes
    logits, _ = labelled_logits(num, NUM_CLASSES)
    targets = np.arange(num) % NUM_CLASSES
    exact = logits.astype(np.float64)

    found = run(stream.moments(whole), logits, batch, devices)
    assert found.num_examples == num
    np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.variance, exact.var(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.minimum, logits.min(0))
    np.testing.assert_array_equal(found.maximum, logits.max(0))

    np.testing.assert_array_equal(
        run(stream.counts(target, NUM_CLASSES), logits, batch, devices),
        np.bincount(targets, minlength=NUM_CLASSES),
    )

    edges = (-1.0, 0.0, 0.5, 3.0)
    histogram = run(stream.histogram(first, edges), logits, batch, devices)
    expected, _ = np.histogram(logits[:, 0], edges)
    np.testing.assert_array_equal(histogram.counts, expected)
    assert histogram.num_outside == num - expected.sum()

    top = run(stream.top_k(first, 5, both), logits, batch, devices)
    order = np.lexsort((np.arange(num), -logits[:, 0]))[:5]
    np.testing.assert_array_equal(top.indices, order)
    np.testing.assert_array_equal(top.values, logits[order, 0])
    np.testing.assert_array_equal(top.payload["logits"], logits[order])
    np.testing.assert_array_equal(top.payload["target"], targets[order])

    each = run(stream.top_k_each(whole, 5, both), logits, batch, devices)
    orders = [np.lexsort((np.arange(num), -column))[:5] for column in logits.T]
    np.testing.assert_array_equal(each.indices, orders)
    np.testing.assert_array_equal(each.values, [logits[o, n] for n, o in enumerate(orders)])
    np.testing.assert_array_equal(each.payload["logits"], logits[np.array(orders)])
    np.testing.assert_array_equal(each.payload["target"], targets[np.array(orders)])

    rows = run(stream.collect(both), logits, batch, devices)
    np.testing.assert_array_equal(rows["logits"], logits)
    np.testing.assert_array_equal(rows["target"], targets)


def test_top_k_puts_nan_first_and_breaks_ties_by_index() -> None:
    logits = np.zeros((9, NUM_CLASSES), np.float32)
    logits[[2, 7], 0] = np.nan
    logits[[5, 6], 0] = 1
    top = run(stream.top_k(first, 9), logits, 2, 1)  # batches of two go to two lanes in turn
    assert top.indices.tolist() == [2, 7, 5, 6, 0, 1, 3, 4, 8]


def test_top_k_each_puts_nan_last_and_breaks_ties_by_index() -> None:
    logits = np.zeros((9, NUM_CLASSES), np.float32)
    logits[[2, 7], 0] = np.nan
    logits[[5, 6], 0] = 1
    logits[:, 1] = -np.inf
    top = run(stream.top_k_each(inputs, 9), logits, 2, 1)
    assert top.indices[0].tolist() == [5, 6, 0, 1, 3, 4, 8, 2, 7]
    assert top.indices[1].tolist() == list(range(9))
    assert np.isnan(top.values[0, -2:]).all()


def test_top_k_keeps_minus_infinity_before_padding() -> None:
    logits = np.full((3, NUM_CLASSES), -np.inf, np.float32)
    assert run(stream.top_k(first, 5), logits, 4, 1).indices.tolist() == [0, 1, 2]


def first_half(batch: Batch, logits: jax.Array) -> jax.Array:
    return logits[:, 0].astype(jnp.float16)


def is_first(batch: Batch, logits: jax.Array) -> jax.Array:
    return logits.argmax(1) == 0


def test_values_may_be_booleans_integers_or_half_precision() -> None:
    logits, _ = labelled_logits(40, NUM_CLASSES)
    share = (logits.argmax(1) == 0).mean()
    assert run(stream.mean(is_first), logits, 16, 1) == pytest.approx(share, rel=1e-6)
    assert run(stream.mean(target), logits, 16, 1) == pytest.approx((np.arange(40) % 3).mean())
    half = run(stream.mean(first_half), logits, 16, 1)
    assert half == pytest.approx(logits[:, 0].mean(), rel=1e-2)
    top = run(stream.top_k(is_first, 3), logits, 16, 1)
    assert top.indices.tolist() == np.flatnonzero(logits.argmax(1) == 0)[:3].tolist()


def test_small_integer_cells_do_not_overflow() -> None:
    ds = (np.zeros((300, 2), np.float32), (np.arange(300) % 2).astype(np.uint8))
    found = jinterp.fold({"it": stream.counts(target, 256)}, *identity(2), ds)["it"]
    assert found.tolist() == [150, 150] + [0] * 254


def test_moments_lose_nothing_over_many_batches() -> None:
    """A mean of 1000 with a deviation of 0.01 over 20,000 merges."""
    rng = np.random.default_rng(0)
    values = (1000 + 0.01 * rng.normal(size=(20_000, 16, 1))).astype(np.float32)
    reducer = stream.moments(first)
    mask = jnp.ones(16, bool)

    def step(state, logits):
        batch = Batch(logits, jnp.zeros(16, jnp.int32), mask, jnp.arange(16))
        return reducer.update(state, batch, logits), None

    init = reducer.init(Batch(None, None, mask, None), jax.ShapeDtypeStruct((16, 1), jnp.float32))
    state, _ = jax.lax.scan(step, jax.tree.map(jnp.asarray, init), jnp.asarray(values))
    found = reducer.finalize(jax.device_get(state))
    exact = values.astype(np.float64)
    assert found.mean == pytest.approx(exact.mean(), rel=1e-7)
    assert found.variance == pytest.approx(exact.var(), rel=1e-3)


def test_equal_arguments_give_the_same_reducer() -> None:
    assert stream.top_k(first, 3) is stream.top_k(first, 3)
    assert stream.mean(first) is stream.mean(first)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: stream.top_k(first, 0), "`k` is 0; expected at least 1"),
        (lambda: stream.top_k_each(whole, 0), "`k` is 0; expected at least 1"),
        (lambda: stream.histogram(first, (1.0, 1.0)), "`edges` is .*; expected at least two"),
    ],
)
def test_wrong_arguments_are_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
