"""Regions of like colour, as groups."""

import jax
import numpy as np
from jaxtyping import Int

from jinterp import _check
from jinterp._types import EitherArray


def superpixels(
    x: EitherArray,
    num_segments: int = 50,
    *,
    compactness: int | float = 10.0,
    channel_axis: int = -1,
) -> Int[np.ndarray, "..."]:
    """A `feature_mask` for each image: connected regions of like colour (SLIC).

    Places are clustered by their colour and, times `compactness`, where they are. The values of
    each image are scaled to 0..1 first, so that it does not matter how they were normalised.

    Args:
        x: images `[batch, height, width, channels]`, or volumes with one more axis.
        num_segments: about how many regions an image.
        compactness: how much nearness counts beside colour; larger ones are squarer.
        channel_axis: of `x`.

    Returns:
        `[batch, *space, 1]` int32 on the host; the groups of each image are numbered from 0, and
        one image may have more of them than another. What is sampled over them is drawn for the
        largest number in the batch.

    Raises:
        TypeError: `x` is traced.
        ValueError: `x` has no two or three axes in space, or `num_segments` is 0.

    >>> import numpy as np
    >>> halves = np.zeros((1, 4, 8, 3), np.float32)
    >>> halves[:, :, 4:] = 1
    >>> print(superpixels(halves, 2)[0, ..., 0])
    [[0 0 0 0 1 1 1 1]
     [0 0 0 0 1 1 1 1]
     [0 0 0 0 1 1 1 1]
     [0 0 0 0 1 1 1 1]]

    Source: Achanta et al. 2012, as scikit-image has it.
    """
    from skimage.segmentation import slic  # takes a second to import

    _check.at_least_one("num_segments", num_segments, 50)
    if isinstance(x, jax.core.Tracer):
        raise TypeError(
            "`superpixels` was called under jit, vmap or grad, which hides the pixels. Call it "
            "from outside; `patches` needs no pixels."
        )
    if x.ndim not in (4, 5):
        raise ValueError(
            f"`x` has the shape {x.shape}; expected images [batch, height, width, channels], or "
            "volumes. For signals use patches."
        )
    axis = _check.axis_of_channels(channel_axis, x.ndim)
    # slic takes three channels for colours and measures them in Lab, whose lightness goes to 100.
    is_coloured = x.shape[axis] == 3
    compactness = compactness if is_coloured else compactness / 100
    numbers = [
        slic(image, num_segments, compactness, start_label=0, channel_axis=axis - 1)
        for image in np.asarray(x, np.float64)
    ]
    numbers = [np.unique(own, return_inverse=True)[1].reshape(own.shape) for own in numbers]
    return np.expand_dims(np.stack(numbers), axis).astype(np.int32)
