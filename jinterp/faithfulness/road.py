"""ROAD: remove and debias."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jinterp import _check
from jinterp._types import ApplyFn, Baseline, Inputs, Params, Score, Target
from jinterp.attribution._groups import FeatureMask
from jinterp.faithfulness._features import ordered
from jinterp.faithfulness._removal import Fill, removal
from jinterp.faithfulness.inpaint import inpaint
from jinterp.model import probability


def road(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    values: Inputs,
    target: Target = None,
    *,
    key: jax.Array,
    score: Score = probability,
    fractions: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    baseline: Baseline | Fill = inpaint,
    noise: float = 0.01,
    feature_mask: FeatureMask = None,
    channel_axis: int = -1,
) -> Float[Array, " batch"]:
    """How much less the score falls if the least relevant goes: mean (LeRF − MoRF) / 2.

    LeRF is the score without the features of the smallest values, MoRF that without those of the
    largest. High is good, 0 is what random values get. What is taken away is painted over from its
    neighbours, with a little noise, so that the shape of the hole says nothing to the model.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: images `[batch, height, width, channels]`; of any shape with another `baseline`.
        values: attributions, as in `deletion`.
        target: the class that was explained, as in `deletion`.
        key: for the noise, which all examples share.
        score: which number of the logits.
        fractions: of the features that are taken away, each two forward passes.
        baseline: what takes the place of a feature, as in `deletion`.
        noise: its deviation, in units of `x`.
        feature_mask: the groups that were explained as one, as in `deletion`.
        channel_axis: of arrays with axes in space.

    Returns:
        `[batch]`, signed, in units of the score; NaN where values are not finite.

    Raises:
        TypeError: `key` is missing or no key.
        ValueError: as `deletion` does, a fraction is not between 0 and 1, `noise` is negative, or
            `x` are no images.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     return x[:, 1, 1] * params
    >>> x = jnp.zeros((1, 3, 3, 1)).at[0, 1, 1].set(1)
    >>> found = road(apply_fn, jnp.ones(1), x, x, 0, key=jax.random.key(0), score=jinterp.logit)
    >>> print(found.round(1))
    [0.5]

    Source: Rong et al. 2022, algorithm 1; there the score is the accuracy over a dataset. (LeRF −
    MoRF) / 2 as in pytorch-grad-cam.
    """
    _check.is_key(key)
    _check.within("noise", noise, 0, float("inf"))
    fractions = np.ravel(fractions).tolist()
    if not fractions or not all(0 < fraction < 1 for fraction in fractions):
        raise ValueError(
            f"`fractions` are {fractions}; expected some between 0 and 1, such as 0.5."
        )
    removed = removal(
        "road",
        *(apply_fn, params, x, values, target),
        score=score,
        baseline=baseline,
        feature_mask=feature_mask,
        channel_axis=channel_axis,
    )
    at = np.asarray(fractions)
    leaves, treedef = jax.tree.flatten(removed.question.x)
    drawn = _normal(jax.random.split(key, len(at)), tuple(leaf.shape[1:] for leaf in leaves))
    added = jax.tree.unflatten(treedef, [jnp.float32(noise) * each for each in drawn])
    kept = [
        removed.scores(ordered("road", removed.features, ascending=is_lerf), at, noise=added)
        for is_lerf in (True, False)
    ]
    return (kept[0] - kept[1]).mean(axis=1) / 2


@functools.partial(jax.jit, static_argnames="shapes")
def _normal(keys: Array, shapes: tuple[tuple[int, ...], ...]) -> list[Array]:
    """`[keys, *shape]` for each shape."""

    def of_one(key: Array) -> list[Array]:
        own = jax.random.split(key, len(shapes))
        return [
            jax.random.normal(one, shape, jnp.float32)
            for one, shape in zip(own, shapes, strict=True)
        ]

    return jax.lax.map(of_one, keys)  # no vmap, under which an rbg key draws for all
