"""Explainers compared by metrics on the same examples, with what they cost."""

import dataclasses
import functools
import inspect
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from jinterp import _check
from jinterp._functions import name_of
from jinterp._question import ask, scores_of, with_predictions
from jinterp._types import ApplyFn, Batch, Explainer, Params
from jinterp.attribution.explain_dataset import TargetOf
from jinterp.attribution.upsample import upsample
from jinterp.data.batches import DEFAULT_BATCH_SIZE, Batches, batches
from jinterp.faithfulness._comparison import Comparison, Cost
from jinterp.model import logit
from jinterp.stream.meter import metered
from jinterp.stream.progress import progress_bar

Metric = Callable[..., Any]
"""`metric(apply_fn, params, x, values, target=None, *, ...) -> [batch]`."""

_LOW = {"deletion", "average_drop", "infidelity", "max_sensitivity"}
_ZERO = {"completeness_gap"}
_NEITHER = {"sparseness", "complexity"}


def compare(
    explainers: Mapping[str, Explainer] | Sequence[Explainer],
    metrics: Mapping[str, Metric] | Sequence[Metric],
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    *,
    key: jax.Array,
    target: TargetOf = None,
    masks: Any = None,
    lower_is_better: Collection[str] = (),
    num_resamples: int = 1000,
    level: float = 0.95,
    progress: bool | None = None,
) -> Comparison:
    """Every metric of every explainer, over a dataset: means, intervals, ranks and costs.

    All explainers answer for the same class of the same examples, and a metric draws the same sets
    or noise for all of them. Maps of a layer are brought to the size of the inputs by `upsample`.
    An explainer that draws its values at random is worth a row: what no better than it says
    nothing.

    Args:
        explainers: `explain(apply_fn, params, x, target)` by their names; bind keywords with
            `functools.partial`. A sequence takes the names of the functions.
        metrics: `metric(apply_fn, params, x, values, target)` by their names, in the same way;
            those with a parameter `key`, `explain` or `mask` that nothing is bound to are given it.
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        ds: anything that `batches` takes.
        key: for metrics and intervals.
        target: what is explained, as `explain_dataset` takes it: None is the predicted class,
            `operator.attrgetter("targets")` the label.
        masks: `[examples, *space]` bool, for metrics that compare with a mask.
        lower_is_better: names of metrics of your own, if this is so. Of those of jinterp it is
            known.
        num_resamples: of the examples, for the intervals.
        level: of the intervals.
        progress: as `fold` takes it.

    Returns:
        A `Comparison`, to print, to plot with `jinterp.plot.comparison`, or to read.

    Raises:
        ValueError: two have the same name, a metric needs `masks` that are not there, or `ds` is
            empty.

    >>> import jax, jax.numpy as jnp, jinterp, numpy as np
    >>> def apply_fn(params, x):
    ...     return x @ params
    >>> ds = (np.array([[3.0, 1.0], [-1.0, 2.0]], np.float32), np.zeros(2, int))
    >>> found = compare(
    ...     [jinterp.gradient, jinterp.input_x_gradient], [jinterp.completeness_gap],
    ...     apply_fn, jnp.ones((2, 1)), ds, key=jax.random.key(0), target=0,
    ... )
    >>> found.means.tolist(), found.ranks.tolist()
    ([[1.5], [0.0]], [[2.0], [1.0]])

    Source: intervals are percentiles of the means of resampled examples (Efron and Tibshirani
    1993, section 13.3).
    """
    _check.is_key(key)
    _check.at_least_one("num_resamples", num_resamples, 1000)
    _check.within("level", level, 0, 1)
    run = _Run(
        _by_name("explainers", explainers), _by_name("metrics", metrics), apply_fn, params, key
    )
    run.check(masks, lower_is_better)
    dataset, spent = _evenly(batches(ds)), _Spent()
    if masks is not None and dataset.num_examples not in (None, len(masks)):
        raise ValueError(
            f"`masks` has {len(masks)} masks for {dataset.num_examples} examples; expected one for "
            "each, in the order of `ds`."
        )
    found = []
    with progress_bar(dataset.num_examples, progress) as advance:
        for batch in dataset:
            num_valid = int(np.asarray(batch.mask).sum())
            found.append(
                run.of_batch(_filled(batch, num_valid), target, masks, spent)[..., :num_valid]
            )
            spent.num_examples.append(num_valid)
            advance(num_valid)
    if not found:
        raise ValueError("`ds` is empty; expected at least one example.")
    values = np.concatenate(found, axis=2)
    means = _mean(values)
    low, high = _intervals(values, key, num_resamples, level)
    return Comparison(
        *(tuple(run.explainers), tuple(run.metrics), values, means, low, high),
        _ranks(means, run, lower_is_better),
        *spent.costs(len(run.explainers)),
    )


class _Spent:
    """What was computed and how long it took, batch by batch."""

    def __init__(self) -> None:
        self.num_examples: list[int] = []
        self.forward: list[float] = []
        self.operations: list[list[float]] = []
        self.seconds: list[list[float]] = []

    def begin(self, forward: float) -> None:
        self.forward.append(forward)
        self.operations.append([])
        self.seconds.append([])

    def timed(self, fn: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """The result of a function, once it is there."""
        start = time.perf_counter()
        with metered() as meter:
            result = jax.block_until_ready(fn(*arguments, **keywords))
        self.seconds[-1].append(time.perf_counter() - start)
        self.operations[-1].append(meter.operations)
        return result

    def costs(self, num_explainers: int) -> tuple[Cost, Cost]:
        """Of the explainers `[explainers]`, and of the metrics `[explainers, metrics]`."""
        steady = slice(len(self.seconds) > 1, None)
        seconds = np.array(self.seconds)[steady].sum(axis=0) / sum(self.num_examples[steady])
        forward = sum(self.forward)
        passes = np.array(self.operations).sum(axis=0) / (forward if forward else np.nan)
        by_explainer = [each.reshape(num_explainers, -1) for each in (passes, seconds)]
        return Cost(*(each[:, 0] for each in by_explainer)), Cost(
            *(each[:, 1:] for each in by_explainer)
        )


class _Run(NamedTuple):
    """What is asked of every batch."""

    explainers: dict[str, Explainer]
    metrics: dict[str, Metric]
    apply_fn: ApplyFn
    params: Params
    key: jax.Array

    def check(self, masks: Any, lower_is_better: Collection[str]) -> None:
        for name, metric in self.metrics.items():
            if masks is None and "mask" in _unbound(metric):
                raise ValueError(
                    f"`masks` is None, which the metric {name!r} compares with; expected a bool "
                    "array `[examples, *space]`, True where the answer lies."
                )
        unknown = set(lower_is_better) - set(self.metrics)
        if unknown:
            raise ValueError(
                f"`lower_is_better` names {sorted(unknown)}; expected metrics among "
                f"{list(self.metrics)}."
            )

    def of_batch(self, batch: Batch, target: TargetOf, masks: Any, spent: "_Spent") -> np.ndarray:
        """`[explainers, metrics, batch]`."""
        question = ask(self.apply_fn, self.params, batch.x, None, logit, differentiable=False)
        given = target(batch) if callable(target) else target
        if given is not None:
            question = question._replace(target=jnp.broadcast_to(given, batch.mask.shape))
        question = with_predictions(question)
        with metered() as meter:
            scores_of(question)
        spent.begin(meter.operations)
        mask = None if masks is None else np.asarray(masks)[np.asarray(batch.indices)]
        model = self.apply_fn, self.params, question.x
        found = []
        for explain in map(_at_inputs, self.explainers.values()):
            values = spent.timed(explain, *model, question.target)
            known = {"key": self.key, "explain": explain, "mask": mask}
            row = []
            for metric in self.metrics.values():
                keywords = {name: known[name] for name in _unbound(metric)}
                numbers = spent.timed(metric, *model, values, question.target, **keywords)
                row.append(_numbers(metric, numbers))
            found.append(row)
        return np.array(found)


def _by_name(what: str, given: Any) -> dict[str, Any]:
    """By their names, in order; or a named error."""
    found = dict(given) if isinstance(given, Mapping) else {_name(each): each for each in given}
    if not found or len(found) < len(given):
        names = list(map(_name, given))
        raise ValueError(
            f"`{what}` are {names}; expected at least one, and no two of one name. Give a dict of "
            "names to tell them apart."
        )
    return found


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", "") or name_of(function)


def _unbound(metric: Metric) -> list[str]:
    """Which of the things that `compare` knows a metric needs."""
    parameters = inspect.signature(metric).parameters
    known = [parameters[name] for name in ("key", "explain", "mask") if name in parameters]
    return [each.name for each in known if each.default is each.empty]


def _base(metric: Metric) -> str:
    """The name of the function that partials are made of."""
    while hasattr(metric, "func"):
        metric = metric.func
    return getattr(metric, "__name__", "")


def _numbers(metric: Metric, found: Any) -> np.ndarray:
    numbers = np.asarray(found, np.float64)
    return np.abs(numbers) if _base(metric) in _ZERO else numbers


def _at_inputs(explain: Explainer) -> Explainer:
    """The explainer, with maps of a layer at the size of the inputs."""

    @functools.wraps(explain)
    def explain_inputs(*arguments: Any, **keywords: Any) -> Any:
        values, x = explain(*arguments, **keywords), arguments[2]
        is_map = hasattr(values, "shape") and hasattr(x, "shape") and values.ndim == x.ndim - 1
        return upsample(values, x) if is_map and x.ndim > 2 else values

    return explain_inputs


def _evenly(dataset: Batches) -> Batches:
    """In batches of about one size, so that the last needs little to be full."""
    num, usual = dataset.num_examples, dataset.batch_size or DEFAULT_BATCH_SIZE
    if not num:
        return dataset
    return dataclasses.replace(dataset, batch_size=-(-num // -(-num // usual)))


def _filled(batch: Batch, num_valid: int) -> Batch:
    """Padding replaced by examples, so that nothing is said of what is none."""
    if num_valid == len(batch.mask):
        return batch
    rows = np.arange(len(batch.mask)) % num_valid
    return jax.tree.map(lambda leaf: jnp.take(jnp.asarray(leaf), rows, axis=0), batch)


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the examples that have a number; NaN where none has."""
    has = ~np.isnan(values)
    total = np.where(has, values, 0).sum(axis=-1)
    num = has.sum(axis=-1)
    return np.where(num > 0, total / np.maximum(num, 1), np.nan)


def _intervals(
    values: np.ndarray, key: jax.Array, num_resamples: int, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles of the means over resampled examples, the same for all."""
    num = values.shape[2]
    drawn = [
        _mean(values[..., np.asarray(jax.random.randint(own, (num,), 0, num, np.int32))])
        for own in jax.random.split(key, num_resamples)
    ]
    ends = (1 - level) / 2, (1 + level) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a metric without any number
        low, high = np.nanquantile(drawn, ends, axis=0)
    return low, high


def _ranks(means: np.ndarray, run: _Run, lower_is_better: Collection[str]) -> np.ndarray:
    ranks = np.full(means.shape, np.nan)
    for number, (name, metric) in enumerate(run.metrics.items()):
        if _base(metric) not in _NEITHER:
            is_low = name in lower_is_better or _base(metric) in _LOW | _ZERO
            column = means[:, number] if is_low else -means[:, number]
            rounded = [float(f"{mean:.5g}") for mean in column]
            ranks[:, number] = scipy.stats.rankdata(rounded, nan_policy="omit")
    return ranks
