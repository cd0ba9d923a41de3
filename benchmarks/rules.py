"""What do LRP and DeepLIFT cost beside a gradient, and beside Captum's?

python -m benchmarks.rules; needs the pretrained ResNet-20 (`JINTERP_SHARED`), torch and Captum.

Captum's rules are hooks on modules: its DeepLIFT needs each ReLU to be a module that is used once,
and its LRP has no rule for an addition, so it is compared on a network without one.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
from captum.attr import LRP, DeepLift, DeepLiftShap, GuidedBackprop, Saliency
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import nn
from torch.nn import functional

import jinterp
from benchmarks.networks import NETWORKS
from benchmarks.shapes import CORES
from benchmarks.timing import in_turn, machine, table
from benchmarks.torch_networks import CNN, BasicBlock, CifarResNet, loaded
from jinterp import rules

BATCH, NUM_BASELINES = 64, 8
EPSILON = 1e-9  # Captum's
TOLERANCE = 5e-3  # relative, L2, float32: a ReLU at its kink


class Block(BasicBlock):
    """With a module for each ReLU."""

    def __init__(self, *sizes: int):
        super().__init__(*sizes)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        x = x[:, :, :: self.strides, :: self.strides]
        return self.relu2(y + functional.pad(x, (0, 0, 0, 0, self.padding, self.padding)))


class ResNet(CifarResNet):
    """With a module for each ReLU."""

    block = Block

    def __init__(self, depth: int):
        super().__init__(depth)
        self.relu = nn.ReLU()

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        for name in self.names:
            x = getattr(self, name)(x)
        return x


class Cnn(CNN):
    """With a module for each ReLU, pooling and mean."""

    def __init__(self) -> None:
        super().__init__()
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(self.num))
        self.pools = nn.ModuleList(nn.MaxPool2d(2) for _ in range(self.num // 2))
        self.mean = nn.AdaptiveAvgPool2d(1)

    def head(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.mean(self.after(self.num - 1, x)).flatten(1))

    def after(self, number: int, x: torch.Tensor) -> torch.Tensor:
        x = self.relus[number](x)
        return self.pools[number // 2](x) if number % 2 else x


def main() -> None:
    print(machine("jinterp", "jax", "numpy", "torch", "captum"))
    torch.set_num_threads(CORES)
    print(f"\nResNet-20, {BATCH} images\n")
    print(table(on_resnet(), "**jinterp.gradient**"))
    print(f"\n6 convolutions, {BATCH} images\n")
    print(table(on_cnn(), "**jinterp.gradient**"))


def on_resnet() -> dict[str, list[float]]:
    model, x, targets = case("resnet20")
    twin = loaded(ResNet(20), model.params)
    image = torch.from_numpy(np.array(x)).permute(0, 3, 1, 2).contiguous()
    wanted = torch.from_numpy(np.array(targets)).long()
    few = x[:NUM_BASELINES]
    asked = *model, x, targets
    programs: dict[str, Callable[[], object]] = {
        "**jinterp.gradient**": lambda: jinterp.gradient(*asked),
        "Captum, Saliency": lambda: Saliency(twin).attribute(image, wanted, abs=False),
        "**jinterp.deep_lift**": lambda: jinterp.deep_lift(*asked),
        "Captum, DeepLift": lambda: DeepLift(twin).attribute(image, target=wanted),
        "**jinterp.deep_lift_shap**, 8 baselines": lambda: jinterp.deep_lift_shap(
            *asked, baselines=few
        ),
        "Captum, DeepLiftShap, 8 baselines": lambda: DeepLiftShap(twin).attribute(
            image, image[:NUM_BASELINES], target=wanted
        ),
        "**jinterp.guided_backprop**": lambda: jinterp.guided_backprop(*asked),
        "Captum, GuidedBackprop": lambda: GuidedBackprop(twin).attribute(image, target=wanted),
    }
    for ours in [name for name in programs if "jinterp" in name]:
        names = list(programs)
        theirs = names[names.index(ours) + 1]
        agree(ours, programs[ours](), programs[theirs]())
    for name, given in {
        "ε": rules.EPSILON,
        "ε, z⁺ and flat": rules.EPSILON_PLUS_FLAT,
        "ε and γ": rules.EPSILON_GAMMA,
        "ε, α2β1 and flat": rules.EPSILON_ALPHA2_BETA1_FLAT,
    }.items():
        programs[f"**jinterp.lrp**, {name}"] = functools.partial(jinterp.lrp, *asked, rules=given)
    programs["**jinterp.deep_lift**, reveal-cancel"] = lambda: jinterp.deep_lift(
        *asked, rule="reveal_cancel"
    )
    return timed(programs)


def on_cnn() -> dict[str, list[float]]:
    model, x, targets = case("cnn")
    twin = loaded(Cnn(), model.params)
    image = torch.from_numpy(np.array(x)).permute(0, 3, 1, 2).contiguous()
    wanted = torch.from_numpy(np.array(targets)).long()
    for layer in twin.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.MaxPool2d | nn.AdaptiveAvgPool2d):
            layer.rule = EpsilonRule(EPSILON)
    asked = *model, x, targets
    ours = functools.partial(jinterp.lrp, *asked, rules=rules.Epsilon(EPSILON))
    programs: dict[str, Callable[[], object]] = {
        "**jinterp.gradient**": lambda: jinterp.gradient(*asked),
        "**jinterp.lrp**, ε": ours,
        "Captum, LRP, ε": lambda: LRP(twin).attribute(image, target=wanted),
    }
    agree("jinterp.lrp", ours(), programs["Captum, LRP, ε"]())
    return timed(programs)


def case(name: str) -> tuple[jinterp.Model, jax.Array, jax.Array]:
    make, data = NETWORKS[name]
    network = make()
    return jinterp.Model(network.apply_fn, network.params), *data(BATCH)


def agree(name: str, found: jax.Array, expected: torch.Tensor) -> None:
    other = expected.detach().permute(0, 2, 3, 1).numpy()
    error = np.linalg.norm(np.asarray(found) - other) / np.linalg.norm(other)
    if not error <= TOLERANCE:
        raise AssertionError(f"{name} differs from Captum's by {error:.1e}")
    print(f"{name}: Captum's values to {error:.0e}")


def timed(programs: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    def waited(program: Callable[[], object]) -> None:
        found = program()
        if isinstance(found, jnp.ndarray):
            jax.block_until_ready(found)

    return in_turn({name: functools.partial(waited, each) for name, each in programs.items()})


if __name__ == "__main__":
    main()
