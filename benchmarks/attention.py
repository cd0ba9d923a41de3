"""How fast are the parts of a block of ViT-S/16 themselves, in XLA and in torch?

python -m benchmarks.attention; needs the `bench` extra. Milliseconds for four images of 197 tokens,
XLA's in slices of two side by side, as jinterp runs them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional

from benchmarks.shapes import CORES, Cut, Shape, Work
from benchmarks.timing import machine, of_equal_results

BATCH, TOKENS, WIDTH, HEADS = 4, 197, 384, 6


class Part(NamedTuple):
    """Functions of the weights and of x, and the shapes of both, that of x for one image."""

    in_jax: Callable[..., Any]
    in_torch: Callable[..., Any]
    weights: tuple[int, ...]
    shape: tuple[int, ...]


def _attention(weights: Any, x: jax.Array) -> jax.Array:
    scores = jnp.einsum("bqhd,bkhd->bhqk", x, x) / x.shape[-1] ** 0.5
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, -1), x)


def _attention_in_torch(weights: Any, x: torch.Tensor) -> torch.Tensor:
    heads = x.transpose(1, 2)
    return functional.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2)


def _layer_norm(weights: Any, x: jax.Array) -> jax.Array:
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6)


PARTS = {
    "dense, 384 to 1536": Part(
        lambda w, x: x @ w, lambda w, x: x @ w, (WIDTH, 4 * WIDTH), (TOKENS, WIDTH)
    ),
    "attention, 6 heads": Part(
        _attention, _attention_in_torch, (), (TOKENS, HEADS, WIDTH // HEADS)
    ),
    "softmax of the scores": Part(
        lambda w, x: jax.nn.softmax(x, -1),
        lambda w, x: torch.softmax(x, -1),
        (),
        (HEADS, TOKENS, TOKENS),
    ),
    "GELU": Part(
        lambda w, x: jax.nn.gelu(x, approximate=False),
        lambda w, x: functional.gelu(x),
        (),
        (TOKENS, 4 * WIDTH),
    ),
    "layer norm": Part(
        _layer_norm,
        lambda w, x: functional.layer_norm(x, x.shape[-1:], eps=1e-6),
        (),
        (TOKENS, WIDTH),
    ),
}


def main() -> None:
    torch.set_num_threads(CORES)
    print(machine("jax", "torch"))
    print("\n| part | forward: XLA | torch | gradient: XLA | torch |\n|---|---|---|---|---|")
    for name, part in PARTS.items():
        found = [measured(part, backward) for backward in (False, True)]
        times = [f"{1000 * seconds:.2f}" for each in found for seconds in each.values()]
        print(f"| {name} | {' | '.join(times)} |")


def measured(part: Part, backward: bool) -> dict[str, float]:
    """Seconds, with `backward` those of the gradient by the input."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, *part.shape)).astype(np.float32)
    weights = rng.normal(size=part.weights).astype(np.float32)
    cotangent = rng.normal(size=part.in_torch(*map(torch.from_numpy, (weights, x))).shape)
    given = weights, x, cotangent.astype(np.float32)
    return of_equal_results(
        {"XLA": in_xla(part, backward, *given), "torch": in_torch(part, backward, *given)}
    )


def in_xla(
    part: Part, backward: bool, weights: np.ndarray, x: np.ndarray, cotangent: np.ndarray
) -> Callable[[], np.ndarray]:
    def fn(weights: Any, rows: tuple[jax.Array, jax.Array], points: None) -> jax.Array:
        x, cotangent = rows
        if not backward:
            return part.in_jax(weights, x)
        return jax.vjp(lambda x: part.in_jax(weights, x), x)[1](cotangent)[0]

    return Cut(Work(fn), Shape(BATCH // CORES), jnp.asarray(weights), x, cotangent)


def in_torch(
    part: Part, backward: bool, weights: np.ndarray, x: np.ndarray, cotangent: np.ndarray
) -> Callable[[], np.ndarray]:
    given, tokens, gradients = map(torch.from_numpy, (weights, x, cotangent))

    def program() -> np.ndarray:
        if not backward:
            with torch.inference_mode():
                return part.in_torch(given, tokens).numpy()
        leaf = tokens.detach().requires_grad_()
        part.in_torch(given, leaf).backward(gradients)
        return leaf.grad.numpy()

    return program


if __name__ == "__main__":
    main()
