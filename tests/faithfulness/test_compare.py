"""Explainers compared by metrics, and the problems whose truth is known."""

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp
from jinterp.faithfulness import Problem
from jinterp.faithfulness._spent import Spent
from jinterp.stream.meter import Meter
from tests.problems import linear

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 6)).astype(np.float32)
WEIGHTS = RNG.normal(size=(6, 3)).astype(np.float32)
LABELS = RNG.integers(0, 3, 10)
LOGIT = {"score": jinterp.logit}


def at_random(apply_fn: Any, params: Any, x: jax.Array, target: Any = None) -> jax.Array:
    return jax.random.normal(jax.random.key(7), x.shape)


EXPLAINERS = {"terms": jinterp.input_x_gradient, "slopes": jinterp.gradient, "random": at_random}
METRICS = {
    "deletion": functools.partial(jinterp.deletion, **LOGIT),
    "sensitivity": jinterp.sensitivity_n,
    "gap": jinterp.completeness_gap,
    "stable": jinterp.max_sensitivity,
    "complexity": jinterp.complexity,
}


@functools.cache
def compared(batch_size: int = 4) -> jinterp.faithfulness.Comparison:
    ds = jinterp.batches((X, LABELS), batch_size)
    return jinterp.compare(EXPLAINERS, METRICS, linear, WEIGHTS, ds, key=KEY)


def test_every_number_is_that_of_the_metric() -> None:
    """Batch by batch, the last one filled up."""
    found = compared()
    assert found.explainers == tuple(EXPLAINERS)
    assert found.metrics == tuple(METRICS)
    target = (X @ WEIGHTS).argmax(1)
    for row, explain in enumerate(list(EXPLAINERS.values())[:2]):
        values = explain(linear, WEIGHTS, X, target)
        asked = linear, WEIGHTS, X, values, target
        expected = [
            jinterp.deletion(*asked, **LOGIT),
            jinterp.sensitivity_n(*asked, key=KEY),
            np.abs(jinterp.completeness_gap(*asked)),
            jinterp.max_sensitivity(*asked, key=KEY, explain=explain),
            jinterp.complexity(*asked),
        ]
        np.testing.assert_allclose(found.values[row], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.means, found.values.mean(2))


def test_the_size_of_a_batch_makes_no_difference() -> None:
    small, large = compared(4), compared(10)
    for a, b in zip(small[2:7], large[2:7], strict=True):
        rows = slice(2)  # the random values are those of the shape
        np.testing.assert_allclose(a[rows], b[rows], rtol=1e-4, atol=1e-5)


def test_ranks() -> None:
    """Low, high, near 0 and neither; equal means share a rank."""
    ranks = dict(zip(compared().metrics, compared().ranks.T, strict=True))
    assert ranks["deletion"][0] == 1
    assert ranks["sensitivity"][0] == 1
    assert ranks["gap"][0] == 1
    np.testing.assert_array_equal(ranks["stable"], [3, 1.5, 1.5])
    assert np.isnan(ranks["complexity"]).all()


def test_metrics_of_your_own() -> None:
    def constant(apply_fn: Any, params: Any, x: Any, values: Any, target: Any = None) -> Any:
        return jnp.abs(values).sum(1)

    for lower, expected in (((), [2, 1]), (("constant",), [1, 2])):
        found = jinterp.compare(
            {"small": jinterp.gradient, "large": larger},
            [constant],
            *(linear, WEIGHTS, (X, LABELS)),
            key=KEY,
            lower_is_better=lower,
        )
        np.testing.assert_array_equal(found.ranks[:, 0], expected)


def larger(apply_fn: Any, params: Any, x: Any, target: Any = None) -> Any:
    return 2 * jinterp.gradient(apply_fn, params, x, target)


def test_intervals_hold_the_mean_of_the_population() -> None:
    """In 200 datasets of 40 examples, intervals of 90 % hold it 165 to 195 times."""

    def drawn(apply_fn: Any, params: Any, x: Any, values: Any, target: Any = None) -> Any:
        return x[:, 0]

    held = 0
    for seed in range(200):
        x = np.random.default_rng(seed).exponential(size=(40, 1)).astype(np.float32)
        found = jinterp.compare(
            [jinterp.gradient],
            [drawn],
            *(linear, np.ones((1, 1), np.float32), (x, np.zeros(40, int))),
            key=jax.random.key(seed),
            num_resamples=200,
            level=0.9,
            target=0,
        )
        held += bool(found.low[0, 0] <= 1 <= found.high[0, 0])
    assert 165 <= held <= 195


def test_targets() -> None:
    asked = functools.partial(
        jinterp.compare, [jinterp.gradient], [total], linear, WEIGHTS, (X, LABELS), key=KEY
    )
    predicted = (X @ WEIGHTS).argmax(1)
    for target, classes in (
        (None, predicted),
        (1, np.ones(10, int)),
        (operator.attrgetter("targets"), LABELS),
    ):
        found = asked(target=target).values[0, 0]
        np.testing.assert_allclose(found, WEIGHTS.sum(0)[classes], rtol=1e-5)


def total(apply_fn: Any, params: Any, x: Any, values: Any, target: Any = None) -> Any:
    return values.sum(1)


def test_what_it_costs() -> None:
    """A gradient is about two passes, twenty steps twenty-one, and nothing is nothing."""
    weights = RNG.normal(size=(8, 8, 2, 3)).astype(np.float32)
    x = RNG.normal(size=(8, 8, 8, 2)).astype(np.float32)
    found = jinterp.compare(
        {"gradient": jinterp.gradient, "random": at_random},
        {
            "deletion": functools.partial(jinterp.deletion, num_steps=20),
            "complexity": jinterp.complexity,
        },
        *(convolved, weights, (x, np.zeros(8, int))),
        key=KEY,
    )
    assert 1.5 < found.explaining.passes[0] < 3
    assert np.isnan(found.explaining.passes[1])
    np.testing.assert_allclose(found.measuring.passes[:, 0], 21, rtol=0.1)
    assert np.isnan(found.measuring.passes[:, 1]).all()
    assert not found.explaining.is_steady
    assert "ms, compiling" in str(found)
    assert "compiling" not in str(compared())
    assert (found.explaining.seconds > 0).all()
    assert (found.measuring.seconds > 0).all()


def test_the_batch_that_compiles_is_left_out_of_the_time() -> None:
    spent = Spent()
    for seconds in (9.0, 1.0, 3.0):
        spent.begin(Meter())
        spent.seconds[-1] += [seconds, 2 * seconds]
        spent.meters[-1] += [Meter(), Meter()]
        spent.num_examples.append(4)
    explaining, measuring = spent.costs(1)
    assert explaining.seconds.tolist() == [0.5]
    assert measuring.seconds.tolist() == [[1.0]]


def convolved(weights: Any, x: jax.Array) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    found = jax.lax.conv_general_dilated(x, weights, (1, 1), "SAME", dimension_numbers=numbers)
    return jax.nn.relu(found).mean((1, 2))


def test_maps_of_a_layer_are_brought_to_the_inputs() -> None:
    x = RNG.normal(size=(3, 8, 8, 2)).astype(np.float32)
    weights = RNG.normal(size=(8, 8, 2, 3)).astype(np.float32)

    def coarse(apply_fn: Any, params: Any, x: jax.Array, target: Any = None) -> jax.Array:
        return x[:, ::4, ::4].sum(-1)

    metrics = [jinterp.complexity, jinterp.max_sensitivity]
    found = jinterp.compare(
        {"map": coarse}, metrics, convolved, weights, (x, np.zeros(3, int)), key=KEY
    )
    maps = jinterp.upsample(coarse(None, None, x), x)
    expected = jinterp.complexity(None, None, x, maps)
    np.testing.assert_allclose(found.values[0, 0], expected, rtol=1e-5)
    assert (found.values[0, 1] > 0).all()


def test_what_has_no_number_is_counted_and_left_out() -> None:
    x = X.copy()
    x[3] = 0
    with pytest.warns(UserWarning, match="1 of 10 examples are zero everywhere"):
        found = jinterp.compare(
            {"terms": jinterp.input_x_gradient},
            [jinterp.complexity],
            *(linear, WEIGHTS, (x, LABELS)),
            key=KEY,
        )
    assert found.num_counted.tolist() == [[9]]
    np.testing.assert_allclose(found.means[0, 0], np.nanmean(found.values[0, 0]))
    header, row = str(found).splitlines()
    assert "complexity (of 9)" in header
    assert "of 9" not in row


def test_all_that_are_ranked_are_ranked_on_the_same_examples() -> None:
    """One without a number for more than half of them does not take examples from the others."""

    def with_gaps(missing: list[int]) -> Any:
        def explain(apply_fn: Any, params: Any, x: jax.Array, target: Any = None) -> jax.Array:
            return x.at[jnp.array(missing)].set(jnp.nan)

        return explain

    explainers = {"a": with_gaps([0]), "b": with_gaps([1, 2]), "c": with_gaps(list(range(6)))}
    found = jinterp.compare(
        explainers, [first], linear, WEIGHTS, jinterp.batches((X, LABELS), 10), key=KEY
    )
    assert found.num_counted[:, 0].tolist() == [7, 7, 4]
    np.testing.assert_allclose(found.means[:2, 0], X[3:, 0].mean(), rtol=1e-6)
    np.testing.assert_allclose(found.means[2, 0], X[6:, 0].mean(), rtol=1e-6)
    np.testing.assert_array_equal(found.ranks[:, 0], [1.5, 1.5, np.nan])
    header, *rows = str(found).splitlines()
    assert "of" not in header
    assert ["(of 7)" in row for row in rows] == [True, True, False]
    assert "(of 4)" in rows[2]


def first(apply_fn: Any, params: Any, x: Any, values: Any, target: Any = None) -> Any:
    return values[:, 0]


def test_the_gap_is_that_of_the_explainer() -> None:
    """Its baselines, its score, its groups; what a partial of the metric binds stays."""
    baselines = RNG.normal(size=(3, 6)).astype(np.float32)
    mask = np.array([0, 0, 1, 1, 2, 2])
    explainers = {
        "baselines": functools.partial(jinterp.deep_lift_shap, baselines=baselines),
        "groups": functools.partial(jinterp.exact_shapley, feature_mask=mask, baseline=0.5),
        "score": functools.partial(jinterp.exact_shapley, score=jinterp.probability),
    }
    metrics = {
        "gap": jinterp.completeness_gap,
        "from 1": functools.partial(jinterp.completeness_gap, baseline=1.0),
    }
    found = jinterp.compare(explainers, metrics, linear, WEIGHTS, (X, LABELS), key=KEY)
    np.testing.assert_allclose(found.means[:, 0], 0, atol=1e-5)
    assert (found.means[:, 1] > 0.1).all()


def test_a_score_that_is_none_of_a_class_is_asked_of_the_metrics_too() -> None:
    def squared(outputs: jax.Array, target: Any = None) -> jax.Array:
        return jnp.square(outputs).sum(1)

    explain = functools.partial(jinterp.integrated_gradients, score=squared)
    metrics = {"own": jinterp.deletion, "logit": functools.partial(jinterp.deletion, **LOGIT)}
    found = jinterp.compare(
        {"ig": explain}, metrics, linear, WEIGHTS, (X, LABELS), key=KEY, target=1
    )
    values = explain(linear, WEIGHTS, X)
    for row, score in enumerate((squared, jinterp.logit)):
        expected = jinterp.deletion(linear, WEIGHTS, X, values, 1, score=score)
        np.testing.assert_allclose(found.values[0, row], expected, rtol=1e-4, atol=1e-5)


def test_what_a_partial_binds_stays_if_it_is_the_default_too() -> None:
    explain = functools.partial(jinterp.integrated_gradients, score=jinterp.loss)
    metrics = {
        "own": jinterp.deletion,
        "bound": functools.partial(jinterp.deletion, score=jinterp.probability),
        "gap": functools.partial(jinterp.completeness_gap, score=jinterp.logit),
    }
    found = jinterp.compare({"ig": explain}, metrics, linear, WEIGHTS, (X, LABELS), key=KEY)
    target = (X @ WEIGHTS).argmax(1)
    asked = linear, WEIGHTS, X, explain(linear, WEIGHTS, X, target), target
    expected = [
        jinterp.deletion(*asked, score=jinterp.loss),
        jinterp.deletion(*asked),
        np.abs(jinterp.completeness_gap(*asked)),
    ]
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found.means[0, 0] - found.means[0, 1]) > 0.1


def test_a_single_logit_is_asked_for_itself() -> None:
    asked = linear, WEIGHTS[:, :1], X
    found = jinterp.compare(
        [jinterp.input_x_gradient, jinterp.gradient],
        [jinterp.deletion, jinterp.insertion],
        *(linear, WEIGHTS[:, :1], (X, LABELS)),
        key=KEY,
    )
    expected = jinterp.deletion(*asked, X * WEIGHTS[:, 0], score=jinterp.logit)
    np.testing.assert_allclose(found.values[0, 0], expected, rtol=1e-5, atol=1e-6)
    assert found.ranks[0].tolist() == [1, 1]


def test_rows_of_one_batch_are_not_taken_for_those_of_another() -> None:
    ds = jinterp.batches((X, LABELS), 5)
    rows = np.ones_like(X[:5])
    for explain, metric in (
        (jinterp.gradient, functools.partial(jinterp.deletion, baseline=rows)),
        (functools.partial(jinterp.integrated_gradients, baseline=rows), jinterp.deletion),
        (jinterp.gradient, functools.partial(jinterp.deletion, feature_mask=rows.astype(int) * 0)),
    ):
        with pytest.raises(ValueError, match="has a row for each example of a batch"):
            jinterp.compare([explain], [metric], linear, WEIGHTS, ds, key=KEY)
    metric = functools.partial(jinterp.deletion, baseline=np.ones_like(X))
    whole = jinterp.batches((X, LABELS), 10)
    assert jinterp.compare([jinterp.gradient], [metric], linear, WEIGHTS, whole, key=KEY).means.size


def test_errors_say_whose_they_are() -> None:
    def broken(*arguments: Any) -> Any:
        raise KeyError("inside")

    for explainers, metrics, note in (
        ({"mine": broken}, [first], "the explainer 'mine'"),
        ([jinterp.gradient], {"its": broken}, "the metric 'its'"),
    ):
        with pytest.raises(KeyError) as caught:
            jinterp.compare(explainers, metrics, linear, WEIGHTS, (X, LABELS), key=KEY)
        assert any(note in each for each in caught.value.__notes__)


@pytest.mark.parametrize(
    ("explainers", "said"),
    [
        (jinterp.gradient, "`explainers` is a function; expected a list"),
        ([jinterp.rise], "needs `key`; expected an explainer of"),
    ],
)
def test_types_of_explainers(as_user: None, explainers: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        jinterp.compare(explainers, [first], linear, WEIGHTS, (X, LABELS), key=KEY)


@pytest.mark.parametrize("batch_size", [4, 10])
def test_each_example_has_its_mask(batch_size: int) -> None:
    """Also where the last batch is padded."""
    masks = np.eye(6, dtype=bool)[np.arange(10) % 6]
    found = jinterp.compare(
        *([jinterp.input_x_gradient], [jinterp.energy_in_mask], linear, WEIGHTS),
        jinterp.batches((X, LABELS), batch_size),
        key=KEY,
        masks=masks,
        target=1,
    )
    values = X * WEIGHTS[:, 1]
    expected = jinterp.energy_in_mask(None, None, X, values, mask=masks)
    np.testing.assert_allclose(found.values[0, 0], expected, rtol=1e-5)


def test_masks_of_a_stream_are_counted_at_its_end() -> None:
    def stream() -> Any:
        yield {"x": X, "y": LABELS}

    for num in (8, 12):
        with pytest.raises(ValueError, match=f"`masks` has {num} masks for 10 examples"):
            jinterp.compare(
                *([jinterp.gradient], [jinterp.pointing_game], linear, WEIGHTS, stream()),
                key=KEY,
                masks=np.ones((num, 6), bool),
            )


def test_infinite_numbers_are_none_and_metrics_without_a_common_example_are_told() -> None:
    def half(start: int) -> Any:
        def explain(apply_fn: Any, params: Any, x: jax.Array, target: Any = None) -> jax.Array:
            return x.at[start : start + 4].set(jnp.inf)

        return explain

    asked = functools.partial(jinterp.compare, metrics=[first], key=KEY)
    given = {"apply_fn": linear, "params": WEIGHTS, "ds": jinterp.batches((X, LABELS), 10)}
    found = asked({"one": half(0)}, **given)
    np.testing.assert_allclose(found.means[0, 0], X[4:, 0].mean(), rtol=1e-6)
    with pytest.warns(UserWarning, match="1 of 1 metrics have no example with a number from every"):
        found = asked({"a": half(0), "b": half(3), "c": half(6)}, **given)
    assert np.isnan(found.means).all()
    half_only = functools.partial(jinterp.compare, {"a": half(0), "b": at_half}, [first], key=KEY)
    found = half_only(**given)
    assert found.num_counted[:, 0].tolist() == [6, 5]  # half is not enough
    np.testing.assert_array_equal(found.mean_ranks, [1, np.nan])


def at_half(apply_fn: Any, params: Any, x: jax.Array, target: Any = None) -> jax.Array:
    return x.at[:5].set(jnp.nan)


def test_regressions() -> None:
    """A single output without classes."""
    found = jinterp.compare(
        [jinterp.integrated_gradients],
        [functools.partial(jinterp.deletion, **LOGIT), jinterp.completeness_gap],
        *(linear, WEIGHTS[:, :1], (X, X[:, 0])),
        key=KEY,
    )
    np.testing.assert_allclose(found.means[0, 1], 0, atol=1e-5)


def test_maps_of_channels_first() -> None:
    x = RNG.normal(size=(3, 2, 8, 8)).astype(np.float32)

    def coarse(apply_fn: Any, params: Any, x: jax.Array, target: Any = None) -> jax.Array:
        return x[:, :, ::4, ::4].sum(1)

    def pooled(weights: Any, x: jax.Array) -> jax.Array:
        return x.mean((2, 3)) @ weights

    ds, weights = (x, np.zeros(3, int)), np.ones((2, 2), np.float32)
    found = jinterp.compare(
        [coarse], [jinterp.complexity], pooled, weights, ds, key=KEY, channel_axis=1
    )
    maps = jinterp.upsample(coarse(None, None, x), x, channel_axis=1)
    expected = jinterp.complexity(None, None, x, maps, channel_axis=1)
    np.testing.assert_allclose(found.values[0, 0], expected, rtol=1e-5)


def test_the_table() -> None:
    lines = str(compared()).splitlines()
    assert lines[0].split() == [*METRICS, "mean", "rank", "passes", "ms"]
    assert [line.split()[0] for line in lines[1:]] == list(EXPLAINERS)
    markdown = compared().to_markdown().splitlines()
    assert len({line.count("|") for line in markdown}) == 1
    assert "<td>terms</td>" in compared()._repr_html_()


def several(batch: Any) -> np.ndarray:
    return np.zeros((len(batch.mask), 2), int)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"metrics": [jinterp.pointing_game]}, "`masks` is None, which the metric 'pointing_game'"),
        ({"metrics": []}, "`metrics` are"),
        ({"explainers": [jinterp.gradient, jinterp.gradient]}, "no two of one name"),
        ({"masks": np.ones((3, 6), bool)}, "`masks` has 3 masks for 10 examples"),
        ({"lower_is_better": ["deltion"]}, r"`lower_is_better` names \['deltion'\]"),
        (
            {"metrics": [jinterp.deletion_curve]},
            r"a metric returned arrays of the shapes \[\(7,\), \(10, 7\)\]",
        ),
        ({"target": several}, r"`target` has the shape \(10, 2\) for a batch of 10"),
        ({"num_resamples": 0}, "`num_resamples` is 0"),
        ({"level": 2.0}, r"`level` is 2\.0"),
        ({"ds": (X[:0], LABELS[:0])}, "`ds` is empty"),
    ],
)
def test_bad_input(keywords: dict[str, Any], said: str) -> None:
    asked = {"explainers": EXPLAINERS, "metrics": METRICS, "ds": (X, LABELS), **keywords}
    given = asked.pop("explainers"), asked.pop("metrics"), linear, WEIGHTS, asked.pop("ds")
    with pytest.raises(ValueError, match=said):
        jinterp.compare(*given, key=KEY, **asked)


# --- planted problems

PROBLEMS = jinterp.planted_problems(KEY, 12)
of_problems = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


@of_problems
def test_nothing_outside_of_the_mask_matters(problem: Problem) -> None:
    """Ablating a feature outside changes nothing, or next to nothing where places compete."""
    values = np.asarray(jinterp.feature_ablation(*problem.model, problem.x, problem.targets))
    inside = problem.masks.reshape(values.shape)
    assert 0 < inside.mean() < 0.6
    outside = np.abs(np.where(inside, 0, values)).max()
    assert outside <= 0.03 * np.abs(values).max()
    assert (np.abs(np.where(inside, values, 0)).reshape(12, -1).max(1) > 0).all()


@of_problems
def test_what_is_right_is_told_from_what_is_random(problem: Problem) -> None:
    metrics = [jinterp.pointing_game, jinterp.energy_in_mask]
    found = jinterp.compare(
        {"terms": jinterp.input_x_gradient, "random": at_random},
        metrics,
        *(*problem.model, (problem.x, problem.targets)),
        key=KEY,
        masks=problem.masks,
    )
    assert (found.means[0] > 0.95).all()
    assert (found.high[1] < 0.8).all()


def test_problems_are_those_of_the_key() -> None:
    same, other = jinterp.planted_problems(KEY, 12), jinterp.planted_problems(jax.random.key(1), 12)
    for name, problem in PROBLEMS.items():
        np.testing.assert_array_equal(problem.x, same[name].x)
        assert (problem.x != other[name].x).any()
        assert len(np.unique(problem.targets)) > 1
