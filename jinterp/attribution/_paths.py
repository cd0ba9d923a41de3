"""Paths from a baseline to the input, and the rules that integrate along them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinterp import _check
from jinterp._types import Baseline, Inputs
from jinterp.model.score import at_least_float32

Rule = Callable[[int], tuple[np.ndarray, np.ndarray]]


def midpoint(num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The middles of equal intervals."""
    return (np.arange(num_steps) + 0.5) / num_steps, np.full(num_steps, 1 / num_steps)


def gauss_legendre(num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The roots of a Legendre polynomial, exact for polynomials of degree 2n − 1."""
    nodes, weights = np.polynomial.legendre.leggauss(num_steps)
    return (nodes + 1) / 2, weights / 2


RULES: Mapping[str, Rule] = {"midpoint": midpoint, "gauss_legendre": gauss_legendre}


def rule_points(rule: str, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions from 0 to 1 and weights that sum to 1, or a named error."""
    _check.at_least_one("num_steps", num_steps, 32)
    if rule not in RULES:
        raise ValueError(f"`rule` is {rule!r}; expected one of {', '.join(map(repr, RULES))}.")
    return RULES[rule](num_steps)


def baselines_of(baseline: Baseline, x: Inputs) -> list[Inputs]:
    """Each baseline as a pytree like `x`; a list or tuple holds several, unless `x` is one."""
    return [_like(each, x) for each in given_baselines(baseline, x)]


def given_baselines(baseline: Baseline, x: Inputs) -> list[Baseline]:
    """Each baseline as it was given."""
    if isinstance(baseline, list | tuple) and not isinstance(x, list | tuple):
        if not baseline:
            raise ValueError("`baseline` is empty; expected at least one. Try 0.0.")
        return list(baseline)
    return [baseline]


def shared_example(baseline: Baseline, x: Inputs) -> Inputs | None:
    """The one baseline of all examples, without the batch axis; None where each has its own."""
    leaves, treedef = jax.tree.flatten(x)
    given = jax.tree.leaves(baseline)
    given = [jnp.asarray(each) for each in (given * len(leaves) if len(given) == 1 else given)]
    pairs = list(zip(given, leaves, strict=True))
    if any(each.ndim == leaf.ndim and len(each) > 1 for each, leaf in pairs):
        return None
    examples = [
        jnp.broadcast_to(each[0] if each.ndim == leaf.ndim else each, leaf.shape[1:])
        for each, leaf in pairs
    ]
    return jax.tree.unflatten(
        treedef, [each.astype(leaf.dtype) for each, leaf in zip(examples, leaves, strict=True)]
    )


def one_baseline(baseline: Baseline, x: Inputs) -> Inputs:
    """The only baseline, or a named error."""
    found = baselines_of(baseline, x)
    if len(found) > 1:
        raise ValueError(f"`baseline` holds {len(found)}; expected one here. Call it for each.")
    return found[0]


def _like(baseline: Any, x: Inputs) -> Inputs:
    found: Any = jax.tree.structure(baseline)
    expected: Any = jax.tree.structure(x)
    if found == expected:
        return jax.tree.map(_leaf_like, baseline, x)
    if not jax.tree_util.treedef_is_leaf(found):
        raise ValueError(
            f"`baseline` is a {found}; expected a number, or the structure of `x`, {expected}."
        )
    return jax.tree.map(lambda leaf: _leaf_like(baseline, leaf), x)


def _leaf_like(baseline: Any, leaf: Any) -> Any:
    given = _check.array("baseline", baseline)
    baseline = given.astype(leaf.dtype)
    is_known = not isinstance(given, jax.core.Tracer)
    if is_known and leaf.dtype.kind in "iu" and (np.asarray(baseline) != np.asarray(given)).any():
        raise ValueError(
            f"`baseline` holds numbers that are no {leaf.dtype}, which `x` is; expected whole "
            "ones, such as the id of a token."
        )
    whole = leaf.shape[1:] if baseline.ndim == leaf.ndim - 1 else leaf.shape
    fits = baseline.ndim in (0, len(whole)) and all(map(_is_one_or, baseline.shape, whole))
    if not fits:
        raise ValueError(
            f"`baseline` has the shape {baseline.shape}; expected a number, one example "
            f"{leaf.shape[1:]}, or one for each example {leaf.shape}, where an axis may be 1; for "
            "the mean over several, list(rows)."
        )
    missing = leaf.ndim - baseline.ndim
    # A sum, and no broadcast, so that it lies on the devices of the inputs.
    return jnp.zeros_like(leaf) + baseline.reshape((1,) * missing + baseline.shape)


def _is_one_or(size: int, whole: int) -> bool:
    return size in (1, whole)


def matching(baselines: Inputs, x: Inputs) -> Inputs:
    """Examples of the data in the dtypes of the inputs, or a named error."""
    baselines = jax.tree.map(jnp.asarray, baselines)
    found, expected = (jax.tree.map(lambda leaf: leaf.shape[1:], each) for each in (baselines, x))
    if found != expected or _check.num_examples(baselines, "baselines") < 1:
        raise ValueError(
            f"`baselines` hold examples of shape {found}; expected {expected}, those of `x`. "
            "Use baselines[None] for one."
        )
    return jax.tree.map(lambda b, a: b.astype(a.dtype), baselines, x)


def between(baseline: Inputs, x: Inputs, position: Any) -> Inputs:
    """The input a share `position` of the way: b + α(x − b)."""
    return jax.tree.map(lambda b, a: b + position.astype(a.dtype) * (a - b), baseline, x)


def scaled_difference(x: Inputs, baseline: Inputs, slopes: Inputs, weight: Any) -> Inputs:
    """Weight · (x − b) ⊙ slopes, at least float32, in which contributions are added up."""

    def one(a: Any, b: Any, slope: Any) -> Any:
        difference = at_least_float32(a - b)
        dtype = difference.dtype
        return weight.astype(dtype) * difference * slope.astype(dtype)

    return jax.tree.map(one, x, baseline, slopes)


def range_of(leaf: Any) -> Any:
    """The maximum less the minimum of each example, `[batch, 1, ...]`."""
    axes = tuple(range(1, leaf.ndim))
    return leaf.max(axis=axes, keepdims=True) - leaf.min(axis=axes, keepdims=True)


def mean_of(values: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]) / len(leaves), *values)
