"""Pictures of attributions: colours, places, what is said beside them, tokens."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from jinterp import plot
from jinterp.evaluate import TopLosses
from jinterp.plot import _pictures
from jinterp.plot._scale import ordinal
from jinterp.plot._words import text_colours

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (6, 9, 3), np.uint8)
SIGNED = RANDOM.standard_normal((6, 9))


def heat(ax: Axes) -> Any:
    """The map, which is the first picture with a scale below or above the input."""
    return next(image for image in ax.images if image.get_array().ndim == 2)


def said(ax: Axes) -> str:
    return ax.child_axes[0].get_xlabel()


def ticks(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.child_axes[0].get_xticklabels()]


def in_one_map(image: Any) -> bool:
    return image.get_array().ndim == 2


def test_zero_is_the_exact_centre_of_a_signed_scale_and_is_clear() -> None:
    shown = heat(plot.attribution(SIGNED, IMAGE))
    assert shown.norm(0.0) == 0.5
    assert shown.norm.vmin == -shown.norm.vmax
    assert shown.cmap(shown.norm(0.0))[3] == 0
    red, _, blue, _ = shown.cmap(1.0)
    assert red > blue
    assert shown.cmap(0.0)[2] > shown.cmap(0.0)[0]


def test_opacity_grows_with_the_absolute_value() -> None:
    shown = heat(plot.attribution(SIGNED, IMAGE))
    opacity = shown.cmap(np.linspace(0, 1, 257))[:, 3]
    assert (np.diff(opacity[128:]) > 0).all()
    np.testing.assert_allclose(opacity, opacity[::-1])


def test_what_is_never_negative_starts_at_zero() -> None:
    shown = heat(plot.attribution(np.abs(SIGNED), IMAGE))
    assert (shown.norm.vmin, shown.cmap(0.0)[3]) == (0, 0)
    signed = heat(plot.attribution(SIGNED, IMAGE))
    np.testing.assert_allclose(shown.cmap(1.0), signed.cmap(1.0))


@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.0])
def test_colours_end_at_the_percentile_and_the_bar_says_so(percentile: float) -> None:
    ax = plot.attribution(SIGNED, percentile=percentile)
    limit = np.percentile(np.abs(SIGNED), percentile)
    np.testing.assert_allclose(heat(ax).norm.vmax, limit, rtol=1e-12)
    assert said(ax) == f"clipped at ±{limit:.3g} ({percentile:g}th percentile)"
    assert ticks(ax) == [f"−{limit:.3g}", "0", f"{limit:.3g}"]
    positive = plot.attribution(np.abs(SIGNED), percentile=percentile)
    assert said(positive) == f"clipped at {limit:.3g} ({percentile:g}th percentile)"
    assert ticks(positive) == ["0", f"{limit:.3g}"]


def test_nothing_is_said_of_clipping_where_there_is_none() -> None:
    ax = plot.attribution(SIGNED, percentile=100.0)
    assert heat(ax).norm.vmax == np.abs(SIGNED).max()
    assert said(ax) == "attribution"


def test_a_few_values_among_zeros_are_not_clipped_away() -> None:
    sparse = np.zeros((20, 20))
    sparse[3, 4] = 2
    ax = plot.attribution(sparse)
    assert (heat(ax).norm.vmax, said(ax)) == (2, "attribution")


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "1st"), (2, "2nd"), (93, "93rd"), (11, "11th"), (99, "99th"), (99.5, "99.5th"),
     (91.5, "91.5th")],
)  # fmt: skip
def test_ordinals(number: float, text: str) -> None:
    assert ordinal(float(number)) == text


def test_a_limit_given_is_shared_by_panels() -> None:
    shared = [plot.attribution(SIGNED * size, color_limit=0.5) for size in (0.01, 1)]
    assert [heat(ax).norm.vmax for ax in shared] == [0.5, 0.5]
    assert [said(ax) for ax in shared] == ["attribution", "clipped at ±0.5"]


@pytest.mark.parametrize("shape", [(2, 3), (6, 9), (30, 20), (1, 2), (6, 1)])
def test_a_map_of_any_resolution_covers_the_image(shape: tuple[int, int]) -> None:
    values = RANDOM.standard_normal(shape)
    values[0, 0] = np.nan
    ax = plot.attribution(values, IMAGE)
    assert [list(image.get_extent()) for image in ax.images] == [[-0.5, 8.5, 5.5, -0.5]] * 3
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 8.5), (5.5, -0.5))
    coarse = shape[0] < 6 or shape[1] < 9
    assert heat(ax).get_interpolation() == ("bilinear" if coarse else "nearest")


def test_the_image_is_grey_below_the_map() -> None:
    ax = plot.attribution(SIGNED, IMAGE)
    below = ax.images[0].get_array()
    np.testing.assert_allclose(below, below[..., :1].repeat(3, -1))
    grey = IMAGE / 255 @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(np.corrcoef(below[..., 0].ravel(), grey.ravel())[0, 1], 1, rtol=1e-6)
    assert ax.images.index(heat(ax)) == 1


@pytest.mark.parametrize("image", [None, IMAGE, IMAGE[..., 0], IMAGE / 127.5 - 1])
def test_channels_last_are_summed_and_said(image: Any) -> None:
    values = RANDOM.standard_normal((6, 9, 3))
    ax = plot.attribution(values, image)
    np.testing.assert_allclose(heat(ax).get_array(), values.sum(-1))
    assert said(ax).startswith("sum of 3 channels\nclipped at ±")


def test_channels_first_are_summed_as_the_image_has_them() -> None:
    values = RANDOM.standard_normal((3, 6, 9))
    for image in (np.moveaxis(IMAGE, -1, 0), None):
        np.testing.assert_allclose(heat(plot.attribution(values, image)).get_array(), values.sum(0))
    cube = RANDOM.standard_normal((3, 6, 3))
    first, last = np.zeros((3, 6, 9)), np.zeros((6, 9, 3))
    np.testing.assert_allclose(heat(plot.attribution(cube, first)).get_array(), cube.sum(0))
    np.testing.assert_allclose(heat(plot.attribution(cube, last)).get_array(), cube.sum(-1))


def test_one_channel_is_no_sum() -> None:
    ax = plot.attribution(SIGNED[..., None], IMAGE, percentile=100.0)
    assert said(ax) == "attribution"
    np.testing.assert_allclose(heat(ax).get_array(), SIGNED)


def test_numbers_of_jax_are_numbers() -> None:
    values = jnp.asarray([[0, 2], [-1, 2]], jnp.bfloat16)
    shown = heat(plot.attribution(values, jnp.zeros((4, 4), jnp.bfloat16)))
    np.testing.assert_array_equal(shown.get_array(), [[0, 2], [-1, 2]])


def test_all_zero_is_said_and_has_no_bar() -> None:
    ax = plot.attribution(np.zeros((6, 9)), IMAGE)
    assert "all zero" in [text.get_text() for text in ax.texts]
    assert ax.child_axes == []
    assert np.isfinite(heat(ax).norm(0.0))
    assert "all zero" not in [text.get_text() for text in plot.attribution(SIGNED).texts]


def test_values_that_are_not_finite_are_orange_counted_and_leave_the_scale_alone() -> None:
    values = np.abs(SIGNED)
    values[1, 2], values[3, 4], values[5, 5] = np.nan, np.inf, -np.inf
    ax = plot.attribution(values, IMAGE, percentile=100.0)
    assert said(ax) == "3 of 54 not finite (orange)"
    finite = np.isfinite(values)
    assert heat(ax).norm.vmax == values[finite].max()
    assert heat(ax).norm.vmin == 0
    drawn = np.ma.getdata(heat(ax).get_array())
    np.testing.assert_array_equal(drawn, np.where(finite, values, 0))
    orange = ax.images[-1].get_array()
    np.testing.assert_array_equal(orange[..., 3], ~finite)
    np.testing.assert_allclose(orange[1, 2, :3], _pictures.NOT_FINITE)


def test_nothing_finite() -> None:
    ax = plot.attribution(np.full((6, 9, 3), np.nan), IMAGE)
    texts = [text.get_text() for text in ax.texts]
    assert "no finite value" in texts
    assert "sum of 3 channels\n54 of 54 not finite (orange)" in texts


@pytest.mark.parametrize("layout", [(40,), (40, 1), (1, 40), (40, 3), (3, 40)])
def test_attributions_along_a_signal(layout: tuple[int, ...]) -> None:
    values, signal = RANDOM.standard_normal(layout), np.sin(np.arange(40))
    shown = plot.attribution(values, signal)
    np.testing.assert_allclose(shown.lines[0].get_ydata(), signal, rtol=1e-6)
    expected = values.sum(layout.index(3)) if 3 in layout else values.ravel()
    np.testing.assert_allclose(heat(shown).get_array(), expected[None])
    left, right, *heights = heat(shown).get_extent()
    assert (left, right, tuple(heights)) == (-0.5, 39.5, shown.get_ylim())
    assert min(heights) < signal.min() < signal.max() < max(heights)


def test_a_signal_without_an_image_and_one_of_several_channels() -> None:
    values = RANDOM.standard_normal((40, 3))
    alone = plot.attribution(values)
    np.testing.assert_allclose(alone.lines[0].get_ydata(), values.sum(-1), rtol=1e-6)
    coarse = plot.attribution(np.arange(5.0), values)
    assert len(coarse.lines) == 3
    assert heat(coarse).get_extent()[:2] == [-0.5, 39.5]


def test_colours_of_a_signal_are_those_of_its_values_where_some_are_nan() -> None:
    values = np.arange(40.0)
    values[:4] = np.nan
    ax = plot.attribution(values)
    assert "4 of 40 not finite (orange)" in said(ax)
    assert ax.images[-1].get_array()[0, :, 3].sum() == 4


@pytest.mark.parametrize(
    ("values", "image", "message"),
    [
        (np.zeros((2, 6, 9, 3)), IMAGE, r"shape \(2, 6, 9, 3\) for an image.*Use values\[0\]"),
        (np.zeros((6, 9, 7)), None, r"shape \(6, 9, 7\); expected those of one example, \[height"),
        (np.zeros((9, 6)), IMAGE, r"expected.*here \(6, 9\)\. Use values\.T"),
        (np.zeros(54), IMAGE, r"\(54,\) for an image of shape \(6, 9, 3\).*\[height, width\]"),
        (np.zeros((6, 9, 3)), np.zeros(40), r"expected.*\[length\] or \[length, channels\]"),
        (SIGNED, np.zeros((2, 3, 4, 5)), r"`image` is float64 of shape \(2, 3, 4, 5\).*Use None"),
        (SIGNED, "deer.png", "`image` is <U8"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(values: Any, image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot.attribution(values, image)


def test_other_errors_of_an_attribution() -> None:
    with pytest.raises(TypeError, match=r"the attributions are <U1 of shape \(2,\)"):
        plot.attribution(["a", "b"])
    for percentile in (0.0, 100.5, np.nan):
        with pytest.raises(ValueError, match=f"`percentile` is {percentile}; expected.*Use 99"):
            plot.attribution(SIGNED, percentile=percentile)
    for limit in (0.0, -1.0, np.inf):
        with pytest.raises(ValueError, match=f"`color_limit` is {limit}; expected a positive"):
            plot.attribution(SIGNED, color_limit=limit)


def test_pictures_of_a_row_do_not_run_into_the_row_below() -> None:
    figure = plt.figure(figsize=(13, 6), layout="constrained")
    for ax in figure.subplots(2, 5).ravel():
        values = RANDOM.standard_normal((6, 6, 3))
        values[0, 0] = np.nan
        plot.attribution(values, IMAGE[:, :6], ax=ax)
    figure.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    upper_end = figure.axes[0].child_axes[0].get_tightbbox().y0
    assert upper_end > figure.axes[5].bbox.y1
    assert min(box.y0 for box in boxes) >= 0


def test_a_picture_of_the_default_size_holds_its_words() -> None:
    ax = plot.attribution(np.where(SIGNED > 2, np.nan, SIGNED), IMAGE)
    figure = ax.get_figure()
    figure.draw_without_rendering()
    words = ax.child_axes[0].get_tightbbox()
    assert words.x0 >= 0
    assert words.y0 >= 0
    assert words.x1 <= figure.bbox.x1


# Grids


VALUES = {"saliency": np.stack([SIGNED, 100 * SIGNED]), "CAM": np.abs(SIGNED[None, :3, :3])}
VALUES["CAM"] = np.concatenate([VALUES["CAM"], 0 * VALUES["CAM"]])
IMAGES = np.stack([IMAGE, IMAGE])


def test_a_grid_has_a_row_an_example_and_a_column_a_method() -> None:
    figure = plot.attribution_grid(VALUES, IMAGES, titles=["a $cat", "a dog"])
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["input", "saliency", "CAM", "", "", ""]
    assert [ax.get_ylabel() for ax in figure.axes] == ["a $cat", "", "", "a dog", "", ""]
    np.testing.assert_allclose(figure.axes[3].images[0].get_array(), IMAGE / 255, rtol=1e-6)
    np.testing.assert_allclose(heat(figure.axes[4]).get_array(), VALUES["saliency"][1])
    places = [ax.get_subplotspec() for ax in figure.axes]
    assert [place.colspan.start for place in places] == [0, 1, 2, 0, 1, 2]


def test_each_panel_of_a_grid_has_its_own_colours_and_says_their_ends() -> None:
    figure = plot.attribution_grid(VALUES, IMAGES)
    limit = np.percentile(np.abs(SIGNED), 99)
    panels = figure.axes
    np.testing.assert_allclose([heat(panels[i]).norm.vmax for i in (1, 4)], [limit, 100 * limit])
    assert said(panels[1]) == ""
    assert ticks(panels[1]) == [f"−{limit:.3g}", "0", f"{limit:.3g}"]
    assert [text.get_text() for text in panels[5].texts if text.get_text()] == ["all zero"]
    assert "clipped at the 99th percentile of each panel" in figure.get_supxlabel()


def test_a_grid_of_one_row_and_one_column() -> None:
    values = {"a": [RANDOM.standard_normal((6, 9, 3))]}
    figure = plot.attribution_grid(values, IMAGES[:1], percentile=100.0)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["input", "a"]
    assert figure.get_supxlabel() == "attributions (channels summed)"


def test_grids_do_not_overlap() -> None:
    many = {f"method number {i}": np.tile(SIGNED, (4, 1, 1)) for i in range(4)}
    figure = plot.attribution_grid(many, [IMAGE] * 4, titles=["a name without end " * 9] * 4)
    figure.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    assert all(upper.y0 >= lower.y1 for upper, lower in zip(boxes, boxes[5:], strict=False))
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes[:5]))
    assert boxes[0].y1 <= figure.bbox.y1


def test_errors_of_a_grid() -> None:
    with pytest.raises(ValueError, match="`values` has 0 names and `images` 2 examples"):
        plot.attribution_grid({}, IMAGES)
    with pytest.raises(ValueError, match="`values` has 1 names and `images` 0 examples"):
        plot.attribution_grid({"a": []}, [])
    with pytest.raises(ValueError, match="`values` has 1 maps under 'a'; `images` has 2 examples"):
        plot.attribution_grid({"a": SIGNED[None]}, IMAGES)
    with pytest.raises(ValueError, match="`titles` has 1 titles; `images` has 2 examples"):
        plot.attribution_grid(VALUES, IMAGES, titles=["a"])


def test_classes_share_one_scale_and_one_bar() -> None:
    values = np.stack([SIGNED, np.abs(SIGNED) / 7, 0 * SIGNED])
    names = ["cat", "dog", "fox", "owl"]
    figure = plot.class_attributions(values, IMAGE, classes=[3, 0, 1], class_names=names)
    *panels, bar = figure.axes
    titles = [ax.get_title(loc="left") for ax in panels]
    assert titles == ["input", "owl", "cat", "dog"]
    limit = np.percentile(np.abs(values), 99)
    norms = [heat(ax).norm for ax in panels[1:]]
    np.testing.assert_allclose([(n.vmin, n.vmax) for n in norms], [(-limit, limit)] * 3)
    assert not any(ax.child_axes for ax in panels)
    assert bar.get_xlabel() == f"clipped at ±{limit:.3g} (99th percentile)"
    np.testing.assert_allclose(bar.get_xlim(), (-limit, limit))
    assert len({ax.bbox.y0 for ax in panels}) == 1


def test_class_titles_are_inside_the_figure_whatever_its_height() -> None:
    for height in (3.0, 4.0, 4.5):
        figure = plt.figure(figsize=(8.5, height), layout="constrained")
        plot.class_attributions([SIGNED[:, :6]] * 7, IMAGE[:, :6], classes=range(7), fig=figure)
        figure.draw_without_rendering()
        assert figure.axes[0].get_tightbbox().y1 <= figure.bbox.y1
        assert figure.axes[0].get_anchor() == "NW"


def test_all_classes_need_no_numbers() -> None:
    figure = plot.class_attributions(np.ones((3, 4, 4)), np.zeros((4, 4)))
    titles = [ax.get_title(loc="left") for ax in figure.axes[1:4]]
    assert titles == ["class 0", "class 1", "class 2"]


def test_classes_without_names_and_without_attributions() -> None:
    figure = plot.class_attributions(0 * SIGNED[None], IMAGE, classes=np.array([4]))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["input", "class 4"]


def test_errors_of_classes() -> None:
    with pytest.raises(ValueError, match="`values` has 2 maps and `classes` 1 classes"):
        plot.class_attributions(np.stack([SIGNED, SIGNED]), IMAGE, classes=[1])
    with pytest.raises(ValueError, match="at least one"):
        plot.class_attributions([], IMAGE, classes=[])
    with pytest.raises(ValueError, match="`class_names` has 1 names; the class 1 occurs"):
        plot.class_attributions(SIGNED[None], IMAGE, classes=[1], class_names=["a"])


# Top losses, with explanations


def top(k: int) -> TopLosses:
    numbers = np.arange(k)
    return TopLosses(9.0 - numbers, numbers, numbers, numbers, numbers / 9, numbers / 9)


def test_top_losses_have_a_map_for_each_explanation_beside_each_picture() -> None:
    explanations = {"why": np.stack([SIGNED] * 3), "why not": np.stack([-2 * SIGNED] * 3)}
    figure = plot.top_losses(top(3), [IMAGE] * 3, explanations=explanations)
    pictures = [ax for ax in figure.axes if not any(map(in_one_map, ax.images))]
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax not in pictures]
    assert titles == ["why", "why not"] * 3
    starts = [ax.get_title(loc="left").splitlines()[0] for ax in pictures]
    assert starts == [f"prediction: {number}" for number in range(3)]
    for ax in pictures:
        beside = [
            a for a in figure.axes if a.get_subplotspec().num1 == 1 + ax.get_subplotspec().num1
        ]
        assert [a.get_title(loc="left") for a in beside] == ["why"]
        np.testing.assert_allclose(heat(beside[0]).get_array(), SIGNED)
    figure.draw_without_rendering()
    assert figure.axes[0].get_subplotspec().get_gridspec().ncols == 6


def test_top_losses_without_explanations_are_as_they_were() -> None:
    figure = plot.top_losses(top(3), [IMAGE] * 3)
    assert len(figure.axes) == 3
    assert figure.get_size_inches().tolist() == [4.0, 6.1]
    assert figure.get_supxlabel() == ""
    assert not any(ax.child_axes or ax.texts for ax in figure.axes)


def test_errors_of_explanations() -> None:
    with pytest.raises(ValueError, match="`explanations` has 2 maps under 'why'; `images` has 3"):
        plot.top_losses(top(3), [IMAGE] * 3, explanations={"why": [SIGNED] * 2})
    with pytest.raises(ValueError, match="`explanations` has 0 names"):
        plot.top_losses(top(3), [IMAGE] * 3, explanations={})


def test_captions_stand_above_their_maps() -> None:
    maps = {"one": [SIGNED] * 2, "other": [SIGNED] * 2}
    captions = {"one": ["a\nb", "c"], "other": ["d", "e"]}
    figure = plot.top_losses(top(2), [IMAGE] * 2, explanations=maps, captions=captions)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[1:3] == ["one\na\nb", "other\nd"]
    assert titles[4:6] == ["one\nc", "other\ne"]
    figure = plot.attribution_grid(maps, [IMAGE] * 2, captions=captions)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["input", "one\na\nb", "other\nd", "", "c", "e"]


@pytest.mark.parametrize("captions", [{"one": ["a", "b"]}, {"one": ["a"], "other": ["b", "c"]}])
def test_captions_are_of_these_maps(captions: Any) -> None:
    maps = {"one": [SIGNED] * 2, "other": [SIGNED] * 2}
    for draw in (
        lambda: plot.top_losses(top(2), [IMAGE] * 2, explanations=maps, captions=captions),
        lambda: plot.attribution_grid(maps, [IMAGE] * 2, captions=captions),
    ):
        with pytest.raises(ValueError, match=r"`captions` has .* expected 2 for each of"):
            draw()


# Tokens


TOKENS = ["The", " film", " <b>&", '"q"', " costs", " $5", "$", "\n", "\t", " ", "", "\x00", "Ġa"]
SEEN = ["The", "·film", "·<b>&", '"q"', "·costs", "·$5", "$", "↵", "⇥", "␣", "∅", "[U+0000]", "Ġa"]
WEIGHTS = np.linspace(-2, 1, len(TOKENS))


def test_tokens_are_words_on_the_colour_of_their_value() -> None:
    weights = WEIGHTS.copy()
    weights[1], weights[2] = 0, np.nan
    ax = plot.tokens(TOKENS, weights)
    assert [text.get_text() for text in ax.texts] == SEEN
    colours = [text.get_bbox_patch().get_facecolor()[:3] for text in ax.texts]
    assert colours[1] == (1, 1, 1)
    np.testing.assert_allclose(colours[2], _pictures.NOT_FINITE, atol=1 / 255)
    assert colours[0][2] > colours[0][0]
    assert colours[-1][0] > colours[-1][2]
    assert said(ax) == "attribution\n1 of 13 not finite (orange)"
    assert ticks(ax) == ["−2", "0", "2"]


@pytest.mark.parametrize("given", [False, True])
def test_tokens_wrap_within_the_axes_and_do_not_overlap(given: bool) -> None:
    ax = plt.figure(figsize=(4, 3), layout="constrained").subplots() if given else None
    words = ["word" * (1 + i % 4) for i in range(50)] + ["long" * 60]
    ax = plot.tokens(words, np.ones(51), ax=ax)
    figure = ax.get_figure()
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(left.x1 < right.x0 or left.y0 > right.y1 for left, right in pairwise(boxes))
    assert min(box.y0 for box in boxes) > ax.child_axes[0].bbox.y1
    assert max(box.y1 for box in boxes) <= figure.bbox.y1
    assert len({text.get_position()[1] for text in ax.texts}) > 3
    assert ax.texts[-1].get_text().endswith("…")


def test_a_line_break_breaks_the_line() -> None:
    first, end, second = plot.tokens(["a", "\n", "b"], [1, 2, 3]).texts
    assert first.get_position()[1] == end.get_position()[1] > second.get_position()[1]
    assert first.get_position()[0] == second.get_position()[0] < end.get_position()[0]


class Spans(HTMLParser):
    """The words, styles and titles of the tokens."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.styles: list[str] = []
        self.titles: list[float] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[Any]) -> None:
        self.tags.append(tag)
        values = dict(attributes)
        if "title" in values:
            self.titles.append(float(values["title"]))
            self.styles.append(values["style"])
            self.words.append("")

    def handle_data(self, data: str) -> None:
        if self.words and len(self.words) <= len(TOKENS) and self.tags[-1] == "span":
            self.words[-1] += data


def test_html_of_tokens_is_escaped_and_has_the_numbers() -> None:
    html = plot.tokens_html(TOKENS, WEIGHTS)
    spans = Spans(html)
    np.testing.assert_allclose(spans.titles, WEIGHTS, rtol=1e-5)
    assert spans.words[:-1] == SEEN[:-1]
    assert set(spans.tags) <= {"div", "span", "wbr", "br"}
    assert "·&lt;b&gt;&amp;" in html
    assert not re.search("http|url|<script|<style|class=", html)
    attack = plot.tokens_html(['<script>alert(1)</script>" onclick="x'], [1.0])
    assert "<script" not in attack
    assert '" onclick' not in attack


def test_html_of_tokens_is_legible_on_every_colour() -> None:
    weights = np.linspace(-1, 1, 41)
    weights[7] = np.nan
    spans = Spans(plot.tokens_html(["w"] * 41, weights))
    for style in spans.styles:
        back, text = (to_rgb(re.search(rf"(?:^|;){key}:(#\w+)", style)[1]) for key in
                      ("background", "color"))  # fmt: skip
        light, dark = sorted(map(luminance, (back, text)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5
    paper = plot.tokens_html(["w"], [0.0])
    assert "background:#fff;color:#000" in paper
    assert "all zero" in paper


def luminance(colour: Any) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_the_text_is_black_on_light_and_white_on_dark() -> None:
    assert text_colours(np.array([[1.0, 1, 1], [0, 0, 0.5]])) == ["#000000", "#ffffff"]


def test_html_of_tokens_counts_what_is_not_finite() -> None:
    assert "1 of 2 not finite (orange)" in plot.tokens_html(["a", "b"], [np.inf, 1])


@pytest.mark.parametrize("draw", [plot.tokens, plot.tokens_html])
def test_errors_of_tokens(draw: Any, as_user: None) -> None:
    with pytest.raises(TypeError, match=r"`tokens` is one str; expected a list.*text\.split"):
        draw("a text", [1.0])
    with pytest.raises(ValueError, match="`tokens` is empty"):
        draw([], [])
    with pytest.raises(ValueError, match=r"shape \(3,\) for 2 tokens; expected.*one number for"):
        draw(["a", "b"], [1.0, 2, 3])
    with pytest.raises(ValueError, match=r"shape \(2, 8\) for 2 tokens.*Sum over the last axis"):
        draw(["a", "b"], np.zeros((2, 8)))
