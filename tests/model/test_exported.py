"""Models that were exported: the same answers without their code, and named errors."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, traverse_util

import jinterp
from jinterp.attribution._layer import layer_slopes
from jinterp.model.tap import open_layers
from tests import networks
from tests.model.test_layers import equinox
from tests.networks import IMAGES, ROWS, TOKENS
from tests.problems import count_compiles

ROOT = Path(__file__).parents[2]
TARGET = np.array([2, 0, 1, 4])


@functools.cache
def blob(build: Callable[[], jinterp.Model] = networks.cnn, x_name: str = "IMAGES") -> bytes:
    """The model with all its layers."""
    model, x = build(), getattr(networks, x_name)
    return jinterp.export_model(*model, x, layers=[each.name for each in jinterp.layers(*model, x)])


@functools.cache
def loaded(build: Callable[[], jinterp.Model] = networks.cnn, x_name: str = "IMAGES") -> Any:
    return jinterp.from_exported(blob(build, x_name), build().params)


def own(apply_fn: Any, *arguments: Any, **keywords: Any) -> jax.export.Exported:
    """What a user exports."""
    return jax.export.export(jax.jit(apply_fn), **keywords)(*arguments)


def close(a: Any, b: Any) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), a, b)


# ---------------------------------------------------------------- the same answers


@pytest.mark.parametrize("build", networks.CNNS.values(), ids=networks.CNNS)
@pytest.mark.parametrize("size", [1, 4, 7])
def test_logits_and_layers_of_any_batch_size(build: Any, size: int) -> None:
    x = np.resize(IMAGES, (size, *IMAGES.shape[1:]))
    model, found = build(), loaded(build)
    close(found.apply_fn(found.params, x), model.apply_fn(model.params, x))
    assert jinterp.layers(*found, x) == jinterp.layers(*model, x)


@pytest.mark.parametrize("build", networks.CNNS.values(), ids=networks.CNNS)
def test_a_map_at_the_layer_found_by_itself(build: Any) -> None:
    close(
        jinterp.grad_cam(*loaded(build), IMAGES, TARGET),
        jinterp.grad_cam(*build(), IMAGES, TARGET),
    )


@pytest.mark.parametrize("batch_size", [4, None])
def test_a_pass_over_a_dataset(batch_size: int | None) -> None:
    ds = (np.tile(IMAGES, (3, 1, 1, 1))[:11], np.arange(11) % networks.CLASSES)
    ds = jinterp.batches(ds, batch_size)
    model, found = networks.cnn(), loaded()
    close(jinterp.evaluate(*found, ds).predictions, jinterp.evaluate(*model, ds).predictions)
    close(jinterp.confusion_matrix(*found, ds), jinterp.confusion_matrix(*model, ds))
    close(jinterp.top_losses(*found, ds, k=5), jinterp.top_losses(*model, ds, k=5))


def nested(params: Any, tokens: jax.Array) -> jax.Array:
    with jax.named_scope("embed"):
        x = params["table"][tokens]
    for block in ("block0", "block1"):
        with jax.named_scope(block):
            with jax.named_scope("inner"):
                y = jnp.tanh(x @ params["square"])
            x = x + y
    return x.sum(1)


def nested_model() -> jinterp.Model:
    rng = np.random.default_rng(0)
    shapes = {"table": (networks.VOCABULARY, 5), "square": (5, 5)}
    return jinterp.Model(
        nested, {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}
    )


def test_layers_opened_together_one_around_the_other() -> None:
    model, found = nested_model(), loaded(nested_model, "TOKENS")
    names = ("block1", "block0.inner", "block0")
    answers = []
    for apply_fn, params in (model, found):
        opened = open_layers(apply_fn, params, TOKENS, names)
        deltas = tuple(np.full(each.shape, 0.1, np.float32) for each in opened.shapes)
        answers.append(opened(deltas, params, TOKENS))
    close(*answers)


def test_tokens_are_explained_at_the_embedding() -> None:
    explain = jinterp.at_layer(jinterp.integrated_gradients, "embed")
    model, found = nested_model(), loaded(nested_model, "TOKENS")
    close(explain(*found, TOKENS, TARGET), explain(*model, TOKENS, TARGET))


def test_tap_and_truncate() -> None:
    model, found = networks.cnn(), loaded()
    delta = np.full((4, 4, 6, 8), 0.1, np.float32)

    def gradient(apply_fn: Any, params: Any) -> Any:
        tapped = jinterp.tap(apply_fn, "conv2")
        return jax.grad(lambda delta: (tapped(delta, params, IMAGES)[0] ** 2).sum())(delta)

    close(gradient(*found), gradient(*model))
    keywords = {"target": 3, "score": jinterp.channel}
    close(
        jinterp.gradient(
            jinterp.truncate(found.apply_fn, "conv1"), found.params, IMAGES, **keywords
        ),
        jinterp.gradient(
            jinterp.truncate(model.apply_fn, "conv1"), model.params, IMAGES, **keywords
        ),
    )


def test_a_batch_that_vmap_put_on_the_last_axis() -> None:
    model, images = equinox(), IMAGES.transpose(0, 3, 1, 2)
    names = [each.name for each in jinterp.layers(*model, images)]
    exported = jinterp.export_model(*model, images, layers=names)
    found = jinterp.from_exported(exported, model.params)
    assert jinterp.layers(*found, images) == jinterp.layers(*model, images)
    close(jinterp.activations(*found, images, names), jinterp.activations(*model, images, names))


def test_inputs_of_several_arrays() -> None:
    def apply_fn(params: Any, x: Any) -> jax.Array:
        return x["a"] @ params[0] + x["b"].mean(1) @ params[1]

    params = [jnp.ones((7, 3)), jnp.arange(12.0).reshape(4, 3)]
    x = {"a": ROWS, "b": np.ones((4, 2, 4), np.float32)}
    found = jinterp.from_exported(jinterp.export_model(apply_fn, params, x), params)
    close(jinterp.gradient(*found, x, 1), jinterp.gradient(apply_fn, params, x, 1))


def test_gradients_by_the_parameters() -> None:
    model, found = networks.mlp(), loaded(networks.mlp, "ROWS")

    def slopes(apply_fn: Any, params: Any) -> Any:
        def of_class(number: jax.Array) -> Any:
            return jax.grad(lambda p: jnp.take(apply_fn(p, ROWS), number, axis=1).sum())(params)

        return jax.vmap(of_class)(jnp.arange(3))

    close(jax.jit(slopes, static_argnums=0)(*found), jax.jit(slopes, static_argnums=0)(*model))


def test_several_parameters_at_a_time() -> None:
    model, found = networks.mlp(), loaded(networks.mlp, "ROWS")

    def logits(apply_fn: Any, params: Any) -> Any:
        scaled = jax.vmap(lambda scale: jax.tree.map(lambda leaf: leaf * scale, params))
        return jax.vmap(apply_fn, (0, None))(scaled(jnp.arange(3.0)), ROWS)

    close(logits(*found), logits(*model))


def test_a_map_costs_no_more_than_that_of_the_model() -> None:
    """What is below the layer is dropped from the backward pass, and the flags with it."""

    def cost(apply_fn: Any, params: Any) -> float:
        lowered = jax.jit(layer_slopes, static_argnums=(0, 1, 2)).lower(
            apply_fn, jinterp.logit, "conv2", params, IMAGES, TARGET
        )
        return lowered.compile().cost_analysis()["flops"]

    assert cost(*loaded()) <= 1.01 * cost(*networks.cnn())


# ---------------------------------------------------------------- how it comes in


class Dropped(nnx.Module):
    """Its state holds random keys, which are parameters to JAX."""

    def __init__(self, rngs: nnx.Rngs):
        self.dense, self.dropout = nnx.Linear(7, 3, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dropout(self.dense(x))


def test_nnx_state_with_random_keys() -> None:
    model = jinterp.from_nnx(Dropped(nnx.Rngs(0)))
    found = jinterp.from_exported(jinterp.export_model(*model, ROWS), model.params)
    close(jinterp.gradient(*found, ROWS, 1), jinterp.gradient(*model, ROWS, 1))


def test_parameters_of_an_npz_file(tmp_path: Path) -> None:
    model = networks.cnn()
    names = jax.tree_util.tree_leaves_with_path(model.params)
    np.savez(
        tmp_path / "params",
        **{jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in names},
    )
    with np.load(tmp_path / "params.npz") as params:
        found = jinterp.from_exported(blob(), params)
    close(found.apply_fn(found.params, IMAGES), model.apply_fn(model.params, IMAGES))


def test_parameters_in_any_structure_with_their_names() -> None:
    params = networks.cnn().params
    flat = traverse_util.flatten_dict(params, sep="/")
    for each in (flat, flax.core.freeze(params), jax.tree.map(np.asarray, params)):
        found = jinterp.from_exported(blob(), each)
        close(found.apply_fn(found.params, IMAGES), networks.cnn().apply_fn(params, IMAGES))
    as_dict = jinterp.from_exported(blob(networks.cnn_nnx), params["params"])
    close(as_dict.apply_fn(as_dict.params, IMAGES), networks.cnn().apply_fn(params, IMAGES))


def test_equal_bytes_make_equal_functions_that_compile_once(tmp_path: Path) -> None:
    path = tmp_path / "model.jinterp"
    path.write_bytes(blob())
    params = networks.cnn().params
    first, second = jinterp.from_exported(blob(), params), jinterp.from_exported(path, params)
    assert first.apply_fn == second.apply_fn
    assert hash(first.apply_fn) == hash(second.apply_fn)
    assert first.apply_fn != loaded(networks.cnn_plain).apply_fn
    jinterp.gradient(*first, IMAGES, TARGET)
    jinterp.grad_cam(*first, IMAGES, TARGET)
    with count_compiles() as counter:
        jinterp.gradient(*second, IMAGES, TARGET)
        jinterp.grad_cam(*second, IMAGES, TARGET)
    assert counter.compiled == 0


def test_an_export_of_the_users_own() -> None:
    model = networks.cnn()
    abstract = jax.eval_shape(lambda: (model.params, jnp.asarray(IMAGES)))
    size = jax.export.symbolic_shape("b")[0]
    images = jax.ShapeDtypeStruct((size, *IMAGES.shape[1:]), jnp.float32)
    inside = own(lambda x: model.apply_fn(model.params, x), images)
    several = own(model.apply_fn, abstract[0], images)
    fixed = jax.export.deserialize(own(model.apply_fn, *abstract).serialize(vjp_order=1))
    expected = jinterp.integrated_gradients(*model, IMAGES[:3], 1)
    for found in (
        jinterp.from_exported(inside),
        jinterp.from_exported(several, model.params),
        jinterp.from_exported(fixed, model.params),
    ):
        close(jinterp.integrated_gradients(*found, IMAGES[:3], 1), expected)
        assert jinterp.layers(*found, IMAGES) == []
    again = jax.export.deserialize(fixed.serialize(vjp_order=1))
    assert jinterp.from_exported(again, model.params).apply_fn == found.apply_fn


ELSEWHERE = """
import sys
import numpy as np
import jinterp
model = jinterp.from_exported("model.jinterp", dict(np.load("params.npz")))
x = np.load("x.npy")
np.save("map.npy", jinterp.grad_cam(*model, x, 1, layer="conv1"))
np.save("values.npy", jinterp.integrated_gradients(*model, x, 1))
assert not any(name.startswith("tests") for name in sys.modules)
"""


def test_another_process_without_the_models_code(tmp_path: Path) -> None:
    model = networks.cnn()
    (tmp_path / "model.jinterp").write_bytes(blob())
    np.savez(tmp_path / "params.npz", **traverse_util.flatten_dict(model.params, sep="/"))
    np.save(tmp_path / "x.npy", IMAGES)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", ELSEWHERE]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    close(np.load(tmp_path / "map.npy"), jinterp.grad_cam(*model, IMAGES, 1, layer="conv1"))
    close(np.load(tmp_path / "values.npy"), jinterp.integrated_gradients(*model, IMAGES, 1))
