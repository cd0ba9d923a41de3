"""Does adaptive_integrated_gradients keep its tolerance, and at what cost?

python -m benchmarks.adaptive; needs the data that tests/real/conftest.py names.

ResNet-20, the first CIFAR-10 images, true labels, zero baseline. The true error of an image's
values is their distance in L2 from those of 2048 midpoints, relative to these.
"""

import argparse

import jax
import numpy as np

import jinterp
from benchmarks.timing import machine
from tests.real.conftest import SHARED
from tests.real.resnet import linen_resnet, preprocess

UNIFORM = (7, 21, 32, 40, 48, 52, 56, 60, 63, 64, 72, 189)
REFERENCE = 2048
SHARE = 0.95


def relative_errors(values: jax.Array, exact: jax.Array) -> np.ndarray:
    """`[batch]`: ‖values − exact‖ / ‖exact‖."""
    found, expected = (
        np.asarray(each, np.float64).reshape(len(each), -1) for each in (values, exact)
    )
    return np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)


def row(name: str, errors: np.ndarray, tolerance: float, num_gradients: int) -> str:
    within = (errors <= tolerance).sum()
    return (
        f"| {name} | {np.median(errors):.4f} | {errors.max():.4f} | {within} of {len(errors)} | "
        f"{num_gradients:,} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--tolerance", type=float, default=0.02)
    arguments = parser.parse_args()
    num, tolerance = arguments.images, arguments.tolerance
    with np.load(SHARED / "data/cifar10/test.npz") as arrays:
        x, target = preprocess(arrays["image"][:num]), arrays["label"][:num].astype(int)
    model = jinterp.from_linen(*linen_resnet(SHARED / "data/models/resnet20_cifar10.npz", 20))
    asked = (*model, x, target)

    print(machine("jinterp", "jax"), flush=True)
    exact = jinterp.integrated_gradients(*asked, num_steps=REFERENCE)
    print(f"\nTolerance {tolerance}, {num} images\n")
    print("| rule | median error | largest error | within tolerance | gradients |")
    print("|---|---|---|---|---|", flush=True)
    enough: list[int] = []
    for num_steps in UNIFORM:
        values = jinterp.integrated_gradients(*asked, num_steps=num_steps)
        errors = relative_errors(values, exact)
        if (errors <= tolerance).mean() >= SHARE:
            enough.append(num_steps)
        print(row(f"{num_steps} midpoints", errors, tolerance, num * num_steps), flush=True)
    found = jinterp.adaptive_integrated_gradients(*asked, tolerance=tolerance)
    errors, spent = relative_errors(found.values, exact), int(found.num_steps.sum())
    print(row("**adaptive**", errors, tolerance, spent), flush=True)

    steps, counts = np.unique(found.num_steps, return_counts=True)
    reached = ", ".join(f"{n} for {count}" for n, count in zip(steps, counts, strict=True))
    ratios = found.errors / errors
    cheapest = min(enough)
    print(f"\nSteps: {reached}; {found.converged.sum()} say that they converged.")
    print(
        f"Estimated over true error: median {np.median(ratios):.2f}, {ratios.min():.2f} to "
        f"{ratios.max():.2f}."
    )
    print(
        f"Gradients: {spent / (num * cheapest):.2f} of those of {cheapest} midpoints, the cheapest "
        f"rule here that keeps the tolerance for {SHARE:.0%}."
    )
    assert (errors <= tolerance).mean() >= SHARE, errors
    assert spent <= 2 * num * cheapest, (spent, cheapest)


if __name__ == "__main__":
    main()
