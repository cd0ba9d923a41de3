"""Captum's numbers for ResNet-20, in Linen and in NNX, in float64 and in float32.

The float64 passes are slow on a CPU: path integrals in float64 take fewer of the eight images.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from tests.real.resnet import linen_resnet, nnx_resnet

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])
# The numbers are stored in float32 (3e-8 off). In float32 arithmetic a ReLU near its kink flips.
TOLERANCES = {64: 1e-6, 32: 5e-3}
pytestmark = pytest.mark.slow


class Question(NamedTuple):
    """What Captum was asked, of one of our networks.

    Attributes:
        model: with parameters of the precision.
        x: `[8, 32, 32, 3]`.
        target: the true labels.
        golden: what Captum answered, by name.
        library: "linen" or "nnx".
        bits: of the precision.
    """

    model: jinterp.Model
    x: jax.Array
    target: np.ndarray
    golden: dict[str, np.ndarray]
    library: str
    bits: int

    def first(self, number: int) -> tuple[Any, ...]:
        """The arguments of an explainer for the first images."""
        return *self.model, self.x[:number], self.target[:number]

    def check(self, name: str, found: Any) -> None:
        """The relative error in L2 of an answer, for as many images as it has."""
        assert found.dtype == np.dtype(f"float{self.bits}")
        expected = self.golden[name][: len(found)].astype(np.float64)
        error = np.linalg.norm(np.asarray(found, np.float64) - expected)
        error /= np.linalg.norm(expected)
        assert error <= TOLERANCES[self.bits], f"{name}: {error:.2e}"


@pytest.fixture(
    scope="module",
    params=[("linen", 64), ("nnx", 64), ("linen", 32)],
    ids=lambda param: f"{param[0]}-float{param[1]}",
)
def question(request, shared: Path, cifar10) -> Iterator[Question]:
    library, bits = request.param
    with np.load(shared / "goldens/captum_resnet20.npz") as arrays:
        golden = dict(arrays)
    # Normalised in float64 and rounded after it; in float32 some ReLUs flip.
    x = ((cifar10[0][golden["index"]] / 255.0 - MEAN) / STD).astype(np.float32)
    path = shared / "data/models/resnet20_cifar10.npz"
    if library == "nnx":
        model = jinterp.from_nnx(nnx_resnet(path, 20))
    else:
        model = jinterp.from_linen(*linen_resnet(path, 20))
    with jax.enable_x64(bits == 64):
        dtype = np.dtype(f"float{bits}")
        model = model._replace(params=jax.tree.map(lambda leaf: leaf.astype(dtype), model.params))
        x = jnp.asarray(x.astype(dtype))
        yield Question(model, x, golden["label"], golden, library, bits)


def test_logits_and_gradients(question: Question) -> None:
    question.check("logits", question.model.apply_fn(question.model.params, question.x))
    gradients = jinterp.gradient(*question.first(8))
    question.check("saliency_signed", gradients)
    question.check("input_x_gradient", jinterp.input_x_gradient(*question.first(8)))


@pytest.mark.parametrize("layer", ["layer2", "layer3"])
def test_grad_cam_and_layer_gradient_x_activation(question: Question, layer: str) -> None:
    arguments, name = question.first(8), f"{layer}_2"
    signed = jinterp.grad_cam(*arguments, layer=name, relu=False)
    question.check(f"grad_cam_{layer}_signed", signed)
    question.check(f"grad_cam_{layer}_relu", jnp.maximum(signed, 0))
    explain = jinterp.at_layer(jinterp.input_x_gradient, name)
    question.check(f"layer_gradient_x_activation_{layer}", explain(*arguments))


def test_grad_cam_finds_the_end_of_the_last_stage(question: Question) -> None:
    question.check("grad_cam_layer3_relu", jinterp.grad_cam(*question.first(8)))


def test_integrated_gradients_and_their_gap(question: Question) -> None:
    """In float64 for eight images in Linen, two in NNX."""
    arguments = question.first(2 if question.library == "nnx" and question.bits == 64 else 8)
    values = jinterp.integrated_gradients(*arguments, rule="gauss_legendre", num_steps=50)
    question.check("integrated_gradients_gl50_zero", values)
    gaps = jinterp.completeness_gap(*arguments[:3], values, arguments[3])
    question.check("integrated_gradients_gl50_zero_delta", gaps)


def test_conductance(question: Question) -> None:
    """In float64 for two images, in NNX at the third stage alone."""
    arguments = question.first(2 if question.bits == 64 else 8)
    for layer in ["layer3"] if question.library == "nnx" else ["layer2", "layer3"]:
        values = jinterp.conductance(
            *arguments, layer=f"{layer}_2", rule="gauss_legendre", num_steps=50
        )
        question.check(f"layer_conductance_{layer}_gl50_sum_hw", values.sum((1, 2)))


def test_occlusion_and_feature_ablation(question: Question) -> None:
    """In float64 for eight images in Linen, two in NNX."""
    arguments = question.first(2 if question.library == "nnx" and question.bits == 64 else 8)
    occluded = jinterp.occlusion(*arguments, window=8, stride=4)
    question.check("occlusion_8x8_stride4_zero", occluded)
    mask = jinterp.patches(question.x, 8)
    question.check(
        "feature_ablation_8x8_grid_zero",
        jinterp.feature_ablation(*arguments, feature_mask=mask),
    )
