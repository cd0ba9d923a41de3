"""How fast are the convolutions themselves, in XLA and in torch?

python -m benchmarks.convolutions; needs the `bench` extra. What a network's rows of the table can
reach on a CPU follows from this: GFLOP/s of 3×3 convolutions, two cores, 32 images.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.shapes import CORES, Cut, Shape, Work
from benchmarks.timing import machine, of_equal_results

BATCH = 32
LAYERS = {  # size of the image, channels read and written
    "CNN": ((28, 32, 32), (14, 64, 64), (7, 128, 128)),
    "ResNet-20, ResNet-56": ((32, 16, 16), (16, 32, 32), (8, 64, 64)),
    "ResNet-50": ((56, 64, 64), (14, 256, 256)),
}


def main() -> None:
    torch.set_num_threads(CORES)
    print(machine("jax", "torch"))
    for backward in (False, True):
        name = "gradient by the input" if backward else "forward"
        print(f"\n{name}, GFLOP/s\n\n| network | layer | XLA, NHWC | XLA, NCHW | torch |")
        print("|---|---|---|---|---|")
        for network, layers in LAYERS.items():
            for layer in layers:
                size, inputs, outputs = layer
                rates = " | ".join(f"{rate:.0f}" for rate in measured(layer, backward).values())
                print(f"| {network} | {size}×{size}, {inputs} to {outputs} | {rates} |")


def measured(layer: tuple[int, int, int], backward: bool) -> dict[str, float]:
    size, inputs, outputs = layer
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, inputs, size, size)).astype(np.float32)
    kernel = rng.normal(size=(outputs, inputs, 3, 3)).astype(np.float32)
    cotangent = rng.normal(size=(BATCH, outputs, size, size)).astype(np.float32)
    programs = {
        layout: xla(layout, x, kernel, cotangent, backward) for layout in ("NHWC", "NCHW")
    } | {"torch": in_torch(x, kernel, cotangent, backward)}
    operations = 2 * 9 * BATCH * size * size * inputs * outputs
    seconds = of_equal_results(programs)
    return {name: operations / each / 1e9 for name, each in seconds.items()}


def xla(
    layout: str, x: np.ndarray, kernel: np.ndarray, cotangent: np.ndarray, backward: bool
) -> Callable[[], np.ndarray]:
    """Slices of 16 side by side, as jinterp runs them."""
    kernel_layout = "HWIO" if layout == "NHWC" else "OIHW"
    numbers = (layout, kernel_layout, layout)

    def convolved(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)

    def fn(kernel: jax.Array, rows: tuple[jax.Array, jax.Array], points: None) -> jax.Array:
        x, cotangent = rows
        one = functools.partial(convolved, kernel)
        return jax.vjp(one, x)[1](cotangent)[0] if backward else one(x)

    place = (0, 2, 3, 1) if layout == "NHWC" else (0, 1, 2, 3)
    kernel = kernel.transpose(2, 3, 1, 0) if layout == "NHWC" else kernel
    own = Cut(
        Work(fn),
        Shape(BATCH // CORES),
        jnp.asarray(kernel),
        *(np.ascontiguousarray(each.transpose(place)) for each in (x, cotangent)),
    )
    return lambda: own().transpose(np.argsort(place))


def in_torch(
    x: np.ndarray, kernel: np.ndarray, cotangent: np.ndarray, backward: bool
) -> Callable[[], np.ndarray]:
    images, weights, gradients = map(torch.from_numpy, (x, kernel, cotangent))

    def program() -> np.ndarray:
        with torch.inference_mode():
            if backward:
                found = torch.nn.grad.conv2d_input(x.shape, weights, gradients, padding=1)
            else:
                found = torch.nn.functional.conv2d(images, weights, padding=1)
            return found.numpy()

    return program


if __name__ == "__main__":
    main()
