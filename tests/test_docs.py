"""The pages run as they stand, and no public name is missing from the reference.

A page is one program, from top to bottom: ```python blocks are its code and ```sh blocks its
commands. A ```text block right below one is compared with what that printed. ```console and
```bash are for commands that install, and are not run.
"""

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import jinterp

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GUIDES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md"]
REFERENCE = sorted((DOCS / "api").glob("*.md"))
MARK = "\x1e"  # printed at the end of every block


class Block(NamedTuple):
    """A fenced block: its language, the line it starts on (from 0), and its lines."""

    language: str
    start: int
    lines: list[str]


def fences(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    opened = None
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("```"):
            continue
        if opened is None:
            opened = number
        else:
            language = lines[opened].strip().removeprefix("```")
            yield Block(language, opened + 1, lines[opened + 1 : number])
            opened = None
    assert opened is None, f"{page.name}: the block of line {opened} is not closed"


def program(page: Path) -> str:
    """The code of a page, each line where it stands there, so that a traceback tells the line."""
    lines = [""] * len(page.read_text(encoding="utf-8").splitlines())
    for block in runnable(page):
        end = block.start + len(block.lines)
        code = block.lines if block.language == "python" else map(shell, block.lines)
        lines[block.start : end] = code
        lines[end] = f"print({MARK!r}, flush=True)"
    return "\n".join(lines)


def shell(command: str) -> str:
    return f"__import__('subprocess').run({command!r}, shell=True, check=True)"


def runnable(page: Path) -> list[Block]:
    return [block for block in fences(page) if block.language in ("python", "sh")]


def expected_outputs(page: Path) -> Iterator[tuple[int, str]]:
    """The number of a runnable block, and the ```text right below it."""
    ends: dict[int, int] = {}
    for block in fences(page):
        if block.language in ("python", "sh"):
            ends[block.start + len(block.lines) + 1] = len(ends)
        elif block.language == "text":
            above = [ends[line] for line in (block.start - 1, block.start - 2) if line in ends]
            assert above, f"{page.name}: what prints line {block.start}?"
            yield above[0], "\n".join(block.lines)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_every_block_is_of_a_kind_that_is_checked(page: Path) -> None:
    for block in fences(page):
        assert block.language in ("python", "sh", "text", "console", "bash"), (
            f"{page.name}, line {block.start}"
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in GUIDES if runnable(page)], ids=lambda page: page.name
)
def test_a_page_runs_and_prints_what_it_shows(
    page: Path, tmp_path: Path, kept_programs: dict[str, str]
) -> None:
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MPLBACKEND": "Agg",
        "JAX_PLATFORMS": "cpu",
        "PYTHONIOENCODING": "utf-8",
    }
    run = subprocess.run(
        [sys.executable, "-c", f"exec(compile({program(page)!r}, {page.name!r}, 'exec'))"],
        cwd=tmp_path,
        env=os.environ | kept_programs | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    outputs = run.stdout.split(f"{MARK}\n")
    for number, text in expected_outputs(page):
        assert stripped(outputs[number]) == stripped(text)


def stripped(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def public_names() -> list[str]:
    return [
        name
        for name, value in vars(jinterp).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    ]


@pytest.mark.parametrize("name", public_names())
def test_a_public_name_is_in_the_reference(name: str) -> None:
    entry = re.compile(rf"^::: jinterp\.(\w+\.)*{name}$", re.MULTILINE)
    assert any(entry.search(page.read_text(encoding="utf-8")) for page in REFERENCE), (
        f"no page of docs/api has an entry for jinterp.{name}"
    )


@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.name)
def test_the_reference_names_no_module(page: Path) -> None:
    """`jinterp.stream.fold` is a module to the docs; its function is jinterp.stream.fold.fold."""
    for entry in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        path = ROOT / entry.replace(".", "/")
        assert not path.with_suffix(".py").exists(), entry
        assert not path.is_dir(), entry
