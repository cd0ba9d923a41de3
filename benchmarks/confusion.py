"""How fast are a million labels counted?

python -m benchmarks.confusion; needs the `bench` extra.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import sklearn.metrics
import torch
import torchmetrics.functional.classification as tm

from benchmarks.timing import in_turn, machine, table
from jinterp import Batch
from jinterp.stream import counts

NUM = 1_000_000


def cells(batch: Batch, predictions: jax.Array, num_classes: int) -> jax.Array:
    return batch.targets * num_classes + predictions


def main() -> None:
    torch.set_num_threads(2)
    print(machine("jinterp", "jax", "numpy", "scikit-learn", "torchmetrics"))
    for num_classes in (10, 1000):
        rng = np.random.default_rng(0)
        targets, predictions = rng.integers(0, num_classes, (2, NUM), dtype=np.int32)
        print(f"\n{NUM:,} examples, {num_classes} classes\n")
        print(table(measure(targets, predictions, num_classes), "numpy.bincount"))


def measure(targets: np.ndarray, predictions: np.ndarray, num_classes: int) -> dict:
    reducer = counts(functools.partial(cells, num_classes=num_classes), num_classes**2)
    mask = jnp.ones(NUM, bool)
    update = jax.jit(reducer.update)
    on_device = Batch(None, jnp.asarray(targets), mask, jnp.arange(NUM))
    predicted = jnp.asarray(predictions)
    init = jax.tree.map(jnp.asarray, reducer.init(on_device, predicted))
    labels = torch.from_numpy(targets.astype(np.int64))
    guesses = torch.from_numpy(predictions.astype(np.int64))

    def jinterp_counts() -> np.ndarray:
        state = jax.device_get(update(init, on_device, predicted))
        return reducer.finalize(state).reshape(num_classes, num_classes)

    def bincount() -> np.ndarray:
        joint = targets.astype(np.int64) * num_classes + predictions
        return np.bincount(joint, minlength=num_classes**2).reshape(num_classes, num_classes)

    programs = {
        "**jinterp.stream.counts** (segment_sum)": jinterp_counts,
        "numpy.bincount": bincount,
        "scikit-learn": lambda: sklearn.metrics.confusion_matrix(targets, predictions),
        "torchmetrics": lambda: tm.multiclass_confusion_matrix(guesses, labels, num_classes),
    }
    expected = bincount()
    for name, program in programs.items():
        np.testing.assert_array_equal(np.asarray(program()), expected, err_msg=name)
    return in_turn(programs)


if __name__ == "__main__":
    main()
