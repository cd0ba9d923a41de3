"""The random-logit check: whether the values of another class are others."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jinterp import _check
from jinterp._question import Question
from jinterp._types import ApplyFn, Explainer, Inputs, Params, Target
from jinterp.faithfulness._explained import explained
from jinterp.faithfulness._similarity import prepared, similarities


class RandomLogitCheck(NamedTuple):
    """How alike the values of a class and of another are, arrays `[batch]`.

    From −1 to 1, and 1 for values that are the same for both. NaN where values are the same
    everywhere, or not finite.

    Attributes:
        targets: the class that was explained.
        others: the class drawn.
        rank_correlations: Spearman's, of the values.
        absolute_rank_correlations: of their sizes.
        ssims: the structural similarity of values with two axes in space; NaN of others.
    """

    targets: Int[Array, " batch"]
    others: Int[Array, " batch"]
    rank_correlations: Float[Array, " batch"]
    absolute_rank_correlations: Float[Array, " batch"]
    ssims: Float[Array, " batch"]


def random_logit_check(
    explain: Explainer,
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    key: Array,
    channel_axis: int = -1,
) -> RandomLogitCheck:
    """How alike the values for a class and for another one are: ρ(φ_t, φ_u) with u ≠ t.

    Values of about 1 are not those of the class, whatever they show. Low ones prove nothing more
    than that the class counts. Two classes that share their features are alike in truth, too.

    One other class is drawn for each class, and is that of all examples of the class, so that no
    value depends on the batch an example stands in; for others take several keys.

    Args:
        explain: the explainer, as in `randomization_check`.
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]`.
        target: the class to explain; None is the one predicted for `x`.
        key: for the other classes.
        channel_axis: of values with two axes in space, whose channels are added for the
            structural similarity.

    Returns:
        A `RandomLogitCheck`.

    Raises:
        TypeError: `key` is missing or no key; `explain` needs another keyword.
        ValueError: the model has a single output, or no classes; `explain` returns no arrays
            `[batch, ...]`; there are several targets an example.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> model = apply_fn, jnp.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    >>> key = jax.random.key(0)
    >>> found = random_logit_check(jinterp.gradient, *model, jnp.ones((1, 3)), 0, key=key)
    >>> found.others.tolist(), found.rank_correlations.round(3).tolist()
    ([1], [-1.0])

    Source: Sixt, Granz and Landgraf 2020. There a class is drawn for each example.
    """
    _check.is_key(key)
    asked = explained(explain, apply_fn, params, x, target)
    num_classes = _num_classes(asked.question)
    x, target = asked.question.x, jnp.asarray(asked.question.target)
    _check.one_target(target)
    others = _others(target, key, num_classes)
    values = asked(apply_fn, params, x, target)
    of_others = asked(apply_fn, params, x, others, like=values)
    both = [prepared(each, x, channel_axis) for each in (values, of_others)]
    return RandomLogitCheck(target, others, *similarities(*both))


def _num_classes(question: Question) -> int:
    outputs = _check.outputs_of(question.apply_fn, question.params, question.x)
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise ValueError(
            f"`apply_fn` returned the shape {outputs.shape}; expected logits [batch, classes] of "
            "two classes or more, one of which is drawn. For a single output use "
            "jinterp.randomization_check."
        )
    return outputs.shape[1]


def _others(target: Array, key: Array, num_classes: int) -> Array:
    """For each class another one, each as likely."""
    steps = jax.random.randint(key, (num_classes,), 1, num_classes, jnp.int32)
    classes = jnp.arange(num_classes, dtype=jnp.int32)
    others = (classes + steps) % num_classes
    # A sum, since what lies on explicit axes of a mesh cannot index.
    return jnp.where(target[:, None] == classes[None], others[None], 0).sum(axis=1, dtype=jnp.int32)
