"""What is asked of the functions that users pass: whether they are kept, and their names."""

import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any

from jinterp._trace import warn


def warn_if_made_anew(name: str, function: Callable[..., Any] | None) -> None:
    """Warn once if a function equal to one seen before, but another object, comes in."""
    fingerprint = _fingerprint(function)
    if function is None or fingerprint is None or fingerprint in _warned:
        return
    is_method = hasattr(function, "__func__")
    reference: Any = weakref.WeakMethod(function) if is_method else weakref.ref(function)
    if _seen.setdefault(fingerprint, reference)() != function:
        _warned.add(fingerprint)
        warn(
            f"`{name}` ({name_of(function)}) is made anew for every call, so it is compiled anew "
            "too. Make it once and pass the same object; for a Flax model use jinterp.from_linen "
            "or jinterp.from_nnx."
        )


_seen: dict[Any, Any] = {}
_warned: set[Any] = set()


def _fingerprint(function: Any) -> Any:
    """Equal for two functions made by the same code from the same things; holds none of them."""
    if isinstance(function, functools.partial):
        keywords = tuple((name, id(value)) for name, value in sorted(function.keywords.items()))
        inner = _fingerprint(function.func) or id(function.func)
        return inner, tuple(map(id, function.args)), keywords
    if hasattr(function, "__func__"):
        return _fingerprint(function.__func__), type(function.__self__), _hash(function.__self__)
    if hasattr(function, "__code__"):
        code = function.__code__
        cells = tuple(map(_content, function.__closure__ or ()))
        return code, code.co_filename, cells, tuple(map(id, function.__defaults__ or ()))
    return None


def _content(cell: Any) -> int | None:
    try:
        return id(cell.cell_contents)
    except ValueError:  # not set yet
        return None


def _hash(value: Any) -> int:
    try:
        return hash(value)
    except TypeError:
        return id(value)


def base_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that partials are made of."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def is_bound(function: Callable[..., Any], name: str) -> bool:
    """Whether a partial binds a keyword."""
    while isinstance(function, functools.partial):
        if name in function.keywords:
            return True
        function = function.func
    return False


def short_name(function: Callable[..., Any]) -> str:
    """A function's name alone, a partial's too."""
    inner = base_of(function)
    return getattr(inner, "__name__", type(inner).__name__)


def name_of(function: Callable[..., Any]) -> str:
    """A function's name and where it was written, as far as it tells; a partial's too."""
    function = base_of(function)
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", type(function).__name__)
    return f"{name}, line {code.co_firstlineno} of {code.co_filename}" if code else name


def needs_nothing_more(explain: Any) -> None:
    """A named error where an explainer has a keyword that nothing is bound to."""
    if not callable(explain):
        raise TypeError(
            f"`explain` is a {type(explain).__name__}; expected a function explain(apply_fn, "
            "params, x, target), such as jinterp.gradient."
        )
    parameters = inspect.signature(explain).parameters.values()
    missing = [
        each.name
        for each in parameters
        if each.kind is each.KEYWORD_ONLY and each.default is each.empty
    ]
    if missing:
        given = ", ".join(f"{name}=..." for name in missing)
        raise TypeError(
            f"`explain` ({name_of(explain)}) needs {', '.join(f'`{name}`' for name in missing)}; "
            f"expected an explainer of (apply_fn, params, x, target). Use "
            f"functools.partial(explain, {given})."
        )
