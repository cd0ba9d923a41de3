"""A model that is no JAX function, asked by calling back into Python."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._functions import name_of
from jinterp._trace import warn
from jinterp._types import Inputs, Params
from jinterp.model.adapt import Model
from jinterp.model.batchable import Leaves, transformable

_NO_GRADIENT = (
    "a gradient was asked of a model made by jinterp.from_numpy, which JAX does not look into; "
    "expected what needs outputs alone, such as permutation_importance, partial_dependence, ale or "
    "evaluate. For gradients give the model itself as a JAX function."
)


@dataclasses.dataclass(frozen=True)
class _NumpyApply:
    predict: Callable[[Any], Any]
    probabilities: bool

    def __call__(self, params: Params, x: Inputs) -> Array:
        dtype = jax.dtypes.canonicalize_dtype(np.float64)
        shape = self.row_shape(x.shape[1:], x.dtype)
        call = transformable(functools.partial(self.call_back, shape, dtype), _NO_GRADIENT)
        return call([], [x])[0]

    def call_back(self, shape: tuple[int, ...], dtype: Any, shared: Leaves, rows: Leaves) -> Any:
        x = rows[0]
        result = jax.ShapeDtypeStruct((x.shape[0], *shape), dtype)
        return [jax.pure_callback(functools.partial(self.outputs, dtype), result, x)]

    def outputs(self, dtype: Any, x: Any) -> np.ndarray:
        found = np.asarray(self.predict(np.asarray(x)), dtype)
        if not self.probabilities:
            return found
        return np.log(np.maximum(found, np.finfo(dtype).tiny))

    def row_shape(self, shape: tuple[int, ...], dtype: Any) -> tuple[int, ...]:
        """The shape of a row of outputs, found by a call with two rows of zeros."""
        found = np.asarray(self.predict(np.zeros((2, *shape), dtype)))
        name = name_of(self.predict)
        if found.dtype.kind != "f":
            raise TypeError(
                f"`predict` ({name}) returned {found.dtype}; expected floating-point outputs, not "
                "classes. For a classifier of scikit-learn: "
                "jinterp.from_numpy(classifier.predict_proba, probabilities=True)."
            )
        if found.shape[:1] != (2,) or found.ndim > 2:
            raise ValueError(
                f"`predict` ({name}) returned the shape {found.shape} for 2 rows; expected [rows] "
                "or [rows, outputs]."
            )
        if self.probabilities and not _check.sum_to_one(found):
            raise ValueError(
                f"`probabilities` is True, and the outputs of `predict` ({name}) for two rows of "
                f"zeros are {found.tolist()}; expected rows from 0 to 1 that sum to 1. Pass "
                "probabilities=False."
            )
        if _check.sum_to_one(found) and not self.probabilities:
            warn(
                f"the outputs of `predict` ({name}) for two rows of zeros are {found.tolist()}, "
                "which look like probabilities and are taken as logits. If they are, pass "
                "probabilities=True."
            )
        return found.shape[1:]


def from_numpy(predict: Callable[[Any], Any], *, probabilities: bool = False) -> Model:
    """A NumPy function of rows, such as a fitted scikit-learn model's, as a `Model`.

    It works wherever no gradient is taken. Each program calls back into Python, on the CPU.

    Args:
        predict: `predict(x) -> outputs`, `[rows]` or `[rows, outputs]` floats, such as
            `regressor.predict`; called with two rows of zeros to find the shape.
        probabilities: whether the outputs are probabilities, as `classifier.predict_proba` gives
            them. The model's outputs are then their logarithms, log max(p, tiny), whose softmax
            they are: every function of jinterp takes a classifier's outputs as logits.

    Returns:
        A `Model` without parameters. Equal functions give equal models, so that making it again
        compiles nothing again.

    Raises:
        TypeError: `predict` cannot be called; or, once the model is asked, its outputs are no
            floating-point numbers.
        ValueError: once the model is asked, `probabilities` is True and the outputs are none; or
            a gradient is asked for.

    >>> import jax.numpy as jnp, numpy as np
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> tree = DecisionTreeClassifier().fit(np.array([[0.0], [1.0]]), np.array([0, 1]))
    >>> model = from_numpy(tree.predict_proba, probabilities=True)
    >>> model.apply_fn(model.params, jnp.array([[0.9]])).argmax(1).tolist()
    [1]
    """
    if not callable(predict):
        raise TypeError(
            f"`predict` is a {type(predict).__name__}; expected a function of rows. For a model of "
            "scikit-learn give its method: regressor.predict, or classifier.predict_proba with "
            "probabilities=True."
        )
    return Model(_NumpyApply(predict, probabilities), None)
