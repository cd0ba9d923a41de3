"""What a function is, told so that another process knows it again."""

import dataclasses
import enum
import functools
import hashlib
import pathlib
import types
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np


def identity(thing: Any) -> str:
    """A short name and a digest of what a thing does: its code, and what is bound to it.

    Functions are looked into: code, defaults, closures, keywords of partials, fields of
    dataclasses, values of arrays. What they read from their module is not, nor are objects of
    other kinds.
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return repr(thing)
    digest = hashlib.blake2b(digest_size=6)
    for part in _parts(thing, ()):
        digest.update(part)
        digest.update(b"\0")
    return f"{short_name(thing)} #{digest.hexdigest()}"


def short_name(thing: Any) -> str:
    """A name for readers, with the keywords that a partial binds."""
    if isinstance(thing, functools.partial):
        bound = [short_name(each) for each in thing.args]
        bound += [f"{name}={short_name(value)}" for name, value in thing.keywords.items()]
        return f"{short_name(thing.func)}({', '.join(bound)})"
    if hasattr(thing, "shape"):
        return f"array{list(np.shape(thing))}"
    if isinstance(thing, bool | int | float | str) or thing is None:
        return repr(thing)
    return getattr(thing, "__qualname__", type(thing).__qualname__)


def _parts(thing: Any, inside: tuple[int, ...]) -> Iterator[bytes]:
    if id(thing) in inside:  # a function that calls itself
        yield b"itself"
        return
    yield type(thing).__qualname__.encode()
    for part in _content(thing):
        if isinstance(part, bytes):
            yield part
        else:
            yield from _parts(part, (*inside, id(thing)))


def _content(thing: Any) -> list[Any]:
    """What makes a thing what it is: bytes, and things to look into."""
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, types.MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, types.FunctionType):
        cells = [_cell(cell) for cell in thing.__closure__ or ()]
        if hasattr(thing, "__wrapped__"):  # some decorators write other code every time
            return [thing.__code__.co_qualname, thing.__wrapped__, cells]
        return [thing.__code__, thing.__defaults__, thing.__kwdefaults__, cells]
    if isinstance(thing, types.CodeType):
        return [thing.co_qualname.encode(), thing.co_code, thing.co_names, thing.co_consts]
    if hasattr(thing, "__wrapped__"):
        return [thing.__wrapped__]
    if isinstance(thing, type):
        return [f"{thing.__module__}.{thing.__qualname__}".encode()]
    if dataclasses.is_dataclass(thing):
        fields = [field for field in dataclasses.fields(thing) if field.compare]
        return [(field.name, getattr(thing, field.name, None)) for field in fields]
    if isinstance(thing, Mapping):
        return [each for item in sorted(thing.items(), key=repr) for each in item]
    if isinstance(thing, set | frozenset):  # their order is another in every process
        return sorted(thing, key=repr)
    if isinstance(thing, tuple | list):
        return list(thing)
    if isinstance(thing, np.ndarray | np.generic | jax.Array):
        return _of_array(thing)
    # Of anything else only the type: its text may hold an address, which is another every time.
    return [repr(thing).encode()] if isinstance(thing, _PLAIN) else []


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def _of_array(array: Any) -> list[Any]:
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    array = np.asarray(array)
    return [f"{array.dtype}{array.shape}".encode(), array.tobytes()]


_PLAIN = (
    *(bool, int, float, complex, str, type(None), type(...)),
    *(slice, range, enum.Enum, np.dtype, pathlib.PurePath),
)
