"""TCAV: whether a class is sensitive to a concept, and whether chance would be as much."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.special import stdtr

from jinterp import _check
from jinterp._question import answer, ask
from jinterp._text import text_table
from jinterp._trace import warn
from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.attribution._layer import layer_slopes
from jinterp.attribution.concept_vectors import ConceptVectors
from jinterp.model import logit
from jinterp.model.score import at_least_float32


class Tcav(NamedTuple):
    """How sensitive a score is to concepts, arrays `[concepts]`.

    Attributes:
        concepts: their names.
        scores: the share of the examples whose score rises towards the concept, from 0 to 1, mean
            over the random sets.
        deviations: of the share over the random sets (ddof 1).
        sensitivities: ∂s/∂a · v times the separation of the concept from random examples along v,
            mean over examples and random sets: how far the score moves on the way to the concept,
            to first order, in units of the score.
        p_values: of a sensitivity as far from 0, if the concept were one more random set;
            two-sided. Of several concepts compare with 0.05 divided by their number.
        accuracies: of the vectors, mean over the random sets.
    """

    concepts: tuple[str, ...]
    scores: np.ndarray
    deviations: np.ndarray
    sensitivities: np.ndarray
    p_values: np.ndarray
    accuracies: np.ndarray

    def __str__(self) -> str:
        """A row for each concept."""
        header = ["", "TCAV", "±", "sensitivity", "p", "accuracy"]
        return text_table(header, [[name, *_cells(row)] for name, *row in zip(*self, strict=True)])


def tcav(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    vectors: ConceptVectors,
    target: Target = None,
    *,
    score: Score = logit,
) -> Tcav:
    """The share of examples whose score rises in the direction of a concept, and its p-value.

    |{x : ∂s(x)/∂a · v > 0}| / |x| for each concept vector v at the layer's output a, averaged over
    the random sets.

    The p-value is of the sensitivity, d. Random sets play the concept, too, each against the
    others: with R of them and their sensitivities d_j, whose mean is 0,

        t = d / (√(1 + 1/R) · (1 − 1/R) · √(Σ d_j² / (R − 1)))

    has R − 1 degrees of freedom: whether one more set drawn at random would be as far out.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: examples of the class `[batch, ...]`, of any dtype.
        vectors: what `concept_vectors` returned for the same model.
        target: the class; None is the one predicted for each example.
        score: which number of the logits, `score(logits, target) -> [batch]`.

    Returns:
        Scores, deviations, sensitivities, p-values and accuracies. Examples whose score does not
        depend on the layer are announced.

    Raises:
        ValueError: as `gradient` does; there are several targets an example; the layer has another
            shape than the vectors.

    >>> import jax, jax.numpy as jnp, numpy as np, jinterp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         x = x @ params
    ...     return x
    >>> rng = np.random.default_rng(0)
    >>> random = [rng.normal(size=(30, 2)).astype(np.float32) for _ in range(8)]
    >>> shifted = {"to the right": random[0] + np.array([9, 0], np.float32)}
    >>> model = apply_fn, jnp.eye(2)
    >>> vectors = jinterp.concept_vectors(*model, shifted, random, layer="hidden")
    >>> print(tcav(*model, random[1], vectors, 0).scores)
    [1.]

    Source: Kim et al. 2018, equation 2. Its t-test takes the scores of one concept against R random
    sets as independent. They share the concept's examples, so that of random concepts far more
    come out as significant than the test says; ours takes the concept as one draw.
    """
    question = ask(apply_fn, params, x, target, score, differentiable=False)
    _check.one_target(question.target)
    num_concepts, num_sets = vectors.accuracies.shape
    shape = vectors.random_vectors.shape[1:]
    both = np.concatenate([vectors.vectors.reshape(-1, *shape), vectors.random_vectors])
    found = answer(_derivatives, question, vectors.layer, points=jnp.asarray(both)[None])
    derivatives = np.asarray(found, np.float64)
    if num := int((derivatives == 0).all(axis=1).sum()):
        warn(
            f"`tcav`: the score of {num} of {len(derivatives)} examples does not depend on "
            f"{vectors.layer!r}; they count as not rising. Use another layer or score."
        )
    own, others = np.split(derivatives, [num_concepts * num_sets], axis=1)
    shares = (own > 0).mean(axis=0).reshape(num_concepts, num_sets)
    slopes = own.mean(axis=0).reshape(num_concepts, num_sets)
    sensitivities = (slopes * vectors.separations).mean(axis=1)
    of_pairs = others.mean(axis=0) * vectors.random_separations
    return Tcav(
        vectors.concepts,
        shares.mean(axis=1),
        shares.std(axis=1, ddof=1),
        sensitivities,
        _p_values(sensitivities, of_pairs, vectors.pairs, num_sets),
        vectors.accuracies.mean(axis=1),
    )


def _derivatives(static: Any, params: Params, rows: Any, vectors: Array) -> Array:
    """`[batch, vectors]`."""
    apply_fn, score, layer = static
    x, target, _ = rows
    slopes = layer_slopes(apply_fn, score, layer, params, x, target).slopes
    if jnp.shape(slopes)[1:] != vectors.shape[1:]:
        raise ValueError(
            f"the layer {layer!r} returns {jax.tree.map(jnp.shape, slopes)} for these examples; "
            f"`vectors` are of shape {vectors.shape[1:]}. Make them with the same model."
        )
    flat = at_least_float32(slopes.reshape(len(slopes), -1))
    directions = vectors.reshape(len(vectors), -1).astype(flat.dtype)
    return jnp.matmul(flat, directions.T, precision="highest")


def _p_values(own: np.ndarray, of_pairs: np.ndarray, pairs: np.ndarray, num: int) -> np.ndarray:
    """Two-sided, from the sensitivities of concepts and of pairs of random sets."""
    between = np.zeros((num, num))
    between[pairs[:, 0], pairs[:, 1]] = of_pairs
    as_concept = (between - between.T).sum(axis=1) / (num - 1)
    spread = (1 - 1 / num) * np.sqrt((as_concept**2).sum() / (num - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = own / (np.sqrt(1 + 1 / num) * spread)
    return 2 * stdtr(num - 1, -np.abs(statistic))


def _cells(row: list[Any]) -> list[str]:
    score, deviation, sensitivity, p_value, accuracy = row
    return [
        f"{score:.2f}",
        f"{deviation:.2f}",
        f"{sensitivity:.3g}",
        f"{p_value:.2g}",
        f"{accuracy:.2f}",
    ]
