"""Shapes, dtypes, structures, and what is compiled and traced."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from tests.laws.explainers import (
    CASES,
    CLASSES,
    EACH_CLASS,
    MODEL,
    OF_INPUTS,
    PARAMS,
    TARGET,
    Case,
    X,
    apply_fn,
    assert_close,
    every,
    traces,
)
from tests.problems import count_compiles

HALVES = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), PARAMS)


@every(CASES)
def test_the_leading_axis_is_the_batch_and_values_of_inputs_have_their_shape(case: Case) -> None:
    values = case()
    assert values.dtype == jnp.float32
    assert values.shape[0] == len(X)
    assert (values.shape == X.shape) == case.is_of_inputs
    assert np.isfinite(values).all()
    assert (np.abs(values).max(axis=tuple(range(1, values.ndim))) > 0).all()


@every(CASES)
def test_half_precision_is_kept_and_close(case: Case) -> None:
    """bfloat16 has 8 bits: 5 % of the largest value after a dozen operations."""
    values = case(HALVES, jnp.asarray(X, jnp.bfloat16))
    assert values.dtype == jnp.bfloat16
    assert_close(values.astype(jnp.float32), case(), 0.05)


@every(CASES)
def test_the_predicted_class_is_the_default(case: Case) -> None:
    predicted = np.argmax(case.apply_fn(PARAMS, X), axis=1)
    assert_close(case(target=None), case(target=predicted))


@every([*CASES, EACH_CLASS])
@pytest.mark.filterwarnings("ignore:.* are zero everywhere")
def test_nothing_is_compiled_or_traced_again(case: Case) -> None:
    case()
    traces.clear()
    with count_compiles() as counter:
        case(PARAMS, X + 1, TARGET[::-1].copy())
    assert (counter.compiled, traces) == (0, [])


def test_traces_are_counted() -> None:
    traces.clear()
    jinterp.gradient(*MODEL, X[:, :, :3], TARGET)
    assert traces


ONE_TARGET = {
    "adaptive_integrated_gradients": "each class would need steps of its own",
    "guided_integrated_gradients": "each class has a path of its own",
    "score_cam": "its passes depend on the class predicted without them",
    "ablation_cam": "its weights are divided by one score",
}
NO_TARGET = {"eigen_cam", "attention_rollout"}  # which say so
TARGETS = np.stack([TARGET, (TARGET + 1) % CLASSES], axis=1)


@every([case for case in CASES if case.name not in {*ONE_TARGET, *NO_TARGET}])
def test_several_targets_equal_single_calls(case: Case) -> None:
    singles = [case(target=TARGETS[:, n]) for n in range(2)]
    assert_close(case(target=TARGETS), jnp.stack(singles, axis=1))


@every([case for case in CASES if case.name in ONE_TARGET])
def test_several_targets_where_they_share_nothing(case: Case) -> None:
    with pytest.raises(ValueError, match=r"the shape \(4, 2\); expected one class an example"):
        case(target=TARGETS)


def test_each_class_equals_single_calls() -> None:
    singles = [jinterp.gradient(*MODEL, X, number) for number in range(CLASSES)]
    assert_close(EACH_CLASS(), jnp.stack(singles, axis=1))
    some = jinterp.each_class(jinterp.gradient, [2, 0])(*MODEL, X)
    assert_close(some, jnp.stack([singles[2], singles[0]], axis=1))


def two(params: Any, x: dict[str, jax.Array]) -> jax.Array:
    """Of a dict of two inputs with axes in space."""
    return apply_fn(params, x["image"]) + x["signal"].mean(1) @ params["head"][:2]


ONE_ARRAY = {
    "guided_integrated_gradients": "it orders the features of one array",
    "guided_grad_cam": "its map lies on one",
    "rise": "its masks lie on the places of one array",
    "xrai": "its regions lie on the places of one array",
}
# Where the draws or the whole decide.
OTHER_WITH_MORE = {"idgi", "expected_gradients", "gradient_shap", "sobol", "lime"}


@every(OF_INPUTS)
def test_inputs_may_be_a_pytree(case: Case) -> None:
    x = {"image": X, "signal": np.random.default_rng(1).normal(size=(4, 6, 2)).astype(np.float32)}
    if case.name in ONE_ARRAY:
        with pytest.raises(TypeError, match="`x` is a dict; expected one array"):
            case(PARAMS, x, TARGET, two)
        return
    values = case(PARAMS, x, TARGET, two)
    assert jax.tree.map(jnp.shape, values) == jax.tree.map(np.shape, x)
    if "smooth" not in case.name and case.name not in OTHER_WITH_MORE:
        assert_close(values["image"], case(), 1e-4)  # the other array only adds to the logits
