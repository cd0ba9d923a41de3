"""Every public explainer, found by its signature, and a network that all of them can explain."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinterp

EXPLAINER = ["apply_fn", "params", "x", "target"]
CLASSES = 3
_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(4, 3, 5, 2)).astype(np.float32)
TARGET = np.array([2, 0, 1, 0])
PARAMS = {
    "conv": _RNG.normal(size=(2, 4)).astype(np.float32),
    "bias": _RNG.normal(size=4).astype(np.float32),
    "head": _RNG.normal(size=(4, CLASSES)).astype(np.float32),
}


traces: list[Any] = []  # the shapes for which Python called the network


def apply_fn(params: Any, x: jax.Array) -> jax.Array:
    """A layer in space, positive and smooth, and a head over its mean; quick to compile."""
    traces.append(x.shape)
    with jax.named_scope("conv"):
        x = jnp.square(x @ params["conv"] + params["bias"][None, None, None])
    return x.mean((1, 2)) @ params["head"]


def attention_fn(params: Any, x: jax.Array) -> jax.Array:
    """The same with attention among the places."""
    tokens = x.reshape(x.shape[0], -1, 1, x.shape[-1])
    attention = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", tokens, tokens))
    mixed = jnp.einsum("bhqk,bkhd->bqhd", attention, tokens)
    return apply_fn(params, mixed.reshape(x.shape))


MODEL = jinterp.Model(apply_fn, PARAMS)


def _black_and_white(leaf: Any) -> jax.Array:
    return jnp.stack([jnp.zeros(leaf.shape[1:], leaf.dtype), jnp.ones(leaf.shape[1:], leaf.dtype)])


def _columns(x: Any) -> np.ndarray:
    """Masks `[batch, num, *space]` of single columns, and of the first two and of the others."""
    columns = np.eye(x.shape[2], dtype=bool)
    both = np.concatenate([columns, [columns[:2].any(0), columns[2:].any(0)]])
    return np.broadcast_to(both[None, :, None], (len(x), len(both), *x.shape[1:3]))


# What explainers cannot do without, and what makes them cheap, by the name of the parameter.
REQUIRED: Mapping[str, Callable[[Any], Any]] = {
    "key": lambda x: jax.random.key(0),
    "baselines": lambda x: jax.tree.map(_black_and_white, x),
    "layer": lambda x: "conv",
    "window": lambda x: 2,
}
# What explainers make on the host, which no transform allows, where it is not given.
GIVEN: Mapping[str, Callable[[Any], Any]] = {
    "segments": lambda x: _columns(jax.tree.leaves(x)[0]),
}
CHEAP = {"num_steps": 4, "num_samples": 4, "max_steps": 21}

AT_BOTH = {"guided_grad_cam"}  # has a layer, and values of the inputs


def _by_column(x: Any) -> Any:
    """A group for each column of an image; what else there is is one more."""
    first, *others = jax.tree.leaves(x)
    num = first.shape[2]
    masks = [np.arange(num)[None, :, None], *(np.full([1] * (o.ndim - 1), num) for o in others)]
    return jax.tree.unflatten(jax.tree.structure(x), masks)


def _four_an_element(x: Any) -> int:
    return 4 * sum(int(np.prod(leaf.shape[1:])) for leaf in jax.tree.leaves(x))


# What some explainers need instead, by their names.
PARTICULAR: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    "exact_shapley": {"feature_mask": _by_column},  # it takes 20 groups at most
    "kernel_shap": {"num_samples": _four_an_element},  # the first half leaves nothing to chance
}


class Case(NamedTuple):
    """An explainer, ready to be called: with what it requires, and cheap."""

    name: str
    explain: Callable[..., Any]
    is_of_inputs: bool

    def __call__(
        self,
        params: Any = PARAMS,
        x: Any = X,
        target: Any = TARGET,
        apply_fn: Any = None,
        **keywords: Any,
    ) -> Any:
        """Its values alone, where it returns more."""
        keywords = {**self.keywords(x), **keywords}
        found = self.explain(apply_fn or self.apply_fn, params, x, target, **keywords)
        return found.values if self.returns_record else found

    @property
    def apply_fn(self) -> Any:
        """A function that it can explain: what reads attention needs some."""
        return attention_fn if "token" in self.parameters else apply_fn

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        return dict(list(inspect.signature(self.explain).parameters.items())[len(EXPLAINER) :])

    @property
    def returns_record(self) -> bool:
        """Diagnostics beside the values: it decides by what it finds, and cannot be traced."""
        returned = inspect.signature(self.explain).return_annotation
        return inspect.isclass(returned) and issubclass(returned, tuple)

    def keywords(self, x: Any) -> dict[str, Any]:
        given, particular = {}, PARTICULAR.get(self.name, {})
        for name, parameter in self.parameters.items():
            if name in particular:
                given[name] = particular[name](x)
            elif name in CHEAP:
                given[name] = CHEAP[name]
            elif name in GIVEN:
                given[name] = GIVEN[name](x)
            elif parameter.default is parameter.empty:
                given[name] = _required(self.name, name)(x)
        return given


def _required(explainer: str, parameter: str) -> Callable[[Any], Any]:
    if parameter not in REQUIRED:
        raise LookupError(
            f"the laws do not know what to give {explainer} for `{parameter}`. Add it to REQUIRED "
            "in tests/laws/explainers.py."
        )
    return REQUIRED[parameter]


def discovered(namespace: Mapping[str, Any]) -> Iterator[Case]:
    """Every function that is called as an explainer is."""
    for name, value in namespace.items():
        if not name.startswith("_") and inspect.isfunction(value):
            parameters = list(inspect.signature(value).parameters)
            if parameters[: len(EXPLAINER)] == EXPLAINER:
                is_of_inputs = name in AT_BOTH or not {"layer", "token"} & set(parameters)
                case = Case(name, value, is_of_inputs)
                case.keywords(X)  # fails for what is not known
                yield case


def composed() -> Iterator[Case]:
    """Explainers made of others."""
    for inner in (jinterp.gradient, jinterp.integrated_gradients):
        smoothed = jinterp.smooth(inner, key=jax.random.key(1), num_samples=3)
        yield Case(f"smooth({inner.__name__})", smoothed, is_of_inputs=True)
        at = jinterp.at_layer(inner, "conv")
        yield Case(f"at_layer({inner.__name__})", at, is_of_inputs=False)


DISCOVERED = list(discovered(vars(jinterp)))
CASES = [*DISCOVERED, *composed()]
OF_INPUTS = [case for case in CASES if case.is_of_inputs]
EACH_CLASS = Case("each_class(gradient)", jinterp.each_class(jinterp.gradient), is_of_inputs=False)


def every(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def assert_close(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Equal up to a share of the largest value: sums of float32 in another order."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        assert np.isfinite(b).all()
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(np.abs(b).max(), 1e-30))
