"""Explainers compared by metrics on the same examples, with what they cost."""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._functions import base_of, is_bound, needs_nothing_more, short_name
from jinterp._question import ask, default_of, scores_of, with_predictions
from jinterp._types import ApplyFn, Batch, Explainer, Params
from jinterp.attribution.explain_dataset import TargetOf
from jinterp.data.batches import DEFAULT_BATCH_SIZE, Batches, batches
from jinterp.faithfulness._bound import Bound, at_inputs, bound_of, removal_score
from jinterp.faithfulness._comparison import Comparison
from jinterp.faithfulness._spent import Spent
from jinterp.faithfulness._summary import Direction, summary
from jinterp.faithfulness.average_drop import average_drop
from jinterp.faithfulness.completeness_gap import completeness_gap
from jinterp.faithfulness.complexity import complexity
from jinterp.faithfulness.deletion import deletion
from jinterp.faithfulness.infidelity import infidelity
from jinterp.faithfulness.max_sensitivity import max_sensitivity
from jinterp.faithfulness.sparseness import sparseness
from jinterp.model import logit, probability
from jinterp.stream.meter import metered
from jinterp.stream.progress import progress_bar

Metric = Callable[..., Any]
"""`metric(apply_fn, params, x, values, target=None, *, ...) -> [batch]`."""

_LOW = {average_drop, completeness_gap, deletion, infidelity, max_sensitivity}
_NEITHER = {complexity, sparseness}


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
    channel_axis: int = -1,
    progress: bool | None = None,
) -> Comparison:
    """Every metric of every explainer, over a dataset: means, intervals, ranks and costs.

    All explainers answer for the same class of the same examples, and a metric draws the same sets
    or noise for all of them. Maps of a layer are brought to the size of the inputs by `upsample`.
    An explainer that draws its values at random is worth a row: what does no better says nothing.
    Means, intervals and ranks are over the examples that have a number from every explainer; one
    that has none for half of them or more is left out of that, has no rank, and a mean over its
    own. Intervals are of the examples, not of what metrics draw: another key shows that.

    What a partial binds to a metric stays. Else `completeness_gap` takes score, baselines and
    groups from each explainer; and where the explainers' score is not `logit`, `log_probability`,
    `margin` or `probability`, or there are no classes, it is that of the metrics, too.

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
        channel_axis: of inputs with axes in space, for metrics and maps; 1 for channels first.
        progress: as `fold` takes it.

    Returns:
        A `Comparison`, to print, to plot with `jinterp.plot.comparison`, or to read.

    Raises:
        TypeError: an explainer needs another keyword, or `explainers` or `metrics` are a function.
        ValueError: two have the same name; a metric needs `masks` that are not there, or returns
            more than a number an example; there are several targets an example; a baseline or mask
            with a row for each example is bound, and there are several batches; `ds` is empty.

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
    named = _by_name("explainers", explainers), _by_name("metrics", metrics)
    run = _Run(*named, apply_fn, params, key, channel_axis)
    run.check(masks, lower_is_better)
    dataset, spent = _evenly(batches(ds)), Spent()
    if masks is not None:
        _one_mask_each(masks, dataset.num_examples)
    found: list[np.ndarray] = []
    with progress_bar(dataset.num_examples, progress) as advance:
        for batch in dataset:
            if found:
                run.binds_no_rows(batch.x)
            num_valid = int(np.asarray(batch.mask).sum())
            found.append(run.of_batch(batch, target, masks, spent)[..., :num_valid])
            spent.num_examples.append(num_valid)
            advance(num_valid)
    if not found:
        raise ValueError("`ds` is empty; expected at least one example.")
    values = np.concatenate(found, axis=2)
    if masks is not None:
        _one_mask_each(masks, values.shape[2])
    directions = [_direction(*each, lower_is_better) for each in run.metrics.items()]
    return Comparison(
        *(tuple(run.explainers), tuple(run.metrics), values),
        *summary(values, directions, key, num_resamples, level),
        *spent.costs(len(run.explainers)),
    )


class _Run(NamedTuple):
    """What is asked of every batch."""

    explainers: dict[str, Explainer]
    metrics: dict[str, Metric]
    apply_fn: ApplyFn
    params: Params
    key: jax.Array
    channel_axis: int

    def check(self, masks: Any, lower_is_better: Collection[str]) -> None:
        for explain in self.explainers.values():
            needs_nothing_more(explain)
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

    def binds_no_rows(self, x: Any) -> None:
        """A named error where a partial binds something for each example of the first batch."""
        shapes = {(leaf.ndim, len(leaf)) for leaf in jax.tree.leaves(x)}
        for name, function in (*self.explainers.items(), *self.metrics.items()):
            for keyword in ("baseline", "feature_mask"):
                leaves = jax.tree.leaves(default_of(function, keyword, None))
                if any((np.ndim(leaf), len(leaf)) in shapes for leaf in leaves if np.ndim(leaf)):
                    raise ValueError(
                        f"`{keyword}` of {name!r} has a row for each example of a batch; expected "
                        "what holds for all, since there are several batches. Give a function that "
                        "makes it of its inputs, or one batch: jinterp.batches(ds, num_examples)."
                    )

    def of_batch(self, batch: Batch, target: TargetOf, masks: Any, spent: Spent) -> np.ndarray:
        """`[explainers, metrics, batch]`."""
        bounds = [bound_of(explain) for explain in self.explainers.values()]
        score = bounds[0].score if len({each.score for each in bounds}) == 1 else logit
        outputs = _check.outputs_of(self.apply_fn, self.params, batch.x)
        told: dict[str, Any] = {"channel_axis": self.channel_axis}
        if removal_score(score, outputs) is not probability:
            told["score"] = score
        question = ask(self.apply_fn, self.params, batch.x, None, score, differentiable=False)
        given = target(batch) if callable(target) else target
        if given is not None:
            question = question._replace(target=_classes(given, len(batch.mask)))
        question = with_predictions(question)
        with metered() as meter:
            scores_of(question)
        spent.begin(meter)
        mask = masks
        if masks is not None:  # padding is the last example again
            mask = jnp.take(jnp.asarray(masks), batch.indices, axis=0, mode="clip")
        model = self.apply_fn, self.params, question.x
        found = []
        for (name, given_explain), bound in zip(self.explainers.items(), bounds, strict=True):
            explain = _like_inputs(given_explain, self.channel_axis)
            known = {"key": self.key, "explain": explain, "mask": mask}
            with _named("explainer", name):
                values = spent.timed(explain, *model, question.target)
                row = []
                for other, metric in self.metrics.items():
                    keywords = _told(metric, bound, told)
                    keywords |= {each: known[each] for each in _unbound(metric)}
                    with _named("metric", other):
                        numbers = spent.timed(metric, *model, values, question.target, **keywords)
                        row.append(_numbers(metric, numbers, question.num_examples))
                found.append(row)
        return np.array(found)


@contextlib.contextmanager
def _named(what: str, name: str) -> Iterator[None]:
    """Errors within say whose they are."""
    try:
        yield
    except Exception as error:
        error.add_note(f"This came from the {what} {name!r}.")
        raise


def _by_name(what: str, given: Any) -> dict[str, Any]:
    """By their names, in order; or a named error."""
    if callable(given):
        raise TypeError(f"`{what}` is a function; expected a list of them, or a dict by name.")
    names = list(given) if isinstance(given, Mapping) else list(map(short_name, given))
    found = dict(given) if isinstance(given, Mapping) else dict(zip(names, given, strict=True))
    if not found or len(found) < len(given):
        raise ValueError(
            f"`{what}` are {names}; expected at least one, and no two of one name. Give a dict of "
            "names to tell them apart."
        )
    return found


def _one_mask_each(masks: Any, num_examples: int | None) -> None:
    if num_examples not in (None, len(masks)):
        raise ValueError(
            f"`masks` has {len(masks)} masks for {num_examples} examples; expected one for each, "
            "in the order of `ds`."
        )


def _classes(given: Any, num: int) -> Array:
    """`[batch]`, or a named error."""
    if np.shape(given) not in ((), (num,)):
        raise ValueError(
            f"`target` has the shape {np.shape(given)} for a batch of {num}; expected one class "
            "for each. Use operator.attrgetter('targets') for labels, and argmax(-1) of one-hot "
            "rows; compare for several classes one at a time."
        )
    return jnp.broadcast_to(_check.array("target", given), (num,))


def _told(metric: Metric, bound: Bound, told: dict[str, Any]) -> dict[str, Any]:
    """What the metric is told where a partial does not bind it."""
    if base_of(metric) is completeness_gap:
        told = {"score": bound.score, "feature_mask": bound.feature_mask}
        told["baseline"] = bound.baselines()
    parameters = inspect.signature(metric).parameters
    return {n: own for n, own in told.items() if n in parameters and not is_bound(metric, n)}


def _unbound(metric: Metric) -> list[str]:
    """Which of the things that `compare` knows a metric needs."""
    parameters = inspect.signature(metric).parameters
    known = [parameters[name] for name in ("key", "explain", "mask") if name in parameters]
    return [each.name for each in known if each.default is each.empty]


def _direction(name: str, metric: Metric, lower_is_better: Collection[str]) -> Direction:
    base = base_of(metric)
    if base in _NEITHER:
        return "neither"
    return "low" if base in _LOW or name in lower_is_better else "high"


def _numbers(metric: Metric, found: Any, num: int) -> np.ndarray:
    """`[batch]`, or a named error."""
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(found)]
    if shapes != [(num,)]:
        raise ValueError(
            f"a metric returned arrays of the shapes {shapes} for {num} examples; expected a "
            "number for each. Take one target, and the area of a curve."
        )
    numbers = np.asarray(found, np.float64)
    return np.abs(numbers) if base_of(metric) is completeness_gap else numbers


def _like_inputs(explain: Explainer, channel_axis: int) -> Explainer:
    """The explainer, with maps of a layer at the size of the inputs."""

    @functools.wraps(explain)
    def explain_inputs(*arguments: Any, **keywords: Any) -> Any:
        return at_inputs(explain(*arguments, **keywords), arguments[2], channel_axis)

    return explain_inputs


def _evenly(dataset: Batches) -> Batches:
    """In batches of about one size, so that the last needs little to be full."""
    num, usual = dataset.num_examples, dataset.batch_size or DEFAULT_BATCH_SIZE
    if not num:
        return dataset
    return dataclasses.replace(dataset, batch_size=-(-num // -(-num // usual)))
