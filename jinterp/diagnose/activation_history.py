"""`ActivationHistory`: what layers put out during training, kept on the device."""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinterp import _check
from jinterp._text import text_table
from jinterp._types import ApplyFn, Inputs, Params
from jinterp.diagnose import _channels, _values
from jinterp.diagnose._observed import Observed, Reading


class Recorded(NamedTuple):
    """What layers put out over some steps: arrays `[steps, layers]`.

    Attributes:
        layers: names.
        steps: `[steps]`, the number of each recorded step, from 0.
        mean: of the values of a batch.
        deviation: their standard deviation (ddof 0).
        minimum: the least value.
        maximum: the largest value.
        near_zero: the share of values with |a| < 3/64, at 9 positions of an example at most.
        dead: the share of channels that were never active in the batch.
        counts: `[steps, layers, bins]`, histograms over `edges`, of the same positions.
        edges: `[bins + 1]`.
    """

    layers: tuple[str, ...]
    steps: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    near_zero: np.ndarray
    dead: np.ndarray
    counts: np.ndarray
    edges: np.ndarray

    def __str__(self) -> str:
        """A row for each layer, of the last step."""
        fields = ("mean", "deviation", "minimum", "maximum", "near_zero", "dead")
        if not len(self.steps):
            return "no steps recorded"
        rows = [
            [layer, *(f"{getattr(self, field)[-1, number]:.3g}" for field in fields)]
            for number, layer in enumerate(self.layers)
        ]
        header = ["", "mean", "deviation", "least", "largest", "near 0", "dead"]
        table = text_table(header, rows)
        return f"{table}\n{len(self.steps)} steps recorded; these are of step {self.steps[-1]}"


class _Row(NamedTuple):
    """A step of a layer, or the steps in a ring: the fields of `Recorded`."""

    mean: jax.Array
    deviation: jax.Array
    minimum: jax.Array
    maximum: jax.Array
    near_zero: jax.Array
    dead: jax.Array
    counts: jax.Array


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["of_layers"], meta_fields=["layers"]
)
@dataclasses.dataclass(frozen=True)
class Rows:
    """What one step had to say of each layer, or rings of steps, on the device."""

    of_layers: tuple[_Row, ...]
    layers: tuple[str, ...]


class Records(NamedTuple):
    """The last steps, a pytree on the device: rings `[num_steps, ...]`, and how many there were."""

    rings: Rows
    num_seen: jax.Array


@dataclasses.dataclass(frozen=True)
class ActivationHistory:
    """Records what layers put out during training, with pure functions for a jitted step.

        history = ActivationHistory(apply_fn, layers)
        records = history.init(params, x, num_steps=100)

        @jax.jit
        def step(params, optimizer_state, records, x, y):
            def loss(params):
                logits, readings = history.apply(params, x)
                return cross_entropy(logits, y).mean(), readings
            gradients, readings = jax.grad(loss, has_aux=True)(params)
            ...
            return params, optimizer_state, history.update(records, readings)

        recorded = history.read(records)  # once in 100 steps

    The model runs once a step, and nothing leaves the device but in `read`. For a loop around
    Flax's `TrainState`, see `callback`.

    Attributes:
        apply_fn: the model as training calls it, `apply_fn(params, x)`; it may return more than
            logits, such as `(logits, updates)` of `module.apply(..., mutable=["batch_stats"])`.
        layers: names that `jinterp.layers` lists; None takes all that return floats.
        channel_axis: of the layers' outputs.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     with jax.named_scope("hidden"):
    ...         return x @ params
    >>> history, x = ActivationHistory(apply_fn), jnp.ones((4, 2))
    >>> records = history.init(jnp.eye(2), x, num_steps=10)
    >>> for scale in (1.0, 2.0):
    ...     logits, readings = history.apply(scale * jnp.eye(2), x)
    ...     records = history.update(records, readings)
    >>> history.read(records).mean.tolist()
    [[1.0], [2.0]]
    """

    apply_fn: ApplyFn
    layers: tuple[str, ...] | None = None
    channel_axis: int = -1

    def __post_init__(self) -> None:
        _check.is_model_function(self.apply_fn)
        if self.layers is not None:
            given = (self.layers,) if isinstance(self.layers, str) else tuple(self.layers)
            object.__setattr__(self, "layers", given)

    def init(self, params: Params, x: Inputs, *, num_steps: int = 100) -> Records:
        """Room for the last `num_steps` steps, on the device.

        Args:
            params: of the model.
            x: a batch of the shape that `apply` will be given.
            num_steps: how many steps until `read` is called.
        """
        _check.at_least_one("num_steps", num_steps, 100)
        _, rows = jax.eval_shape(self.apply, params, x)
        rings = jax.tree.map(lambda row: jnp.zeros((num_steps, *row.shape), row.dtype), rows)
        return Records(rings, jnp.zeros((), jnp.int32))

    def apply(self, params: Params, x: Inputs) -> tuple[Any, Rows]:
        """What the model returns, and a row of each layer for `update`: one forward pass."""
        outputs, readings = self._observed(params, x)
        return outputs, _rows(readings)

    def update(self, records: Records, rows: Rows) -> Records:
        """The records with the rows of one more step; the oldest ones go when there is no room."""
        rings, num_seen = records

        def put(ring: jax.Array, row: jax.Array) -> jax.Array:
            return ring.at[num_seen % len(ring)].set(row)

        return Records(jax.tree.map(put, rings, rows), num_seen + 1)

    def read(self, records: Records) -> Recorded:
        """The steps that are in the records, on the host, the oldest first."""
        rings, num_seen = jax.device_get(records)
        size = len(rings.of_layers[0].mean)
        steps = np.arange(max(num_seen - size, 0), num_seen)

        def column(*of_layers: np.ndarray) -> np.ndarray:
            return np.stack([ring[steps % size] for ring in of_layers], axis=1)

        columns: tuple[Any, ...] = tuple(jax.tree.map(column, *rings.of_layers))
        return Recorded(*(rings.layers, steps, *columns, _values.edges()))

    def callback(
        self,
        *,
        every: int = 10,
        num_steps: int = 10,
        params_fn: Callable[[Any], Params] = operator.attrgetter("params"),
    ) -> "ActivationCallback":
        """For a loop around a state that holds the parameters, as Flax's `TrainState` does.

        Args:
            every: a forward pass once in so many calls.
            num_steps: rows leave the device once in so many passes.
            params_fn: what of the state `apply_fn` takes, such as
                `lambda state: {"params": state.params, "batch_stats": state.batch_stats}`.

        Returns:
            `callback(state, x)`, to be called each step; `callback.recorded()` has all steps.
        """
        _check.at_least_one("every", every, 10)
        _check.at_least_one("num_steps", num_steps, 10)
        return ActivationCallback(self, every, num_steps, params_fn)

    @property
    def _observed(self) -> Observed:
        return Observed(self.apply_fn, self.layers, self.channel_axis)


class ActivationCallback:
    """What `ActivationHistory.callback` returns: it is called with each step's state and inputs."""

    def __init__(
        self,
        history: ActivationHistory,
        every: int,
        num_steps: int,
        params_fn: Callable[[Any], Params],
    ):
        """Take it from `ActivationHistory.callback`."""
        self._history, self._every, self._num_steps = history, every, num_steps
        self._params_fn = params_fn
        self._num_calls = 0
        self._records: Records | None = None
        self._num_recorded = 0
        self._parts: list[Recorded] = []

    def __call__(self, state: Any, x: Inputs) -> None:
        """Record this step, if it is its turn."""
        if self._num_calls % self._every == 0:
            self._record(self._params_fn(state), x)
        self._num_calls += 1

    def recorded(self) -> Recorded:
        """All steps recorded so far, under the numbers of their calls.

        Raises:
            ValueError: nothing was recorded yet.
        """
        self._flush()
        if not self._parts:
            raise ValueError("nothing was recorded; call the callback with a state and inputs.")
        first = self._parts[0]
        parts = zip(*(part[1:-1] for part in self._parts), strict=True)
        columns: Any = map(np.concatenate, parts)
        return Recorded(*(first.layers, *columns, first.edges))

    def _record(self, params: Params, x: Inputs) -> None:
        if self._records is None:
            self._records = self._history.init(params, x, num_steps=self._num_steps)
        self._records = _recorded(self._history, self._records, params, x)
        self._num_recorded += 1
        if self._num_recorded % self._num_steps == 0:
            self._flush()

    def _flush(self) -> None:
        """Take what is new off the device."""
        num_known = sum(len(part.steps) for part in self._parts)
        num_new = self._num_recorded - num_known
        if self._records is None or num_new == 0:
            return
        part = self._history.read(self._records)
        columns: Any = (column[-num_new:] for column in part[1:-1])
        new = Recorded(*(part.layers, *columns, part.edges))
        self._parts.append(new._replace(steps=new.steps * self._every))


@functools.partial(jax.jit, static_argnames="history")
def _recorded(history: ActivationHistory, records: Records, params: Params, x: Inputs) -> Records:
    return history.update(records, history.apply(params, x)[1])


def _rows(readings: Sequence[Reading]) -> Rows:
    """Of a batch; nothing is differentiated by it."""
    readings = [
        dataclasses.replace(each, values=jax.lax.stop_gradient(each.values)) for each in readings
    ]
    num_examples = len(readings[0].values)
    state = _channels.of_batch(readings, jnp.ones(num_examples, bool))
    columns = (
        state.mean[0],
        state.squares[0] / num_examples,
        state.minimum,
        state.maximum,
        state.near_zero[1].astype(state.mean[0].dtype) / num_examples,
    )
    split = (_channels.split(each, state.parts) for each in columns)
    rows = tuple(map(_row, state.parts, *split, state.cells[1][:-1].T))
    return Rows(rows, tuple(part.name for part in state.parts))


def _row(
    part: _channels.Part,
    mean: jax.Array,
    variance: jax.Array,
    minimum: jax.Array,
    maximum: jax.Array,
    num_near_zero: jax.Array,
    counts: jax.Array,
) -> _Row:
    return _Row(
        mean.mean(),
        jnp.sqrt(variance.mean() + mean.var()),
        minimum.min(),
        maximum.max(),
        num_near_zero.mean() / part.num_seen,
        _channels.is_dead(minimum, maximum, part.nonlinearity).astype(mean.dtype).mean(),
        counts,
    )
