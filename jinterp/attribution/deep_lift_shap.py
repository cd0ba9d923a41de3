"""DeepLIFT against examples of the data."""

from typing import Any

import jax

from jinterp._question import as_inputs, ask, report_blank, with_predictions
from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.attribution._paths import matching
from jinterp.attribution.deep_lift import check_rule, from_shared
from jinterp.model import logit


def deep_lift_shap(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    baselines: Inputs,
    score: Score = logit,
    rule: str = "rescale",
) -> Any:
    """The mean of `deep_lift` over baselines from data, which approximates Shapley values.

    Its sum is s(x) − mean s(b), exactly. Nothing is sampled: every baseline is used for every
    example, so cost and quality grow with the number that is given.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        baselines: examples of the data, `[num_baselines, ...]`, in the structure of `x`.
        score: which number of the logits, `score(logits, target) -> [batch]`.
        rule: "rescale" or "reveal_cancel", as in `deep_lift`.

    Returns:
        As `x` in shape and dtype, signed, in units of the score.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: as `gradient` does, `baselines` have another shape than the examples, or there
            is no such rule.
        NotImplementedError: as `deep_lift` does.

    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> baselines, x = jnp.array([[0.0, 0.0], [2.0, 0.0]]), jnp.array([[3.0, 1.0]])
    >>> deep_lift_shap(apply_fn, jnp.ones((2, 1)), x, 0, baselines=baselines).tolist()
    [[2.0, 1.0]]

    Source: Lundberg and Lee 2017, section 4.2.
    """
    check_rule(rule)
    question = with_predictions(ask(apply_fn, params, x, target, score))
    drawn = matching(baselines, question.x)
    num_baselines = len(jax.tree.leaves(drawn)[0])
    total = from_shared(question, rule, drawn)
    values = as_inputs(jax.tree.map(lambda leaf: leaf / num_baselines, total), question.x)
    report_blank(values, "deep_lift_shap", "the score is that of every baseline.")
    return values
