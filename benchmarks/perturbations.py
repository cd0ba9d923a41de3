"""How fast are explainers that take parts of the input away, beside Captum?

python -m benchmarks.perturbations [--batch 8] [--samples 1000] [--rounds 5]; ResNet-20 on CIFAR-10,
needs the `bench` extra and the real data (`JINTERP_SHARED`). Captum runs with the
`perturbations_per_eval` that was fastest. It has no RISE: the peer is a loop in torch over
batches of the same masks.
"""

import argparse
import functools
import statistics
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from captum.attr import FeatureAblation, KernelShap, Occlusion

import jinterp
from benchmarks.networks import NETWORKS
from benchmarks.shapes import CORES
from benchmarks.timing import in_turn, machine, table
from benchmarks.torch_networks import twin
from jinterp.attribution.rise import _drawn, _mask

WINDOW, STRIDE, PATCH = 8, 4, 8
CHUNKS = (1, 4, 16, 64)
KEY = jax.random.key(0)
SPACE = (32, 32)

Program = Callable[[], np.ndarray]

warnings.filterwarnings("ignore", message="You are providing multiple inputs for Lime")


class Question(NamedTuple):
    """Some images, in both libraries.

    Attributes:
        model: ours.
        x: `[batch, 32, 32, 3]`.
        targets: the labels.
        twin: the same network in torch.
        images: `[batch, 3, 32, 32]` of torch.
        classes: the labels of torch.
        num_samples: masks, or coalitions.
    """

    model: jinterp.Model
    x: jax.Array
    targets: jax.Array
    twin: torch.nn.Module
    images: torch.Tensor
    classes: torch.Tensor
    num_samples: int

    @property
    def arguments(self) -> tuple[Any, ...]:
        return *self.model, self.x, self.targets


def asked(batch: int, num_samples: int) -> Question:
    torch.set_num_threads(CORES)
    make, data = NETWORKS["resnet20"]
    network, (x, targets) = make(), data(batch)
    images = torch.from_numpy(np.array(x)).permute(0, 3, 1, 2).contiguous()
    classes = torch.from_numpy(np.array(targets)).long()
    model = jinterp.Model(network.apply_fn, network.params)
    return Question(
        model, x, targets, twin("resnet20", network.params), images, classes, num_samples
    )


def _mask_of(question: Question, size: int) -> np.ndarray:
    return jinterp.patches(question.x, size)


def _in_torch(mask: np.ndarray) -> torch.Tensor:
    """`[1, 1, height, width]`."""
    return torch.from_numpy(mask).long().permute(2, 0, 1)[None]


def _channels_last(values: torch.Tensor) -> np.ndarray:
    return values.detach().permute(0, 2, 3, 1).numpy()


def ours(question: Question, size: int = PATCH) -> dict[str, Program]:
    """Jinterp's programs, by the name of the method."""
    mask = _mask_of(question, size)
    sampled = {"key": KEY, "num_samples": question.num_samples}
    calls = {
        "occlusion": functools.partial(jinterp.occlusion, window=WINDOW, stride=STRIDE),
        "feature_ablation": functools.partial(jinterp.feature_ablation, feature_mask=mask),
        "rise": functools.partial(jinterp.rise, **sampled),
        "kernel_shap": functools.partial(jinterp.kernel_shap, feature_mask=mask, **sampled),
    }
    return {
        name: lambda explain=explain: np.asarray(explain(*question.arguments))
        for name, explain in calls.items()
    }


def peers(question: Question, size: int = PATCH) -> dict[str, Callable[[int], np.ndarray]]:
    """What takes their places in torch, with so many perturbations a batch."""
    groups = _in_torch(_mask_of(question, size))
    given = {"target": question.classes}

    def occluded(chunk: int) -> np.ndarray:
        windows, strides = (3, WINDOW, WINDOW), (3, STRIDE, STRIDE)
        values = Occlusion(question.twin).attribute(
            question.images, windows, strides, perturbations_per_eval=chunk, **given
        )
        return _channels_last(values)

    def ablated(chunk: int) -> np.ndarray:
        values = FeatureAblation(question.twin).attribute(
            question.images, feature_mask=groups, perturbations_per_eval=chunk, **given
        )
        return _channels_last(values)

    def regressed(chunk: int) -> np.ndarray:
        values = KernelShap(question.twin).attribute(
            question.images,
            feature_mask=groups,
            n_samples=question.num_samples,
            perturbations_per_eval=chunk,
            **given,
        )
        return _channels_last(values)

    return {
        "occlusion": occluded,
        "feature_ablation": ablated,
        "rise": functools.partial(_rise, question),
        "kernel_shap": regressed,
    }


def _rise(question: Question, chunk: int) -> np.ndarray:
    """Petsiuk's loop over batches of the masks that ours draws."""
    masks = torch.from_numpy(np.array(_masks(question.num_samples)))
    total = torch.zeros(len(question.images), *SPACE)
    with torch.inference_mode():
        for some in masks.split(chunk):
            seen = question.images[:, None] * some[None, :, None]
            logits = question.twin(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])
            chosen = question.classes[:, None, None].expand(-1, len(some), 1)
            scores = logits.gather(2, chosen)[..., 0]
            total += torch.einsum("bm,mhw->bhw", scores, some)
    values = total / masks.sum(0)
    return np.broadcast_to(values[..., None].numpy(), question.x.shape)


@functools.partial(jax.jit, static_argnames="num_samples")
def _masks(num_samples: int) -> jax.Array:
    drawn = _drawn(KEY, num_samples, SPACE, 7, 0.5)
    return jax.vmap(lambda cells, corner: _mask(cells, corner, SPACE))(*drawn)


def check(question: Question) -> None:
    """Equal numbers; Kernel SHAP, of four groups, against the exact values."""
    found, others = ours(question), peers(question)
    for name in ("occlusion", "feature_ablation", "rise"):
        _agree(name, found[name](), others[name](4), 1e-3)
    half = SPACE[0] // 2
    exact = np.asarray(
        jinterp.exact_shapley(*question.arguments, feature_mask=_mask_of(question, half))
    )
    _agree("kernel_shap", ours(question, half)["kernel_shap"](), exact, 1e-3)
    torch.manual_seed(0)
    _agree("Captum's KernelShap", peers(question, half)["kernel_shap"](4), exact, 0.3)


def _agree(name: str, found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    if not error <= tolerance:
        raise AssertionError(f"{name} differs by {error:.1e}, more than {tolerance:.0e}")
    print(f"{name}: differs by {error:.1e}", flush=True)


def fastest(program: Callable[[int], np.ndarray]) -> int:
    """The number of perturbations a batch with the shortest median of three rounds."""
    choices: Mapping[str, Program] = {
        str(chunk): functools.partial(program, chunk) for chunk in CHUNKS
    }
    seconds = in_turn(choices, rounds=3)
    return int(min(seconds, key=lambda chunk: statistics.median(seconds[chunk])))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(machine("jinterp", "jax", "flax", "torch", "captum"))
    question = asked(arguments.batch, arguments.samples)
    check(question)
    others = peers(question)
    for name, program in ours(question).items():
        chunk = fastest(others[name])
        peer = f"torch, {chunk} perturbations a batch"
        programs = {peer: functools.partial(others[name], chunk), f"**jinterp.{name}**": program}
        print(f"\n{name}, {len(question.x)} images\n")
        print(table(in_turn(programs, rounds=arguments.rounds), peer), flush=True)


if __name__ == "__main__":
    main()
