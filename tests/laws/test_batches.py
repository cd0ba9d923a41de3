"""No value depends on the batch an example stands in, nor on how the work is cut."""

import numpy as np
import pytest

from jinterp.stream import memory
from tests.laws.explainers import CASES, TARGET, Case, X, assert_close, every


@every(CASES)
def test_a_permuted_batch(case: Case) -> None:
    order = np.array([2, 0, 3, 1])
    assert_close(case(x=X[order], target=TARGET[order]), np.asarray(case())[order])


@every(CASES)
def test_a_part_of_the_batch(case: Case) -> None:
    """And so a padded one: its examples are a part of it."""
    assert_close(case(x=X[:3], target=TARGET[:3]), np.asarray(case())[:3])


@every(CASES)
def test_the_cut(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """One example and one point at a time, chosen or because nothing else fits."""
    expected = case()
    with monkeypatch.context() as patch:
        patch.setattr(memory, "rows_per_program", lambda device: 1)
        patch.setattr(memory, "num_row_lanes", lambda device: 3)
        assert_close(case(), expected)
    monkeypatch.setattr(memory, "budget_of", lambda device: 0)
    assert_close(case(), expected)
