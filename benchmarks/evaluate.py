"""What does the whole pass cost over the bare forward pass, and beside torch and torchmetrics?

python -m benchmarks.evaluate [--images N]; needs the `bench` extra, and the data that
tests/real/conftest.py names.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torchmetrics.functional.classification as tm
from jax.sharding import NamedSharding, PartitionSpec

import jinterp
from benchmarks.timing import in_turn, machine, table
from benchmarks.torch_resnet import torch_resnet
from tests.real.conftest import SHARED
from tests.real.resnet import MEAN, STD, linen_resnet, preprocess

BATCH_SIZE = 64
NUM_CLASSES = 10


def padded_batches(images: np.ndarray) -> list[np.ndarray]:
    padding = -len(images) % BATCH_SIZE
    padded = np.concatenate([images, images[-1:].repeat(padding, axis=0)])
    return list(padded.reshape(-1, BATCH_SIZE, *images.shape[1:]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 2)
    torch.set_num_threads(2)

    with np.load(SHARED / "data/cifar10/test.npz") as arrays:
        images, labels = (arrays[name][: arguments.images] for name in ("image", "label"))
    weights = SHARED / "data/models/resnet20_cifar10.npz"
    module, variables = linen_resnet(weights, 20)
    model = jinterp.from_linen(module, variables)
    ds = jinterp.batches((images, labels), BATCH_SIZE, preprocess=preprocess)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    on_mesh = NamedSharding(mesh, PartitionSpec("data"))
    replicated = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
    batches = padded_batches(images)

    @jax.jit
    def forward(variables, x):
        return module.apply(variables, preprocess(x))

    def one_at_a_time() -> np.ndarray:
        return np.concatenate([forward(variables, jnp.asarray(x)) for x in batches])

    def two_in_flight() -> np.ndarray:
        with ThreadPoolExecutor(2) as pool:
            run = pool.map(lambda x: np.asarray(forward(variables, jnp.asarray(x))), batches)
            return np.concatenate(list(run))

    def two_device_mesh() -> np.ndarray:
        logits = [forward(replicated, jax.device_put(x, on_mesh)) for x in batches]
        return np.concatenate(jax.device_get(logits))

    peer = torch_resnet(weights, 20)

    def torch_logits() -> torch.Tensor:
        with torch.inference_mode():
            return torch.cat([peer(_torch_input(x)) for x in batches])[: len(labels)]

    targets = torch.from_numpy(labels.astype(np.int64))

    def torch_evaluation() -> dict[str, torch.Tensor]:
        logits = torch_logits()
        classes = {"num_classes": NUM_CLASSES}
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        return {
            "losses": losses,
            "top": losses.topk(9).indices,
            "matrix": tm.multiclass_confusion_matrix(logits, targets, **classes),
            "precision": tm.multiclass_precision(logits, targets, average="none", **classes),
            "recall": tm.multiclass_recall(logits, targets, average="none", **classes),
            "f1": tm.multiclass_f1_score(logits, targets, average="none", **classes),
            "calibration": tm.multiclass_calibration_error(logits.softmax(1), targets, **classes),
        }

    # The same numbers first.
    found, peers = jinterp.evaluate(*model, ds), torch_evaluation()
    np.testing.assert_allclose(found.predictions.losses, peers["losses"], rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(found.confusion_matrix, peers["matrix"])
    np.testing.assert_array_equal(found.top_losses.indices, peers["top"])
    np.testing.assert_allclose(found.report.f1, peers["f1"], rtol=1e-5)
    logits = one_at_a_time()
    for other in (two_in_flight(), two_device_mesh()):
        np.testing.assert_allclose(logits, other, rtol=1e-3, atol=1e-4)

    seconds = in_turn(
        {
            "bare jitted forward, two batches in flight": two_in_flight,
            "bare jitted forward, one batch at a time": one_at_a_time,
            "bare jitted forward, 2-device CPU mesh": two_device_mesh,
            "**jinterp.evaluate**": lambda: jinterp.evaluate(*model, ds),
            "**jinterp.evaluate**, 2-device CPU mesh": lambda: jinterp.evaluate(
                *model, ds, mesh=mesh
            ),
            "**jinterp.top_losses**": lambda: jinterp.top_losses(*model, ds),
            "torch forward, 2 threads": torch_logits,
            "torch forward, 2 threads, and torchmetrics": torch_evaluation,
        },
        rounds=arguments.rounds,
    )
    print(machine("jinterp", "jax", "flax", "torch", "torchmetrics"))
    print(f"{len(labels)} images, batches of {BATCH_SIZE}, accuracy {found.accuracy}\n")
    print(table(seconds, "bare jitted forward, two batches in flight"))


def _torch_input(images: np.ndarray) -> torch.Tensor:
    normalised = (
        torch.from_numpy(images).float() / 255 - torch.from_numpy(MEAN)
    ) / torch.from_numpy(STD)
    return normalised.permute(0, 3, 1, 2)


if __name__ == "__main__":
    main()
