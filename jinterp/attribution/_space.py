"""Where a layer's output lies in space: which layer, which axis holds channels, which tokens."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinterp import _check
from jinterp._question import Question
from jinterp._region import whole
from jinterp._trace import abstract, under_transform
from jinterp._types import ApplyFn, Inputs, Params
from jinterp.attribution._layer import layer_slopes
from jinterp.model.layers import Layer, layers
from jinterp.model.tap import open_layers
from jinterp.stream.with_rows import map_own_rows

Grid = tuple[int, ...]


class View(NamedTuple):
    """How to see a layer's output as channels in space.

    Attributes:
        layer: its name.
        channel_axis: of its output.
        grid: what its tokens are laid out on; None where it has axes in space.
        num_extra: tokens before those of the grid, such as a class token.
    """

    layer: str
    channel_axis: int
    grid: Grid | None
    num_extra: int

    def in_space(self, activation: Array) -> Array:
        """`[batch, *space, channels]`."""
        values = jnp.moveaxis(activation, self.channel_axis, -1)
        if self.grid is None:
            return values
        return values[:, self.num_extra :].reshape(len(values), *self.grid, values.shape[-1])

    def size(self, shape: tuple[int, ...]) -> int:
        """Places in space of an output of this shape."""
        return math.prod(self.grid or shape[1:]) // (1 if self.grid else shape[self.channel_axis])


def view_of(question: Question, layer: str | None, grid: Grid | None, channel_axis: int) -> View:
    """The layer given, or the last one with an output in space.

    Args:
        question: what is explained.
        layer: a name, or None.
        grid: the layout of tokens, or None to find it.
        channel_axis: of the layer's output.

    Raises:
        ValueError: the layer has no axis in space, or no layer has.
    """
    if layer is not None:
        _check.is_layer_name(layer)
    inputs = abstract((question.params, question.x))
    views = _views(question.apply_fn, *inputs, layer, grid, channel_axis)
    if len(views) == 1:
        return views[0]
    return _first_with_slope(question, views)


@functools.lru_cache(maxsize=64)
def _views(
    apply_fn: ApplyFn,
    treedef: Any,
    leaves: tuple[Any, ...],
    layer: str | None,
    grid: Grid | None,
    channel_axis: int,
) -> tuple[View, ...]:
    """The views that can be meant, from the last layer on; one, unless there is a class token."""
    params, x = jax.tree.unflatten(treedef, leaves)
    found = layers(apply_fn, params, x)
    space = _space_of(x, channel_axis)
    if layer is not None:
        known = _named(found, layer, apply_fn, params, x)
        return (_view(known, space, grid, channel_axis),)
    outputs = _check.outputs_of(*whole(apply_fn, params), x)
    views: list[View] = []
    for one in reversed(found):
        top = _outermost(one, found, outputs, space, grid, channel_axis)
        if top is None or top.name in {view.layer for view in views}:
            continue
        views.append(_view(top, space, grid, channel_axis))
        if views[-1].num_extra == 0:
            break
    if not views:
        raise ValueError(
            "no layer has an output in space, [batch, *space, channels], on which a map could lie. "
            f"{len(found)} layers were looked at; name one with `layer`, and a `grid` for tokens."
        )
    return tuple(views)


def _named(found: list[Layer], layer: str, apply_fn: ApplyFn, params: Params, x: Inputs) -> Layer:
    open_layers(apply_fn, params, x, (layer,))  # raises the error that names the layers near it
    plain = layer.strip("/").replace("/", ".")
    return next(each for each in found if each.name.replace("/", ".") == plain)


def _outermost(
    one: Layer,
    found: list[Layer],
    outputs: Any,
    space: tuple[int, ...] | None,
    grid: Grid | None,
    channel_axis: int,
) -> Layer | None:
    """The layer, or the largest one around it, whose output lies in space."""
    around = [each for each in found if f"{one.name}/".startswith(f"{each.name}/")]
    for each in around:
        if each.shape == outputs.shape:
            continue
        try:
            view = _view(each, space, grid, channel_axis)
        except ValueError:
            continue
        if view.size(each.shape) > 1:
            return each
    return None


def _space_of(x: Inputs, channel_axis: int) -> tuple[int, ...] | None:
    """The axes in space of an input; None for several arrays."""
    leaves = jax.tree.leaves(x)
    if len(leaves) != 1:
        return None
    shape = list(leaves[0].shape)
    if len(shape) > 2:
        del shape[_check.axis_of_channels(channel_axis, len(shape))]
        return tuple(shape[1:])
    return ()


def _view(
    layer: Layer, space: tuple[int, ...] | None, grid: Grid | None, channel_axis: int
) -> View:
    shape = layer.shape
    if layer.num_outputs > 1 or len(shape) < 3:
        more = f" and {layer.num_outputs - 1} more outputs" if layer.num_outputs > 1 else ""
        raise ValueError(
            f"the layer {layer.name!r} has an output of shape {shape}{more}; expected one with "
            "axes in space, [batch, *space, channels]. Use an earlier layer."
        )
    if grid is not None:
        num_extra = shape[1] - math.prod(grid)
        if len(shape) != 3 or num_extra < 0:
            raise ValueError(
                f"`grid` {grid} has {math.prod(grid)} places; the layer {layer.name!r} has the "
                f"shape {shape}, expected [batch, tokens, channels] with as many tokens or more."
            )
        return View(layer.name, 2, grid, num_extra)
    num_axes = len(shape) - 2
    if space is None or not space or num_axes == len(space):
        return View(layer.name, channel_axis, None, 0)
    if num_axes == 1:
        return View(layer.name, 2, *_grid_of(shape[1], space, layer))
    raise ValueError(
        f"the layer {layer.name!r} has an output of shape {shape}, with {num_axes} axes in space; "
        f"the input has {len(space)}. Use another layer."
    )


def _grid_of(num_tokens: int, space: tuple[int, ...], layer: Layer) -> tuple[Grid, int]:
    """The grid with the proportions of the input, with or without a class token."""
    for num_extra in (0, 1):
        scale = ((num_tokens - num_extra) / math.prod(space)) ** (1 / len(space))
        grid = tuple(round(length * scale) for length in space)
        if math.prod(grid) == num_tokens - num_extra > 1:
            return grid, num_extra
    raise ValueError(
        f"the layer {layer.name!r} has {num_tokens} tokens, which no grid with the proportions of "
        f"the input {space} holds, with a class token or without. Give `grid`."
    )


def _first_with_slope(question: Question, views: tuple[View, ...]) -> View:
    """After the last attention only the class token reaches the logits; take a layer before it."""
    if under_transform((question.params, question.x)):
        raise ValueError(
            "the layer for a class token is found by looking at gradients, which a transform "
            f"hides. Give `layer`, one of {', '.join(repr(view.layer) for view in views[:5])}."
        )
    x = jax.tree.map(lambda leaf: leaf[:8], question.x)
    target = question.target
    if target is not None:
        target = target[:8] if target.ndim == 1 else target[:8, 0]
    for view in views:
        key = question.apply_fn, question.score, view
        params = map_own_rows(lambda leaf: leaf[:8], question.params)
        if _has_slope(key, params, x, target):
            return view
    return views[0]


@functools.partial(jax.jit, static_argnames="key")
def _has_slope(key: Any, params: Any, x: Any, target: Any) -> Array:
    apply_fn, score, view = key
    slopes = layer_slopes(apply_fn, score, view.layer, params, x, target).slopes
    return (view.in_space(slopes) != 0).any()
