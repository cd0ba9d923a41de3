"""`model_sizes`: the memory that parameters, activations and the optimizer's state take."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import tree_leaves_with_path

from jinterp import _check
from jinterp._text import html_table, text_table, with_prefix
from jinterp._types import ApplyFn, Inputs, Params
from jinterp.diagnose._measures import trained_part
from jinterp.model.costs import costs, num_read
from jinterp.model.layers import are_variables

_HEADER = ("", "parameters", "activations", "optimizer")


class LayerSizes(NamedTuple):
    """Bytes of a layer with all its parts, or of the whole model.

    Attributes:
        name: as `jinterp.layers` lists it; "" for the whole.
        parameters: of all leaves that it reads, statistics among them.
        activations: of what leaves it, for the batch.
        optimizer: of the optimizer's state for its parameters.
    """

    name: str
    parameters: int
    activations: int
    optimizer: int


class ModelSizes(NamedTuple):
    """The memory of a model by layer; `print` shows a table, as a notebook does.

    Attributes:
        layers: in the order in which they are entered; a part counts in its whole as well.
        total: every leaf and every output of a layer once, and all of the optimizer's state.
    """

    layers: tuple[LayerSizes, ...]
    total: LayerSizes

    def __str__(self) -> str:
        """A row for each layer, and the total."""
        return text_table(_HEADER, [*map(_cells, self.layers), [], _cells(self.total)])

    def _repr_html_(self) -> str:
        return html_table(_HEADER, [*map(_cells, self.layers), _cells(self.total)])


def model_sizes(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    *,
    optimizer: optax.GradientTransformation | None = None,
) -> ModelSizes:
    """Bytes by layer: parameters, activations for a batch, and the optimizer's state.

    Activations are the outputs of the layers: about what a backward pass has to keep, which also
    keeps what is inside of layers and frees what it does not need. Nothing is computed.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs `[batch, ...]`, or `jax.ShapeDtypeStruct`s of them.
        optimizer: of optax, such as `optax.adam(1e-3)`; None has no state.

    Returns:
        A `ModelSizes`.

    Raises:
        TypeError: the model was exported.

    >>> import jax, jax.numpy as jnp, optax
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         return x @ params
    >>> print(model_sizes(apply_fn, jnp.eye(4), jnp.ones((2, 4)), optimizer=optax.adam(1e-3)))
            parameters  activations  optimizer
    hidden        64 B         32 B      128 B
    <BLANKLINE>
    total         64 B         32 B      132 B
    """
    _check.is_model_function(apply_fn)
    _check.traced_outputs_of(apply_fn, params, x)
    found = costs(apply_fn, params, x)
    leaves = jax.tree.leaves(jax.eval_shape(lambda tree: jax.tree.map(jnp.asarray, tree), params))
    of_optimizer, state_bytes = _state_bytes(optimizer, params, leaves)
    rows = [
        LayerSizes(
            name,
            sum(num_read(cost, n) * leaf.dtype.itemsize for n, leaf in enumerate(leaves)),
            cost.output_bytes,
            sum(
                of_optimizer.get(n, 0) * num_read(cost, n) // max(leaf.size, 1)
                for n, leaf in enumerate(leaves)
            ),
        )
        for name, cost in found.layers.items()
    ]
    all_bytes = sum(map(_num_bytes, leaves))
    return ModelSizes(tuple(rows), LayerSizes("", all_bytes, found.activation_bytes, state_bytes))


def _state_bytes(
    optimizer: optax.GradientTransformation | None, params: Params, leaves: list[Any]
) -> tuple[dict[int, int], int]:
    """The bytes of the optimizer's state by leaf of `params`, and all of them."""
    state = jax.eval_shape(optimizer.init, trained_part(params)) if optimizer else ()
    in_linen = are_variables(params)
    places = {
        path[in_linen:]: number
        for number, (path, _) in enumerate(tree_leaves_with_path(params))
        if not in_linen or path[0].key == "params"
    }
    of_leaves: dict[int, int] = {}
    for path, leaf in tree_leaves_with_path(state):
        for start in range(len(path) + 1):  # what an optimizer keeps of a leaf ends with its path
            number = places.get(path[start:])
            if number is not None and leaf.shape == leaves[number].shape:
                of_leaves[number] = of_leaves.get(number, 0) + _num_bytes(leaf)
                break
    return of_leaves, sum(map(_num_bytes, jax.tree.leaves(state)))


def _num_bytes(leaf: Any) -> int:
    return leaf.size * leaf.dtype.itemsize


def _cells(layer: LayerSizes) -> list[str]:
    depth = layer.name.count("/")
    name = "  " * depth + layer.name.rpartition("/")[2] if layer.name else "total"
    return [name, *(with_prefix(size, "B") for size in layer[1:])]
