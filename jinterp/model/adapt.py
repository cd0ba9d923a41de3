"""A model of any library as a pair of a pure function and its parameters."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from flax import linen as nn
from flax import nnx
from jaxtyping import Array

from jinterp._types import ApplyFn, Inputs, Params
from jinterp.model.scopes import name_scopes


class Model(NamedTuple):
    """A frozen model: every function of jinterp reads `f(*model, ...)`.

    Attributes:
        apply_fn: `apply_fn(params, x) -> logits`, with `x` `[batch, ...]` and `logits`
            `[batch, classes]`.
        params: any pytree of arrays.

    >>> import jax.numpy as jnp
    >>> model = Model(lambda params, x: x @ params, jnp.eye(3))
    >>> model.apply_fn(model.params, jnp.ones((2, 3))).shape
    (2, 3)
    """

    apply_fn: ApplyFn
    params: Params


@dataclasses.dataclass(frozen=True)
class _LinenApply:
    module: nn.Module
    keywords: tuple[tuple[str, Any], ...]

    def __call__(self, params: Params, x: Inputs) -> Array:
        logits: Any = self.module.apply(params, x, **dict(self.keywords))
        return logits


@dataclasses.dataclass(frozen=True)
class _NnxApply:
    graphdef: nnx.GraphDef[Any]

    def __call__(self, params: Params, x: Inputs) -> Array:
        return name_scopes(nnx.merge(self.graphdef, params))(x)


def from_linen(module: nn.Module, variables: Mapping[str, Any], **apply_kwargs: Any) -> Model:
    """A Linen module and its variables as a `Model`.

    Equal modules give equal functions, so making the model again compiles nothing again.

    Args:
        module: the Linen module.
        variables: all its collections, such as `{"params": ..., "batch_stats": ...}`.
        **apply_kwargs: hashable keywords for `module.apply`, such as `train=False`.

    Raises:
        ValueError: `variables` has no collection `"params"`, as when `variables["params"]` is
            passed alone.
        TypeError: a keyword is not hashable.

    >>> import jax, jax.numpy as jnp
    >>> from flax import linen as nn
    >>> module = nn.Dense(3)
    >>> model = from_linen(module, module.init(jax.random.key(0), jnp.ones((1, 4))))
    >>> model.apply_fn(model.params, jnp.ones((2, 4))).shape
    (2, 3)
    """
    if variables and "params" not in variables:
        raise ValueError(
            f"`variables` has the keys {sorted(variables)}; expected collections such as 'params' "
            "and 'batch_stats'. If this is variables['params'], pass the whole `variables`."
        )
    for name, value in apply_kwargs.items():
        try:
            hash(value)
        except TypeError:
            raise TypeError(
                f"`{name}` is a {type(value).__name__}, which cannot be hashed; expected a "
                "hashable keyword, since it is part of the compiled program. Write a plain "
                "function `apply_fn(params, x)` that calls `module.apply` with it."
            ) from None
    return Model(_LinenApply(module, tuple(sorted(apply_kwargs.items()))), variables)


def from_nnx(module: nnx.Module) -> Model:
    """An NNX module as a `Model`, in evaluation mode.

    The module itself is left as it is: a copy of its structure is switched to evaluation mode
    (`module.eval()`), and shares the arrays. Equal modules give equal functions. The modules of the
    copy enter `jax.named_scope`s by their paths, so that `layers` can name them.

    Args:
        module: the NNX module, called as `module(x)`.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> model = from_nnx(nnx.Linear(4, 3, rngs=nnx.Rngs(0)))
    >>> model.apply_fn(model.params, jnp.ones((2, 4))).shape
    (2, 3)
    """
    if not isinstance(module, nnx.Module):
        raise TypeError(
            f"`module` is a {type(module).__name__}; expected an NNX module. "
            "For a Linen module use from_linen(module, variables)."
        )
    copy = nnx.merge(*nnx.split(module))
    copy.eval()
    graphdef, state = nnx.split(copy)
    return Model(_NnxApply(graphdef), state)
