"""Rows and points against plain loops in NumPy, however they are cut; memory, threads, devices."""

import dataclasses
import functools
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental.layout import Format, Layout

import jinterp
from jinterp._trace import eval_shape
from jinterp.stream import cut as cuts
from jinterp.stream import memory
from jinterp.stream.rows import WithRows, map_rows
from tests.problems import count_compiles

FEATURES = 3
PARAMS = np.random.default_rng(0).normal(size=FEATURES).astype(np.float32)


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets how the work is cut."""
    return functools.partial(set_cut, monkeypatch)


def set_cut(patch: pytest.MonkeyPatch, *, most: int, lanes: int) -> None:
    patch.setattr(memory, "rows_per_program", lambda device: most)
    patch.setattr(memory, "num_row_lanes", lambda device: lanes)


def examples(num: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(num, FEATURES)).astype(np.float32)


def positions(num: int) -> np.ndarray:
    return ((np.arange(num) + 1) / num).astype(np.float32)


def one_point(power: int, params: Any, x: Any, point: Any) -> Any:
    """A pytree: sin(w x)^power times the point, and the first feature."""
    if isinstance(params, WithRows):
        return {"wave": jnp.sin(params.rows * x) ** power * point, "first": x[:, 0]}
    return {"wave": jnp.sin(params[None] * x) ** power * point, "first": x[:, 0]}


def carried(power: int, params: Any, x: Any, point: Any, carry: Any) -> Any:
    """Depends on the order of the points."""
    return jnp.cos(carry * point + x * params[None]) ** power


def expected_points(weights: np.ndarray, x: np.ndarray, points: np.ndarray) -> np.ndarray:
    wave = np.sin(weights.astype(np.float64) * x) ** 2
    return np.stack([wave * point for point in points], axis=1)


CUTS = {
    "num_examples": st.integers(1, 9),
    "num_points": st.integers(1, 6),
    "most": st.sampled_from([1, 2, 5, 16]),
    "lanes": st.sampled_from([1, 2, 5]),
}


@settings(max_examples=15)
@given(**CUTS, of_rows=st.booleans())
def test_sum_and_stack(
    num_examples: int, num_points: int, most: int, lanes: int, of_rows: bool
) -> None:
    x, points = examples(num_examples), positions(num_points)
    own = np.abs(x[:, ::-1])
    params = WithRows(PARAMS, own) if of_rows else PARAMS
    expected = expected_points(own if of_rows else PARAMS, x, points)
    with pytest.MonkeyPatch.context() as patch:
        set_cut(patch, most=most, lanes=lanes)
        total = map_rows(one_point, 2, params, x, points)
        each = map_rows(one_point, 2, params, x, points, kind="stack")
    np.testing.assert_allclose(total["wave"], expected.sum(1), rtol=0, atol=1e-5)
    np.testing.assert_allclose(total["first"], num_points * x[:, 0], rtol=1e-6)
    np.testing.assert_allclose(each["wave"], expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(each["first"], np.repeat(x[:, :1], num_points, axis=1))


@pytest.mark.parametrize(("num_points", "chunk"), [(16, 16), (17, 9), (33, 11), (50, 13)])
def test_programs_have_about_as_many_points(
    num_points: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """17 points are two programs of 9, and not of 16, of which one repeats 15."""
    set_cut(monkeypatch, most=16, lanes=1)
    call = cuts.Call(one_point, 2, "sum")
    found = cuts.usual_cut(call, PARAMS, jnp.asarray(examples(1)), positions(num_points), None)
    assert found.chunk == chunk


def test_many_stacked_programs_are_joined_by_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """No program takes hundreds of arrays, which would compile for long."""
    x, points = examples(2), positions(300)
    sizes: list[int] = []

    def counted(parts: Any) -> Any:
        sizes.append(len(parts))
        return joined(parts)

    joined = cuts._along_points
    monkeypatch.setattr(cuts, "_along_points", counted)
    set_cut(monkeypatch, most=1, lanes=3)
    each = map_rows(one_point, 2, PARAMS, x, points, kind="stack")
    np.testing.assert_allclose(each["wave"], expected_points(PARAMS, x, points), rtol=0, atol=1e-6)
    assert max(sizes) == 64


@settings(max_examples=15)
@given(**CUTS)
def test_carry(num_examples: int, num_points: int, most: int, lanes: int) -> None:
    x, points = examples(num_examples), positions(num_points)
    expected = np.ones_like(x, np.float64)
    for point in points:
        expected = np.cos(expected * point + x * PARAMS) ** 2
    with pytest.MonkeyPatch.context() as patch:
        set_cut(patch, most=most, lanes=lanes)
        initial = jnp.ones_like(x)
        found = map_rows(carried, 2, PARAMS, x, points, kind="carry", initial=initial)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(initial, 1)  # not donated


@pytest.mark.parametrize("kind", ["sum", "stack", "carry"])
def test_traced_as_cut(kind: Any, cut: Any) -> None:
    x, points = jnp.asarray(examples(5)), positions(4)
    fn, initial = (carried, jnp.ones_like(x)) if kind == "carry" else (one_point, None)
    call = functools.partial(map_rows, fn, 2, kind=kind, initial=initial)
    cut(most=2, lanes=3)
    found = call(PARAMS, x, points)
    compiled = jax.jit(lambda params, x, points: call(params, x, points))(PARAMS, x, points)
    for a, b in zip(jax.tree.leaves(compiled), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_no_points_is_one() -> None:
    def of_rows(static: Any, params: Any, x: Any, point: None) -> Any:
        assert point is None
        return x * params[None]

    np.testing.assert_array_equal(map_rows(of_rows, (), PARAMS, examples(5)), examples(5) * PARAMS)


# --- what is compiled, and the memory it takes


def hungry(width: int, params: Any, x: Any, point: Any) -> Any:
    """Needs about 4 · width bytes an example and point."""
    wide = jnp.sin(jnp.outer(x[:, 0], jnp.arange(width).astype(x.dtype)) + point)
    return jnp.sort(wide, axis=1)[:, :2] + jnp.cumsum(wide, axis=1)[:, -1:]


WIDTH = 1000
ONE_ROW = 30_000  # bytes, generously


def seen_cuts(patch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The size of the slices and the bytes of all lanes' temporaries, of each cut compiled."""
    seen, compile_cut = [], cuts.Cut.compile

    def compiled(cut: Any) -> Any:
        program = compile_cut(cut)
        seen.append((cut.slice_size, memory._temporary_bytes(program) * cut.num_lanes))
        return program

    patch.setattr(cuts.Cut, "compile", compiled)
    return seen


@pytest.mark.parametrize(("num_examples", "num_points"), [(3, 5), (40, 5), (3, 60), (40, 60)])
def test_temporaries_stay_under_the_budget(
    num_examples: int, num_points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, seen = 8 * ONE_ROW, seen_cuts(monkeypatch)
    args = (hungry, WIDTH, PARAMS, examples(num_examples), positions(num_points))
    expected = map_rows(*args)
    monkeypatch.setattr(memory, "budget_of", lambda device: budget)
    found = map_rows(*args)
    assert seen[-1][1] <= budget
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("num_devices", "num_examples"), [(2, 40), (4, 60), (4, 64)])
def test_temporaries_stay_under_the_budget_on_each_device(
    num_devices: int, num_examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, seen = 8 * ONE_ROW, seen_cuts(monkeypatch)
    mesh = jax.make_mesh((num_devices,), ("data",), devices=jax.devices()[:num_devices])
    x = jax.device_put(examples(num_examples), jax.NamedSharding(mesh, jax.P("data")))
    expected = map_rows(hungry, WIDTH, PARAMS, examples(num_examples), positions(3))
    with jinterp.memory_budget(num_bytes=budget):
        found = map_rows(hungry, WIDTH, PARAMS, x, positions(3))
    size, taken = seen[-1]
    assert taken <= budget
    assert num_devices <= size < num_examples
    assert size % num_devices == 0
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_slices_of_what_is_on_an_explicit_mesh_of_one_device() -> None:
    """As `jax.make_mesh` makes one."""
    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    x = jax.device_put(examples(40), jax.NamedSharding(mesh, jax.P("data")))
    params = jax.device_put(PARAMS, jax.NamedSharding(mesh, jax.P()))
    found = map_rows(one_point, 2, params, x, positions(3))
    expected = map_rows(one_point, 2, PARAMS, examples(40), positions(3))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), found, expected)


def test_nothing_is_compiled_for_another_batch_of_the_shape() -> None:
    call = functools.partial(map_rows, one_point, 3, PARAMS)
    call(examples(5), positions(4))
    with count_compiles() as counter:
        call(examples(5) + 1, positions(4) / 2)
        call(examples(5), positions(4))
    assert counter.compiled == 0


def on_another_device(x: np.ndarray) -> jax.Array:
    return jax.device_put(x, jax.devices()[1])


def in_another_layout(x: np.ndarray) -> jax.Array:
    x = jnp.asarray(x)
    columns_first = Format(Layout((1, 0)), x.sharding)
    return jax.device_put(x, columns_first)


@pytest.mark.parametrize("placed", [on_another_device, in_another_layout])
def test_a_program_that_is_kept_is_only_for_arguments_placed_alike(placed: Any) -> None:
    expected = map_rows(one_point, 5, PARAMS, examples(1), positions(4))
    found = map_rows(one_point, 5, PARAMS, placed(examples(1)), positions(4))
    np.testing.assert_allclose(found["wave"], expected["wave"], rtol=1e-6)
    if placed is on_another_device:
        assert found["wave"].devices() == {jax.devices()[1]}


def test_slices_share_a_program(cut: Any) -> None:
    """Ragged or not: the last slice takes examples again to be full."""
    cut(most=2, lanes=1)
    map_rows(one_point, 4, PARAMS, examples(4), positions(3))
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        compile_cut = cuts.Cut.compile
        patch.setattr(cuts.Cut, "compile", lambda cut: steps.append(compile_cut(cut)) or steps[-1])
        map_rows(one_point, 4, PARAMS, examples(7), positions(5))
    (step,) = steps
    assert step.in_avals[0][1].shape == (2, FEATURES)


# --- threads, devices, dtypes


@dataclasses.dataclass(frozen=True)
class Failing:
    """Fails while it runs, in whichever thread that is."""

    def __call__(self, static: Any, params: Any, x: Any, point: Any) -> Any:
        return jax.pure_callback(self.fail, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    def fail(self, x: Any) -> Any:
        raise FloatingPointError("in the middle of it")


@pytest.mark.parametrize("lanes", [1, 3])
def test_an_exception_in_a_program_reaches_the_caller(lanes: int, cut: Any) -> None:
    cut(most=2, lanes=lanes)
    with pytest.raises(Exception, match="in the middle of it"):
        jax.block_until_ready(map_rows(Failing(), (), PARAMS, examples(7), positions(3)))


@pytest.mark.parametrize("kind", ["sum", "stack", "carry"])
def test_float64_in_threads(kind: Any, cut: Any) -> None:
    cut(most=2, lanes=3)
    with jax.enable_x64(True):
        x, points = examples(7).astype(np.float64) + 1e-12, (np.arange(4) + 1) / 4
        weights = PARAMS.astype(np.float64)
        if kind == "carry":
            expected = np.ones_like(x)
            for point in points:
                expected = np.cos(expected * point + x * weights) ** 2
            initial = jnp.ones_like(x)
            found = map_rows(carried, 2, weights, x, points, kind=kind, initial=initial)
        else:
            found = map_rows(one_point, 2, weights, x, points, kind=kind)["wave"]
            each = expected_points(weights, x, points)
            expected = each.sum(1) if kind == "sum" else each
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def in_default_dtype(static: None, params: Any, x: Any, point: Any) -> Any:
    return jnp.cos(x.astype(float))


def test_a_program_is_kept_for_the_settings_it_was_made_for(cut: Any) -> None:
    """The same call, with float64 switched on and off between."""
    cut(most=2, lanes=2)
    x, points = examples(5), positions(3)
    for enabled in (False, True, False, True):
        with jax.enable_x64(enabled):
            found = map_rows(in_default_dtype, None, PARAMS, x, points)
            dtype = np.float64 if enabled else np.float32
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, 3 * jnp.cos(x.astype(dtype)))


def test_what_depends_on_settings_is_asked_by_the_caller(
    cut: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread has settings of its own, without float64."""
    cut(most=2, lanes=3)
    threads = []

    def recorded(*args: Any) -> Any:
        threads.append(threading.get_ident())
        return eval_shape(*args)

    monkeypatch.setattr(cuts, "eval_shape", recorded)
    for _ in range(8):
        map_rows(one_point, 2, PARAMS, examples(7), positions(4))
    assert set(threads) == {threading.get_ident()}


def test_a_second_call_neither_traces_nor_asks_for_memory(
    cut: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(most=4, lanes=2)
    traced, asked = [], []

    def counted(static: None, params: Any, x: Any, point: Any) -> Any:
        traced.append(x.shape)
        return x * params[None] * point

    def small(compiled: Any, budget: int, num_lanes: int) -> bool:
        asked.append(budget)
        return len(asked) > 1  # the first cut does not fit

    monkeypatch.setattr(memory, "fits", small)
    x, points = examples(9), positions(6)
    counts = set()
    for _ in range(3):
        found = map_rows(counted, None, PARAMS, x, points)
        np.testing.assert_allclose(found, x * PARAMS * points.sum(), rtol=1e-5)
        counts.add((len(traced), len(asked)))
    assert len(counts) == 1
    assert len(asked) == 2


def test_devices_of_committed_and_other_arrays(cut: Any) -> None:
    """Arrays that JAX may move and arrays that it may not follow each other."""
    cut(most=2, lanes=2)
    device = jax.devices()[-1]
    with jax.default_device(device):
        free = jnp.asarray(examples(5))
    bound = jax.device_put(examples(5), device)
    for x in (free, bound, free, bound):
        found = map_rows(one_point, 2, PARAMS, x, positions(3))["wave"]
        assert found.devices() == jax.jit(jnp.cos)(x).devices()


def test_disable_jit(cut: Any) -> None:
    cut(most=2, lanes=2)
    for num in (1, 5):
        expected = map_rows(one_point, 2, PARAMS, examples(num), positions(3))["wave"]
        with jax.disable_jit():
            found = map_rows(one_point, 2, PARAMS, examples(num), positions(3))["wave"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def every_kind(params: Any, x: Any, points: Any) -> list[Any]:
    initial = jnp.ones_like(x)
    return [
        map_rows(one_point, 2, params, x, points)["wave"],
        map_rows(one_point, 2, params, x, points, kind="stack")["wave"],
        map_rows(carried, 2, params, x, points, kind="carry", initial=initial),
    ]


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("where", ["default", "params", "rows", "both"])
def test_another_device(where: str, lanes: int, cut: Any) -> None:
    cut(most=2, lanes=lanes)
    other = jax.devices()[2]
    x, points = examples(7), positions(4)
    expected = every_kind(PARAMS, x, points)
    if where == "default":
        with jax.default_device(other):
            found = every_kind(PARAMS, x, points)
    else:
        params = jax.device_put(PARAMS, other) if where in ("params", "both") else PARAMS
        x = jax.device_put(x, other) if where in ("rows", "both") else x
        found = every_kind(params, x, points)
    for a, b in zip(found, expected, strict=True):
        assert a.devices() == {other}
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("num_devices", [2, 4])
def test_a_batch_over_devices(num_devices: int, cut: Any) -> None:
    cut(most=2, lanes=3)
    x, points = examples(8), positions(4)
    expected = every_kind(PARAMS, x, points)
    mesh = jax.make_mesh((num_devices,), ("data",), devices=jax.devices()[:num_devices])
    sharded = jax.device_put(x, jax.NamedSharding(mesh, jax.P("data")))
    params = jax.device_put(PARAMS, jax.NamedSharding(mesh, jax.P()))
    found = every_kind(params, sharded, points)
    for a, b in zip(found, expected, strict=True):
        assert len(a.devices()) == num_devices
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


# --- large programs

WEIGHTS = np.random.default_rng(2).normal(size=(FEATURES, WIDTH)).astype(np.float32)


def product(static: Any, params: Any, x: Any, point: Any) -> Any:
    """At least 6 operations an example and column."""
    return (x @ params).max(axis=1)


@pytest.mark.parametrize(
    ("most", "size"), [(1e30, 16), (16 * 10 * WIDTH, 16), (9 * 10 * WIDTH, 8), (1.0, 4)]
)
def test_a_program_with_much_to_do_has_fewer_rows(
    most: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_LARGE_PROGRAM", most)
    seen = seen_cuts(monkeypatch)
    found = map_rows(product, most, WEIGHTS, examples(64))
    assert [each for each, _ in seen] == [size]
    np.testing.assert_allclose(found, (examples(64) @ WEIGHTS).max(axis=1), rtol=1e-5)
