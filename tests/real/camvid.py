"""CamVid at 120 × 90, and a small U-Net trained on it in about a minute.

The weights are kept in the user's cache folder, under a name that tells the code they come from.
"""

import functools
import hashlib
import inspect
import os
from pathlib import Path

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import jinterp
from jinterp.demo import training, unet

CLASS_NAMES = [
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car"),
    *("pedestrian", "bicyclist"),
]
UNLABELLED = 11
SIZE = (120, 90)
EPOCHS, BATCH_SIZE = 5, 8


def camvid(shared: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images `[n, 90, 120, 3]` uint8 and label maps `[n, 90, 120]` uint8 of a part."""
    folders = shared / "data/camvid" / part, shared / "data/camvid" / f"{part}annot"
    images, labels = (sorted(folder.iterdir()) for folder in folders)
    assert [path.stem for path in images] == [path.stem for path in labels]
    with_color = [Image.open(path).convert("RGB").resize(SIZE, Image.BOX) for path in images]
    of_classes = [Image.open(path).resize(SIZE, Image.NEAREST) for path in labels]
    return np.stack(list(map(np.asarray, with_color))), np.stack(list(map(np.asarray, of_classes)))


def preprocess(images: jax.Array) -> jax.Array:
    return images.astype(jnp.float32) / 127.5 - 1


def trained_unet(shared: Path) -> jinterp.Model:
    """The network, trained, or its weights from the cache."""
    module = unet.UNet(len(CLASS_NAMES), (16, 32, 64), stride=2)
    shape = jax.ShapeDtypeStruct((1, SIZE[1], SIZE[0], 3), np.float32)
    variables = module.init(jax.random.key(0), jnp.zeros(shape.shape, shape.dtype))
    path = _cached()
    if path.exists():
        variables = flax.serialization.from_bytes(variables, path.read_bytes())
    else:
        variables = _trained(module, variables, *camvid(shared, "train"))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(flax.serialization.to_bytes(variables))
        temporary.replace(path)
    return jinterp.from_linen(module, variables)


def _trained(module: unet.UNet, variables: dict, images: np.ndarray, labels: np.ndarray) -> dict:
    frequencies = np.bincount(labels.ravel(), minlength=UNLABELLED + 1)[:UNLABELLED]
    weights = jnp.asarray(np.sqrt(np.median(frequencies) / frequencies), jnp.float32)
    images = np.concatenate([images, images[:, :, ::-1]])
    labels = np.concatenate([labels, labels[:, :, ::-1]])

    def loss(variables: dict, x: jax.Array, y: jax.Array) -> jax.Array:
        valid = y != UNLABELLED
        classes = jnp.where(valid, y, 0).astype(jnp.int32)
        weight = weights[classes] * valid
        logits = module.apply(variables, preprocess(x))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, classes)
        return (losses * weight).sum() / weight.sum()

    num_steps = EPOCHS * (len(images) // BATCH_SIZE)
    return training.trained(
        variables,
        loss,
        (images, labels),
        optimizer=optax.adamw(
            optax.cosine_onecycle_schedule(num_steps, 3e-3, 0.2), weight_decay=1e-3
        ),
        num_epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        key=jax.random.key(1),
    )


@functools.cache
def _cached() -> Path:
    code = Path(__file__).read_text() + inspect.getsource(unet) + inspect.getsource(training)
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jinterp-tests"
    return folder / f"camvid-{hashlib.sha256(code.encode()).hexdigest()[:12]}.msgpack"
