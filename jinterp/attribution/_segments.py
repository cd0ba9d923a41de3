"""Regions of an image at several scales, made on the host."""

import numpy as np

SCALES = (50, 100, 150, 250, 500, 1200)
_SIZE, _SIGMA, _LEAST, _DILATION = (224, 224), 0.8, 150, 5  # what the scales are meant for
_MULTIPLE = 64  # of masks, so that most images share a program


def segments_of(images: np.ndarray) -> np.ndarray:
    """Overlapping masks `[batch, num, height, width]` bool, of images with channels last.

    Felzenszwalb's graph-based segmentation at six scales of each image, in its own range from 0 to
    1 and resized to 224 × 224, each segment widened by 5 pixels. Images with fewer masks than
    others have empty ones.

    Source: Kapishnikov et al. 2019, section 4.3, and the numbers of their code.
    """
    found = [_of_one(image) for image in images]
    num = -(-max(map(len, found)) // _MULTIPLE) * _MULTIPLE
    masks = np.zeros((len(found), num, *images.shape[1:3]), bool)
    for one, own in zip(masks, found, strict=True):
        one[: len(own)] = own
    return masks


def _of_one(image: np.ndarray) -> np.ndarray:
    """`[num, height, width]`."""
    from scipy.ndimage import binary_dilation
    from skimage.morphology import disk  # takes a second to import
    from skimage.segmentation import felzenszwalb
    from skimage.transform import resize

    image = np.nan_to_num(image.astype(np.float64), posinf=0, neginf=0)
    low, high = image.min(), image.max()
    resized = resize((image - low) / max(high - low, 1e-12), _SIZE, order=3)
    masks = []
    for scale in SCALES:
        labels = felzenszwalb(resized, scale=scale, sigma=_SIGMA, min_size=_LEAST, channel_axis=-1)
        for label in np.unique(labels):
            wide = binary_dilation(labels == label, disk(_DILATION))
            masks.append(resize(wide, image.shape[:2], order=0) > 0)
    return np.array(masks)
