"""An explainer called on one model after another, for the same classes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jinterp._functions import name_of, needs_nothing_more
from jinterp._question import Question, ask, default_of, with_predictions
from jinterp._types import ApplyFn, Explainer, Inputs, Params, Target
from jinterp.model import logit


class Explained(NamedTuple):
    """What is explained, and by what.

    Attributes:
        explain: the explainer.
        question: the model in the explainer's score, and the classes: those predicted for the
            inputs where none were given.
    """

    explain: Explainer
    question: Question

    def __call__(
        self, apply_fn: ApplyFn, params: Params, x: Inputs, target: Any, *, like: Any = None
    ) -> Any:
        """The values, arrays `[batch, ...]` of floating point, or a named error.

        Args:
            apply_fn: the model, or what takes its place.
            params: its parameters.
            x: the inputs.
            target: one class an example.
            like: values in whose shapes they must be.
        """
        values = jax.tree.map(jnp.asarray, self.explain(apply_fn, params, x, target))
        num = self.question.num_examples
        leaves = jax.tree.leaves(values)
        fits = [leaf.shape[:1] == (num,) and leaf.size and _is_float(leaf) for leaf in leaves]
        if not leaves or not all(fits):
            raise ValueError(
                f"`explain` ({name_of(self.explain)}) returned {_listed(values)} for {num} "
                "examples; expected arrays [batch, ...] of floating point. Of an explainer that "
                "returns more take the values: def explain(*arguments): return "
                "inner(*arguments).values."
            )
        if like is not None and jax.tree.map(jnp.shape, values) != jax.tree.map(jnp.shape, like):
            raise ValueError(
                f"`explain` ({name_of(self.explain)}) returned {_listed(values)}, and before "
                f"{_listed(like)}; expected the same shapes for every model of one structure."
            )
        return values


def explained(
    explain: Explainer, apply_fn: ApplyFn, params: Params, x: Inputs, target: Target
) -> Explained:
    """What is explained, checked."""
    needs_nothing_more(explain)
    score = default_of(explain, "score", logit)
    question = with_predictions(ask(apply_fn, params, x, target, score, differentiable=False))
    return Explained(explain, question)


def _listed(values: Any) -> str:
    leaves = jax.tree.leaves(values)
    return ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves) or "nothing"


def _is_float(leaf: jax.Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))
