"""Each demo finds the labels it changed."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jinterp import demo


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_most_changed_labels_stand_among_the_top_losses(task: str, tmp_path: Path) -> None:
    said: list[str] = []
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        result = demo.TASKS[task](tmp_path / "out", say=said.append)
    changed = set(result.changed.tolist())
    top = result.interpretation.top_losses(len(changed))
    assert result.num_found == len(changed & set(top.indices.tolist()))
    assert result.num_found >= 0.7 * len(changed)
    assert said[-1].startswith(f"{result.num_found} of the {len(changed)} ")
    assert Path(result.report).stat().st_size > 100_000


def test_flips_are_kept_aside_and_are_wrong() -> None:
    from sklearn.datasets import load_digits

    digits = demo.digits(seed=3)
    _, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(3).permutation(len(labels))
    true = labels[order][len(digits.train[1]) :]
    np.testing.assert_array_equal(np.flatnonzero(true != digits.held_out[1]), digits.flipped)
    assert 5 < len(digits.flipped) < 40


def test_drawn_shapes() -> None:
    data = demo.shapes(seed=3)
    images, labels = data.held_out
    assert images.shape == (*labels.shape, 3)
    assert set(np.unique(labels)) == {0, 1, 2, 3, 255}
    assert len(data.mislabelled) == 10
    assert all((label == 255).sum() == 64 for label in labels)
