"""Windows that slide over inputs of any number of axes."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jinterp
from tests import networks
from tests.networks import IMAGES, ROWS, SERIES, TOKENS, VOLUMES

WEIGHTS = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)


def weighted(params: Any, x: Any) -> jax.Array:
    return (x * params[None]).sum(axis=tuple(range(1, x.ndim)))[:, None]


def by_hand(apply_fn: Any, params: Any, x: Any, target: int, sizes: Any, strides: Any) -> Any:
    """Window by window."""
    whole = np.asarray(apply_fn(params, x))[:, target]
    total, num = np.zeros(x.shape), np.zeros(x.shape)
    positions = [
        range(-(-(length - size) // step) + 1)
        for length, size, step in zip(x.shape[1:], sizes, strides, strict=True)
    ]
    for place in itertools.product(*positions):
        part = (slice(None), *map(lambda p, s, w: slice(p * s, p * s + w), place, strides, sizes))
        hidden = x.copy()
        hidden[part] = 0
        drop = whole - np.asarray(apply_fn(params, hidden))[:, target]
        total[part] += drop.reshape(-1, *[1] * (x.ndim - 1))
        num[part] += 1
    assert (num > 0).all()
    return total / num


@given(st.data())
def test_any_windows_and_strides(data: st.DataObject) -> None:
    sizes = tuple(data.draw(st.integers(1, length)) for length in WEIGHTS.shape)
    strides = tuple(data.draw(st.integers(1, size)) for size in sizes)
    x = np.random.default_rng(1).normal(size=(2, *WEIGHTS.shape)).astype(np.float32)
    found = jinterp.occlusion(weighted, WEIGHTS, x, 0, window=sizes, stride=strides)
    expected = by_hand(weighted, WEIGHTS, x, 0, sizes, strides)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "x", "window", "sizes"),
    [
        (networks.mlp, ROWS, 3, (3,)),
        (networks.cnn_1d, SERIES, 5, (5, 2)),
        (networks.cnn, IMAGES, 3, (3, 3, 3)),
        (networks.cnn_3d, VOLUMES, 3, (3, 3, 3, 2)),
        (networks.text, TOKENS, 2, (2,)),
    ],
    ids=["table", "signal", "images", "volumes", "tokens"],
)
def test_a_number_is_a_window_in_space_over_all_channels(
    model: Any, x: np.ndarray, window: int, sizes: Any
) -> None:
    """Moved by half of it, rounded up."""
    found = jinterp.occlusion(*model(), x, 1, window=window)
    strides = [-(-size // 2) for size in sizes]
    expected = by_hand(*model(), x, 1, sizes, strides)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_channels_first() -> None:
    def first(params: Any, x: Any) -> Any:
        return networks.cnn().apply_fn(params, jnp.moveaxis(x, 1, -1))

    params = networks.cnn().params
    arguments = first, params, np.moveaxis(IMAGES, -1, 1), 0
    found = jinterp.occlusion(*arguments, window=4, channel_axis=1)
    expected = jinterp.occlusion(*networks.cnn(), IMAGES, 0, window=4)
    np.testing.assert_allclose(np.moveaxis(found, 1, -1), expected, rtol=1e-4, atol=1e-5)


def test_each_array_has_a_window_of_its_own() -> None:
    def both(params: Any, x: Any) -> Any:
        return weighted(params, x["image"]) + x["row"] @ params.sum(1)

    rng = np.random.default_rng(2)
    x = {
        "image": rng.normal(size=(2, 4, 5, 3)).astype(np.float32),
        "row": rng.normal(size=(2, 4)).astype(np.float32),
    }
    arguments = both, WEIGHTS, x, 0
    window = {"image": (2, 3, 1), "row": 2}
    found = jinterp.occlusion(*arguments, window=window, stride=1)
    image = jinterp.occlusion(weighted, WEIGHTS, x["image"], 0, window=(2, 3, 1), stride=1)
    row = by_hand(lambda p, r: r @ p.sum(1), WEIGHTS, x["row"], 0, (2,), (1,))
    np.testing.assert_allclose(found["image"], image, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["row"], row, rtol=1e-4, atol=1e-5)
    alike = jinterp.occlusion(*arguments, window=2)
    assert alike["row"].shape == (2, 4)


def test_several_targets() -> None:
    targets = np.array([[0, 1], [1, 2], [2, 0], [0, 2]])
    found = jinterp.occlusion(*networks.mlp(), ROWS, targets, window=2)
    singles = [jinterp.occlusion(*networks.mlp(), ROWS, targets[:, n], window=2) for n in (0, 1)]
    np.testing.assert_allclose(found, np.stack(singles, 1), rtol=1e-5, atol=1e-6)
