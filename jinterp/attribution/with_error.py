"""The standard error of what is sampled: any explainer repeated with other keys."""

import functools
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from scipy.special import stdtrit

from jinterp import _check
from jinterp._functions import name_of
from jinterp._question import as_inputs, default_of
from jinterp._types import ApplyFn, Explainer, Inputs, Params, Target
from jinterp.attribution._moments import moments_of


class Estimate(NamedTuple):
    """Values that were sampled, and how far off they are.

    Attributes:
        values: the mean of the repeats.
        errors: the standard error of that mean, in the structure of the values.
        num_repeats: how many there were.
    """

    values: Any
    errors: Any
    num_repeats: int

    def interval(self, confidence: float = 0.95) -> tuple[Any, Any]:
        """The ends of intervals that hold what is estimated with this probability, one by one.

        values ∓ t · errors, with t of Student's distribution with num_repeats − 1 degrees of
        freedom.

        Args:
            confidence: more than 0, less than 1.

        Returns:
            The lower and the upper ends, in the structure of the values.

        Raises:
            ValueError: `confidence` is none.
        """
        if not 0 < confidence < 1:
            raise ValueError(
                f"`confidence` is {confidence}; expected more than 0 and less than 1. Try 0.95."
            )
        quantile = float(stdtrit(int(self.num_repeats) - 1, (1 + confidence) / 2))

        def end(sign: int) -> Any:
            return jax.tree.map(
                lambda value, error: value + jnp.asarray(sign * quantile, error.dtype) * error,
                self.values,
                self.errors,
            )

        return end(-1), end(1)


def with_error(explain: Explainer, *, num_repeats: int = 10) -> Explainer:
    """An explainer that samples, with the standard error of its values.

    It is called once with each of `num_repeats` keys; the values are the mean v̄ of what it returns,
    the errors √(Σ (v − v̄)² / (n − 1) / n). This holds however the draws of one call depend on each
    other: stratified, in pairs, or in a regression. It costs `num_repeats` times as much: divide
    `num_samples` by it, and the values are about as good as those of one call. What all calls miss
    alike, the bias of a method with few samples, no error shows.

    Args:
        explain: an explainer that takes a `key`.
        num_repeats: how often it is called, at least 2; intervals are shorter with 10 than with 5,
            and hardly longer than with 100.

    Returns:
        An explainer with the arguments of `explain` that returns an `Estimate`.

    Raises:
        TypeError: `explain` takes no `key`; when called, `key` is missing.
        ValueError: `num_repeats` is less than 2.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x ** 3
    >>> explain = with_error(jinterp.expected_gradients)
    >>> x = jnp.array([[2.0]])
    >>> found = explain(
    ...     apply_fn, None, x, 0, baselines=0 * x, key=jax.random.key(0), num_samples=10
    ... )
    >>> low, high = found.interval()
    >>> bool(low[0, 0] <= 8 <= high[0, 0])
    True

    Source: as batch means; Student 1908.
    """
    if "key" not in inspect.signature(explain).parameters:
        raise TypeError(
            f"`explain` ({name_of(explain)}) takes no `key`: it does not sample, so its values "
            "have no standard error. Expected an explainer such as jinterp.kernel_shap."
        )
    _check.at_least_one("num_repeats", num_repeats, 10)
    if num_repeats < 2:
        raise ValueError(f"`num_repeats` is {num_repeats}; expected at least 2. Try 10.")

    @functools.wraps(explain)
    def explain_with_error(
        apply_fn: ApplyFn, params: Params, x: Inputs, target: Target = None, **keywords: Any
    ) -> Estimate:
        key = keywords.get("key", default_of(explain, "key", None))
        _check.is_key(key)
        keys = jax.random.split(key, (num_repeats, 1))

        def sample(some: jax.Array) -> Any:
            return explain(apply_fn, params, x, target, **{**keywords, "key": some[0]})

        first = sample(keys[0])
        moments = moments_of(first, sample, keys, x)
        errors = jax.tree.map(
            lambda leaf: jnp.sqrt(leaf / jnp.asarray(num_repeats, leaf.dtype)), moments.variance(1)
        )
        return Estimate(as_inputs(moments.mean, first), as_inputs(errors, first), num_repeats)

    return explain_with_error
