"""RISE: the mean score of the input seen through random masks, for each place by what it shows."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp import _check
from jinterp._question import answer, ask, report_blank, with_predictions
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._cam import divided
from jinterp.attribution._paths import baselines_of, between, mean_of
from jinterp.model import logit
from jinterp.model.score import at_least_float32
from jinterp.stream.rows import map_rows


def rise(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    key: jax.Array,
    num_samples: int = 4000,
    num_cells: int = 7,
    keep: float = 0.5,
    score: Score = logit,
    baseline: Baseline = 0.0,
    channel_axis: int = -1,
) -> Any:
    """The expected score of the input seen through a mask that shows a place: E[s M] / E[M].

    A mask M is a coarse grid of cells, each shown with probability `keep`, resized linearly to one
    cell more than the input and cut out at a random place; the model sees x ⊙ M + b ⊙ (1 − M). The
    value of a place is Σ s M / Σ M, so that a place which does not matter has the mean score, and
    not 0. All examples share the masks, so that no value depends on the batch.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: images, signals or volumes `[batch, *space, channels]`, one array, floating point.
        target: the class to explain, as in `gradient`; None is the one predicted for `x`.
        key: for the masks.
        num_samples: masks, each a forward pass; 4000 as in the paper.
        num_cells: of the grid along each axis in space, at most one a pixel. A cell should be as
            large as what is looked for.
        keep: the probability of a cell to be shown.
        score: which number of the logits, `score(logits, target) -> [batch]`; the paper takes the
            `probability`.
        baseline: what is seen where a mask shows nothing, as in `feature_ablation`.
        channel_axis: of `x`; all channels of a place have one value.

    Returns:
        As `x` in shape and dtype, in units of the score; with several targets
        `[batch, targets, ...]`. It is a sampled estimate, off by about 1/√num_samples of the spread
        of the scores; see `with_error`.

    Raises:
        TypeError: `x` is not one array of floats, or `key` is missing.
        ValueError: as `gradient` does; `x` has no axis in space, a number is 0, or `keep` is no
            probability.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return x[:, 0, 0]
    >>> x = jnp.ones((1, 4, 4, 1))
    >>> values = rise(apply_fn, None, x, 0, key=jax.random.key(0), num_samples=500, num_cells=2)
    >>> bool(values[0, 0, 0, 0] == values.max())
    True

    Source: Petsiuk, Das and Saenko 2018, equation 6, which divides by the expectation of Σ M and
    not by the sum itself, so that a constant score varies there and does not here.
    """
    _check.at_least_one("num_samples", num_samples, 4000)
    _check.at_least_one("num_cells", num_cells, 7)
    _check.is_key(key)
    if not 0 < keep < 1:
        raise ValueError(f"`keep` is {keep}; expected more than 0 and less than 1. Try 0.5.")
    question = with_predictions(ask(apply_fn, params, x, target, score, differentiable=False))
    x = question.x
    _check.one_array(x)
    _check.can_be_mixed(x)
    _check.has_space(x, "x")
    axis = _check.axis_of_channels(channel_axis, x.ndim)
    space = tuple(length for n, length in enumerate(x.shape) if n not in (0, axis))
    masks = _drawn(key, num_samples, space, num_cells, keep)
    found = [
        answer(_through, question, axis, space, rows=each, points=masks, kind="stack")
        for each in baselines_of(baseline, x)
    ]
    values = _means(mean_of([at_least_float32(scores) for scores in found]), masks, space)
    values = jnp.expand_dims(values, axis - x.ndim).astype(x.dtype)
    values = jnp.broadcast_to(values, (*values.shape[: 1 - x.ndim], *x.shape[1:]))
    report_blank(values, "rise", "the score is 0 through every mask.")
    return values


@functools.partial(jax.jit, static_argnames=("num_samples", "space", "num_cells", "keep"))
def _drawn(
    key: jax.Array, num_samples: int, space: tuple[int, ...], num_cells: int, keep: float
) -> tuple[Array, Array]:
    """Grids `[samples, *cells]`, and where the masks are cut out, `[samples, axes]`."""
    cell_key, corner_key = jax.random.split(key)
    shape = tuple(min(num_cells, length) for length in space)
    cells = jax.random.bernoulli(cell_key, jnp.float32(keep), (num_samples, *shape))
    sizes = jnp.array(_cell_sizes(shape, space), jnp.int32)
    corners = jax.random.randint(
        corner_key, (num_samples, len(space)), 0, sizes[None], dtype=jnp.int32
    )
    return cells.astype(jnp.float32), corners


def _cell_sizes(shape: Sequence[int], space: Sequence[int]) -> list[int]:
    """In pixels, rounded up."""
    return [-(-length // num) for num, length in zip(shape, space, strict=True)]


def _mask(cells: Array, corner: Array, space: tuple[int, ...]) -> Array:
    """`[*space]`, from 0 to 1."""
    sizes = _cell_sizes(cells.shape, space)
    wide = [(num + 1) * size for num, size in zip(cells.shape, sizes, strict=True)]
    return jax.lax.dynamic_slice(jax.image.resize(cells, wide, "linear"), list(corner), space)


def _through(static: Any, params: Params, rows: Any, point: Any) -> Array:
    """The score through one mask."""
    apply_fn, score, axis, space = static
    x, target, baseline = rows
    cells, corner = point
    mask = jnp.expand_dims(_mask(cells, corner, space), (0, axis))
    return score(apply_fn(params, between(baseline, x, mask)), target)


def _means(scores: Array, masks: tuple[Array, Array], space: tuple[int, ...]) -> Array:
    """Σ s M / Σ M, `[batch, *space]`, with targets before these; the mean where no mask shows.

    Of scores less their mean, which vary around 0.
    """
    mean = scores.mean(axis=-1, keepdims=True)
    numbers = jnp.arange(scores.shape[-1], dtype=jnp.int32)
    sums, shown = map_rows(_weighted, space, (), scores - mean, (numbers, *masks))
    return divided(sums, shown) + jnp.expand_dims(mean, tuple(range(mean.ndim, sums.ndim)))


def _weighted(space: Any, params: Params, scores: Array, point: Any) -> tuple[Array, Array]:
    """A mask times its score, and the mask."""
    number, cells, corner = point
    mask = _mask(cells, corner, space).astype(scores.dtype)
    own = jnp.take(scores, number, axis=-1)
    own = jnp.expand_dims(own, tuple(range(own.ndim, own.ndim + mask.ndim)))
    mask = jnp.expand_dims(mask, tuple(range(own.ndim - mask.ndim)))
    return own * mask, jnp.ones_like(own) * mask
