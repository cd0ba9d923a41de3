"""Where a pass runs: every pass runs on a mesh, of one device where nothing else is asked."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jinterp._trace import held_here
from jinterp._types import Batch, Params

DATA_AXIS = "data"


@dataclasses.dataclass(frozen=True)
class Placement:
    """A mesh, and which of its axes the batch is cut over.

    Attributes:
        mesh: the devices, with automatic axes.
        axes: the axes that the leading axis of a batch is cut over.
    """

    mesh: Mesh
    axes: tuple[str, ...]

    @property
    def num_shards(self) -> int:
        """Parts that a global batch is cut into."""
        return int(np.prod([self.mesh.shape[axis] for axis in self.axes]))

    @property
    def num_processes(self) -> int:
        return len({device.process_index for device in self.mesh.devices.flat})

    @property
    def data(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(self.axes))

    @property
    def replicated(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    def least(self, number: int) -> int:
        """The least of a number that the processes may disagree on."""
        if self.num_processes == 1:
            return number
        return int(multihost_utils.process_allgather(np.int32(number)).min())

    def gathered(self, array: np.ndarray) -> np.ndarray:
        """An array of every process, `[processes, ...]`; 64-bit integers keep all their bits."""
        if self.num_processes == 1:
            return array[None]
        halves = np.ascontiguousarray(array).view(np.int32)
        return np.asarray(multihost_utils.process_allgather(halves)).view(array.dtype)

    def put_batch(self, batch: Batch) -> Batch:
        """A global batch, of which the process gives the part for its own devices."""
        if self.num_processes == 1:
            return jax.device_put(batch, self.data)
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(self.data, np.asarray(leaf)), batch
        )

    def put_params(self, params: Params) -> Params:
        """Parameters keep their sharding where they have one on these devices."""
        return jax.tree.map(self._put_param, params)

    def _put_param(self, leaf: Any) -> jax.Array:
        sharding = getattr(leaf, "sharding", None)
        if not isinstance(sharding, NamedSharding) or sharding.is_fully_replicated:
            return jax.device_put(leaf, self.replicated)
        if sharding.mesh.axis_names != self.mesh.axis_names or not np.array_equal(
            sharding.mesh.devices, self.mesh.devices
        ):
            raise ValueError(
                f"`params` are sharded on a mesh with the axes {sharding.mesh.axis_names}, `mesh` "
                f"has {self.mesh.axis_names}; expected one mesh. Leave out mesh=, or shard them on "
                "it."
            )
        return jax.device_put(leaf, NamedSharding(self.mesh, sharding.spec))

    def put_states(self, states: Any) -> Any:
        """Accumulators `[shards, ...]`, the same on every process, each on its own shard."""

        def put(leaf: np.ndarray) -> jax.Array:
            return jax.make_array_from_callback(
                leaf.shape, self.data, lambda index: np.array(leaf[index])
            )

        return jax.tree.map(put, states)


def place(mesh: Mesh | None, params: Params) -> Placement:
    """The mesh given; else the one the parameters are on; else all hosts; else one device."""
    leaves = [leaf for leaf in jax.tree.leaves(params) if isinstance(leaf, jax.Array)]
    if mesh is None:
        shardings = [leaf.sharding for leaf in leaves]
        meshes: list[Any] = [s.mesh for s in shardings if isinstance(s, NamedSharding)]
        mesh = next((found for found in meshes if found.size > 1), None)
    if mesh is None:
        devices = jax.devices() if jax.process_count() > 1 else _one_device(leaves)
        mesh = Mesh(np.array(devices), (DATA_AXIS,))
    # jax.make_mesh gives explicit axes, under which segment_sum and much user code fail.
    automatic = Mesh(mesh.devices, mesh.axis_names)
    axes = (DATA_AXIS,) if DATA_AXIS in mesh.axis_names else tuple(mesh.axis_names)
    return Placement(automatic, axes)


def params_of_this_host(params: Params) -> Params:
    """Parameters that lie on the devices of all processes, on those of this one alone."""
    if jax.process_count() == 1:
        return params
    return jax.tree.map(_of_this_host, params)


def _of_this_host(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return leaf
    if not leaf.is_fully_replicated:
        raise ValueError(
            "`params` are sharded over several processes; expected a whole copy in each, since "
            "each explains its own examples. Shard them over the devices of one."
        )
    return leaf.addressable_data(0)


def local_mesh() -> Mesh | None:
    """The devices of this process where there are several processes."""
    if jax.process_count() == 1:
        return None
    return Mesh(np.array(jax.local_devices()), (DATA_AXIS,))


def _one_device(leaves: list[jax.Array]) -> list[jax.Device]:
    """The device that the parameters are on, else the default one."""
    if leaves:
        return [min(leaves[0].devices(), key=lambda device: device.id)]
    return list(jax.device_put(np.int32(0)).devices())


def gather_rows(rows: Any, placement: Placement) -> Any:
    """Rows of every process, on each: NumPy arrays joined along their first axis."""
    if placement.num_processes == 1:
        return rows
    return multihost_utils.process_allgather(rows, tiled=True)


def local_rows(rows: Any) -> Any:
    """The rows that this process holds, as NumPy arrays, in the order of the global batch."""
    return jax.tree.map(held_here, rows)
