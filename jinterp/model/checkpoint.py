"""Parameters from a file: Orbax, msgpack or npz, into the shape of those that a model has."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import serialization, traverse_util

from jinterp._types import Params


def restore_params(path: str | os.PathLike[str], params: Params) -> Params:
    """The parameters in a checkpoint, shaped as `params`.

    Args:
        path: an Orbax checkpoint (a folder), a Flax msgpack file (`.msgpack`), or a `.npz` whose
            keys are the paths of the leaves, such as `params/Dense_0/kernel`.
        params: parameters of the model, whose structure, shapes and dtypes the checkpoint has.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or holds other parameters.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {str(path)!r}.")
    read = _read_orbax if path.is_dir() else _READERS.get(path.suffix)
    if read is None:
        raise ValueError(
            f"the checkpoint {str(path)!r} is of no known kind; expected an Orbax folder, a "
            ".msgpack or a .npz file."
        )
    try:
        restored = read(path, params)
    except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"the checkpoint {str(path)!r} cannot be read into the model's parameters: it is "
            f"corrupt, or was written by another model ({type(error).__name__}: {reason})."
        ) from error
    jax.tree_util.tree_map_with_path(_same_shape, params, restored)
    return restored


def _read_msgpack(path: Path, params: Params) -> Params:
    return serialization.from_bytes(params, path.read_bytes())


def _read_npz(path: Path, params: Params) -> Params:
    with np.load(path) as arrays:
        flat = {tuple(name.split("/")): arrays[name] for name in arrays.files}
    return serialization.from_state_dict(params, traverse_util.unflatten_dict(flat))


def _read_orbax(path: Path, params: Params) -> Params:
    import orbax.checkpoint

    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path.absolute(), jax.tree.map(_abstract, params))


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    leaf = jax.numpy.asarray(leaf)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


_READERS: Mapping[str, Any] = {".msgpack": _read_msgpack, ".npz": _read_npz}


def _same_shape(path: Any, expected: Any, found: Any) -> None:
    if np.shape(expected) != np.shape(found):
        raise ValueError(
            f"the checkpoint's {jax.tree_util.keystr(path)} has the shape {np.shape(found)}; the "
            f"model's has {np.shape(expected)}. Use the checkpoint of this model."
        )
