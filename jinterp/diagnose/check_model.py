"""`check_model`: what usually goes wrong with a network, looked at one thing after the other."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.markup import escape
from rich.table import Table

from jinterp import _check, _functions
from jinterp._text import html_table
from jinterp._types import ApplyFn, LossFn, Params
from jinterp.data.batches import Batches, batches
from jinterp.diagnose import _model_checks, _training_checks
from jinterp.diagnose._subject import Check, Subject, skipped
from jinterp.evaluate.losses import cross_entropy
from jinterp.model.leaves import numbers_of_trained, trainable_flags

_NUM_SAMPLED, _LEAST_SAMPLED = 1024, 64
_MOST_BYTES = 2**28  # of a sample with more, there are fewer examples, but not below these
_MARKS = {"passed": "ok", "failed": "FAILED", "skipped": "-"}


class ModelChecks(NamedTuple):
    """The checks of a model; `print` shows them.

    Attributes:
        checks: in the order in which they were made.
    """

    checks: tuple[Check, ...]

    @property
    def failed(self) -> list[Check]:
        """Those that failed."""
        return [check for check in self.checks if check.status == "failed"]

    def __getitem__(self, key: Any) -> Any:
        """The check of a name; a field by its place, as tuples have it."""
        if not isinstance(key, str):
            return tuple.__getitem__(self, key)
        known = {check.name: check for check in self.checks}
        if key not in known:
            raise KeyError(f"there is no check {key!r}; there are {', '.join(map(repr, known))}.")
        return known[key]

    def __str__(self) -> str:
        """A line for each check, and what to do about those that failed."""
        width = max(len(check.name) for check in self.checks)
        lines = []
        for check in self.checks:
            lines.append(f"{_MARKS[check.status]:<6}  {check.name:<{width}}  {check.found}")
            if check.advice:
                lines.append(f"{'':<{width + 8}}  {check.advice}")
        return "\n".join([*lines, "", self._verdict()])

    def __rich__(self) -> Table:
        """The same for rich's console."""
        table = Table("", "check", "found", caption=self._verdict(), show_lines=False)
        colors = {"passed": "green", "failed": "bold red", "skipped": "dim"}
        for check in self.checks:
            text = "\n".join(filter(None, [check.found, check.advice]))
            color = colors[check.status]
            table.add_row(f"[{color}]{_MARKS[check.status]}[/]", check.name, escape(text))
        return table

    def _repr_html_(self) -> str:
        rows = [
            [_MARKS[check.status], check.name, f"{check.found} {check.advice}"]
            for check in self.checks
        ]
        return html_table(["", "check", "found"], rows)

    def _verdict(self) -> str:
        num = dict.fromkeys(_MARKS, 0)
        for check in self.checks:
            num[check.status] += 1
        return ", ".join(f"{count} {status}" for status, count in num.items())


def check_model(
    apply_fn: ApplyFn,
    params: Params,
    ds: Any,
    *,
    loss_fn: LossFn = cross_entropy,
    is_trained: bool = True,
    optimizer: optax.GradientTransformation | None = None,
    trainable: Any = None,
    channel_axis: int = -1,
) -> ModelChecks:
    """Look for what usually goes wrong with a network, and say what to do about it.

    - finite numbers: parameters, inputs and outputs; the operation that made the first NaN.
    - dtypes: parameters of one precision, outputs of at least single precision.
    - examples alone: no example's output depends on the others of its batch.
    - dead units, saturated units: fewer than half of a layer's, fewer than nine tenths.
    - gradient: it reaches every trained leaf, and neither vanishes nor explodes with depth.
    - trained and frozen: one step of `optimizer` moves what is trainable, by less than the weights'
      norm, and nothing else.
    - overfits a batch: 300 steps of Adam bring the loss of 32 examples below a tenth of ln C
      (above the entropy of soft labels), or below half of what it was.
    - loss at the start: from half to one and a half times ln C.
    - labels: those given score better than a hundred shuffles of them, and than guessing.
    - classes: each with ten examples or more is predicted at least once.
    - input channels: of images and volumes each varies over the data and is read by the model.

    `ds` is read several times. Up to 1,024 examples of it, evenly spaced, are held with their
    outputs: as many as take 256 MiB, but not less than 64. What needs finite numbers or independent
    examples is skipped where there are none. The caller's parameters stay as they are.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        ds: anything that `batches` takes and that can be read again.
        loss_fn: `loss_fn(logits, targets) -> [batch]`, or elementwise: `jinterp.squared_error` for
            numbers, `jinterp.sigmoid_cross_entropy` for several labels an example.
        is_trained: whether `params` are those after training; else those of the start.
        optimizer: the one of the training, for the check of what it moves; it is given what it is
            given there, of Linen variables the collection "params".
        trainable: a pytree of bools like `params` with all its collections, or a prefix of one:
            which leaves are meant to be trained; None means all that its library trains.
        channel_axis: of inputs and layers.

    Returns:
        A `ModelChecks`.

    Raises:
        TypeError: `apply_fn` is no model function, or returns more than one array.
        ValueError: the dataset is empty; the loss is not for such outputs or targets; `trainable`
            is not built as `params` are.

    Source: Karpathy, "A Recipe for Training Neural Networks" (2019), for most of the list. The
    thresholds are ours.

    >>> import jinterp
    >>> from jinterp import demo
    >>> train = demo.digits().train
    >>> model = demo.train(train, key=jax.random.key(0))
    >>> ds = jinterp.batches(train, preprocess=demo.preprocess)
    >>> [check.name for check in check_model(*model, ds).failed]
    []
    """
    _check.is_model_function(apply_fn)
    _functions.warn_if_made_anew("apply_fn", apply_fn)
    _functions.warn_if_made_anew("loss_fn", loss_fn)
    dataset = batches(ds)
    x, targets = _sample(dataset, 1)
    outputs = _check.outputs_of(apply_fn, params, x)
    if loss_fn is cross_entropy:
        _are_classes(outputs, targets)
    held = jax.tree.leaves((x, targets, outputs))
    num_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in held)
    x, targets = _sample(dataset, max(_MOST_BYTES // num_bytes, _LEAST_SAMPLED))
    subject = Subject(
        apply_fn,
        params,
        loss_fn,
        dataset,
        x,
        targets,
        optimizer,
        trainable_flags(trainable, params)[numbers_of_trained(params)],
        is_trained,
        channel_axis,
    )
    return ModelChecks(tuple(_made(subject)))


def _are_classes(outputs: jax.ShapeDtypeStruct, targets: np.ndarray) -> None:
    is_number = targets.ndim == 1 and targets.dtype.kind == "f"
    if is_number or len(outputs.shape) < 2 or outputs.shape[-1] == 1:
        raise ValueError(
            f"`loss_fn` is the cross-entropy of classes; the outputs are {outputs.dtype} "
            f"[batch{''.join(f', {size}' for size in outputs.shape[1:])}] and the targets "
            f"{targets.dtype}. For numbers give loss_fn=jinterp.squared_error (--loss "
            "squared_error); for one logit return both, "
            "jnp.stack([jnp.zeros_like(z), z], axis=-1)."
        )


def _made(subject: Subject) -> Iterator[Check]:
    """All checks, those skipped that another one's failure leaves without sense."""
    failed: set[str] = set()
    for name, (check, needed) in _CHECKS.items():
        if missing := failed.intersection(needed):
            found = skipped(f"the check {min(missing)!r} failed.")
        else:
            found = check(subject)
        if found.status == "failed":
            failed.add(name)
        yield found._replace(name=name)


_FINITE, _ALONE = "finite numbers", "examples alone"
_CHECKS: dict[str, tuple[Callable[[Subject], Check], tuple[str, ...]]] = {
    _FINITE: (_model_checks.is_finite, ()),
    "dtypes": (_model_checks.are_dtypes_alike, ()),
    _ALONE: (_model_checks.are_examples_independent, (_FINITE,)),
    "dead units": (_model_checks.has_live_units, (_FINITE, _ALONE)),
    "saturated units": (_model_checks.is_not_saturated, (_FINITE, _ALONE)),
    "gradient": (_training_checks.flows_gradient, (_FINITE,)),
    "trained and frozen": (_training_checks.moves_leaves, (_FINITE,)),
    "overfits a batch": (_training_checks.can_overfit, (_FINITE,)),
    "loss at the start": (_training_checks.begins_at_chance, (_FINITE, _ALONE)),
    "labels": (_training_checks.knows_labels, (_FINITE, _ALONE)),
    "classes": (_model_checks.predicts_all_classes, (_FINITE, _ALONE)),
    "input channels": (_model_checks.uses_input_channels, (_FINITE,)),
}


def _sample(ds: Batches, num: int) -> tuple[Any, np.ndarray]:
    """Examples at equal steps, or the first ones of a stream; inputs preprocessed."""
    num = min(num, _NUM_SAMPLED)
    if ds.num_examples is None:
        batch = next(iter(batches(ds, num)))
        x, targets, mask = jax.device_get((batch.x, batch.targets, batch.mask))
        return jax.tree.map(lambda leaf: leaf[mask], x), targets[mask]
    if ds.num_examples == 0:
        raise ValueError("`ds` is empty; expected at least one example.")
    rows = np.linspace(0, ds.num_examples - 1, min(num, ds.num_examples)).round()
    found = ds.examples(rows.astype(int))
    x, targets = jax.tree.map(lambda *leaves: np.stack(leaves), *map(tuple, found))
    if ds.preprocess:
        x = jax.device_get(jax.jit(ds.preprocess)(jax.tree.map(jnp.asarray, x)))
    return x, targets
