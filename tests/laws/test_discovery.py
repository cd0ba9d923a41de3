"""The laws find the explainers by themselves."""

import importlib
import pkgutil
from typing import Any

import pytest

import jinterp
from jinterp import attribution
from tests.laws.explainers import DISCOVERED, EXPLAINER, discovered


def test_every_method_is_found() -> None:
    found = {case.name for case in DISCOVERED}
    assert {"gradient", "expected_gradients", "conductance", "grad_cam"} <= found
    assert len(found) >= 20


@pytest.mark.parametrize(
    "module", [one.name for one in pkgutil.iter_modules(attribution.__path__) if one.name[0] != "_"]
)
def test_every_file_has_a_public_function_of_its_name(module: str) -> None:
    file = importlib.import_module(f"jinterp.attribution.{module}")
    assert getattr(jinterp, module) is getattr(file, module)


def test_a_method_that_needs_something_unknown_is_refused() -> None:
    def new(apply_fn: Any, params: Any, x: Any, target: Any = None, *, masks: Any) -> Any: ...

    with pytest.raises(LookupError, match="what to give new for `masks`"):
        list(discovered({"new": new}))


def test_what_is_no_explainer_is_left_out() -> None:
    def values(apply_fn: Any, params: Any, x: Any, values: Any, target: Any = None) -> Any: ...

    assert not list(discovered({"values": values, "EXPLAINER": EXPLAINER}))
