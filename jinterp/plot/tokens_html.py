"""Which words mattered, for a page."""

from html import escape
from typing import Any

import numpy as np
from matplotlib.colors import to_hex

from jinterp.plot._heat import not_finite
from jinterp.plot._scale import Scale, scale_of
from jinterp.plot._words import colours_of, text_colours, visible, words_and_values

# White paper of its own, so that colours mean the same on a light page and on a dark one.
_PAPER = (
    "color-scheme:light;background:#fff;color:#000;padding:.6em .8em;border-radius:.4em;"
    "font:14px/2 system-ui,sans-serif;overflow-wrap:anywhere"
)
_WORD = "padding:.15em .3em;margin:0 .1em;border:1px solid #e4e4e4;white-space:pre-wrap"
_BAR = "display:inline-block;width:12em;height:.7em;margin:0 .5em;vertical-align:middle"
_SMALL = "font-size:12px;color:#444"


def tokens_html(tokens: Any, values: Any) -> str:
    """The picture of `tokens` as a fragment of HTML, its number in the title of each word.

    It needs no style sheet, script or file beside it; what the tokens say is escaped.

    Args:
        tokens: `[tokens]` the tokens of one text.
        values: `[tokens]` their attributions; NaN and infinite ones are orange and counted.

    Returns:
        A `<div>`.

    Raises:
        TypeError: `tokens` is one string.
        ValueError: there are no tokens, or not a number for each.

    >>> html = tokens_html(["a", " <b>"], [0.5, -1.0])
    >>> '·&lt;b&gt;</span>' in html, 'title="-1"' in html
    (True, True)
    """
    words, values = words_and_values(tokens, values)
    scale = scale_of([values])
    colours = colours_of(values, scale)
    spans = map(_span, words, values.tolist(), colours, text_colours(colours))
    return f'<div style="{_PAPER}"><div>{"".join(spans)}</div>{_legend(values, scale)}</div>'


def _span(word: str, value: float, background: np.ndarray, color: str) -> str:
    style = f"background:{to_hex(tuple(background))};color:{color};{_WORD}"
    ends_line = "<br>" if word.endswith("\n") else "<wbr>"
    return f'<span style="{style}" title="{value:.6g}">{escape(visible(word))}</span>{ends_line}'


def _legend(values: np.ndarray, scale: Scale) -> str:
    if not scale.limit:
        parts = ["attribution: all zero", not_finite(values)]
        return f'<div style="{_SMALL}">{"; ".join(filter(None, parts))}</div>'
    low = -scale.limit if scale.is_signed else 0.0
    stops = colours_of(np.linspace(low, scale.limit, 17), scale)
    gradient = f"background:linear-gradient(to right,{','.join(map(to_hex, stops))})"
    bar = f'<span style="{_BAR};{gradient}"></span>'
    ends = [f"{end:.3g}".replace("-", "−") for end in (low, scale.limit)]
    missing = not_finite(values)
    return (
        f'<div style="{_SMALL}">attribution {ends[0]}{bar}{ends[1]}'
        f"{'; ' + missing if missing else ''}</div>"
    )
