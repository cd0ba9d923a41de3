"""The house: each room imports only from rooms above it, and only one imports matplotlib."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import jinterp

ROOT = Path(jinterp.__file__).parent
ROOMS = (
    "_types",
    "_trace",
    "_identity",
    "_functions",
    "_check",
    "_text",
    "model",
    "data",
    "stream",
    "_region",
    "_question",
    "evaluate",
    "rules",
    "attribution",
    "faithfulness",
    "tabular",
    "diagnose",
    "plot",
    "report",
    "interpretation",
    "demo",
    "cli",
)
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_file_belongs_to_a_room() -> None:
    assert {room(path) for path in FILES} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_from_rooms_above_it(path: Path) -> None:
    above = ROOMS[: ROOMS.index(room(path)) + 1]
    for name in imports(path):
        if name.split(".")[0] == "jinterp":
            assert name.split(".")[1] in above, f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_plot_room_imports_matplotlib(path: Path) -> None:
    if room(path) != "plot":
        assert not any(name.split(".")[0] == "matplotlib" for name in imports(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def public_functions() -> Iterator[tuple[str, object]]:
    for module in pkgutil.walk_packages(jinterp.__path__, "jinterp."):
        if "._" not in module.name:
            for name, value in vars(importlib.import_module(module.name)).items():
                defined_here = getattr(value, "__module__", None) == module.name
                if not name.startswith("_") and callable(value) and defined_here:
                    yield f"{module.name}.{name}", value


def test_the_facade_is_only_imports() -> None:
    body = ast.parse((ROOT / "__init__.py").read_text()).body
    assert all(isinstance(node, ast.ImportFrom) for node in body[1:])


@pytest.mark.parametrize(
    "name", [name for name, value in vars(jinterp).items() if callable(value)], ids=str
)
def test_public_names_are_documented(name: str) -> None:
    value = getattr(jinterp, name)
    assert inspect.getdoc(value), f"jinterp.{name} has no docstring"


def test_signatures_use_one_word_for_a_concept() -> None:
    abbreviations = {"n", "num", "bs", "cfg", "idx", "lbl", "img", "preds", "fn", "names"}
    for name, value in public_functions():
        if getattr(jinterp, name.rpartition(".")[2], None) is value and inspect.isfunction(value):
            found = abbreviations & set(inspect.signature(value).parameters)
            assert not found, f"{name} abbreviates {found}"
