"""Laws of the stream: nothing lost, nothing added, nothing moved, one shape."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jinterp
from jinterp.data.batches import host_batches, peek, prefetch
from jinterp.data.sources import Block

COUNTS = st.integers(1, 40)
SIZES = st.integers(1, 17)
DTYPES = st.sampled_from([np.uint8, np.int8, np.int32, np.float32, np.bool_, jnp.bfloat16])
STRUCTURES = st.sampled_from(
    [
        lambda x: x,
        lambda x: {"image": x, "size": x[:, 0, 0]},
        lambda x: (x, {"mask": x[:, :1]}),
        lambda x: [x, x[..., 0]],
    ]
)


def examples(count: int, dtype: Any, structure: Any) -> Block:
    """Examples that all differ, as far as the dtype can tell them apart."""
    x = np.arange(count * 6).reshape(count, 3, 2) % 251
    return Block(structure(x.astype(dtype)), np.arange(count) % 7)


def in_blocks(whole: Block, size: int) -> Iterator[Block]:
    for start in range(0, len(whole.targets), size):
        yield jax.tree.map(lambda leaf, start=start: leaf[start : start + size], whole)


def concatenated(batches: list[Any]) -> Any:
    """All batches as one, padding included."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *batches)


def assert_same(found: Any, expected: Any) -> None:
    """Equal structure, dtypes and values."""
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), found, expected)


@given(COUNTS, SIZES, SIZES, DTYPES, STRUCTURES)
def test_valid_rows_are_the_data_in_order(
    count: int, batch_size: int, block_size: int, dtype: Any, structure: Any
) -> None:
    whole = examples(count, dtype, structure)
    found = concatenated(list(host_batches(in_blocks(whole, block_size), batch_size)))
    rows = jax.tree.map(lambda leaf: leaf[found.mask], found)
    assert_same(rows.x, whole.x)
    assert_same(rows.targets, whole.targets)
    assert_same(rows.indices, np.arange(count, dtype=np.int32))


@given(COUNTS, SIZES, SIZES, DTYPES, STRUCTURES)
def test_every_batch_has_one_shape_and_only_the_last_is_padded(
    count: int, batch_size: int, block_size: int, dtype: Any, structure: Any
) -> None:
    whole = examples(count, dtype, structure)
    batches = list(host_batches(in_blocks(whole, block_size), batch_size))
    assert len(batches) == -(-count // batch_size)
    for batch in batches:
        assert {len(leaf) for leaf in jax.tree.leaves(batch)} == {batch_size}
        assert (batch.mask.dtype, batch.indices.dtype) == (np.bool_, np.int32)
    assert all(batch.mask.all() for batch in batches[:-1])
    num_last = count - batch_size * (len(batches) - 1)
    assert batches[-1].mask.tolist() == [True] * num_last + [False] * (batch_size - num_last)


@given(COUNTS, SIZES, DTYPES, STRUCTURES)
def test_padding_repeats_the_last_example(
    count: int, batch_size: int, dtype: Any, structure: Any
) -> None:
    whole = examples(count, dtype, structure)
    last = list(host_batches([whole], batch_size))[-1]
    num_padding = int((~last.mask).sum())
    repeated = jax.tree.map(lambda leaf: np.repeat(leaf[-1:], num_padding, axis=0), whole)
    padding = jax.tree.map(lambda leaf: leaf[~last.mask], last)
    assert_same((padding.x, padding.targets), tuple(repeated))


@given(COUNTS, SIZES, st.integers(0, 1000), st.integers(1, 5))
def test_indices_start_and_step_as_told(
    count: int, batch_size: int, first_index: int, stride: int
) -> None:
    whole = examples(count, np.uint8, lambda x: x)
    stream = host_batches([whole], batch_size, first_index=first_index, stride=stride)
    found = concatenated(list(stream))
    expected = first_index + stride * np.arange(count)
    np.testing.assert_array_equal(found.indices[found.mask], expected)


def test_indices_that_int32_cannot_hold_are_named() -> None:
    whole = examples(4, np.uint8, lambda x: x)
    assert next(host_batches([whole], 4, first_index=2**31 - 4)).indices[-1] == 2**31 - 1
    with pytest.raises(ValueError, match=r"more than 2147483647 examples.* in parts"):
        list(host_batches([whole], 4, first_index=2**31 - 3))


@given(COUNTS, SIZES, DTYPES, st.sampled_from(["columns", "items", "generator", "batches"]))
def test_the_whole_way_gives_the_same_from_any_kind(
    count: int, batch_size: int, dtype: Any, kind: str
) -> None:
    x, y = examples(count, dtype, lambda x: {"a": x, "b": x[:, 0]})
    items = [({"a": x["a"][i], "b": x["b"][i]}, y[i]) for i in range(count)]
    ds = {
        "columns": (x, y),
        "items": items,
        "generator": iter(items),
        "batches": [tuple(block) for block in in_blocks(Block(x, y), 5)],
    }[kind]
    found = concatenated(jax.device_get(list(jinterp.batches(ds, batch_size))))
    assert_same(jax.tree.map(lambda leaf: leaf[found.mask], found.x), x)
    np.testing.assert_array_equal(found.targets[found.mask], y)
    assert found.indices[found.mask].tolist() == list(range(count))


def test_preprocess_runs_compiled_on_the_device_and_sees_integers() -> None:
    seen = []

    def preprocess(x: Any) -> Any:
        seen.append(x)
        return x / jnp.uint8(255)

    x = np.arange(5 * 4, dtype=np.uint8).reshape(5, 4)
    dataset = jinterp.batches((x, np.arange(5)), 2, preprocess=preprocess)
    for _ in range(2):
        batches = list(dataset)
    assert [(type(x).__name__, x.dtype, x.shape) for x in seen] == [
        ("DynamicJaxprTracer", np.uint8, (2, 4))
    ]
    assert all(isinstance(batch.x, jax.Array) for batch in batches)
    np.testing.assert_allclose(np.concatenate([b.x for b in batches])[:5], x / 255, rtol=1e-6)
    assert dataset.take([3])[0].dtype == np.uint8


def test_prefetch_reads_ahead_and_no_further() -> None:
    num_read = 0

    def blocks() -> Iterator[Block]:
        nonlocal num_read
        for block in in_blocks(examples(40, np.uint8, lambda x: x), 4):
            num_read += 1
            yield block

    stream = prefetch(host_batches(blocks(), 4), size=2)
    first = next(stream)
    assert isinstance(first.x, jax.Array)
    assert num_read == 3
    assert len(list(stream)) == 9


def test_a_pass_reads_only_what_it_needs() -> None:
    class Endless:
        def __iter__(self) -> Iterator[Any]:
            while True:
                yield np.zeros(3), 0

    assert next(iter(jinterp.batches(Endless(), 4))).x.shape == (4, 3)
    assert len(jinterp.batches(Endless(), 4).take([100])) == 1


def test_peek_gives_the_first_block_and_the_whole_stream() -> None:
    whole = examples(10, np.uint8, lambda x: x)
    first, blocks = peek(in_blocks(whole, 4))
    assert_same(first.x, whole.x[:4])
    assert_same(np.concatenate([block.x for block in blocks]), whole.x)


def test_empty_batches_in_a_stream_are_passed_over() -> None:
    x, y = examples(4, np.uint8, lambda x: x)
    stream = [(x[:0], y[:0]), (x[:3], y[:3]), (x[3:3], y[3:3]), (x[3:], y[3:])]
    (batch,) = jinterp.batches(stream, 4)
    np.testing.assert_array_equal(batch.x, x)


def test_a_batches_given_again_keeps_what_it_was_made_with() -> None:
    dataset = jinterp.batches((np.ones((5, 2), np.float32), np.arange(5)), 2, preprocess=jnp.exp)
    assert jinterp.batches(dataset) == dataset
    changed = jinterp.batches(dataset, 4, preprocess=jnp.negative)
    assert [batch.x.shape for batch in changed] == [(4, 2)] * 2
    assert float(next(iter(changed)).x[0, 0]) == -1
    assert jinterp.batches(dataset, 4).preprocess is jnp.exp
    with pytest.raises(ValueError, match="named when it was made"):
        jinterp.batches(dataset, inputs="x")


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_batch_size_that_is_not_positive_is_named(batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"`batch_size` is {batch_size}; expected at least 1"):
        jinterp.batches((np.zeros((2, 2)), np.zeros(2)), batch_size)
