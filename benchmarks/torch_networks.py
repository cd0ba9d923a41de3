"""The networks of `benchmarks.networks` in torch, with the same weights.

Their modules have the names of the Linen ones, so that one function loads them all. `layer` is the
name of the module that `features` ends with.
"""

from typing import Any

import jax
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import imagenet, networks
from tests.real import resnet


class Halves(nn.Module):
    """A network of two halves."""

    layer: str

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))

    def in_space(self, activation: torch.Tensor) -> torch.Tensor:
        """`[batch, channels, *space]`."""
        return activation


class CNN(Halves):
    def __init__(self) -> None:
        super().__init__()
        widths = networks.WIDTHS
        self.num, self.layer = len(widths), f"conv{len(widths) - 1}"
        for number, (a, b) in enumerate(zip((1, *widths[:-1]), widths, strict=True)):
            self.add_module(f"conv{number}", nn.Conv2d(a, b, 3, padding=1))
        self.linear = nn.Linear(widths[-1], 10)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        for number in range(self.num - 1):
            x = self.after(number, getattr(self, f"conv{number}")(x))
        return getattr(self, self.layer)(x)

    def head(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.after(self.num - 1, x).mean((2, 3)))

    def after(self, number: int, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(x)
        return functional.max_pool2d(x, 2) if number % 2 else x


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, features: int, strides: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, features, 3, strides, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.strides, self.padding = strides, (features - inputs) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        x = x[:, :, :: self.strides, :: self.strides]
        return torch.relu(y + functional.pad(x, (0, 0, 0, 0, self.padding, self.padding)))


class CifarResNet(Halves):
    block: type[nn.Module] = BasicBlock

    def __init__(self, depth: int):
        super().__init__()
        inputs = resnet.WIDTHS[0]
        self.conv1 = nn.Conv2d(3, inputs, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.names = [name for name, *_ in resnet.stages(depth)]
        for name, features, strides in resnet.stages(depth):
            self.add_module(name, self.block(inputs, features, strides))
            inputs = features
        self.linear, self.layer = nn.Linear(inputs, 10), self.names[-1]

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        for name in self.names:
            x = getattr(self, name)(x)
        return x

    def head(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.mean((2, 3)))


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, strides: int):
        super().__init__()
        outputs = imagenet.EXPANSION * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, strides, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.has_projection = strides != 1 or inputs != outputs
        if self.has_projection:
            self.downsample = nn.Conv2d(inputs, outputs, 1, strides, bias=False)
            self.downsample_bn = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(
            y + (self.downsample_bn(self.downsample(x)) if self.has_projection else x)
        )


class ResNet50(CifarResNet):
    def __init__(self) -> None:
        Halves.__init__(self)
        inputs = 64
        self.conv1 = nn.Conv2d(3, inputs, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.names = [name for name, *_ in imagenet.bottlenecks()]
        for name, width, strides in imagenet.bottlenecks():
            self.add_module(name, Bottleneck(inputs, width, strides))
            inputs = imagenet.EXPANSION * width
        self.linear, self.layer = nn.Linear(inputs, imagenet.NUM_CLASSES), self.names[-1]

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for name in self.names:
            x = getattr(self, name)(x)
        return x


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = imagenet.VIT_WIDTH
        self.norm1 = nn.LayerNorm(width, imagenet.VIT_EPSILON)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, imagenet.VIT_EPSILON)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, imagenet.VIT_HEADS, -1)
        y = functional.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
        x = x + self.proj(y.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class ViT(Halves):
    layer = f"block{imagenet.VIT_DEPTH - 2}"

    def __init__(self) -> None:
        super().__init__()
        width, patch = imagenet.VIT_WIDTH, imagenet.PATCH
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 197, width))
        for number in range(imagenet.VIT_DEPTH):
            self.add_module(f"block{number}", Block())
        self.norm = nn.LayerNorm(width, imagenet.VIT_EPSILON)
        self.linear = nn.Linear(width, imagenet.NUM_CLASSES)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        first = self.class_token.expand(len(x), -1, -1)
        x = torch.cat([first, tokens], dim=1) + self.positions
        for number in range(imagenet.VIT_DEPTH - 1):
            x = getattr(self, f"block{number}")(x)
        return x

    def head(self, x: torch.Tensor) -> torch.Tensor:
        last = getattr(self, f"block{imagenet.VIT_DEPTH - 1}")
        return self.linear(self.norm(last(x))[:, 0])

    def in_space(self, activation: torch.Tensor) -> torch.Tensor:
        return activation[:, 1:].transpose(1, 2).unflatten(2, (14, 14))


TWINS = {
    "cnn": CNN,
    "resnet20": lambda: CifarResNet(20),
    "resnet56": lambda: CifarResNet(56),
    "resnet50": ResNet50,
    "vit_s16": ViT,
}
_NAMES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def twin(name: str, variables: Any) -> Halves:
    """The network with the weights of Linen variables, in evaluation mode."""
    return loaded(TWINS[name](), variables)


def loaded(model: Halves, variables: Any) -> Halves:
    """A network of modules of the same names with these weights."""
    state = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]:
        *modules, own = [each.key for each in path[1:]]  # without the collection
        value = np.array(leaf)
        if own == "kernel":
            value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
        state[".".join([*modules, _NAMES.get(own, own)])] = torch.from_numpy(value.copy())
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected, unexpected
    assert all(each.endswith("num_batches_tracked") for each in missing), missing
    return model.eval().requires_grad_(False)
