"""The same by Captum on torch, with the same weights, images and threads.

Score-CAM, and Grad-CAM on tokens, which Captum has not, go by the formulas of pytorch-grad-cam.
Each method makes programs of which the fastest is the peer.
"""

import functools
import warnings
from collections.abc import Callable

import numpy as np
import torch
import torchmetrics.functional.classification as metrics
from captum.attr import (
    IntegratedGradients,
    LayerConductance,
    LayerGradCam,
    NoiseTunnel,
    Saliency,
)
from torch.nn import functional

from benchmarks import rows
from benchmarks.shapes import CORES
from benchmarks.torch_networks import TWINS, ViT, twin

Programs = dict[str, Callable[[], np.ndarray]]

UNIFORM = (7, 14, 21, 28, 35, 42, 49, 56, 63, 72, 84, 96, 120, 150, 189, 300, 567)

warnings.filterwarnings("ignore", message="Input Tensor . did not already require gradients")


class Peer:
    """A network in torch, with the inputs and targets in torch's layout."""

    def __init__(self, case: rows.Case):
        torch.set_num_threads(CORES)
        self.case = case
        self.model = twin(case.network.name, case.network.params)
        self.layer = getattr(self.model, self.model.layer)
        self.x = torch.from_numpy(np.array(case.x)).permute(0, 3, 1, 2).contiguous()
        self.targets = torch.from_numpy(np.array(case.targets)).long()

    def logits(self, num: int) -> np.ndarray:
        """Of the first images."""
        with torch.inference_mode():
            return self.model(self.x[:num]).numpy()

    def evaluation(self) -> Programs:
        size = min(64, len(self.x))

        def program() -> np.ndarray:
            with torch.inference_mode():
                logits = torch.cat([self.model(x) for x in self.x.split(size)])
            losses = functional.cross_entropy(logits, self.targets, reduction="none")
            losses.topk(min(9, len(losses)))
            chosen = {"num_classes": logits.shape[1]}
            matrix = metrics.multiclass_confusion_matrix(logits, self.targets, **chosen)
            for metric in (
                metrics.multiclass_precision,
                metrics.multiclass_recall,
                metrics.multiclass_f1_score,
            ):
                metric(logits, self.targets, average="none", **chosen)
            metrics.multiclass_calibration_error(logits.softmax(1), self.targets, **chosen)
            return np.concatenate([losses.numpy(), matrix.numpy().ravel()])

        return {"torch and torchmetrics": program}

    def gradient(self) -> Programs:
        explainer = Saliency(self.model)
        return {
            "Captum": lambda: _channels_last(
                explainer.attribute(self.x, target=self.targets, abs=False)
            )
        }

    def integrated_gradients(self) -> Programs:
        return self._integrated_gradients(rows.NUM_STEPS)

    def _integrated_gradients(self, num_steps: int) -> Programs:
        explainer = IntegratedGradients(self.model)

        def program(size: int) -> np.ndarray:
            values = explainer.attribute(
                self.x,
                target=self.targets,
                n_steps=num_steps,
                method="riemann_middle",
                internal_batch_size=size,
            )
            return _channels_last(values)

        return _each_size("Captum, internal_batch_size=", self._sizes(), program)

    def integrated_gradients_within(self) -> Programs:
        """As many midpoints for all as keep the tolerance, known beforehand."""
        num_steps = rows.fewest_steps(self.case, UNIFORM)
        programs = self._integrated_gradients(num_steps)
        return {f"{name}, {num_steps} midpoints": one for name, one in programs.items()}

    def smoothgrad(self) -> Programs:
        explainer = NoiseTunnel(Saliency(self.model))
        spread = (self.x.amax((1, 2, 3)) - self.x.amin((1, 2, 3))).mean()

        def program(size: int) -> np.ndarray:
            values = explainer.attribute(
                self.x,
                target=self.targets,
                nt_type="smoothgrad",
                nt_samples=rows.NUM_SAMPLES,
                nt_samples_batch_size=size,
                stdevs=rows.NOISE * float(spread),
                abs=False,
            )
            return _channels_last(values)

        return _each_size("Captum, nt_samples_batch_size=", (1, 4), program)

    def grad_cam(self) -> Programs:
        if isinstance(self.model, ViT):
            return {"pytorch-grad-cam's formula": self._grad_cam_by_formula}
        explainer = LayerGradCam(self.model, self.layer)

        def program() -> np.ndarray:
            values = explainer.attribute(self.x, target=self.targets, relu_attributions=True)
            return values[:, 0].detach().numpy()

        return {"Captum": program}

    def _grad_cam_by_formula(self) -> np.ndarray:
        with torch.no_grad():
            activation = self.model.features(self.x)
        activation.requires_grad_()
        logits = self.model.head(activation)
        chosen = logits.gather(1, self.targets[:, None]).sum()
        slopes = self.model.in_space(torch.autograd.grad(chosen, activation)[0])
        weights = slopes.mean((2, 3), keepdim=True)
        maps = (weights * self.model.in_space(activation.detach())).sum(1)
        return torch.relu(maps).numpy()

    def score_cam(self) -> Programs:
        program = functools.partial(self._score_cam, rows.num_channels(self.case.network.name))
        return _each_size("pytorch-grad-cam's formula, channels at once=", (1, 4, 16), program)

    @torch.inference_mode()
    def _score_cam(self, num_channels: int | None, size: int) -> np.ndarray:
        activation = self.model.in_space(self.model.features(self.x))
        spread = activation.flatten(2).std(2, correction=0)
        channels = spread.topk(num_channels or spread.shape[1], dim=1).indices
        activation = activation.take_along_dim(channels[:, :, None, None], dim=1)
        gains = []
        for some in activation.split(size, dim=1):
            masks = functional.interpolate(some, self.x.shape[2:], mode="bilinear")
            low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
            masks = (masks - low) / torch.where(high == low, 1, high - low)
            logits = self.model((self.x[:, None] * masks[:, :, None]).flatten(0, 1))
            logits = logits.unflatten(0, (len(self.x), -1))
            gains.append(logits.take_along_dim(self.targets[:, None, None], dim=2)[..., 0])
        weights = torch.cat(gains, dim=1).softmax(1)
        return torch.relu((activation * weights[:, :, None, None]).sum(1)).numpy()

    def conductance(self) -> Programs:
        explainer = LayerConductance(self.model, self.layer)

        def program(size: int) -> np.ndarray:
            values = explainer.attribute(
                self.x, target=self.targets, n_steps=rows.NUM_STEPS, internal_batch_size=size
            )
            return _channels_last(values)

        return _each_size("Captum, internal_batch_size=", self._sizes(), program)

    def _sizes(self) -> tuple[int, ...]:
        return (64, 128) if len(self.x) > 2 else (4, 16)


def programs_of(row: rows.Row, case: rows.Case) -> Programs:
    """The peer's programs; none for a network that torch does not have."""
    if case.network.name not in TWINS:
        return {}
    peer = Peer(case)
    few = min(len(case.x), 8)
    ours = np.asarray(case.network.apply_fn(case.network.params, case.x[:few]))
    error = np.linalg.norm(peer.logits(few) - ours) / np.linalg.norm(ours)
    assert error <= 1e-5, f"the twin in torch has other logits: {error:.1e}"
    return getattr(peer, row.peers)()


def _each_size(name: str, sizes: tuple[int, ...], program: Callable[[int], np.ndarray]) -> Programs:
    return {f"{name}{size}": functools.partial(program, size) for size in sizes}


def _channels_last(values: torch.Tensor) -> np.ndarray:
    values = values.detach()
    return (values.permute(0, 2, 3, 1) if values.ndim == 4 else values).numpy()
