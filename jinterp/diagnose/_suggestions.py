"""Which learning rate a curve of losses suggests, and where it ends: the rules of fastai."""

import bisect
from typing import NamedTuple

import numpy as np

_MOMENTUM = 0.98
_FEWEST = 10  # losses that a suggestion is made from
_SKIP_END = 5
_SLIDE = 15  # steps between the two slopes that `slide` compares
_SLIDE_THRESHOLD = 0.005


class Suggestions(NamedTuple):
    """A learning rate by each rule, NaN where it has none."""

    valley: float
    slide: float
    minimum: float
    steep: float


def smooth(losses: np.ndarray) -> np.ndarray:
    """The moving average, debiased as if it had begun with the first loss."""
    average, smoothed = 0.0, []
    for number, loss in enumerate(losses, 1):
        average = _MOMENTUM * average + (1 - _MOMENTUM) * float(loss)
        smoothed.append(average / (1 - _MOMENTUM**number))
    return np.array(smoothed)


def stop(smoothed: np.ndarray) -> tuple[int, str]:
    """How many steps there are up to the one that ends the run, and why it does."""
    least = np.fmin.accumulate(smoothed)
    ends = ~np.isfinite(smoothed) | (smoothed > least + 3 * np.abs(least))
    if not ends.any():
        return len(smoothed), ""
    last = int(ends.argmax())
    return last + 1, "diverged" if np.isfinite(smoothed[last]) else "not finite"


def suggestions(
    learning_rates: np.ndarray, smoothed_losses: np.ndarray, num_steps: int
) -> Suggestions:
    """What fastai suggests after these losses of `num_steps` that were planned.

    fastai goes on after a NaN and leaves out the last 5 of all its steps; here the run ended there,
    and as many losses before it are left.
    """
    num_left = len(smoothed_losses) - _SKIP_END
    if np.isnan(smoothed_losses).any():
        num_left = min(int(np.isnan(smoothed_losses).argmax()), num_steps - _SKIP_END)
    kept = slice(num_steps // 10, max(num_left, 0))
    rates, losses = learning_rates[kept], smoothed_losses[kept]
    if len(losses) < _FEWEST or not np.isfinite(losses).all():
        return Suggestions(np.nan, np.nan, np.nan, np.nan)
    return Suggestions(
        float(rates[longest_valley(losses)[2]]),
        slide(rates, losses),
        float(rates[losses.argmin()] / 10),
        float(rates[(np.diff(losses) / np.diff(np.log(rates))).argmin()]),
    )


def longest_valley(losses: np.ndarray) -> tuple[int, int, int]:
    """The start, the end and the suggested index of the longest decreasing subsequence.

    The end is where the length L is first reached and the start is end − L, as in fastai, however
    far apart the losses of the subsequence are. fastai finds L in O(n²).
    """
    tails: list[float] = []
    longest, end = 1, 0
    for number, loss in enumerate(-losses):
        length = bisect.bisect_left(tails, loss) + 1
        tails[length - 1 : length] = [loss]
        if length > longest:
            longest, end = length, number
    start = end - longest if longest > 1 else 0
    section = (end - start) / 3
    return start, end, start + int(section) + int(section / 2)


def slide(rates: np.ndarray, losses: np.ndarray) -> float:
    """From the right, where the slopes 15 steps apart first differ little."""
    if len(losses) <= _SLIDE:
        return float("nan")
    slopes = np.gradient(losses)[::-1]
    differs = np.abs(slopes[:-_SLIDE] - slopes[_SLIDE:]) > _SLIDE_THRESHOLD
    num_passed = len(differs) if differs.all() else int(differs.argmin())
    return float(rates[::-1][_SLIDE + max(num_passed - 1, 0)])
