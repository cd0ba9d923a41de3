"""`detect_dead_units`: the units that nothing in a dataset makes active."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jinterp._types import ApplyFn, Params
from jinterp.diagnose.activation_stats import activation_stats


class DeadUnits(NamedTuple):
    """The dead units of a layer.

    Attributes:
        layer: its name.
        units: which channels, int64.
        num_units: how many channels the layer has.
        maximum: the largest value that each of `units` has.
    """

    layer: str
    units: np.ndarray
    num_units: int
    maximum: np.ndarray

    def __str__(self) -> str:
        """One sentence."""
        return f"{len(self.units)} of {self.num_units} units of {self.layer!r} are never active"


def detect_dead_units(
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    layers: Sequence[str] | None = None,
    *,
    channel_axis: int = -1,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> list[DeadUnits]:
    """The units that no example of a dataset makes active, by layer.

    A unit is a channel, and is dead as `activation_stats` says: max a ≤ 0 over all examples and
    positions before or behind a rectifier, or always 0. Its gradient is exactly 0, so training on
    such data does not bring it back. Whether a unit near zero now and then is sick is another
    question.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        ds: anything that `batches` takes; the labels count for nothing.
        layers: names that `jinterp.layers` lists; None takes all that return floats.
        channel_axis: of the layers' outputs.
        mesh: the devices to cut batches over.
        progress: show a progress bar; None shows one for a long pass in a terminal.

    Returns:
        A `DeadUnits` for each layer that has some, in the order of the model.

    Raises:
        ValueError: as `activation_stats` does.

    >>> import jax, jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         x = x @ params["w"] + params["b"][None]
    ...     return jax.nn.relu(x)
    >>> params = {"w": jnp.eye(2), "b": jnp.array([0.0, -1000.0])}
    >>> print(*detect_dead_units(apply_fn, params, (np.ones((4, 2), np.float32), np.zeros(4))))
    1 of 2 units of 'hidden' are never active
    """
    stats = activation_stats(
        apply_fn, params, ds, layers, channel_axis=channel_axis, mesh=mesh, progress=progress
    )
    found = []
    for layer in stats.layers:
        units = np.flatnonzero(layer.channels.dead)
        if len(units):
            num_units, maximum = len(layer.channels.dead), layer.channels.maximum[units]
            found.append(DeadUnits(layer.name, units, num_units, maximum))
    return found
