"""Double precision, where a case asks for more digits than float32 has."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture
def flax_x64(x64: None) -> Iterator[None]:
    """The same with JAX's usual promotion: Flax's LayerNorm adds float32 to float64."""
    with jax.numpy_dtype_promotion("standard"):
        yield
