"""`activation_stats`: what every layer puts out over a dataset, in one pass."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jinterp import _check, _functions
from jinterp._text import text_table
from jinterp._types import ApplyFn, Batch, Params
from jinterp.diagnose import _channels, _values
from jinterp.diagnose._observed import Observed
from jinterp.stream.fold import fold
from jinterp.stream.reduce import Reducer
from jinterp.stream.task import AnyOutputs


class ChannelStats(NamedTuple):
    """The channels of a layer: arrays `[channels]` over all examples and positions.

    Attributes:
        mean: of the values.
        deviation: their standard deviation (ddof 0).
        minimum: the least value.
        maximum: the largest value.
        near_zero: the share of values with |a| < 3/64.
        finite: whether no value is NaN or infinite.
        dead: whether the unit never is active: its rectifier never lets anything through, or
            its value is 0 for all examples and positions.
        saturated: the share of values where its sigmoid or tanh is flat; NaN of other layers.
    """

    mean: np.ndarray
    deviation: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    near_zero: np.ndarray
    finite: np.ndarray
    dead: np.ndarray
    saturated: np.ndarray


class LayerStats(NamedTuple):
    """What a layer puts out, over all examples, positions and channels.

    Attributes:
        name: of the layer.
        shape: of its output for one example.
        activation_function: the one that makes its values or that all of them go through: "relu",
            "tanh" or "sigmoid"; None where there is none such.
        mean: of the values.
        deviation: their standard deviation (ddof 0).
        minimum: the least value.
        maximum: the largest value.
        near_zero: the share of values with |a| < 3/64.
        finite: the share of channels without NaN and infinite values.
        dead: the share of channels that never are active.
        saturated: the share of values where the sigmoid or tanh has less than 5 % of its largest
            slope; NaN of other layers.
        effective_rank: exp of the entropy of the normalised singular values of the centred values,
            from 1 to the number of channels; 0 where nothing varies, NaN of over 512 channels and
            where a value is not finite.
        counts: `[bins]` int64, the histogram over `ActivationStats.edges`.
        channels: the same by channel.
    """

    name: str
    shape: tuple[int, ...]
    activation_function: str | None
    mean: float
    deviation: float
    minimum: float
    maximum: float
    near_zero: float
    finite: float
    dead: float
    saturated: float
    effective_rank: float
    counts: np.ndarray
    channels: ChannelStats


class ActivationStats(NamedTuple):
    """What the layers of a model put out over a dataset.

    Attributes:
        layers: in the order in which they are entered.
        num_examples: how many there were.
        edges: `[bins + 1]` of the histograms: ±2ᵏ and ±1.5·2ᵏ with k from −16, and ±∞; the bin
            around 0 is (−2⁻¹⁶, 2⁻¹⁶).
    """

    layers: tuple[LayerStats, ...]
    num_examples: int
    edges: np.ndarray

    def __getitem__(self, key: Any) -> Any:
        """The layer of a name; a field by its place, as tuples have it."""
        if not isinstance(key, str):
            return tuple.__getitem__(self, key)
        for layer in self.layers:
            if layer.name == key:
                return layer
        known = ", ".join(repr(layer.name) for layer in self.layers)
        raise KeyError(f"there is no layer {key!r}; there are {known}.")

    def __str__(self) -> str:
        """A row for each layer."""
        header = ["", "mean", "deviation", "least", "largest", "near 0", "dead", "flat", "rank"]
        rows = [[layer.name, *map(_short, _numbers(layer))] for layer in self.layers]
        return text_table(header, rows)


def activation_stats(
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    layers: Sequence[str] | None = None,
    *,
    channel_axis: int = -1,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> ActivationStats:
    """What layers put out over a dataset: ranges, histograms, dead and saturated units, rank.

    One pass; what it holds grows with the number of channels and not with the data. A layer with
    several outputs is told by its first.

    A unit is a channel. It is *dead* where its largest value over all examples and positions is
    max a ≤ 0 and a rectifier makes its values or reads all of them, so that nothing of it gets
    through; near zero is another thing, and is counted on |a|. Which functions cut a layer's values
    is read off the traced program. Mean, deviation, extremes and dead units are of all positions;
    histogram, near zero, saturation and effective rank are of a grid over each example's map, of 9
    positions at most, since they would cost as much as the model.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        ds: anything that `batches` takes; the labels count for nothing.
        layers: names that `jinterp.layers` lists; None takes all that return floats.
        channel_axis: of the layers' outputs, which are `[batch, ...]`.
        mesh: the devices to cut batches over.
        progress: show a progress bar; None shows one for a long pass in a terminal.

    Returns:
        An `ActivationStats`. A layer with a NaN has NaN in its numbers.

    Raises:
        ValueError: there is no such layer, it returns integers or has no axis of the batch; the
            model mixes examples.

    Source: Roy and Vetterli (2007) for the effective rank; Lu et al. (2019) for dead units.
    fastai's ActivationStats counts a ≤ 0.05 as near zero, negative values too; here it is
    |a| < 3/64.

    >>> import jax, jax.numpy as jnp, numpy as np
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         x = jax.nn.relu(x @ params)
    ...     return x @ params
    >>> ds = (np.ones((8, 2), np.float32), np.zeros(8, int))
    >>> stats = activation_stats(apply_fn, jnp.array([[1.0, -1.0], [1.0, -1.0]]), ds)
    >>> stats["hidden"].dead, stats["hidden"].channels.dead.tolist()
    (0.5, [False, True])
    """
    _check.is_model_function(apply_fn)
    _functions.warn_if_made_anew("apply_fn", apply_fn)
    names = None if layers is None else _names(layers)
    observed: Any = Observed(apply_fn, names, channel_axis)
    found, num_examples = fold(
        {"layers": _reducer()},
        observed,
        params,
        ds,
        task=AnyOutputs(),
        mesh=mesh,
        progress=progress,
    )["layers"]
    return ActivationStats(found, num_examples, _values.edges())


def _names(layers: Sequence[str]) -> tuple[str, ...]:
    if isinstance(layers, str):
        layers = (layers,)
    for layer in layers:
        _check.is_layer_name(layer)
    return tuple(layers)


@functools.cache
def _reducer() -> Reducer:
    def init(batch: Batch, observed: Any) -> _channels.State:
        return _channels.empty(observed[1])

    def update(state: _channels.State, batch: Batch, observed: Any) -> _channels.State:
        return _channels.merge(state, _channels.of_batch(observed[1], batch.mask))

    def finalize(state: _channels.State) -> tuple[tuple[LayerStats, ...], int]:
        return tuple(map(_stats, _channels.finalize(state))), int(state.num)

    return Reducer(init, update, _channels.merge, finalize)


def _stats(state: _channels.State) -> LayerStats:
    """Those of the only layer of a state."""
    (part,) = state.parts
    num_seen = state.num * part.num_seen  # of a channel
    saturates = _values.saturates(part.nonlinearity)
    finite = np.isfinite(state.mean) & np.isfinite(state.squares)
    channels = ChannelStats(
        state.mean,
        np.sqrt(state.squares / state.num),
        state.minimum,
        state.maximum,
        state.near_zero / num_seen,
        finite,
        _channels.is_dead(state.minimum, state.maximum, part.nonlinearity),
        state.flat / num_seen if saturates else np.full_like(state.mean, np.nan),
    )
    variance = (channels.deviation**2).mean() + channels.mean.var()
    return LayerStats(
        name=part.name,
        shape=part.shape,
        activation_function=part.nonlinearity.name if part.nonlinearity else None,
        mean=float(channels.mean.mean()),
        deviation=float(np.sqrt(variance)),
        minimum=float(channels.minimum.min()),
        maximum=float(channels.maximum.max()),
        near_zero=float(channels.near_zero.mean()),
        finite=float(channels.finite.mean()),
        dead=float(channels.dead.mean()),
        saturated=float(channels.saturated.mean()),
        effective_rank=_effective_rank(state),
        counts=state.cells[:-1],
        channels=channels,
    )


def _effective_rank(state: _channels.State) -> float:
    if state.covariance is None or not np.isfinite(state.covariance).all():
        return float("nan")
    values = np.linalg.eigvalsh(state.covariance)
    rounding = np.finfo(np.float32).eps
    of_means = state.num * (4 * rounding * np.abs(state.seen_mean).max()) ** 2
    values = values[values > max(values[-1] * len(values) * rounding, of_means)]
    if len(values) == 0:
        return 0.0
    singular = np.sqrt(values)
    shares = singular / singular.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _numbers(layer: LayerStats) -> tuple[float, ...]:
    return (
        layer.mean,
        layer.deviation,
        layer.minimum,
        layer.maximum,
        layer.near_zero,
        layer.dead,
        layer.saturated,
        layer.effective_rank,
    )


def _short(number: float) -> str:
    return "" if np.isnan(number) else f"{number:.3g}"
