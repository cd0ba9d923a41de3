"""Any explainer at a layer."""

import dataclasses
import functools
from typing import Any

import jax
from jaxtyping import Array

from jinterp._question import ask, default_of
from jinterp._types import ApplyFn, Explainer, Inputs, Params, Target
from jinterp.attribution._layer import activation_of
from jinterp.attribution._paths import baselines_of
from jinterp.model import logit
from jinterp.model.tap import open_layers
from jinterp.stream.rows import WithRows, map_rows


def at_layer(explain: Explainer, layer: str) -> Explainer:
    """An explainer of a layer's output instead of the input.

    `at_layer(input_x_gradient, layer)` is layer gradient × activation, and
    `at_layer(integrated_gradients, layer)` integrates on the straight line between the layer's
    outputs for the baseline and for the input. The inputs may be of any dtype, such as the tokens
    below an embedding.

    Args:
        explain: any explainer, `explain(apply_fn, params, x, target, ...)`.
        layer: a name that `layers` lists.

    Returns:
        An explainer with the arguments of `explain`. Its values have the shape of the layer's
        output. A `baseline` or `baselines` is still an input: the model takes it to the layer.

    Raises:
        ValueError: when called, as `tap` does.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         x = x @ params
    ...     return x ** 2
    >>> explain = at_layer(jinterp.input_x_gradient, "hidden")
    >>> explain(apply_fn, jnp.eye(2), jnp.array([[3.0, 1.0]]), 0).tolist()
    [[18.0, 0.0]]

    Source: as Captum's LayerGradientXActivation and LayerIntegratedGradients.
    """

    @functools.wraps(explain)
    def explain_layer(
        apply_fn: ApplyFn, params: Params, x: Inputs, target: Target = None, **keywords: Any
    ) -> Any:
        score = keywords.get("score", default_of(explain, "score", logit))
        question = ask(apply_fn, params, x, target, score, differentiable=False)

        def to_layer(inputs: Inputs) -> Any:
            return map_rows(_activation, (apply_fn, layer), params, inputs)

        for name, value in _baselines(explain, keywords, question.x).items():
            keywords[name] = [to_layer(each) for each in value]
        if "baselines" in keywords:
            (keywords["baselines"],) = keywords["baselines"]
        head = FromLayer(apply_fn, layer)
        rows = WithRows(params, question.x)
        return explain(head, rows, to_layer(question.x), target=question.target, **keywords)

    return explain_layer


def _baselines(explain: Explainer, keywords: dict[str, Any], x: Inputs) -> dict[str, list[Inputs]]:
    """The baselines among the keywords, as inputs; the explainer's default where none is given."""
    found = {}
    baseline = keywords.get("baseline", default_of(explain, "baseline", None))
    if baseline is not None:
        found["baseline"] = baselines_of(baseline, x)
    baselines = keywords.get("baselines", default_of(explain, "baselines", None))
    if baselines is not None:
        found["baselines"] = [jax.tree.map(jax.numpy.asarray, baselines)]
    return found


@dataclasses.dataclass(frozen=True)
class FromLayer:
    """A model from a layer on: `apply_fn(WithRows(params, x), activation) -> logits`.

    What reaches the logits around the layer is computed from x.
    """

    apply_fn: ApplyFn
    layer: str

    def __call__(self, params: WithRows, activation: Any) -> Array:
        opened = open_layers(self.apply_fn, params.params, params.rows, (self.layer,))
        return opened.replaced((activation,), params.params, params.rows)


def _activation(static: Any, params: Params, x: Inputs, point: None) -> Any:
    apply_fn, layer = static
    return activation_of(apply_fn, layer, params, x)
