"""The same attributions by Captum on torch."""

import warnings
from collections.abc import Callable

import jax
import numpy as np
import torch
from captum.attr import IntegratedGradients, LayerGradCam, Saliency

from benchmarks.networks import WEIGHTS, Network
from benchmarks.torch_cnn import torch_cnn
from benchmarks.torch_resnet import torch_resnet

Program = Callable[[], np.ndarray]

INTERNAL_BATCH_SIZES = (None, 64, 128)

warnings.filterwarnings("ignore", message="Input Tensor . did not already require gradients")


class Peer:
    """A network in torch, with the inputs and targets in torch's layout."""

    def __init__(self, network: Network, x: jax.Array, targets: jax.Array):
        if network.name == "cnn":
            self.model = torch_cnn(network.params)
            self.layer = self.model.convs[-1]
        else:
            self.model = torch_resnet(WEIGHTS, 20)
            self.layer = self.model.layer3[-1]
        self.x = torch.from_numpy(np.array(x)).permute(0, 3, 1, 2).contiguous()
        self.targets = torch.from_numpy(np.array(targets)).long()

    def forward(self) -> np.ndarray:
        with torch.inference_mode():
            return self.model(self.x).numpy()

    def gradient(self) -> np.ndarray:
        explainer = Saliency(self.model)
        return _channels_last(explainer.attribute(self.x, target=self.targets, abs=False))

    def grad_cam(self) -> np.ndarray:
        explainer = LayerGradCam(self.model, self.layer)
        values = explainer.attribute(self.x, target=self.targets, relu_attributions=True)
        return values[:, 0].detach().numpy()

    def integrated_gradients(
        self, num_steps: int, internal_batch_size: int | None, method: str = "riemann_middle"
    ) -> np.ndarray:
        values = IntegratedGradients(self.model).attribute(
            self.x,
            target=self.targets,
            n_steps=num_steps,
            method=method,
            internal_batch_size=internal_batch_size,
        )
        return _channels_last(values)


def _channels_last(values: torch.Tensor) -> np.ndarray:
    return values.detach().numpy().transpose(0, 2, 3, 1)
