"""Problems whose truth is known: models written down, and what they look at."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jinterp import _check
from jinterp._types import ApplyFn, Params
from jinterp.model import Model

_SIDE, _PATCH = 16, 4


class Problem(NamedTuple):
    """A model, inputs, and where the truth lies.

    Attributes:
        model: `(apply_fn, params)`.
        x: `[examples, ...]` float32.
        targets: `[examples]`, the class that the model predicts.
        masks: `[examples, *space]` or `[examples, features]`, True for what the score of that
            class depends on.
    """

    model: Model
    x: Float[np.ndarray, "examples ..."]
    targets: Int[np.ndarray, " examples"]
    masks: Bool[np.ndarray, "examples ..."]


def planted_problems(key: jax.Array, num_examples: int = 64) -> dict[str, Problem]:
    """Models that are no networks but formulas, so that what they look at is no guess.

    - `patch`: noise with a square of 4 × 4, bright or dark, anywhere. The score of a class is
      five times the largest mean over a window, or the smallest one's negative. The mask is the
      square.
    - `blob`: noise with a Gaussian, above or below it. The scores are a soft maximum of the
      correlation with the Gaussian less its mean. The mask is within two deviations of the centre.
    - `additive`: Σᵢ aᵢ sin(bᵢ xᵢ) + cᵢ xᵢ² of the first 6 of 12 features, which are the mask.
    - `xor`: whether two features have the same sign, x₀ x₁, among 8. Neither says anything alone.
    - `irrelevant`: linear in 5 of 20 features; the others are ten times as large.

    Args:
        key: for the inputs and the coefficients.
        num_examples: of each.

    Returns:
        The problems by their names.

    >>> import jax
    >>> for name, problem in planted_problems(jax.random.key(0), 8).items():
    ...     print(name, problem.x.shape, problem.masks[0].sum())
    patch (8, 16, 16, 1) 16
    blob (8, 16, 16, 1) 37
    additive (8, 12) 6
    xor (8, 8) 2
    irrelevant (8, 20) 5

    Source: after the synthetic data of Kim et al. 2018 (patches), Chen et al. 2018 (additive and
    XOR) and Arras, Osman and Samek 2022 (masks of what matters alone).
    """
    _check.is_key(key)
    _check.at_least_one("num_examples", num_examples, 64)
    makers: dict[str, Callable[[np.random.Generator, int], Problem]] = {
        "patch": _patch,
        "blob": _blob,
        "additive": _additive,
        "xor": _xor,
        "irrelevant": _irrelevant,
    }
    seeds = np.asarray(jax.random.bits(key, (len(makers),), np.uint32)).tolist()
    return {
        name: make(np.random.default_rng(seed), num_examples)
        for (name, make), seed in zip(makers.items(), seeds, strict=True)
    }


def _problem(apply_fn: ApplyFn, params: Params, x: np.ndarray, masks: np.ndarray) -> Problem:
    x = x.astype(np.float32)
    targets = np.asarray(apply_fn(params, jnp.asarray(x)).argmax(axis=1))
    return Problem(Model(apply_fn, params), x, targets, masks)


def _planted_images(
    rng: np.random.Generator, num: int, planted: np.ndarray, shown: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a picture added or taken off anywhere, and where that is shown."""
    side = len(planted)
    x = rng.normal(size=(num, _SIDE, _SIDE, 1)) * 0.3
    masks = np.zeros((num, _SIDE, _SIDE), bool)
    corners = rng.integers(0, _SIDE - side + 1, (num, 2))
    signs = rng.choice([-1, 1], num)
    for image, mask, sign, (down, right) in zip(x, masks, signs, corners, strict=True):
        window = slice(down, down + side), slice(right, right + side)
        image[window] += sign * planted[..., None]
        mask[window] = shown
    return x, masks


def _patch(rng: np.random.Generator, num: int) -> Problem:
    square = np.ones((_PATCH, _PATCH))
    x, masks = _planted_images(rng, num, square, square > 0)
    kernel = np.full((_PATCH, _PATCH, 1, 1), 5 / _PATCH**2, np.float32)
    return _problem(brightest_window, kernel, x, masks)


def brightest_window(kernel: Any, x: Array) -> Array:
    """The largest mean of a window, and the negative of the smallest."""
    means = _correlation(kernel, x)
    return jnp.stack([means.max(axis=1), -means.min(axis=1)], axis=1)


def _correlation(kernel: Any, x: Array) -> Array:
    """Of every window with the kernel `[side, side, 1, 1]`, `[batch, windows]`."""
    numbers = ("NHWC", "HWIO", "NHWC")
    kernel = jnp.asarray(kernel, x.dtype)
    found = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=numbers)
    return found.reshape(len(x), -1)


def _blob(rng: np.random.Generator, num: int) -> Problem:
    side, deviation = 9, 1.7
    away = np.square(np.indices((side, side)) - side // 2).sum(axis=0)
    gaussian = np.exp(-away / (2 * deviation**2))
    x, masks = _planted_images(rng, num, gaussian, away <= (2 * deviation) ** 2)
    template = (gaussian - gaussian.mean()) * (away <= (2 * deviation) ** 2)
    kernel = (template / np.square(template).sum()).astype(np.float32)[..., None, None]
    return _problem(matched_filter, kernel, x, masks)


def matched_filter(kernel: Any, x: Array) -> Array:
    """A soft maximum over places of the correlation with a kernel, and with its negative."""
    found = _correlation(kernel, x)
    sharpness = jnp.asarray(10, x.dtype)
    both = [jax.nn.logsumexp(sharpness * each, axis=1) / sharpness for each in (found, -found)]
    return 5 * jnp.stack(both, axis=1)


def _first(num_examples: int, num_features: int, num_true: int) -> np.ndarray:
    return np.broadcast_to(np.arange(num_features) < num_true, (num_examples, num_features)).copy()


def _additive(rng: np.random.Generator, num: int) -> Problem:
    params = {name: rng.normal(size=(6, 3)).astype(np.float32) for name in ("a", "b", "c")}
    return _problem(additive, params, rng.normal(size=(num, 12)), _first(num, 12, 6))


def additive(params: Any, x: Array) -> Array:
    """Σᵢ aᵢ sin(bᵢ xᵢ) + cᵢ xᵢ² for each class."""
    x = x[:, :6, None]
    a, b, c = (jnp.asarray(params[name], x.dtype)[None] for name in ("a", "b", "c"))
    return (a * jnp.sin(b * x) + c * jnp.square(x)).sum(axis=1)


def _xor(rng: np.random.Generator, num: int) -> Problem:
    x = rng.choice([-1.0, 1.0], (num, 8)) + rng.normal(size=(num, 8)) * 0.1
    return _problem(same_sign, np.float32(2), x, _first(num, 8, 2))


def same_sign(scale: Any, x: Array) -> Array:
    """Of the first two features."""
    product = x[:, 0] * x[:, 1] * jnp.asarray(scale, x.dtype)
    return jnp.stack([product, -product], axis=1)


def _irrelevant(rng: np.random.Generator, num: int) -> Problem:
    weights = np.zeros((20, 2), np.float32)
    weights[:5] = rng.normal(size=(5, 2))
    x = rng.normal(size=(num, 20))
    x[:, 5:] *= 10
    return _problem(weighted_sum, weights, x, _first(num, 20, 5))


def weighted_sum(weights: Any, x: Array) -> Array:
    return x @ jnp.asarray(weights, x.dtype)
