"""Tables of text, as `print` shows them."""

import html
from collections.abc import Iterable, Sequence


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The first column to the left, the others to the right; an empty row is an empty line.

    >>> print(text_table(["", "IoU"], [["road", "0.75"], ["car", "0.5"]]))
           IoU
    road  0.75
    car    0.5
    """
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*filter(None, lines), strict=True)]
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if number == 0 else f"{cell:>{width}}"
            for number, (cell, width) in enumerate(zip(line, widths, strict=False))
        )
        for line in lines
    )


def html_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same for a notebook, what comes from the data escaped.

    >>> html_table(["", "IoU"], [["a<b", "0.5"]])
    '<table><tr><th></th><th>IoU</th></tr><tr><td>a&lt;b</td><td>0.5</td></tr></table>'
    """
    lines = [("th", header), *(("td", row) for row in rows)]
    cells = ("".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in line) for tag, line in lines)
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in cells)}</table>"


def with_prefix(number: int | float, unit: str = "") -> str:
    """A number of three digits and a prefix of a thousand: 1.23 M.

    >>> with_prefix(40_551_040), with_prefix(999_999, "B"), with_prefix(12), with_prefix(0)
    ('40.6 M', '1.00 MB', '12', '0')
    """
    prefixes = ("", "k", "M", "G", "T", "P")
    place = 0
    while abs(number) >= 999.5 and place < len(prefixes) - 1:
        number, place = number / 1000, place + 1
    digits = f"{number:.3g}" if place == 0 else f"{number:.{3 - len(str(int(abs(number))))}f}"
    return f"{digits} {prefixes[place]}{unit}".strip()
