"""Set-up of every test: four CPU devices, strict promotion, signatures checked at run time.

XLA need not polish hundreds of small programs, here and in the processes that tests start. Real
networks, pages and notebooks run as they do for users.
"""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
import jaxtyping
import pytest
from hypothesis import settings

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jaxtyping.install_import_hook("jinterp", "beartype.beartype")


# The first example of a shape compiles, which no deadline foresees.
settings.register_profile("jinterp", deadline=None, derandomize=True)
settings.load_profile("jinterp")


@pytest.fixture(scope="session")
def kept_programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a user, in which processes of this run share compiled programs."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return {
        "JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",
    }


@pytest.fixture(autouse=True, scope="module")
def room_for_programs() -> Iterator[None]:
    """Programs that no test needs any more are dropped before there are too many.

    XLA:CPU maps each into memory, Linux gives a process 65,530 mappings, and the compiler crashes
    where they end: after some two thousand tests.
    """
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and len(mappings.read_bytes().splitlines()) > 30_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def as_user() -> Iterator[None]:
    """Signatures unchecked, so that wrong input meets the library's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
