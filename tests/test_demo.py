"""The demo finds the labels it flipped."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jinterp import demo


@pytest.mark.slow
def test_most_flipped_labels_stand_among_the_top_losses(tmp_path: Path) -> None:
    said: list[str] = []
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        result = demo.run(tmp_path / "out", say=said.append)
    flipped = set(result.flipped.tolist())
    top = result.interpretation.top_losses(len(flipped))
    assert result.num_found == len(flipped & set(top.indices.tolist()))
    assert result.num_found >= 0.7 * len(flipped)
    assert result.interpretation.evaluation.accuracy > 0.9
    assert said[-1].startswith(f"{result.num_found} of the {len(flipped)} labels flipped")
    assert Path(result.report).stat().st_size > 100_000


def test_flips_are_kept_aside_and_are_wrong() -> None:
    from sklearn.datasets import load_digits

    digits = demo.digits(seed=3)
    _, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(3).permutation(len(labels))
    true = labels[order][len(digits.train[1]) :]
    np.testing.assert_array_equal(np.flatnonzero(true != digits.held_out[1]), digits.flipped)
    assert 5 < len(digits.flipped) < 40
