"""Real weights and images. Where they are absent the tests skip and say so; CI then fails."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

SHARED = Path(os.environ.get("JINTERP_SHARED", Path(__file__).parents[3] / "shared"))


@pytest.fixture(scope="module", autouse=True)
def promotion() -> Iterator[None]:
    """JAX's usual promotion, which the networks and optimizers that people bring rely on."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="package", autouse=True)
def polished_programs() -> Iterator[None]:
    usual = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", usual)


@pytest.fixture(scope="session")
def shared() -> Path:
    if not (SHARED / "data").is_dir():
        pytest.skip(f"the real data is not at {SHARED}; JINTERP_SHARED names another place")
    return SHARED


@pytest.fixture(scope="session")
def cifar10(shared: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(shared / "data/cifar10/test.npz") as arrays:
        return arrays["image"], arrays["label"]
