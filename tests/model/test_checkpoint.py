"""Checkpoints of more devices than there are now."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

WRITE = """
import sys
import jax, jax.numpy as jnp, orbax.checkpoint
from jax.sharding import NamedSharding, PartitionSpec
jax.config.update("jax_num_cpu_devices", 4)
cut = NamedSharding(jax.make_mesh((4,), ("data",)), PartitionSpec("data"))
params = {"kernel": jax.device_put(jnp.arange(32.0).reshape(8, 4), cut), "bias": jnp.arange(4.0)}
assert len(params["kernel"].devices()) == 4
with orbax.checkpoint.StandardCheckpointer() as checkpointer:
    checkpointer.save(sys.argv[1], params)
"""

READ = """
import sys
import jax, jax.numpy as jnp
from jinterp.model.checkpoint import restore_params
assert jax.device_count() == 1
params = restore_params(sys.argv[1], {"kernel": jnp.zeros((8, 4)), "bias": jnp.zeros(4)})
assert params["kernel"].devices() == set(jax.devices())
assert (params["kernel"] == jnp.arange(32.0).reshape(8, 4)).all()
assert (params["bias"] == jnp.arange(4.0)).all()
"""


def test_an_orbax_checkpoint_of_four_devices_is_restored_on_one(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    for program in (WRITE, READ):
        command = [sys.executable, "-c", program, str(tmp_path / "checkpoint")]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr[-3000:]
