"""Several classes at once."""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jinterp import _check
from jinterp._types import ApplyFn, Explainer, Inputs, Params, Target


def each_class(explain: Explainer, targets: Sequence[int] | None = None) -> Explainer:
    """An explainer of several classes for every example, which share the forward pass.

    It is `explain` with `target` `[batch, targets]`.

    Args:
        explain: any explainer that takes several targets an example.
        targets: the classes; None takes all.

    Returns:
        An explainer with the arguments of `explain` and values `[batch, targets, ...]`. Its own
        `target` is without effect; taken so that explainers can be exchanged.

    Raises:
        ValueError: there is no such class, or none at all.

    >>> import jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> explain = each_class(jinterp.gradient)
    >>> explain(apply_fn, jnp.array([[2.0, 5.0], [1.0, 4.0]]), jnp.ones((1, 2))).tolist()
    [[[2.0, 1.0], [5.0, 4.0]]]
    """

    @functools.wraps(explain)
    def explain_each(
        apply_fn: ApplyFn, params: Params, x: Inputs, target: Target = None, **keywords: Any
    ) -> Any:
        classes = targets
        if classes is None:
            classes = range(_check.outputs_of(apply_fn, params, x).shape[-1])
        if not len(classes):
            raise ValueError("`targets` is empty; expected classes, or None for all of them.")
        rows = jnp.broadcast_to(
            jnp.asarray(list(classes), jnp.int32)[None], (_check.num_examples(x), len(classes))
        )
        return explain(apply_fn, params, x, rows, **keywords)

    return explain_each
