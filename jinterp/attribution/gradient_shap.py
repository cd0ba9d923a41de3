"""GradientSHAP: expected gradients with noise along the paths."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jinterp import _check
from jinterp._question import answer, as_inputs, ask, report_blank, with_predictions
from jinterp._types import ApplyFn, Inputs, Params, Score, Target
from jinterp.attribution._paths import matching
from jinterp.attribution.expected_gradients import contribution_at, drawn
from jinterp.model import logit


def gradient_shap(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    baselines: Inputs,
    key: jax.Array,
    num_samples: int = 100,
    noise: int | float = 0.15,
    score: Score = logit,
) -> Any:
    """The mean of (x − b) ⊙ ∇s(b + α(x − b) + ε), with b from data, α ~ U(0, 1) and noise ε.

    It is `expected_gradients` of a score smoothed by ε ~ N(0, (noise · range)²), and near the
    Shapley values against these baselines where features hardly interact. All examples share the
    draws, so that no value depends on the batch an example stands in.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]` or a pytree of them, floating point.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        baselines: examples of the data, `[num_baselines, ...]`, in the structure of `x`.
        key: for the draws.
        num_samples: gradients for each example.
        noise: the deviation as a share of the range (maximum less minimum) of each example, in
            each array of `x`, as in `smooth`. 0 gives `expected_gradients`.
        score: which number of the logits, `score(logits, target) -> [batch]`.

    Returns:
        As `x` in shape and dtype, signed, in units of the score; with several targets
        `[batch, targets, ...]`. It is a sampled estimate; see `with_error`.

    Raises:
        TypeError: `x` is not floating point, or `key` is missing.
        ValueError: as `expected_gradients` does, or `noise` is negative.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> zero, x = jnp.zeros((1, 2)), jnp.array([[3.0, 1.0]])
    >>> values = gradient_shap(
    ...     apply_fn, jnp.ones((2, 1)), x, 0, baselines=zero, key=jax.random.key(0), num_samples=4
    ... )
    >>> values.tolist()
    [[3.0, 1.0]]

    Source: as Captum's GradientShap, which adds its noise, of an absolute deviation and 0 by
    default, to `x` and so multiplies by x + ε − b; here the values of a linear model are exact.
    """
    _check.at_least_one("num_samples", num_samples, 100)
    _check.is_key(key)
    if not noise >= 0:
        raise ValueError(f"`noise` is {noise}; expected a share of the range, such as 0.15.")
    question = with_predictions(ask(apply_fn, params, x, target, score))
    paths = drawn(matching(baselines, question.x), key, num_samples)
    points = *paths, _noise(jax.random.fold_in(key, 1), question.x, num_samples, noise)
    values = as_inputs(answer(contribution_at, question, num_samples, points=points), question.x)
    report_blank(values, "gradient_shap", "the score does not change along the paths.")
    return values


@functools.partial(jax.jit, static_argnames="num_samples")
def _noise(key: jax.Array, x: Inputs, num_samples: int, noise: Any) -> Inputs:
    """In shares of the range, `[samples, ...]`."""
    leaves, treedef = jax.tree.flatten(x)
    keys = jax.random.split(key, len(leaves))
    found = [
        jnp.asarray(noise).astype(jnp.float32)
        * jax.random.normal(own, (num_samples, *leaf.shape[1:]), jnp.float32)
        for own, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, found)
