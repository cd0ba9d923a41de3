"""What explainers are made of: one class an example or several, summed, stacked or carried."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinterp._question import answer, ask
from jinterp.model import logit
from jinterp.stream import memory
from tests.problems import linear

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(3, 5)).astype(np.float32)
X = RNG.normal(size=(4, 3)).astype(np.float32)
TARGETS = RNG.integers(0, 5, (4, 2))
POINTS = np.linspace(0, 1, 6, dtype=np.float32)


def at_point(static: Any, params: Any, rows: Any, point: jax.Array, *before: jax.Array) -> Any:
    """`[batch, 2]`: the score of a share of the input, and the share."""
    apply_fn, score = static
    x, target, _ = rows
    scores = score(apply_fn(params, x * point), target)
    found = jnp.stack([scores, jnp.full_like(scores, point)], axis=1)
    return found + before[0] / 2 if before else found


@pytest.mark.parametrize("most", [1, 16])
@pytest.mark.parametrize("kind", ["sum", "stack", "carry"])
def test_several_targets_equal_single_ones(
    kind: Any, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together, and where each is a part of its own."""
    monkeypatch.setattr(memory, "rows_per_program", lambda device: most)
    initial = RNG.normal(size=(4, 2, 2)).astype(np.float32) if kind == "carry" else None

    def found(target: Any, initial: Any) -> np.ndarray:
        question = ask(linear, WEIGHTS, X, target, logit)
        return np.asarray(answer(at_point, question, points=POINTS, kind=kind, initial=initial))

    singles = [found(TARGETS[:, n], None if initial is None else initial[:, n]) for n in range(2)]
    together = found(TARGETS, None if initial is None else jnp.asarray(initial))
    np.testing.assert_allclose(together, np.stack(singles, axis=1), rtol=1e-6, atol=1e-7)
    assert together.shape == ((4, 2, 6, 2) if kind == "stack" else (4, 2, 2))
