"""Many models trained at once."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp import _functions
from jinterp._types import Params
from jinterp.stream.rows import map_rows
from jinterp.tabular.table import Table, targets_of

FitFn = Any
"""`fit(x, y, key) -> params`, traceable by JAX."""


def fitted(fit: FitFn, ds: Table, each: Any, change: Any) -> Params:
    """Parameters `[models, ...]` of models trained on changed rows, as many at once as fit.

    Args:
        fit: `fit(x, y, key) -> params`.
        ds: the rows.
        each: a pytree of arrays `[models, ...]`, whose last is the keys.
        change: `change(x, y, *each) -> (x, y)` for one model, a function of a module.
    """
    if not callable(fit):
        raise TypeError(
            f"`fit` is {fit!r}; expected a function fit(x, y, key) -> params, written in JAX."
        )
    _functions.warn_if_made_anew("fit", fit)
    data = jnp.asarray(ds.x), jnp.asarray(targets_of(ds))
    try:
        # The models are what is cut, and the data what they share.
        return map_rows(_fit_each, (fit, change), data, each)
    except jax.errors.JAXTypeError as error:
        error.add_note(
            f"This came from `fit` ({_functions.name_of(fit)}), which is mapped over models; "
            "expected a function that JAX can trace: loops as jax.lax.scan, no float() or if on "
            "values."
        )
        raise


def _fit_each(static: Any, data: Any, each: Any, point: None) -> Params:
    fit, change = static

    def one(*changes: Array) -> Params:
        return fit(*change(*data, *changes), changes[-1])

    return jax.vmap(one)(*each)


def model_number(params: Params, number: int) -> Params:
    """The parameters of one of the models."""
    return jax.tree.map(lambda leaf: leaf[number], params)
