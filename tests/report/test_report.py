"""The page: one file, offline, escaped, and true to the numbers."""

import os
import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import jinterp
from jinterp.report import writable_folder, write_report
from tests.problems import identity, labelled_logits

LOGITS, TARGETS = labelled_logits(60, 3)
NAMES = ["<script>alert(1)</script>", "b&b", '"c"']


@pytest.fixture(scope="module")
def evaluation():
    return jinterp.evaluate(*identity(3), (LOGITS, TARGETS), class_names=NAMES)


@pytest.fixture(scope="module")
def page(evaluation, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("report")
    images = [np.zeros((4, 4), np.uint8)] * 9
    path = write_report(evaluation, out, images=images, title="<b>mine</b>", notes=["a < b"])
    assert {each.suffix for each in out.iterdir()} == {".html", ".png"}
    return path.read_text()


class Links(HTMLParser):
    """What a page would load, and which elements it has."""

    def __init__(self, text: str):
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


def test_every_picture_is_inside_and_nothing_is_loaded(page: str) -> None:
    links = Links(page)
    assert links.tags.count("img") == 5
    assert all(source.startswith("data:image/png;base64,") for source in links.sources)
    assert "script" not in links.tags
    assert "link" not in links.tags
    assert not re.search(r"url\(|@import|https?://", page)


def test_text_from_the_data_is_escaped(page: str) -> None:
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>mine</b>" not in page
    assert "a &lt; b" in page


def test_it_has_a_dark_and_a_printed_form(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_it_says_what_the_evaluation_says(page: str, evaluation) -> None:
    text = re.sub(r"<[^>]+>", " ", page.split("</style>")[1])
    assert f"{100 * evaluation.accuracy:.1f} %" in text
    assert f"{evaluation.mean_loss:.3f}" in text
    for index, loss in zip(
        evaluation.top_losses.indices, evaluation.top_losses.losses, strict=True
    ):
        assert re.search(rf"\b{index}\s+{loss:.2f}\b", text)
    for kind in evaluation.error_analysis[:3]:
        assert " ".join(map(str, kind[:30])) in text


def test_nan_is_shown_and_nothing_breaks(tmp_path: Path) -> None:
    logits = LOGITS.copy()
    logits[4] = np.nan
    with pytest.warns(UserWarning, match="NaN"):
        found = jinterp.evaluate(*identity(3), (logits, TARGETS))
    text = write_report(found, tmp_path).read_text()
    assert "1 examples have NaN or infinite logits" in text


def test_a_model_that_predicts_nothing_has_a_report(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="NaN"):
        found = jinterp.evaluate(*identity(3), (np.full((4, 3), np.nan, np.float32), TARGETS[:4]))
    assert "No example has finite logits" in write_report(found, tmp_path).read_text()


def test_a_perfect_model_has_a_report(tmp_path: Path) -> None:
    logits = 9 * np.eye(3, dtype=np.float32)
    text = write_report(
        jinterp.evaluate(*identity(3), (logits, np.arange(3))), tmp_path
    ).read_text()
    assert "No class was taken for another" in text


def test_an_unwritable_folder_is_named_before_the_work(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OSError, match=r"`out` is .*file.*, which cannot be written to"):
        writable_folder(file / "report")
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.geteuid() != 0:  # root writes everywhere
        with pytest.raises(OSError, match="cannot be written to"):
            writable_folder(closed)
