"""Nearest examples against NumPy in float64, whatever the batches and devices."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jinterp
from tests import faults
from tests.networks import IMAGES, TOKENS, cnn, text, vit
from tests.problems import count_compiles

CHANNELS = 3


def embedded(params: Any, x: jax.Array) -> jax.Array:
    """Integers in a layer, so that equal examples tie exactly."""
    with jax.named_scope("embedding"):
        x = x @ params
    return x[:, :2]


WEIGHTS = np.array([[1, 2, 0], [-1, 0, 1]], np.float32)
find = functools.partial(jinterp.similar_examples, embedded, WEIGHTS, layer="embedding")


def expected(x: np.ndarray, data: np.ndarray, metric: str) -> np.ndarray:
    """`[queries, examples]`."""
    u, v = (each.astype(np.float64) @ WEIGHTS for each in (x, data))
    if metric == "euclidean":
        return -np.linalg.norm(u[:, None] - v[None], axis=2)
    norms = np.linalg.norm(u, axis=1)[:, None] * np.linalg.norm(v, axis=1)[None]
    return np.divide(u @ v.T, norms, out=np.zeros_like(norms), where=norms > 0)


@settings(max_examples=15)
@given(
    num=st.integers(1, 40),
    queries=st.sampled_from([1, 5]),
    batch_size=st.sampled_from([None, 1, 4, 7, 16]),
    devices=st.sampled_from([1, 4]),
    metric=st.sampled_from(["cosine", "euclidean"]),
    seed=st.integers(0, 99),
)
@pytest.mark.filterwarnings("ignore:.*zero everywhere in this layer")
def test_the_nearest_are_those_of_numpy(
    num: int, queries: int, batch_size: int | None, devices: int, metric: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    data = rng.integers(-2, 3, (num, 2)).astype(np.float32)  # many are equal
    x = rng.integers(-2, 3, (queries, 2)).astype(np.float32)
    k = min(num, 6)
    mesh = jax.make_mesh((devices,), ("data",), devices=jax.devices()[:devices])
    ds = jinterp.batches((data, np.arange(num) % 5), batch_size)
    found = find(x, ds, k=k, metric=metric, mesh=mesh)
    exact = expected(x, data, metric)
    order = np.argsort(-exact.round(5), axis=1, kind="stable")[:, :k]
    np.testing.assert_allclose(
        found.similarities, np.take_along_axis(exact, order, axis=1), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(found.targets, found.indices % 5)
    again = find(x, jinterp.batches(ds, 3), k=k, metric=metric)
    np.testing.assert_array_equal(found.indices, again.indices)
    for row, values in zip(found.indices, found.similarities, strict=True):
        tied = np.diff(values) == 0
        assert (np.diff(row)[tied] > 0).all()
        assert len(set(row.tolist())) == k


def test_equal_examples_go_by_index_wherever_they_stand() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(60, 2)).astype(np.float32)
    data[[3, 17, 18, 59]] = data[41]
    for batch_size in (1, 5, 16, 64):
        ds = jinterp.batches((data, np.zeros(60, int)), batch_size)
        for metric in ("cosine", "euclidean"):
            found = find(data[41:42], ds, k=5, metric=metric)
            assert found.indices.tolist() == [[3, 17, 18, 41, 59]]


@pytest.mark.parametrize("layer", ["conv1", "conv2", "head"])
def test_an_output_in_space_is_its_mean(layer: str) -> None:
    ds = (IMAGES, np.arange(4))
    found = jinterp.similar_examples(*cnn(), IMAGES[:2], ds, layer=layer, k=4)
    values = np.asarray(jinterp.activations(*cnn(), IMAGES, layer)[layer], np.float64)
    vectors = values.reshape(4, -1, values.shape[-1]).mean(axis=1)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units[:2] @ units.T
    np.testing.assert_allclose(found.similarities, -np.sort(-cosines, axis=1), rtol=1e-4)
    assert found.indices[:, 0].tolist() == [0, 1]
    np.testing.assert_allclose(found.similarities[:, 0], 1, rtol=1e-6)


def test_channels_first() -> None:
    def first(params: Any, x: jax.Array) -> jax.Array:
        with jax.named_scope("scaled"):
            x = x * params
        return x.mean((2, 3))

    x = np.moveaxis(IMAGES, -1, 1)
    ds = (x, np.arange(4))
    found = jinterp.similar_examples(
        first, np.float32(2), x[1:2], ds, layer="scaled", k=4, channel_axis=1, metric="euclidean"
    )
    means = 2 * x.mean((2, 3), dtype=np.float64)
    distances = np.linalg.norm(means - means[1], axis=1)
    np.testing.assert_array_equal(found.indices[0], np.argsort(distances))
    np.testing.assert_allclose(found.similarities[0], -np.sort(distances), rtol=1e-5)
    with pytest.raises(ValueError, match=r"`channel_axis` is 4; the layer 'scaled' has the axes"):
        jinterp.similar_examples(first, 2.0, x, ds, layer="scaled", k=1, channel_axis=4)


def test_tokens_and_preprocessing() -> None:
    found = jinterp.similar_examples(*text(), TOKENS, (TOKENS, np.arange(4)), layer="block0", k=1)
    assert found.indices.tolist() == [[0], [1], [2], [3]]
    ds = jinterp.batches((IMAGES * 255, np.arange(4)), preprocess=unit)
    found = jinterp.similar_examples(*vit(), IMAGES, ds, layer="block1", k=1)
    assert found.indices.tolist() == [[0], [1], [2], [3]]
    np.testing.assert_allclose(found.similarities, 1, rtol=1e-5)


def unit(x: jax.Array) -> jax.Array:
    return x / 255


def test_other_queries_compile_nothing() -> None:
    ds = (np.ones((9, 2), np.float32), np.zeros(9, int))
    find(np.ones((3, 2), np.float32), ds, k=2)
    with count_compiles() as counter:
        find(np.full((3, 2), 2, np.float32), ds, k=2)
    assert counter.compiled == 0


DATA = np.array([[1, 0], [np.nan, 0], [0, 1], [np.inf, 1], [2, 0]], np.float32)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_what_is_not_finite_comes_last_and_is_said(metric: Any) -> None:
    with pytest.warns(UserWarning, match="2 examples of `ds` have NaN or infinite activations"):
        found = find(DATA[:1], (DATA, np.arange(5)), k=5, metric=metric)
    assert found.indices[0, 3:].tolist() == [1, 3]
    assert np.isnan(found.similarities[0, 3:]).all()
    assert np.isfinite(found.similarities[0, :3]).all()
    with pytest.warns(UserWarning, match="1 of 2 queries have NaN or infinite activations"):
        found = find(DATA[:2], (DATA[[0, 2]], np.arange(2)), k=1, metric=metric)
    assert np.isnan(found.similarities[:, 0]).tolist() == [False, True]


PROCESS = """
import jinterp
from tests.attribution.test_similar_examples import MANY, find

ds = jinterp.batches(MANY, 8).part(process, num_processes)
found = find(MANY[0][:3], ds, k=7)
print([found.indices.tolist(), found.targets.tolist()])
"""
MANY = np.random.default_rng(0).normal(size=(53, 2)).astype(np.float32), np.arange(53) % 4


def test_two_processes_give_the_answer_of_one() -> None:
    found = find(MANY[0][:3], MANY, k=7)
    for output in faults.outputs(faults.start_together(PROCESS, 2)):
        assert f"{[found.indices.tolist(), found.targets.tolist()]}" in output


def test_vectors_of_zeros_have_no_direction() -> None:
    data = np.array([[-1, 0], [0, 0], [1, 0]], np.float32)
    assert find(data[:1], (data, np.arange(3)), k=3).similarities.round(3).tolist() == [[1, 0, -1]]
    with pytest.warns(UserWarning, match="1 of 3 queries are zero everywhere in this layer"):
        assert find(data, (data, np.arange(3)), k=1).similarities[1] == 0
    assert find(data, (data, np.arange(3)), k=1, metric="euclidean").indices.tolist() == [
        [0],
        [1],
        [2],
    ]


def test_long_and_short_vectors_have_directions() -> None:
    data = np.array([[1e30, 0], [1e-30, 0], [0, 1e30]], np.float32)
    found = find(data, (data, np.arange(3)), k=2)
    assert found.indices.tolist() == [[0, 1], [0, 1], [2, 0]]
    np.testing.assert_allclose(found.similarities[:2], 1, rtol=1e-6)


def test_a_stream_shorter_than_k() -> None:
    items = [(row, n) for n, row in enumerate(DATA[[0, 2]])]
    with pytest.warns(UserWarning, match="`k` is 3; the dataset had only 2 examples"):
        found = find(DATA[:1], iter(items), k=3)
    assert found.indices.tolist() == [[0, 1]]


def test_targets_may_be_rows() -> None:
    targets = np.eye(3, dtype=np.float32)[[0, 2]]
    found = find(DATA[:1], (DATA[[0, 2]], targets), k=2)
    np.testing.assert_array_equal(found.targets, targets[None])


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("error", "change", "said"),
    [
        (ValueError, {"k": 6}, "`k` is 6; the dataset has 5 examples. Use k=5 or less."),
        (ValueError, {"k": 0}, "`k` is 0; expected at least 1. Try 9."),
        (ValueError, {"metric": "l2"}, "`metric` is 'l2'; expected 'cosine' or 'euclidean'."),
        (ValueError, {"layer": "embeding"}, "embedding"),
        (TypeError, {"layer": 3}, "`layer` is 3; expected one name"),
    ],
)
def test_bad_input(error: type[Exception], change: dict[str, Any], said: str) -> None:
    with pytest.raises(error) as raised:
        find(DATA[:1], (DATA, np.arange(5)), **{"k": 2, **change})
    assert said in str(raised.value)


def test_a_layer_without_a_vector() -> None:
    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        with jax.named_scope("rounded"):
            y = jnp.round(x).astype(jnp.int32)
        with jax.named_scope("pair"):
            z = x * 2, x.sum(1)
        return y.astype(x.dtype) + z[0] + z[1][:, None]

    for layer, returned in (("rounded", r"int32\[1, 2\]"), ("pair", r"float32\[1, 2\], float32")):
        with pytest.raises(TypeError, match=f"the layer '{layer}' returns {returned}"):
            jinterp.similar_examples(
                apply_fn, None, DATA[:1], (DATA, np.arange(5)), layer=layer, k=1
            )
