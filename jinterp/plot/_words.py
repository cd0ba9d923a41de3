"""Tokens as words that can be seen, and their colours."""

import unicodedata
from typing import Any

import numpy as np

from jinterp.plot._pictures import NOT_FINITE, is_numeric
from jinterp.plot._scale import Scale

_SIGNS = {"\n": "↵", "\t": "⇥", "\r": "␍"}


def words_and_values(tokens: Any, values: Any) -> tuple[list[str], np.ndarray]:
    """The tokens as strings and their attributions `[tokens]`, or a named error."""
    if isinstance(tokens, str | bytes):
        raise TypeError(
            f"`tokens` is one {type(tokens).__name__}; expected a list of tokens. Use text.split()"
            ", or the tokenizer's convert_ids_to_tokens(ids)."
        )
    values, words = np.asarray(values), [str(token) for token in tokens]
    if not words:
        raise ValueError("`tokens` is empty; expected at least one token.")
    if not is_numeric(values) or values.shape != (len(words),):
        advice = "Sum over the last axis." if values.ndim > 1 else "Give one number for each token."
        raise ValueError(
            f"`values` are {values.dtype} of shape {values.shape} for {len(words)} tokens; "
            f"expected numbers [tokens]. {advice}"
        )
    return words, values.astype(np.float64)


def visible(word: str) -> str:
    r"""Spaces at the ends, line breaks and what else leaves no mark, as signs.

    >>> [visible(word) for word in (" the", "a b", "end\n", "\xa0", " ", "")]
    ['·the', 'a b', 'end↵', '[U+00A0]', '␣', '∅']
    """
    if not word.strip(" "):
        return "␣" * len(word) or "∅"
    bare = word.strip(" ")
    before = len(word) - len(word.lstrip(" "))
    marks_only = not any(map(str.isprintable, bare))
    signs = "".join(_sign(character, marks_only) for character in bare)
    after = len(word) - len(bare) - before
    return "·" * before + signs + "·" * after


def _sign(character: str, marks_only: bool) -> str:
    joins = unicodedata.category(character) == "Cf"  # within words of Persian, and within emoji
    if character.isprintable() or (joins and not marks_only):
        return character
    return _SIGNS.get(character, f"[U+{ord(character):04X}]")


def colours_of(values: np.ndarray, scale: Scale) -> np.ndarray:
    """`[tokens, 3]` from 0 to 1, as on white paper; orange for NaN and infinity."""
    finite = np.isfinite(values)
    fading = scale.colours(scale.norm(np.where(finite, values, 0)))
    opacity = fading[:, 3:]
    opaque = opacity * fading[:, :3] + 1 - opacity
    opaque[~finite] = NOT_FINITE
    return opaque


def text_colours(backgrounds: np.ndarray) -> list[str]:
    """Black or white, whichever has the more contrast (WCAG 2's) with each background."""
    linear = np.where(
        backgrounds <= 0.04045, backgrounds / 12.92, ((backgrounds + 0.055) / 1.055) ** 2.4
    )
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where((luminance + 0.05) ** 2 > 0.05 * 1.05, "#000000", "#ffffff").tolist()
