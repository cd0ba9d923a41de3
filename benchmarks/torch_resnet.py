"""He's CIFAR ResNet in torch, the peer that the benchmarks measure against."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.real.resnet import WIDTHS, stages


class Block(nn.Module):
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
        return torch.relu(y + nn.functional.pad(x, (0, 0, 0, 0, self.padding, self.padding)))


class ResNet(nn.Module):
    def __init__(self, depth: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        rows: dict[str, list[Block]] = {"layer1": [], "layer2": [], "layer3": []}
        inputs = WIDTHS[0]
        for name, features, strides in stages(depth):
            rows[name.split("_")[0]].append(Block(inputs, features, strides))
            inputs = features
        for name, blocks in rows.items():
            setattr(self, name, nn.Sequential(*blocks))
        self.linear = nn.Linear(WIDTHS[-1], 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def torch_resnet(path: Path, depth: int) -> ResNet:
    """The network with its pretrained weights, in evaluation mode."""
    model = ResNet(depth)
    with np.load(path) as weights:
        state = {name: torch.from_numpy(weights[name]) for name in weights.files}
    model.load_state_dict(state, strict=False)
    return model.eval()
