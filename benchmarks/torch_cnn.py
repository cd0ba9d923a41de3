"""The small CNN of `benchmarks.networks` in torch, with the weights of the Linen one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.networks import WIDTHS


class CNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        inputs = (1, *WIDTHS[:-1])
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in zip(inputs, WIDTHS, strict=True)
        )
        self.linear = nn.Linear(WIDTHS[-1], 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number, conv in enumerate(self.convs):
            x = torch.relu(conv(x))
            if number % 2:
                x = nn.functional.max_pool2d(x, 2)
        return self.linear(x.mean((2, 3)))


def torch_cnn(variables: Mapping[str, Any]) -> CNN:
    """The network with the weights of Linen variables: HWIO becomes OIHW."""
    params, model = variables["params"], CNN()
    layers = {f"convs.{number}": f"conv{number}" for number in range(len(WIDTHS))}
    state = {}
    for name, own in (layers | {"linear": "linear"}).items():
        kernel = np.array(params[own]["kernel"])
        kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        state[f"{name}.weight"] = torch.from_numpy(kernel.copy())
        state[f"{name}.bias"] = torch.from_numpy(np.array(params[own]["bias"]))
    model.load_state_dict(state)
    return model.eval()
