"""What a score loses without each concept."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp import _check
from jinterp._question import answer, ask, scores_of, with_predictions
from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.attribution._layer import activation_of
from jinterp.attribution.at_layer import FromLayer
from jinterp.attribution.concept_factors import ConceptFactors
from jinterp.attribution.concept_maps import concept_maps
from jinterp.model import logit
from jinterp.stream.rows import WithRows, map_rows


def concept_importance(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    factors: ConceptFactors,
    target: Target = None,
    *,
    score: Score = logit,
) -> Float[Array, "batch concepts"]:
    """What the score loses when a concept is taken out of a layer, for each concept.

    s(A) − s(max(A − U_k W_k, 0)), with U the concept maps of the example and W the bank: what the
    concepts do not explain of A stays, and so do the other concepts.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: examples `[batch, ...]`, as the model takes them.
        factors: what `concept_factors` returned for the same model.
        target: one class an example, as in `gradient`; None is the one predicted for `x`.
        score: which number of the logits, `score(logits, target) -> [batch]`.

    Returns:
        `[batch, concepts]`, signed, in units of the score; the mean over the examples ranks the
        concepts of a class. It costs the layers above, once a concept. Two concepts that can
        replace each other both look useless.

    Raises:
        ValueError: as `concept_maps` and `gradient` do; there are several targets an example.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         x = jax.nn.relu(x)
    ...     return x @ params
    >>> model = apply_fn, jnp.array([[1.0], [0], [0]])
    >>> x = jnp.array([[3.0, 0, 0], [1, 2, 2], [0, 1, 1], [2, 0, 0]])
    >>> factors = jinterp.concept_factors(
    ...     *model, x, layer="hidden", num_concepts=2, key=jax.random.key(0)
    ... )
    >>> lost = concept_importance(*model, x[:1], factors, 0)
    >>> print(abs(lost.max() - 3) < 0.1, abs(lost.min()) < 0.1)
    True True

    Source: as in Fel et al. 2023 (CRAFT), section 3.3, by taking out one concept at a time; their
    total Sobol indices also count what concepts do together, from random masks over all of them.
    """
    question = with_predictions(ask(apply_fn, params, x, target, score, differentiable=False))
    _check.one_target(question.target)
    maps = jnp.asarray(concept_maps(apply_fn, params, x, factors))
    activation = map_rows(_activation, (question.apply_fn, factors.layer), params, question.x)
    head = question._replace(
        apply_fn=FromLayer(question.apply_fn, factors.layer),
        params=WithRows(question.params, question.x),
        x=activation,
    )
    without = answer(
        _without,
        head,
        factors.channel_axis,
        rows=maps,
        points=(jnp.arange(len(factors.bank)), jnp.asarray(factors.bank)),
        kind="stack",
    )
    return scores_of(question)[:, None] - without


def _activation(static: Any, params: Params, x: Inputs, point: None) -> Array:
    apply_fn, layer = static
    return activation_of(apply_fn, layer, params, x)


def _without(static: Any, params: Params, rows: Any, point: Any) -> Array:
    """The score with one concept taken out of the layer."""
    apply_fn, score, channel_axis = static
    activation, target, maps = rows
    number, direction = point
    own = jnp.take(maps, number, axis=-1)[..., None]
    part = own * direction.reshape(*[1] * (own.ndim - 1), -1)
    part = jnp.moveaxis(part, -1, channel_axis).astype(activation.dtype)
    return score(apply_fn(params, jax.nn.relu(activation - part)), target)
