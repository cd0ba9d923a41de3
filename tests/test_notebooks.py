"""Every notebook runs as it stands, and is committed with the outputs of a clean run."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_BYTES = 1_000_000


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(
    path: Path,
    tmp_path: Path,
    kept_programs: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in kept_programs.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # pictures are drawn inline
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(read(path), timeout=600, kernel_name="python3", resources=resources).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_after_a_clean_run(path: Path) -> None:
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any("execution" in cell.metadata for cell in cells), "drop the timing metadata"
    outputs = [output for cell in cells for output in cell.outputs]
    assert not any(output.output_type == "error" for output in outputs)
    assert path.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_names_no_path_of_a_machine(path: Path) -> None:
    for cell in read(path).cells:
        for text in [cell.source, *map(text_of, cell.get("outputs", []))]:
            assert not any(folder in text for folder in ("/home/", "/root/", "/tmp/", "/Users/"))
            assert str(ROOT) not in text


def text_of(output: nbformat.NotebookNode) -> str:
    """What an output shows, but for its pictures."""
    data = {kind: value for kind, value in output.get("data", {}).items() if "image" not in kind}
    return str({**output, "data": data})
