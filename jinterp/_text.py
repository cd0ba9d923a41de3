"""Tables of text, as `print` shows them."""

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
