"""The demo of tables: a network trained in seconds on scikit-learn's breast cancer data."""

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jinterp.interpretation import TabularInterpretation
from jinterp.model import Model, from_linen
from jinterp.tabular import Table, negative_cross_entropy, table
from jinterp.tabular.permutation_importance import order_of

_SHARE_HELD_OUT = 0.4
_NUM_STEPS = 30  # more make it sure of what it does not know


class TableNet(nn.Module):
    """Two hidden layers of 32 units."""

    num_classes: int = 2

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = nn.relu(nn.Dense(32)(x))
        return nn.Dense(self.num_classes)(x)


class TableDemo(NamedTuple):
    """What the demo found.

    Attributes:
        interpretation: of the held-out rows.
        accuracy: on them.
        report: where the report was written.
    """

    interpretation: TabularInterpretation
    accuracy: float
    report: os.PathLike[str]


def breast_cancer(seed: int = 0) -> tuple[Table, Table]:
    """scikit-learn's breast cancer data in two parts, columns standardized by the first."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    order = np.random.default_rng(seed).permutation(len(data.target))
    x, y = data.data[order], data.target[order]
    cut = int(len(y) * (1 - _SHARE_HELD_OUT))
    x = (x - x[:cut].mean(axis=0)) / x[:cut].std(axis=0)
    names = [str(name) for name in data.feature_names]
    train, held_out = ((x[:cut], y[:cut]), (x[cut:], y[cut:]))
    return table(train, column_names=names), table(held_out, column_names=names)


def train_table(ds: Table, *, key: jax.Array) -> Model:
    """The network after 30 steps of Adam with weight decay on all rows."""
    module = TableNet()
    variables = jax.jit(module.init)(key, ds.x[:1])
    return from_linen(module, _trained(module, variables, jnp.asarray(ds.x), ds.targets))


@functools.partial(jax.jit, static_argnames="module")
def _trained(module: nn.Module, variables: Any, x: jax.Array, y: jax.Array) -> Any:
    optimizer = optax.adamw(1e-2, weight_decay=1e-2)

    def loss(variables: Any) -> jax.Array:
        logits: Any = module.apply(variables, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def step(carry: Any, _: None) -> tuple[Any, None]:
        variables, state = carry
        updates, state = optimizer.update(jax.grad(loss)(variables), state, variables)
        return (optax.apply_updates(variables, updates), state), None

    start = variables, optimizer.init(variables)
    return jax.lax.scan(step, start, None, _NUM_STEPS)[0][0]


def run_tables(
    out: str | os.PathLike[str], *, say: Callable[[str], None], seed: int = 0
) -> TableDemo:
    """Train, interpret the held-out rows, and write the report.

    Args:
        out: the folder to write to.
        say: called with each sentence of the answer.
        seed: for the split, the training and what is sampled.
    """
    known, held_out = breast_cancer(seed)
    say(f"Training a small network on {len(known.x)} rows of scikit-learn's breast cancer data ...")
    model = train_table(known, key=jax.random.key(seed))
    found = TabularInterpretation.from_model(
        *model, held_out, score=negative_cross_entropy, key=jax.random.key(seed + 1)
    )
    predicted = np.asarray(model.apply_fn(model.params, jnp.asarray(held_out.x))).argmax(axis=1)
    accuracy = float((predicted == held_out.targets).mean())
    report = found.write_report(
        out,
        title="Which columns matter to a network on scikit-learn's breast cancer data?",
        notes=[f"{len(held_out.x)} held-out rows, accuracy {accuracy:.1%}. Class 1 is benign."],
    )
    top = order_of(found.importance)[:3]
    most = (f"{found.importance.names[n]} ({found.importance.mean[n]:.3f})" for n in top)
    say(f"{len(held_out.x)} held-out rows: accuracy {accuracy:.1%}.")
    say(f"Shuffled, these columns cost most log-probability: {', '.join(most)}.")
    return TableDemo(found, accuracy, report)
