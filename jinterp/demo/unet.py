"""A small U-Net, for the demo and as an example of a model that labels every pixel."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class UNet(nn.Module):
    """Down by halves and up again, with what was seen on the way down beside it.

    Attributes:
        num_classes: logits at every pixel.
        widths: channels of each resolution; the coarsest has twice the last.
        stride: of the first convolution; 2 works on images of half the size.
    """

    num_classes: int
    widths: tuple[int, ...] = (16, 32)
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size = x.shape[1:3]
        if self.stride > 1:
            x = nn.Conv(self.widths[0], (5, 5), self.stride, name="stem")(x)
        seen = []
        for number, width in enumerate(self.widths):
            x = Block(width, name=f"down{number}")(x)
            seen.append(x)
            x = nn.max_pool(x, (2, 2), (2, 2), padding="SAME")
        x = Block(2 * self.widths[-1], name="bottom")(x)
        for number, width in reversed(list(enumerate(self.widths))):
            x = jnp.concatenate([doubled(x, seen[number].shape[1:3]), seen[number]], axis=-1)
            x = Block(width, name=f"up{number}")(x)
        x = nn.Conv(self.num_classes, (1, 1), name="head")(x)
        return (
            x
            if self.stride == 1
            else jax.image.resize(x, (len(x), *size, self.num_classes), "bilinear")
        )


class Block(nn.Module):
    """Two convolutions, normalised and rectified."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = nn.Conv(self.width, (3, 3), use_bias=False)(x)
            x = nn.relu(nn.GroupNorm(num_groups=8)(x))
        return x


def doubled(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Every pixel four times, cut to the size."""
    return x.repeat(2, axis=1).repeat(2, axis=2)[:, : size[0], : size[1]]
