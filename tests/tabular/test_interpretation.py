"""One importance kept, its curves and pictures, and the page of them all."""

import re
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import jinterp
from jinterp import demo
from jinterp.tabular import accuracy, negative_cross_entropy, r2
from tests.tabular.models import independent, linear, trained

KEY = jax.random.key(0)
NAMES = ["<b>size</b>", "$length_", "kind", "flat", "copy"]


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    yield
    plt.close("all")


def with_missing(params, x):
    return jnp.nan_to_num(x) @ params


@pytest.fixture(scope="module")
def awkward() -> jinterp.TabularInterpretation:
    """Columns that are constant, duplicated, categorical and with missing cells."""
    x = independent(80, 2)
    kinds = np.random.default_rng(0).choice(["red & blue", "green"], 80)
    columns = (x[:, 0], np.where(np.arange(80) % 9, x[:, 1], np.nan), kinds, np.ones(80))
    frame = pd.DataFrame(dict(zip(NAMES, (*columns, 2 * x[:, 0]), strict=True)))
    weights = np.float32([3, 2, 1, 1, 0.1])
    with pytest.warns(UserWarning, match="order the rows alike.*have one value"):
        return jinterp.TabularInterpretation.from_model(
            with_missing, weights, (frame, 3 * x[:, 0]), score=r2, key=KEY
        )


@pytest.fixture(scope="module")
def page(awkward, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("report")
    path = awkward.write_report(out, title="<i>mine</i>", notes=["a < b"], num_columns=5)
    assert {each.suffix for each in out.iterdir()} == {".html", ".png"}
    return path.read_text()


def test_the_page_loads_nothing_and_is_escaped(page: str) -> None:
    sources = re.findall(r'src="([^"]{,30})', page)
    assert len(sources) == 1 + 5 + 4 + 2  # no local effect of the constant column
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"url\(|@import|https?://|<script|<link", page)
    assert "<b>size" not in page
    assert "<i>mine" not in page
    assert "&lt;b&gt;size&lt;/b&gt;" in page
    assert "a &lt; b" in page


def test_the_page_says_what_is_odd_about_the_columns(page: str) -> None:
    assert "With one value only: flat." in page
    assert "&lt;b&gt;size&lt;/b&gt;, copy order the rows alike" in page
    assert "Rows with missing cells: $length_ (9)." in page
    assert "No local effect: the column &#39;flat&#39; has the one value 1" in page


def test_the_page_has_the_numbers(page: str, awkward) -> None:
    assert f'<td>$length_</td><td class="n">{awkward.importance.mean[1]:.4f}</td>' in page
    assert f"<dt>r2</dt><dd>{awkward.importance.baseline_score:.4g}</dd>" in page
    assert "<dt>rows</dt><dd>80</dd>" in page


def test_a_folder_that_cannot_be_written_is_told_before_any_work(awkward, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written to"):
        awkward.write_report(tmp_path / "file" / "report")


def test_pictures_are_of_the_model_and_rows_kept() -> None:
    model, ds = trained("wine")
    found = jinterp.TabularInterpretation.from_model(
        *model, ds, score=accuracy, groups={"last two": [11, 12]}, target=2, key=KEY
    )
    assert repr(found) == "TabularInterpretation(178 rows, 13 columns)"
    columns = found.top_columns(13)
    assert sorted(columns) == sorted(ds.column_names)
    name = columns[0]
    for picture in (
        found.plot_importance(max_vars=3),
        found.plot_partial_dependence(name, num_points=5),
        found.plot_partial_dependence(columns[:2], num_points=3),
        found.plot_ice(name, centred=True),
        found.plot_ale(name),
        found.plot_ale(columns[:2]),
        found.plot_interactions(max_vars=2),
    ):
        assert isinstance(picture.figure, Figure)
    direct = jinterp.partial_dependence(*model, ds, name, target=2)
    np.testing.assert_array_equal(found.partial_dependence(name).mean, direct.mean)
    assert found.ale(name).counts.sum() == 178
    assert found.ice(name).curves.shape[0] == 178
    with pytest.raises(ValueError, match="`k` is 0"):
        found.top_columns(0)


def test_a_class_is_asked_for_where_there_are_three() -> None:
    model, ds = trained("wine")
    found = jinterp.TabularInterpretation.from_model(
        *model, ds, score=negative_cross_entropy, num_repeats=1, key=KEY
    )
    with pytest.raises(ValueError, match="`target` is None, and the model has 3 outputs a row"):
        found.plot_ale("alcohol")


def test_one_column_has_a_page_too(tmp_path: Path) -> None:
    x = independent(30, 1)
    found = jinterp.TabularInterpretation.from_model(
        linear, np.ones(1, np.float32), (x, x[:, 0]), score=r2, key=KEY
    )
    assert "Which columns act together" not in found.write_report(tmp_path).read_text()


@pytest.mark.slow
def test_the_demo_of_tables_writes_its_report(tmp_path: Path) -> None:
    said: list[str] = []
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        result = demo.run_tables(tmp_path / "out", say=said.append)
    assert result.accuracy > 0.95
    assert said[-1].startswith("Shuffled, these columns cost most log-probability: ")
    assert Path(result.report).stat().st_size > 100_000
