"""Image folders: one subfolder a class."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


class ImageFolder(Sequence[dict[str, Any]]):
    """The images of a folder with a subfolder for each class, read when asked for.

    Attributes:
        class_names: the names of the subfolders, in sorted order; a label is a place among them.
        paths: the path of each image, by class and then by name; a dataset index is a place here.
    """

    def __init__(self, folder: str | os.PathLike[str], *, size: int | None = None):
        """List the images.

        Args:
            folder: the folder.
            size: resize every image to `size` by `size` pixels; None leaves them as they are.

        Raises:
            FileNotFoundError: there is no such folder, or no image in its subfolders.
        """
        root = Path(folder)
        if not root.is_dir():
            raise FileNotFoundError(f"{str(root)!r} is no folder; expected one subfolder a class.")
        self.class_names = sorted(path.name for path in root.iterdir() if path.is_dir())
        self.paths = [
            path
            for name in self.class_names
            for path in sorted((root / name).iterdir())
            if path.suffix.lower() in _ENDINGS
        ]
        if not self.paths:
            raise FileNotFoundError(
                f"{str(root)!r} has no images in its subfolders {self.class_names}; expected one "
                "subfolder a class, with images in it."
            )
        self._size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: Any) -> Any:
        path = self.paths[position]
        return {"image": self._read(path), "label": self.class_names.index(path.parent.name)}

    def _read(self, path: Path) -> np.ndarray:
        from PIL import Image

        with Image.open(path) as file:
            image = file.convert("RGB")
        if self._size is not None:
            image = image.resize((self._size, self._size), Image.Resampling.BILINEAR)
        return np.asarray(image)
