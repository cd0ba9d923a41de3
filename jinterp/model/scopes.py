"""Named scopes for NNX modules, which enter none by themselves."""

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from typing import Any

import jax
from flax import nnx

_path: contextvars.ContextVar[str] = contextvars.ContextVar("path of the module called", default="")


def name_scopes(module: nnx.Module) -> nnx.Module:
    """Let every module enter a scope when it is called, as Linen's do: of its class or its path.

    Each instance becomes one of a subclass, so the user's classes stay as they are: give a copy.
    """
    for keys, part in nnx.iter_modules(module):
        if callable(part):
            part.__class__ = _named(type(part), ".".join(map(str, keys)))
    return module


@functools.cache
def _named(cls: type, path: str) -> type:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _entered(path, cls.__name__):
            return cls.__call__(self, *args, **kwargs)

    named: type = type(cls)(cls.__name__, (cls,), {"__call__": call, "__module__": cls.__module__})
    return named


@contextlib.contextmanager
def _entered(path: str, kind: str) -> Iterator[None]:
    """The scope of a module; inside another one its name is relative to that."""
    outer = _path.get()
    token = _path.set(path)
    try:
        with jax.named_scope(path.removeprefix(f"{outer}.") or kind):
            yield
    finally:
        _path.reset(token)
