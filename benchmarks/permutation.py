"""How fast is the permutation importance of 30 columns? python -m benchmarks.permutation

The same network asked by jinterp and by scikit-learn: 569 rows, 30 columns, 5 repeats. Then a
table of a million rows, in a process of its own, for the memory it takes.
"""

import argparse
import functools
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_breast_cancer
from sklearn.inspection import permutation_importance as of_sklearn

import jinterp
from benchmarks.timing import in_turn, machine, peak_resident_kib, table
from jinterp.tabular import Table, accuracy

REPEATS = 5
MANY_ROWS = 1_000_000
BUDGET = 2**26


class Mlp(nn.Module):
    """Two hidden layers of 64 units."""

    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.relu(nn.Dense(64)(x))
        return nn.Dense(2)(x)


class Estimator(ClassifierMixin, BaseEstimator):
    """The network as scikit-learn takes it: one jitted function of all rows."""

    def __init__(self, model: jinterp.Model):
        self.model = model

    def fit(self, x, y):
        apply_fn = self.model.apply_fn
        self.classes_ = np.unique(y)
        self.predict_ = jax.jit(lambda params, x: apply_fn(params, x).argmax(axis=1))
        return self

    def predict(self, x):
        return np.asarray(self.predict_(self.model.params, x))


def trained() -> tuple[jinterp.Model, Table]:
    data = load_breast_cancer()
    x = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    ds = jinterp.table((x, data.target))
    module = Mlp()
    variables = module.init(jax.random.key(0), ds.x[:1])
    optimizer = optax.adam(3e-3)

    def loss(variables):
        logits = module.apply(variables, ds.x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, ds.targets).mean()

    @jax.jit
    def step(variables, state):
        updates, state = optimizer.update(jax.grad(loss)(variables), state)
        return optax.apply_updates(variables, updates), state

    state = optimizer.init(variables)
    for _ in range(30):
        variables, state = step(variables, state)
    return jinterp.from_linen(module, variables), ds


def check(model: jinterp.Model, ds: Table, estimator: Estimator) -> None:
    """The means agree to five standard errors of 100 repeats."""
    many = 100
    ours = jinterp.permutation_importance(
        *model, ds, score=accuracy, num_repeats=many, key=jax.random.key(1)
    )
    theirs = of_sklearn(estimator, ds.x, ds.targets, n_repeats=many, random_state=1)
    error = np.hypot(ours.deviation, theirs.importances_std) / np.sqrt(many)
    worst = np.max(np.abs(ours.mean - theirs.importances_mean) / np.maximum(error, 1e-6))
    if not worst < 5:
        raise AssertionError(f"the means differ by {worst:.1f} standard errors")
    print(f"{many} repeats: the means differ by at most {worst:.1f} standard errors.")


def times() -> None:
    model, ds = trained()
    estimator = Estimator(model).fit(ds.x, ds.targets)
    begin = time.perf_counter()
    ours = functools.partial(
        jinterp.permutation_importance,
        *model,
        ds,
        score=accuracy,
        num_repeats=REPEATS,
        key=jax.random.key(0),
    )
    ours()  # what it returns lies on the host
    print(f"first call, with compiling: {time.perf_counter() - begin:.2f} s")
    check(model, ds, estimator)
    theirs = functools.partial(
        of_sklearn, estimator, ds.x, ds.targets, n_repeats=REPEATS, random_state=0
    )
    programs = {
        "**jinterp.permutation_importance**": ours,
        "scikit-learn, the same network jitted": theirs,
    }
    print(f"\n{len(ds.x)} rows, {ds.x.shape[1]} columns, {REPEATS} repeats\n")
    print(table(in_turn(programs, rounds=25, pause=0.2), "**jinterp.permutation_importance**"))


def memory(num_rows: int) -> None:
    """What a table of so many rows takes on top of itself, at a budget of 64 MiB."""
    model, _ = trained()
    x = np.random.default_rng(0).normal(size=(num_rows, 30)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int32)
    few = (x[:1000], y[:1000])
    ask = {"score": accuracy, "num_repeats": 1, "key": jax.random.key(0)}
    jinterp.permutation_importance(*model, few, **ask)
    x = jnp.asarray(x)
    before = peak_resident_kib()
    begin = time.perf_counter()
    with jinterp.memory_budget(num_bytes=BUDGET):
        jinterp.permutation_importance(*model, (x, y), **ask)
    seconds = time.perf_counter() - begin
    print(f"{x.nbytes / 2**20:.0f} {(peak_resident_kib() - before) / 1024:.0f} {seconds:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, help="measure the memory of a table, and nothing else")
    arguments = parser.parse_args()
    if arguments.rows:
        memory(arguments.rows)
        return
    print(machine("jinterp", "jax", "numpy", "scikit-learn"))
    times()
    command = [sys.executable, "-m", "benchmarks.permutation", "--rows", str(MANY_ROWS)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    size, growth, seconds = found
    print(
        f"\n{MANY_ROWS:,} rows, 30 columns, 1 repeat: the table has {size} MiB, the budget is "
        f"{BUDGET // 2**20} MiB, the process grew by {growth} MiB at its peak, in {seconds} s"
    )


if __name__ == "__main__":
    main()
