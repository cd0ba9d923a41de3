"""A page readable offline: a template, with every picture inside it."""

import base64
import datetime
import os
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jinja2

from jinterp import plot


def write_page(
    out: str | os.PathLike[str],
    template: str,
    figures: Iterable[tuple[str, Any]],
    *,
    title: str,
    notes: Sequence[str],
    **context: Any,
) -> Path:
    """Write `report.html` and its pictures.

    Args:
        out: the folder to write to; it is made if need be.
        template: the name of a template of this room.
        figures: each with the name under which the template shows it; each is closed before the
            next is asked for.
        title: the heading.
        notes: sentences to show below it.
        **context: what else the template reads.

    Returns:
        The path of `report.html`. It loads nothing, since every picture is inside it; each lies
        beside it as PNG, too.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder = writable_folder(out)
    pictures = {name: plot.png(figure) for name, figure in figures}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jinterp.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(
        title=title,
        notes=notes,
        pictures={name: base64.b64encode(png).decode() for name, png in pictures.items()},
        versions=f"jinterp {metadata.version('jinterp')}, jax {jax.__version__}",
        device=jax.devices()[0].device_kind,
        date=datetime.date.today().isoformat(),
        **context,
    )
    for name, png in pictures.items():
        (folder / f"{name}.png").write_bytes(png)
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def writable_folder(out: str | os.PathLike[str]) -> Path:
    """The folder, made if need be, or a named error before any work is done."""
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".jinterp"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise type(error)(
            f"`out` is {str(folder)!r}, which cannot be written to ({error.strerror}). "
            "Name a folder that can."
        ) from error
    return folder
