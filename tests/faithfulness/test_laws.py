"""What every metric obeys: found by its signature, as explainers are."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jinterp
from jinterp.stream import memory
from tests.laws.explainers import PARAMS, TARGET, X, apply_fn, traces
from tests.networks import CNNS, IMAGES
from tests.problems import count_compiles

METRIC = ["apply_fn", "params", "x", "values", "target"]
VALUES = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)

REQUIRED: Mapping[str, Callable[[Any], Any]] = {
    "key": lambda x: jax.random.key(0),
    "explain": lambda x: jinterp.gradient,
    "mask": lambda x: x.sum(-1) > 0,
}
OF_SEVERAL = {"evidence"}  # metrics in one record
CHEAP = {"num_samples": 5, "num_steps": 6}


class Case(NamedTuple):
    """A metric, and how to call it."""

    name: str
    metric: Any

    def __call__(
        self, params: Any = PARAMS, x: Any = X, values: Any = VALUES, target: Any = TARGET
    ) -> Any:
        found = self.metric(apply_fn, params, x, values, target, **self.keywords(x))
        return found.area if hasattr(found, "area") else found

    def keywords(self, x: Any) -> dict[str, Any]:
        parameters = inspect.signature(self.metric).parameters
        given = {name: REQUIRED[name](x) for name in REQUIRED if name in parameters}
        return given | {name: CHEAP[name] for name in CHEAP if name in parameters}


def parameters_of(value: Any) -> list[str]:
    return list(inspect.signature(value).parameters)


def discovered() -> Iterator[Case]:
    for name, value in vars(jinterp).items():
        if name in OF_SEVERAL:
            continue
        if inspect.isfunction(value) and parameters_of(value)[:5] == METRIC:
            yield Case(name, value)


CASES = list(discovered())
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def close(found: Any, expected: Any) -> None:
    expected = np.asarray(expected)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_every_metric_is_found() -> None:
    assert {"deletion", "road", "infidelity", "complexity"} <= {case.name for case in CASES}
    assert len(CASES) >= 15


@every
def test_a_number_for_each_example(case: Case) -> None:
    found = case()
    assert found.shape == (len(X),)
    assert jnp.issubdtype(found.dtype, jnp.floating)


@every
def test_a_permuted_batch_and_a_part_of_it(case: Case) -> None:
    order, part = np.array([2, 0, 3, 1]), slice(3)
    expected = np.asarray(case())
    close(case(x=X[order], values=VALUES[order], target=TARGET[order]), expected[order])
    close(case(x=X[part], values=VALUES[part], target=TARGET[part]), expected[part])


@every
def test_the_cut(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = case()
    with monkeypatch.context() as patch:
        patch.setattr(memory, "rows_per_program", lambda device: 1)
        patch.setattr(memory, "num_row_lanes", lambda device: 3)
        close(case(), expected)
    monkeypatch.setattr(memory, "budget_of", lambda device: 0)
    close(case(), expected)


@every
def test_nothing_is_traced_again(case: Case) -> None:
    case()
    del traces[:]
    with count_compiles() as counter:
        case(x=X + 1, values=VALUES + 1)
    assert not traces
    assert counter.compiled == 0


@every
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_a_mesh_of_two_devices(case: Case, kind: AxisType) -> None:
    mesh = jax.make_mesh((2,), ("data",), (kind,), devices=jax.devices()[:2])
    rows, whole = (NamedSharding(mesh, PartitionSpec(*spec)) for spec in (("data",), ()))
    x, values = (jax.device_put(each, rows) for each in (X, VALUES))
    close(case(jax.device_put(PARAMS, whole), x, values), case())


@every
def test_jit(case: Case) -> None:
    compiled = jax.jit(lambda params, x, values: case(params, x, values))
    close(compiled(PARAMS, X, VALUES), case())


@every
def test_float64(case: Case) -> None:
    expected = case()
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: leaf.astype(np.float64), PARAMS)
        found = case(params, X.astype(np.float64), VALUES.astype(np.float64))
    assert found.dtype == jnp.float64
    if "key" in inspect.signature(case.metric).parameters:
        return  # other draws
    close(found, expected)


@every
def test_libraries(case: Case) -> None:
    """Linen, NNX and a plain function of the same weights."""
    values = np.random.default_rng(3).normal(size=IMAGES.shape).astype(np.float32)
    found = []
    for make in CNNS.values():
        one = case.metric(*make(), IMAGES, values, 1, **case.keywords(IMAGES))
        found.append(one.area if hasattr(one, "area") else one)
    for other in found[1:]:
        close(other, found[0])
