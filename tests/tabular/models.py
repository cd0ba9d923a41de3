"""Small models of tables, and data for them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from sklearn import datasets
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

import jinterp


def linear(params, x):
    """A regression `[rows]`."""
    return x @ params


def product(params, x):
    return x[:, 0] * x[:, 1]


def two_classes(params, x):
    """Logits of two classes; the second one's is linear."""
    return jnp.pad((x @ params)[:, None], ((0, 0), (1, 0)))


def independent(num_rows: int, num_columns: int, seed: int = 0) -> np.ndarray:
    """Columns with mean 0, variance 1 and no correlation in the sample itself."""
    x = np.random.default_rng(seed).normal(size=(num_rows, num_columns))
    q, _ = np.linalg.qr(np.c_[np.ones(num_rows), x])
    return (q[:, 1:] * np.sqrt(num_rows)).astype(np.float32)


class Mlp(nn.Module):
    """Two hidden layers."""

    num_outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for size in (16, 16):
            x = nn.relu(nn.Dense(size)(x))
        return nn.Dense(self.num_outputs)(x)


@functools.cache
def trained(name: str) -> tuple[jinterp.Model, jinterp.tabular.Table]:
    """A network trained on one of scikit-learn's bundled tables, its columns standardized."""
    bunch = getattr(datasets, f"load_{name}")()
    x = (bunch.data - bunch.data.mean(0)) / bunch.data.std(0)
    is_regression = name == "diabetes"
    y = (bunch.target - bunch.target.mean()) / bunch.target.std() if is_regression else bunch.target
    ds = jinterp.table((x, y), column_names=list(bunch.feature_names))
    module = Mlp(1 if is_regression else int(y.max()) + 1)
    variables = jax.jit(module.init)(jax.random.key(0), ds.x[:1])
    targets = jnp.asarray(ds.targets)

    def loss(variables):
        outputs = module.apply(variables, ds.x)
        if is_regression:
            return ((outputs[:, 0] - targets) ** 2).mean()
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()

    optimizer = optax.adam(1e-2)

    @jax.jit
    def train(variables):
        def step(carry, _):
            variables, state = carry
            updates, state = optimizer.update(jax.grad(loss)(variables), state)
            return (optax.apply_updates(variables, updates), state), None

        return jax.lax.scan(step, (variables, optimizer.init(variables)), None, 100)[0][0]

    with jax.numpy_dtype_promotion("standard"):  # which optax relies on
        return jinterp.from_linen(module, train(variables)), ds


class _Estimator(BaseEstimator):
    """A model as scikit-learn's functions take it."""

    def __init__(self, model: jinterp.Model) -> None:
        self.model = model

    def fit(self, x, y):
        self.apply_fn_ = jax.jit(self.model.apply_fn)
        self.classes_ = np.unique(y)
        return self

    def outputs(self, x):
        return np.asarray(self.apply_fn_(self.model.params, np.asarray(x, np.float32)))


class _Classifier(ClassifierMixin, _Estimator):
    def predict_proba(self, x):
        return np.asarray(jax.nn.softmax(self.outputs(x)))

    def predict(self, x):
        return self.outputs(x).argmax(1)


class _Regressor(RegressorMixin, _Estimator):
    def predict(self, x):
        return self.outputs(x).reshape(len(x))


def estimator(model: jinterp.Model, ds: jinterp.tabular.Table) -> _Estimator:
    is_classifier = np.issubdtype(ds.targets.dtype, np.integer)
    return (_Classifier if is_classifier else _Regressor)(model).fit(ds.x, ds.targets)
