"""Whether values can be looked at, and who called."""

import sys
import warnings
from typing import Any

import jax
import jax.extend.core as jex


def _state() -> Any:
    return jex.get_opaque_trace_state(convention="flax")


_OUTSIDE = _state()


def under_transform(tree: Any) -> bool:
    """Whether this runs under jit, vmap or grad, where nothing can be decided by values.

    Also where only the model or a closure holds what is traced, and no leaf of `tree` shows it.
    """
    is_traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))
    return is_traced or _state() != _OUTSIDE


def warn(message: str) -> None:
    """A warning at the line outside jinterp that led here."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("jinterp."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level + 1)
