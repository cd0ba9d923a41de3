"""Parameters of which a part belongs to the examples of a batch."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from jinterp._types import Inputs, Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WithRows:
    """Parameters together with arrays of the batch, which are cut as the inputs are.

    Attributes:
        params: parameters, which may be `WithRows` themselves.
        rows: a pytree of arrays `[batch, ...]`.
    """

    params: Params
    rows: Inputs


def weights_of(params: Params) -> Params:
    """What belongs to no example."""
    return weights_of(params.params) if isinstance(params, WithRows) else params


def rows_of(params: Params) -> Any:
    """What belongs to the examples, from the outermost on."""
    return (params.rows, rows_of(params.params)) if isinstance(params, WithRows) else ()


def with_rows(params: Params, rows: Any, weights: Params) -> Params:
    """Parameters built as these are, of other rows and weights."""
    if not isinstance(params, WithRows):
        return weights
    return WithRows(with_rows(params.params, rows[1], weights), rows[0])


def map_own_rows(fn: Callable[[Any], Any], params: Params) -> Params:
    """The parameters with a function applied to the arrays that belong to the examples."""
    return with_rows(params, jax.tree.map(fn, rows_of(params)), weights_of(params))
