"""What `python -m benchmarks` writes: what it measured, and nothing wrong. No time is asserted."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import measure, results, rows, table
from benchmarks.networks import TINY

KEYS = {"name", "seconds", "compile_seconds", "peak_bytes", "limit_ratio", "peer", "peer_ratio"}


@pytest.fixture(autouse=True)
def promotion():
    """JAX's usual promotion, which plain JAX relies on where it is written by hand."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def made_up(seconds: float = 1.0) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "compile_seconds": 2.0,
        "peak_bytes": 2**20,
        "batch": 8,
        "limit": "by hand, slices of 8",
        "limit_ratio": 1.0,
        "peer": None,
        "peer_ratio": None,
    }


def run(folder: Path, row: str, measured: Any) -> int:
    return command.main(["--rows", row, "--models", TINY, "--out", str(folder)], measured)


def written(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("*.json")
    return json.loads(file.read_text(encoding="utf-8"))


def test_a_row_is_measured_in_processes_of_its_own_and_written(tmp_path: Path) -> None:
    argv = ["--rows", "gradient", "--models", TINY, "--rounds", "1", "--out", str(tmp_path)]
    assert command.main(argv) == 0
    found = written(tmp_path)
    (row,) = found["rows"]
    assert row.keys() >= KEYS
    assert row["name"] == f"gradient, {TINY}"
    assert row["seconds"] > 0
    assert row["peak_bytes"] > 2**20
    assert row["error"] <= rows.TOLERANCE
    assert row["peer"] is None  # torch has no such network
    assert found["versions"]["jax"] == jax.__version__
    assert "/" not in json.dumps(found)  # no path of this machine


def test_a_later_run_replaces_only_its_rows(tmp_path: Path) -> None:
    for row, seconds in (("gradient", 1.0), ("grad_cam", 2.0), ("gradient", 3.0)):
        assert run(tmp_path, row, lambda *asked, seconds=seconds: made_up(seconds)) == 0
    found = {row["row"]: row["seconds"] for row in written(tmp_path)["rows"]}
    assert found == {"gradient": 3.0, "grad_cam": 2.0}


def test_a_row_that_fails_is_not_written_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(row: str, *asked: object) -> dict[str, Any]:
        if row == "gradient":
            raise command.Failed("jinterp: differs by 1.0e+00")
        return made_up()

    assert run(tmp_path, "gradient,grad_cam", measured) == 1
    assert [row["row"] for row in written(tmp_path)["rows"]] == ["grad_cam"]
    assert "differs by" in capsys.readouterr().out


def test_a_row_whose_numbers_are_wrong_is_an_error() -> None:
    row = rows.ROWS["gradient"]._replace(ours=lambda case: -case.x)
    with pytest.raises(measure.Disagreement, match="jinterp: differs by"):
        measure.turns(row, row.case(TINY), rounds=1, budget=1.0)


@pytest.mark.parametrize("name", rows.ROWS)
def test_every_row_agrees_with_its_oracle(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "NUM_STEPS", 3)
    monkeypatch.setattr(rows, "NUM_SAMPLES", 2)
    row = rows.ROWS[name]._replace(batch={TINY: 2})
    case = row.case(TINY)
    expected = row.expected(case, rows.plain(case, row.parts(case)))
    measure.agree(measure.OURS, row.values(row.ours(case)), expected, rows.TOLERANCE)
    assert np.linalg.norm(expected) > 0


def test_the_page_is_written_between_its_marks(tmp_path: Path) -> None:
    (tmp_path / "speed.md").write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    run(tmp_path / "results", "gradient,grad_cam", lambda *asked: made_up())
    table.render(tmp_path / "results", tmp_path)
    page = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert page.startswith("before")
    assert page.endswith("after\n")
    assert "old" not in page
    assert "| 1 s | 1.00 (slices of 8) |" in page
    (picture,) = (tmp_path / "images").glob("*.png")
    assert picture.stat().st_size < 200_000
    assert picture.stem == f"speed-{results.file_of(tmp_path).stem}"
