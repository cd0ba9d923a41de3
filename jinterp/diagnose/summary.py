"""`summary`: the layers of a model as a table, with parameters and operations."""

import itertools
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from flax import nnx
from rich import box
from rich.table import Table

from jinterp import _check
from jinterp._text import html_table, text_table, with_prefix
from jinterp._types import ApplyFn, Inputs, Params
from jinterp.model.adapt import Model, from_linen, from_nnx
from jinterp.model.costs import Cost, costs, num_read
from jinterp.model.layers import layers, trained
from jinterp.model.leaves import names_of_all, trainable_flags

_HEADER = ("", "output", "parameters", "trainable", "multiply-adds", "FLOPs", "bytes")


class LayerSummary(NamedTuple):
    """A layer with all its parts, or the whole model.

    Attributes:
        name: as `jinterp.layers` lists it; "" for the whole.
        shape: of its output, the first of several, with the batch.
        num_params: elements of its parameters, of those that two parts share once.
        num_trainable: how many of them are trained.
        multiply_adds: of its matrix products and convolutions.
        flops: floating-point operations, as XLA counts them.
        bytes_accessed: bytes read and written, as XLA estimates them before it fuses operations.
    """

    name: str
    shape: tuple[int, ...]
    num_params: int
    num_trainable: int
    multiply_adds: int
    flops: float
    bytes_accessed: float


class Summary(NamedTuple):
    """The layers of a model; `print` shows a table, as do rich and a notebook.

    Attributes:
        layers: in the order in which they are entered; a part's row is below that of its whole.
        total: the whole model, every parameter once.
        unused: names of trained leaves that the model never reads.
    """

    layers: tuple[LayerSummary, ...]
    total: LayerSummary
    unused: tuple[str, ...]

    def __str__(self) -> str:
        """A row for each layer, and the total."""
        rows = [_cells(layer) for layer in self.layers]
        table = text_table(_HEADER, [*rows, [], _cells(self.total)])
        return "\n".join([table, *self._remarks()])

    def __rich__(self) -> Table:
        """The same for rich's console."""
        caption = "\n".join(self._remarks()) or None
        table = Table(*_HEADER, caption=caption, box=box.SIMPLE_HEAD, show_edge=False)
        table.pad_edge, table.padding = False, (0, 1, 0, 0)  # into 80 columns
        for column in table.columns[2:]:
            column.justify = "right"
        for layer in self.layers:
            table.add_row(*_cells(layer))
        table.add_section()
        table.add_row(*_cells(self.total), style="bold")
        return table

    def _repr_html_(self) -> str:
        return html_table(_HEADER, [*map(_cells, self.layers), _cells(self.total)])

    def _remarks(self) -> list[str]:
        return [f"The model never reads {', '.join(self.unused)}."] if self.unused else []


def summary(
    apply_fn: ApplyFn | nn.Module | nnx.Module,
    params: Params,
    x: Inputs,
    *,
    trainable: Any = None,
    **apply_kwargs: Any,
) -> Summary:
    """The layers of a model: output shapes, parameters, which are trained, and operations.

    Nothing is computed: the model is traced. Multiply-adds are counted from the program as one
    does by hand, products with padding among them; FLOPs and bytes are XLA's, of the layer's
    part of the program before optimisation, which leaves products with padding out.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`; or a Linen module whose `params` are its
            variables, or an NNX module with `params` None.
        params: its parameters.
        x: inputs `[batch, ...]`, or `jax.ShapeDtypeStruct`s of them. Operations are those for the
            whole batch.
        trainable: a pytree of bools like `params`, or a prefix of one, for what the optimizer
            changes; None takes what its library says: Linen's collection "params", `nnx.Param`s,
            and all arrays elsewhere.
        **apply_kwargs: keywords for a Linen module's call, such as `train=False`.

    Returns:
        A `Summary`. Statistics such as those of BatchNorm are no parameters.

    Raises:
        TypeError: the model was exported; keywords are given without a Linen module.
        ValueError: `trainable` is not built as `params` are.

    >>> import jax, jax.numpy as jnp
    >>> from flax import linen as nn
    >>> module, x = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(3)]), jnp.ones((1, 5))
    >>> print(summary(module, module.init(jax.random.key(0), x), x))
              output  parameters  trainable  multiply-adds  FLOPs  bytes
    layers_0  (1, 4)          24         24             20     44  196 B
    layers_2  (1, 3)          15         15             12     27  136 B
    <BLANKLINE>
    total     (1, 3)          39         39             32     75  400 B
    """
    model = _model(apply_fn, params, apply_kwargs)
    _check.is_model_function(model.apply_fn)
    outputs = _check.traced_outputs_of(*model, x)
    found = costs(*model, x)
    leaves = [np.size(leaf) for leaf in jax.tree.leaves(model.params)]
    known = np.array(trained(model.params), bool)
    is_trained = known & trainable_flags(trainable, model.params)

    def row(name: str, shape: tuple[int, ...], cost: Cost, sizes: list[int]) -> LayerSummary:
        return LayerSummary(
            name,
            shape,
            sum(itertools.compress(sizes, known)),
            sum(itertools.compress(sizes, is_trained)),
            cost.multiply_adds,
            cost.flops,
            cost.bytes_accessed,
        )

    rows = []
    for layer in layers(*model, x):
        cost = found.layers[layer.name]
        sizes = [num_read(cost, number) for number in range(len(leaves))]
        rows.append(row(layer.name, layer.shape, cost, sizes))
    first = jax.tree.leaves(outputs)[0]
    total = row("", first.shape, found.whole, leaves)
    unused = [
        name
        for number, name in enumerate(names_of_all(model.params))
        if known[number] and leaves[number] and not num_read(found.whole, number)
    ]
    return Summary(tuple(rows), total, tuple(unused))


def _model(apply_fn: Any, params: Params, apply_kwargs: dict[str, Any]) -> Model:
    if isinstance(apply_fn, nn.Module):
        return from_linen(apply_fn, params, **apply_kwargs)
    if apply_kwargs:
        raise TypeError(
            f"summary got {', '.join(map(repr, apply_kwargs))}; expected such keywords with a "
            "Linen module alone."
        )
    if isinstance(apply_fn, nnx.Module):
        if params is not None:
            raise ValueError(
                "`params` is given with an NNX module, which holds its own; expected None. "
                "Or use jinterp.summary(*jinterp.from_nnx(module), x)."
            )
        return from_nnx(apply_fn)
    return Model(apply_fn, params)


def _cells(layer: LayerSummary) -> list[str]:
    depth = layer.name.count("/")
    return [
        "  " * depth + layer.name.rpartition("/")[2] if layer.name else "total",
        str(layer.shape),
        f"{layer.num_params:,}",
        f"{layer.num_trainable:,}",
        with_prefix(layer.multiply_adds),
        with_prefix(layer.flops),
        with_prefix(layer.bytes_accessed, "B"),
    ]
