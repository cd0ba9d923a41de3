"""The vocabulary that every room shares."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Params = Any
"""An opaque pytree: Linen variables, NNX state, a list of matrices."""

Inputs = Any
"""An array `[batch, ...]`, or a pytree of arrays that share the leading axis."""

Logits = Float[Array, "batch classes"]

MapLogits = Float[Array, "batch *space classes"]
"""Logits at every pixel; without axes in space those of one label an example."""

LabelMaps = Int[Array, "batch *space"]

FloatMaps = Float[Array, "batch *space"]

Masks = Bool[Array, "batch *space"]

ApplyFn = Callable[[Params, Inputs], Array]
"""The model: `apply_fn(params, x) -> logits`."""

Target = int | Int[Array, "*batch"] | Int[np.ndarray, "*batch"] | None
"""What to explain: None (the predicted class), one class for all, one for each example `[batch]`,
or, for explainers, several for each `[batch, targets]`."""

Score = Callable[[Logits, Target], Float[Array, " batch"]]
"""In which number to explain: `score(logits, target) -> [batch]`."""

Baseline = Any
"""Where a path starts: a number, one example, one for each, or a list of such."""

Explainer = Callable[..., Any]
"""`explain(apply_fn, params, x, target=None, *, ...) -> values`, with the leading axis of `x`."""

PreprocessFn = Callable[[Inputs], Inputs]
"""Runs on the device, inside the compiled step, between the data and the model."""


LossFn = Callable[[Array, Array], Array]
"""`loss_fn(logits, targets) -> [batch]`, or elementwise `[batch, ...]` as optax's losses are."""

BatchLossFn = Callable[[Params, Any], Array]
"""`loss_fn(params, batch) -> scalar`: what training makes small, for a batch of any structure."""

EitherArray = Array | np.ndarray
"""Where a function takes either."""

AnyArray = Any
"""A JAX array inside a compiled function, a NumPy array on the host."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """One padded, masked batch.

    Attributes:
        x: the inputs, an array `[batch, ...]` or a pytree of them, in the dtype they are stored in.
        targets: the labels, `[batch]` integers or `[batch, classes]`.
        mask: `[batch]`, False where an example is padding.
        indices: `[batch]` int32, each example's position in the dataset.
    """

    x: Inputs
    targets: AnyArray
    mask: AnyArray
    indices: AnyArray
