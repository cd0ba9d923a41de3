"""fastai's colourful dimension: the histogram of a layer's values as a column of colours."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable

from jinterp.diagnose import ActivationStats, Recorded
from jinterp.plot._by_layer import check_not_empty, layer_ticks
from jinterp.plot._figures import AnyFigure, grid
from jinterp.plot._labels import title
from jinterp.plot._value_axis import Rows, colours, rows_of, share_norm, value_ticks

_SHARES = (0, 0.001, 0.01, 0.1, 1)


def hist_chart(result: ActivationStats | Recorded, *, fig: AnyFigure | None = None) -> AnyFigure:
    """The values of the layers as columns of colours, by layer or, of a training, by step.

    A column is a histogram, and its colour log(1 + 1000·share of the column's values). Rows have
    edges ±2ᵏ and ±1.5·2ᵏ, so that far from 0 the axis is logarithmic on both sides, and one row is
    around 0. The axis is that of all charts, cut to what occurs. A column without a finite value
    is grey.

    Args:
        result: what `jinterp.activation_stats` returned, which makes one chart with a column for
            each layer, or what `ActivationHistory.read` did, which makes a chart for each layer
            with a column for each step.
        fig: where to draw; None makes a figure.

    Returns:
        The figure.

    Raises:
        ValueError: there are no layers or no steps.

    Source: fastai's `ActivationStats.color_dim`, which has log(1 + count) in 40 equal bins from 0
    to 10, and leaves out what is beyond them.

    >>> import jax, jax.numpy as jnp, jinterp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         return x @ params
    >>> stats = jinterp.activation_stats(apply_fn, jnp.eye(2), (jnp.ones((4, 2)), [0] * 4))
    >>> [label.get_text() for label in hist_chart(stats).axes[0].get_xticklabels()]
    ['hidden']
    """
    check_not_empty(result)
    if isinstance(result, Recorded):
        return _by_step(result, fig)
    return _by_layer(result, fig)


def _by_layer(result: ActivationStats, fig: AnyFigure | None) -> AnyFigure:
    names = [layer.name for layer in result.layers]
    fig, (ax,) = grid(fig, 1, (max(4.5, 1.8 + 0.22 * len(names)), 4.2))
    counts = np.stack([layer.counts for layer in result.layers])
    rows = rows_of(counts[:, None], result.edges)
    _draw(ax, np.arange(len(names) + 1) - 0.5, rows.shares[:, 0])
    value_ticks(ax, rows.edges)
    ax.set_ylabel("value")
    layer_ticks(ax, names)
    _colour_bar(fig, [ax], rows)
    return fig


def _by_step(result: Recorded, fig: AnyFigure | None) -> AnyFigure:
    fig, panels = grid(fig, len(result.layers), (2.8, 2.1))
    rows = rows_of(result.counts.swapaxes(0, 1), result.edges)
    for ax, name, shares in zip(panels, result.layers, rows.shares, strict=True):
        _draw(ax, _edges_of(result.steps), shares)
        value_ticks(ax, rows.edges)
        ax.tick_params(labelsize=7)
        ax.locator_params(axis="x", nbins=5, integer=True)
        title(ax, fig, [name])
    fig.supxlabel("step", fontsize=9)
    fig.supylabel("value", fontsize=9)
    _colour_bar(fig, panels, rows)
    return fig


def _draw(ax: Axes, x: np.ndarray, shares: np.ndarray) -> None:
    y = np.arange(shares.shape[1] + 1)
    ax.pcolormesh(x, y, shares.T, cmap=colours(), norm=share_norm(), rasterized=True)


def _edges_of(steps: np.ndarray) -> np.ndarray:
    """Between the steps; the outer ones as far out as their neighbours are in."""
    if len(steps) == 1:
        return steps[0] + np.array([-0.5, 0.5])
    inner = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[2 * steps[0] - inner[0]], inner, [2 * steps[-1] - inner[-1]]])


def _colour_bar(fig: AnyFigure, panels: list[Axes], rows: Rows) -> None:
    bar = fig.colorbar(
        ScalarMappable(share_norm(), colours()), ax=panels, ticks=_SHARES, fraction=0.04, aspect=30
    )
    bar.ax.set_yticklabels([f"{100 * share:g} %" for share in _SHARES], fontsize=8)
    bar.ax.minorticks_off()
    has_gaps = bool(np.isnan(rows.shares).any())
    text = "share of the values" + ", grey: none is finite" * has_gaps
    bar.set_label(text, fontsize=8)
