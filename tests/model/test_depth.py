"""In which layer a leaf is read first, in every library and whatever is around the layer."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import jinterp
from jinterp.model.depth import leaves_by_layer
from jinterp.model.leaves import names_of_all
from tests import networks
from tests.networks import CNNS, IMAGES, ROWS


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(4, (3, 3), name="conv")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True, name="norm")(x))
        return nn.Dense(5, name="head")(x.mean((1, 2)))


class NnxNormalised(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(4, 5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.conv(x)))
        return self.head(self.dropout(x.mean((1, 2))))


def named(model: jinterp.Model, x: Any) -> dict[str, set[str]]:
    known = names_of_all(model.params)
    found = leaves_by_layer(*model, x)
    return {name: {known[number] for number in numbers} for name, numbers in found.items()}


def test_statistics_belong_to_the_layer_that_reads_them() -> None:
    linen = networks.linen(Normalised(), IMAGES)
    of_norm = {"batch_stats/norm/mean", "batch_stats/norm/var", "norm/scale", "norm/bias"}
    dense = {name: {f"{name}/kernel", f"{name}/bias"} for name in ("conv", "head")}
    assert named(linen, IMAGES) == {**dense, "norm": of_norm}
    found = jinterp.from_nnx(NnxNormalised(nnx.Rngs(0)))
    of_norm = {"norm/mean", "norm/var", "norm/scale", "norm/bias"}
    assert named(found, IMAGES) == {**dense, "norm": of_norm}


@pytest.mark.parametrize("kind", CNNS)
def test_every_library_has_the_same_order(kind: str) -> None:
    assert list(leaves_by_layer(*CNNS[kind](), IMAGES)) == ["conv1", "conv2", "head"]


def test_what_blocks_read_by_themselves_is_a_layer_of_its_own() -> None:
    layers = leaves_by_layer(*networks.vit(), IMAGES)
    names = list(layers)
    assert names[:3] == ["patches", "class_token", "positions"]
    assert names[-1] == "head"
    assert "block1/attention/value" in names
    assert all(len(own) == 2 for name, own in layers.items() if "/" in name)


class Step(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return nn.tanh(nn.Dense(7, name="dense")(x)), None


class Scanned(nn.Module):
    """Three layers whose parameters are stacked, between two."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Dense(7, name="z_first")(x)
        scan = nn.scan(Step, {"params": 0}, split_rngs={"params": True}, length=3)
        x, _ = scan(name="scanned")(x, None)
        return nn.remat(nn.Dense)(3, name="a_last")(x)


def test_a_scan_and_a_rematerialised_layer() -> None:
    names = [
        name.rpartition("/")[2] for name in leaves_by_layer(*networks.linen(Scanned(), ROWS), ROWS)
    ]
    assert names == ["z_first", "dense", "a_last"]


def in_a_loop(params: Any, x: jax.Array) -> jax.Array:
    """Recast at once, read later: the head first in the tree, last in the program."""
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16).astype(jnp.float32), params)
    x = jax.lax.fori_loop(0, 2, lambda _, y: jnp.tanh(y @ params["square"]), x)
    return x @ params["head"] + (x @ params["square"])[:, :1]


def test_a_loop_and_leaves_that_are_recast_at_once() -> None:
    params = {"head": np.ones((7, 3), np.float32), "square": np.eye(7, dtype=np.float32)}
    assert leaves_by_layer(in_a_loop, params, ROWS) == {"square": [1], "head": [0]}


def in_halves(params: Any, x: jax.Array) -> jax.Array:
    """Cut before it is read, outside of the layers that read it."""
    first, second = params["w"][:3], params["w"][3:]
    with jax.named_scope("bottom"):
        x = x @ first.T
    with jax.named_scope("top"):
        return x @ second[:3, :2] + params["bias"][None]


def test_a_leaf_that_is_cut_belongs_to_the_first_layer_that_reads_a_part() -> None:
    params = {"bias": np.ones(2, np.float32), "w": np.ones((6, 7), np.float32)}
    assert leaves_by_layer(in_halves, params, ROWS) == {"bottom": [1], "top": [0]}


def test_an_exported_model() -> None:
    exported = jinterp.from_exported(
        jinterp.export_model(*networks.cnn(), IMAGES), networks.cnn().params
    )
    with pytest.raises(TypeError, match="`apply_fn` is an exported model"):
        leaves_by_layer(*exported, IMAGES)
