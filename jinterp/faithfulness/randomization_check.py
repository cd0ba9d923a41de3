"""The randomisation check: whether the values change when the parameters become random."""

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._text import text_table
from jinterp._trace import warn
from jinterp._types import ApplyFn, Explainer, Inputs, Params, Target
from jinterp.faithfulness._explained import explained
from jinterp.faithfulness._similarity import Similarities, prepared, similarities
from jinterp.model.depth import leaves_by_layer
from jinterp.model.leaves import with_leaves_at
from jinterp.model.score import at_least_float32
from jinterp.stream.cut import automatic, is_sharded


class RandomizationCheck(NamedTuple):
    """How alike the values of a model and of its random copies are, arrays `[layers, batch]`.

    From −1 to 1, and 1 for values that stay. NaN where values are the same everywhere, or not
    finite.

    Attributes:
        layers: names, from the top down.
        cascading: whether the layers above are random, too.
        rank_correlations: Spearman's, of the values.
        absolute_rank_correlations: of their sizes.
        ssims: the structural similarity of values with two axes in space; NaN of others.
        unchanged: layers left out: all their parameters are equal, and stay what they are.
    """

    layers: tuple[str, ...]
    cascading: bool
    rank_correlations: np.ndarray
    absolute_rank_correlations: np.ndarray
    ssims: np.ndarray
    unchanged: tuple[str, ...]

    def failed(self, threshold: int | float = 0.5, *, absolute: bool = False) -> np.ndarray:
        """Whether the rank correlation is above the threshold in every row, `[batch]`.

        Then it makes no difference to the values that something random stands in the place of what
        was learnt. Where some rows are NaN and the others are above, neither this is known nor that
        it `passed`.

        Args:
            threshold: from −1 to 1.
            absolute: whether the sizes are meant, as where a picture shows sizes.
        """
        return np.asarray((self._kind(absolute) > threshold).all(axis=0))

    def passed(self, threshold: int | float = 0.5, *, absolute: bool = False) -> np.ndarray:
        """Whether the rank correlation is at most the threshold in some row, `[batch]`.

        Args:
            threshold: as `failed` takes it.
            absolute: as `failed` takes it.
        """
        return np.asarray((self._kind(absolute) <= threshold).any(axis=0))

    def _kind(self, absolute: bool) -> np.ndarray:
        return self.absolute_rank_correlations if absolute else self.rank_correlations

    def __str__(self) -> str:
        """A row for each layer, means over the examples that have a number."""
        header = ["random", "rank", "|rank|", "SSIM", "examples"]
        kept = self.rank_correlations, self.absolute_rank_correlations, self.ssims
        rows = [
            [name, *map(_mean, own), str(int((~np.isnan(own[0])).sum()))]
            for name, *own in zip(self.layers, *kept, strict=True)
        ]
        num_failed, num_of_sizes = (int(self.failed(absolute=own).sum()) for own in (False, True))
        num = self.ssims.shape[1]
        remarks = [
            f"{num_failed} of {num} examples stay above a rank correlation of 0.5 in "
            f"every row, {num_of_sizes} above one of sizes."
        ]
        if num_unknown := num - num_failed - int(self.passed().sum()):
            remarks.append(f"{num_unknown} cannot be told: their values are blank for some layer.")
        if self.unchanged:
            remarks.append(f"Constant, and left as they are: {', '.join(self.unchanged)}.")
        return "\n".join([text_table(header, rows), "", *remarks])


def randomization_check(
    explain: Explainer,
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    key: Array,
    cascading: bool = True,
    channel_axis: int = -1,
) -> RandomizationCheck:
    """How alike the values stay when the parameters become random, layer by layer from the top.

    ρ(φ(θ), φ(θ with the top layers drawn anew)) for the same class. Values that tell something of
    what the model has learnt change; values that stay are those of the input, or of the
    architecture. To change is necessary and proves nothing more: random values change, too.

    The layers are those that read the parameters, in the order of the traced program, a kernel, its
    bias and the statistics beside it together; what is read outside of named layers is one layer
    a leaf. Arrays with two axes longer than 1 are drawn from a normal distribution of their mean
    and deviation. Others are permuted, so that a variance stays positive and a scale keeps its
    size. What is constant stays, as do integers and keys. A leaf is drawn once, and is the same in
    every row: the draws take as much memory as the parameters.

    Args:
        explain: the explainer, `explain(apply_fn, params, x, target)`; what needs more is
            `functools.partial(jinterp.rise, key=key)`. Its values may have any shape.
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]`.
        target: the class to explain; None is the one predicted for `x` by the model as it is.
        key: for the draws.
        cascading: whether a layer is drawn in addition to those above it, or alone.
        channel_axis: of values with two axes in space, whose channels are added for the
            structural similarity.

    Returns:
        A `RandomizationCheck`; `print` shows a table, `failed()` says which examples fail.

    Raises:
        TypeError: `key` is missing or no key; `explain` needs another keyword; the model was
            exported; called under jit, vmap or grad.
        ValueError: the model reads no parameter that can be drawn; `explain` returns no arrays
            `[batch, ...]`; there are several targets an example.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return jnp.tanh(x @ params["below"]) @ params["top"]
    >>> keys = jax.random.split(jax.random.key(0), 3)
    >>> shapes = {"below": (keys[0], (6, 4)), "top": (keys[1], (4, 3))}
    >>> params = {name: jax.random.normal(*shape) for name, shape in shapes.items()}
    >>> def copied(apply_fn, params, x, target=None):
    ...     return x
    >>> x = jax.random.normal(keys[2], (2, 6))
    >>> found = randomization_check(copied, apply_fn, params, x, key=keys[0])
    >>> print(found)
    random  rank  |rank|  SSIM  examples
    top     1.00    1.00     –         2
    below   1.00    1.00     –         2
    <BLANKLINE>
    2 of 2 examples stay above a rank correlation of 0.5 in every row, 2 above one of sizes.

    Source: Adebayo et al. 2018, section 3. There parameters are initialised anew, which needs the
    initialisers.
    """
    _check.is_key(key)
    _check.is_concrete("randomization_check", (params, x))
    asked = explained(explain, apply_fn, params, x, target)
    x, target = asked.question.x, asked.question.target
    _check.one_target(target)
    drawn = _drawn(params, key)
    layers, unchanged = _layers(leaves_by_layer(apply_fn, params, x), drawn)
    values = asked(apply_fn, params, x, target)
    original = prepared(values, x, channel_axis)
    found: list[Similarities] = []
    for random in _random_copies(params, layers, drawn, cascading):
        with warnings.catch_warnings():  # blank values are counted, and said once below
            warnings.filterwarnings("ignore", r"`\w+`: \d+ of \d+ examples")
            others = asked(apply_fn, random, x, target, like=values)
        found.append(similarities(original, prepared(others, x, channel_axis)))
    ranks, absolute, ssims = (np.stack(jax.device_get(own)) for own in zip(*found, strict=True))
    _tell(ranks)
    return RandomizationCheck(tuple(layers), cascading, ranks, absolute, ssims, unchanged)


def _random_copies(
    params: Params, layers: dict[str, list[int]], drawn: dict[int, Array], cascading: bool
) -> Iterator[Params]:
    chosen: dict[int, Array] = {}
    for numbers in layers.values():
        own = {number: drawn[number] for number in numbers}
        chosen = chosen | own if cascading else own
        yield with_leaves_at(params, list(chosen), list(chosen.values()))


def _layers(
    found: dict[str, list[int]], drawn: dict[int, Array]
) -> tuple[dict[str, list[int]], tuple[str, ...]]:
    """The leaves that change in each layer, from the top down, and the layers without, or an
    error.
    """
    changed = {name: [n for n in found[name] if n in drawn] for name in reversed(found)}
    if not any(changed.values()):
        raise ValueError(
            f"`params` has no array that can be drawn anew, of those that the model reads "
            f"({', '.join(found) or 'none'}); expected floating point and not constant. Pass what "
            "the model was trained with."
        )
    layers = {name: numbers for name, numbers in changed.items() if numbers}
    return layers, tuple(name for name, numbers in changed.items() if not numbers)


def _drawn(params: Params, key: Array) -> dict[int, Array]:
    """By its number each leaf that changes, drawn anew; where and how the leaf lies."""
    leaves = jax.tree.leaves(params)
    keys = jax.random.split(key, len(leaves))
    drawn = {n: _redrawn(leaf, own) for n, (leaf, own) in enumerate(zip(leaves, keys, strict=True))}
    return {n: leaf for n, leaf in drawn.items() if leaf is not None}


def _redrawn(leaf: Any, key: Array) -> Array | None:
    """None of what stays."""
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating) or not np.size(leaf):
        return None
    drawn, is_changed = _random_like(automatic(jnp.asarray(leaf)), key)
    if not is_changed:
        return None
    return jax.device_put(drawn, leaf.sharding) if is_sharded(leaf) else drawn


@jax.jit
def _random_like(leaf: Array, key: Array) -> tuple[Array, Array]:
    """The leaf drawn anew, the same in every floating-point type, and whether it can change."""
    if sum(size > 1 for size in leaf.shape) > 1:
        wide = at_least_float32(leaf)
        noise = jax.random.normal(key, leaf.shape, jnp.float32).astype(wide.dtype)
        drawn = (wide.mean() + wide.std() * noise).astype(leaf.dtype)
    else:
        flat = leaf.reshape(-1)
        drawn = jax.random.permutation(key, flat)
        is_same = (drawn == flat).all()  # by chance, of few elements
        drawn = jnp.where(is_same, jnp.roll(flat, 1), drawn).reshape(leaf.shape)
    return drawn, leaf.min() != leaf.max()


def _tell(rank_correlations: np.ndarray) -> None:
    num = int(np.isnan(rank_correlations).any(axis=0).sum())
    if num:
        warn(
            f"`randomization_check`: {num} of {rank_correlations.shape[1]} examples have values "
            "that are the same everywhere, or not finite, for a layer or more, and NaN there."
        )


def _mean(row: np.ndarray) -> str:
    known = row[~np.isnan(row)]
    return f"{known.mean():z.2f}" if len(known) else "–"
