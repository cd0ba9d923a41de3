"""Figures as bytes, for pages and files."""

import io

from jinterp.plot._figures import AnyFigure


def png(figure: AnyFigure, *, dots_per_inch: int = 130) -> bytes:
    """A figure as a PNG file; the figure is closed, so a notebook does not show it again.

    Args:
        figure: the figure.
        dots_per_inch: resolution.
    """
    import matplotlib.pyplot as plt

    whole = figure.get_figure(root=True)
    assert whole is not None
    buffer = io.BytesIO()
    whole.savefig(buffer, format="png", dpi=dots_per_inch, bbox_inches="tight")
    plt.close(whole)
    return buffer.getvalue()
