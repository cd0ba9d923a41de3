"""What goes wrong with exported models, named."""

import io
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jinterp
from tests import networks
from tests.model.test_exported import TARGET, blob, close, loaded, own
from tests.networks import IMAGES, ROWS


def linear(params: jax.Array, x: jax.Array) -> jax.Array:
    with jax.named_scope("bias"):
        bias = params.sum(0, keepdims=True)
    with jax.named_scope("head"):
        x = x @ params
    return x + bias


PARAMS = jnp.ones((7, 3))


def test_no_gradient_was_exported() -> None:
    only_forward = jax.export.deserialize(own(linear, PARAMS, ROWS).serialize())
    model = jinterp.from_exported(only_forward, PARAMS)
    close(model.apply_fn(PARAMS, ROWS), linear(PARAMS, ROWS))
    with pytest.raises(ValueError, match=r"no gradient.*serialize\(vjp_order=1\).*export_model"):
        jinterp.gradient(*model, ROWS, 1)


def test_a_gradient_of_a_gradient() -> None:
    apply_fn, params = loaded(networks.mlp, "ROWS")
    inner = jax.grad(lambda x: (apply_fn(params, x) ** 2).sum())
    with pytest.raises(ValueError, match="gradients of first order, which are all"):
        jax.grad(lambda x: (inner(x) ** 2).sum())(ROWS)


def test_a_layer_that_was_not_exported() -> None:
    found = loaded()
    message = (
        r"no layer 'conv3' in the exported model, which has 'conv1', 'conv2', 'head'.*\['conv3'\]"
    )
    for ask in (jinterp.grad_cam, jinterp.conductance):
        with pytest.raises(ValueError, match=message):
            ask(*found, IMAGES, layer="conv3")
    without = jinterp.from_exported(jinterp.export_model(linear, PARAMS, ROWS), PARAMS)
    with pytest.raises(ValueError, match="no layer 'head' in the exported model, which has none"):
        jinterp.activations(*without, ROWS, "head")


def test_attention_that_was_not_exported() -> None:
    with pytest.raises(ValueError, match="the exported model holds no attention"):
        jinterp.attention_maps(*loaded(), IMAGES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: {}, r"`params` has no arrays; the exported model expects 'params/conv1/bias', "),
        (lambda p: p["params"], "`params` has 'conv1/bias', .*expects 'params/conv1/bias'.*Give"),
        (
            lambda p: jax.tree.map(lambda leaf: leaf[..., :1], p),
            r"`params\['params/conv1/bias'\]` is float32\[1\]; the model was exported for "
            r"float32\[6\]",
        ),
        (
            lambda p: jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), p),
            r"is bfloat16\[6\]; the model was exported for float32\[6\]",
        ),
    ],
    ids=["none", "without the collection", "shape", "dtype"],
)
def test_other_parameters(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jinterp.from_exported(blob(), change(networks.cnn().params))


def test_other_inputs() -> None:
    with pytest.raises(ValueError, match=r"`x` is float32\[4, 7\]; .* float32\[batch, 8, 12, 3\]"):
        jinterp.gradient(*loaded(), ROWS)
    with pytest.raises(ValueError, match=r"`x` is uint8\[4, 8, 12, 3\]; the model was exported"):
        jinterp.predictions(*loaded(), (IMAGES.astype(np.uint8), TARGET))


def damaged() -> dict[str, bytes]:
    whole = blob()
    middle = len(whole) // 2
    flipped = bytes([whole[middle] ^ 255])
    return {
        "empty": b"",
        "truncated": whole[:-100],
        "half": whole[:middle],
        "flipped": whole[:middle] + flipped + whole[middle + 1 :],
        "serialized": bytes(own(linear, PARAMS, ROWS).serialize()),
        "archive": _archive({"a": b"b"}),
    }


def _archive(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", damaged())
def test_what_cannot_be_read(kind: str) -> None:
    message = r"`exported` \(\d+ bytes\) cannot be read: .*corrupt or truncated.*deserialize"
    with pytest.raises(ValueError, match=message):
        jinterp.from_exported(damaged()[kind], networks.cnn().params)


def test_a_format_of_another_version() -> None:
    newer = _archive({"jinterp.json": b'{"format": 9, "programs": []}'})
    with pytest.raises(ValueError, match="has the format 9; this jinterp reads 1"):
        jinterp.from_exported(newer)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no exported model 'no\.jinterp'"):
        jinterp.from_exported("no.jinterp")


@pytest.mark.usefixtures("as_user")
def test_something_else() -> None:
    with pytest.raises(TypeError, match="`exported` is a function; expected the bytes"):
        jinterp.from_exported(linear)


def test_another_platform() -> None:
    for_tpu = jinterp.export_model(linear, PARAMS, ROWS, platforms=["tpu"])
    with pytest.raises(ValueError, match=r"is for tpu; this process runs on cpu.*'tpu', 'cpu'"):
        jinterp.from_exported(for_tpu, PARAMS)
    both = jinterp.export_model(linear, PARAMS, ROWS, platforms=["tpu", "cpu"])
    found = jinterp.from_exported(both, PARAMS)
    close(jinterp.gradient(*found, ROWS, 1), jinterp.gradient(linear, PARAMS, ROWS, 1))


def test_several_devices() -> None:
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,), devices=jax.devices()[:2])
    cut = NamedSharding(mesh, PartitionSpec("data"))
    exported = jax.export.export(jax.jit(lambda x: x, in_shardings=cut))(ROWS)
    with pytest.raises(ValueError, match="exported for 2 devices; expected one"):
        jinterp.from_exported(exported)


def test_a_fixed_batch_on_an_explicit_mesh() -> None:
    exported = jinterp.export_model(linear, PARAMS, ROWS, batch_size=3)
    apply_fn, params = jinterp.from_exported(exported, PARAMS)
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Explicit,), devices=jax.devices()[:2])
    x = jax.device_put(ROWS, NamedSharding(mesh, PartitionSpec("data")))
    with pytest.raises(ValueError, match=r"takes 3 examples at a time, and .* explicit axis"):
        apply_fn(jax.device_put(params, NamedSharding(mesh, PartitionSpec())), x)


@pytest.mark.parametrize(
    ("fn", "arguments", "message"),
    [
        (lambda a, b, c: a, (1.0, 2.0, 3.0), r"takes 3 arguments and 0 keywords; expected \(par"),
        (lambda p, x: p, (PARAMS, ()), r"expected inputs \[batch, \.\.\.\]"),
        (lambda p, x: x, (PARAMS, 1.0), r"expected inputs \[batch, \.\.\.\]"),
    ],
)
def test_an_export_of_no_model(fn: Any, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jinterp.from_exported(own(fn, *arguments))


class Fixed(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(3, name="head")(x.reshape(int(x.shape[0]), -1))


def test_a_model_that_cannot_be_traced_for_any_number_of_examples() -> None:
    model = networks.linen(Fixed(), ROWS)
    with pytest.raises(ValueError, match=r"for any number of examples .*`batch_size`"):
        jinterp.export_model(*model, ROWS)
    fixed = jinterp.export_model(*model, ROWS, layers=["head"], batch_size=3)
    found = jinterp.from_exported(fixed, model.params)
    for name in ("gradient", "at_layer"):
        explain = {"at_layer": jinterp.at_layer(jinterp.gradient, "head")}.get(
            name, jinterp.gradient
        )
        close(explain(*found, ROWS, 1), explain(*model, ROWS, 1))


def test_layers_that_cannot_be_exported() -> None:
    with pytest.raises(ValueError, match=r"'bias' has an output of shape \(1, 3\) for 4 examples"):
        jinterp.export_model(linear, PARAMS, ROWS, layers=["head", "bias"])
    with pytest.raises(ValueError, match=r"there is no layer 'heads'\. Near it: 'head'"):
        jinterp.export_model(linear, PARAMS, ROWS, layers="heads")


def test_an_exported_model_is_not_exported_again() -> None:
    with pytest.raises(ValueError, match="`apply_fn` was exported already"):
        jinterp.export_model(*loaded(), IMAGES)
