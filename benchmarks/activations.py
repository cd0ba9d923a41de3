"""What do the statistics of all layers cost beside the model, and how much memory do they take?

python -m benchmarks.activations; needs CIFAR-10 and the weights of ResNet-20 (`JINTERP_SHARED`).
"""

import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

import jinterp
from benchmarks.forward import fastest_forward
from benchmarks.timing import in_turn, machine, peak_of, peak_resident_kib, table
from jinterp.stream import fold, mean
from tests.real.conftest import SHARED
from tests.real.resnet import linen_resnet, preprocess

NUM_CHECKED = 200
NUM_IMAGES = (1_000, 10_000)


def resnet20() -> jinterp.Model:
    return jinterp.from_linen(*linen_resnet(SHARED / "data/models/resnet20_cifar10.npz", 20))


def cifar10(num: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(SHARED / "data/cifar10/test.npz") as arrays:
        return arrays["image"][:num], arrays["label"][:num]


def check(model: jinterp.Model) -> int:
    """Compare with NumPy in float64 over the collected activations; how many layers there are."""
    images, labels = cifar10(NUM_CHECKED)
    ds = jinterp.batches((images, labels), preprocess=preprocess)
    stats = jinterp.activation_stats(*model, ds)
    names = [layer.name for layer in stats.layers]
    found = jinterp.activations(*model, preprocess(jnp.asarray(images)), names)
    for layer in stats.layers:
        values = np.float64(found[layer.name])
        flat = values.reshape(-1, values.shape[-1])
        for given, expected in (
            (layer.channels.mean, flat.mean(0)),
            (layer.channels.deviation, flat.std(0)),
            (layer.channels.minimum, flat.min(0)),
            (layer.channels.maximum, flat.max(0)),
        ):
            np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5 * np.abs(flat).max())
    return len(names)


def first_logit(batch: object, logits: jax.Array) -> jax.Array:
    return logits[:, 0]


def main() -> None:
    print(machine("jinterp", "jax", "flax", "numpy"))
    model = resnet20()
    num_layers = check(model)
    images, labels = cifar10(NUM_IMAGES[-1])
    ds = jinterp.batches((images, labels), preprocess=preprocess)
    programs = {
        "the model alone": fastest_forward(model, images, preprocess),
        "jinterp.fold of one number": functools.partial(
            fold, {"first": mean(first_logit)}, *model, ds
        ),
        "**jinterp.activation_stats**": functools.partial(jinterp.activation_stats, *model, ds),
    }
    print(f"\n{len(images)} images, ResNet-20, all {num_layers} layers\n")
    print(table(in_turn(programs, rounds=5), "the model alone"))
    peaks = ", ".join(f"{num} images {peak_of('activations', num):.0f} MiB" for num in NUM_IMAGES)
    print(f"\nPeak memory of a process: {peaks}")


def stream(num: int) -> None:
    """One pass over so many images, of which a hundred lie in memory."""
    images, labels = cifar10(100)
    items = ((images[number % 100], labels[number % 100]) for number in range(num))
    jinterp.activation_stats(*resnet20(), jinterp.batches(items, preprocess=preprocess))
    print(json.dumps(peak_resident_kib() / 1024))


if __name__ == "__main__":
    stream(int(sys.argv[1])) if len(sys.argv) > 1 else main()
