"""What users get wrong, and the sentence that helps them: given, expected, what to do."""

from collections.abc import Sequence
from typing import Any

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np

from jinterp._functions import name_of
from jinterp._trace import eval_shape, held_here, under_transform
from jinterp._types import ApplyFn, Inputs, LossFn, Params

_WHOLE_VARIABLES = (
    "Pass every collection that module.init returned ({'params': ..., 'batch_stats': ...}), not "
    "variables['params'] alone."
)
_EVALUATION_MODE = (
    "Give the model in evaluation mode, such as jinterp.from_linen(module, variables, train=False) "
    "or jinterp.from_nnx(module)."
)


def outputs_of(apply_fn: ApplyFn, params: Params, x: Inputs) -> Any:
    """The abstract output of abstract inputs, one array, or a named error."""
    outputs = any_outputs_of(apply_fn, params, x)
    one_output(outputs)
    return outputs


def any_outputs_of(apply_fn: ApplyFn, params: Params, x: Inputs) -> Any:
    """The abstract outputs of abstract inputs, of any structure, or a named error."""
    outputs = traced_outputs_of(apply_fn, params, x)
    if not under_transform((params, x)):
        _has_hash(apply_fn)
    return outputs


def one_output(outputs: Any) -> None:
    """Whether a model returns one array."""
    if not hasattr(outputs, "shape"):
        kind = type(outputs).__name__
        size = f" of {len(outputs)}" if isinstance(outputs, tuple | list | dict) else ""
        raise TypeError(
            f"`apply_fn` returned a {kind}{size}; expected one array of logits [batch, classes]. "
            f"Wrap it: def apply_fn(params, x): return model(params, x)[0]. If it came from "
            f"mutable=..., leave that out. {_EVALUATION_MODE}"
        )


def num_examples(x: Inputs, name: str = "x") -> int:
    """The leading axis that all inputs share."""
    shapes = [leaf.shape for leaf in jax.tree.leaves(x)]
    if not shapes or any(len(shape) == 0 for shape in shapes):
        raise ValueError(
            f"`{name}` has the shapes {shapes}; expected arrays [batch, ...]. Use "
            f"{name}[None] for one example."
        )
    if len({shape[0] for shape in shapes}) > 1:
        raise ValueError(
            f"`{name}` has the shapes {shapes}; expected arrays that share the leading axis, one "
            "row an example."
        )
    if shapes[0][0] == 0:
        raise ValueError(f"`{name}` has the shape {shapes[0]}: no example; expected at least one.")
    return shapes[0][0]


def is_differentiable(x: Inputs) -> None:
    for leaf in jax.tree.leaves(x):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            continue
        advice = "Preprocess it to floats first, such as x.astype(jnp.float32)."
        if leaf.dtype not in (jnp.uint8, bool):
            advice += (
                " Explain token numbers at the embedding: "
                "jinterp.at_layer(jinterp.gradient, 'embed')(apply_fn, params, x), with what else "
                "changes the explainer inside: at_layer(smooth(gradient, key=key), 'embed')."
            )
        raise TypeError(
            f"`x` is {leaf.dtype}, by which no gradient exists; expected floating point. {advice}"
        )


def can_be_mixed(x: Inputs) -> None:
    """Inputs of which a part can be that of a baseline."""
    for leaf in jax.tree.leaves(x):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"`x` is {leaf.dtype}, which cannot be mixed with a baseline; expected floating "
                "point. Preprocess it to floats first, such as x.astype(jnp.float32). For tokens "
                "use an explainer that replaces them whole, such as jinterp.kernel_shap."
            )


def is_on_this_host(name: str, x: Any) -> None:
    """Something that decides by values sees all of them."""
    if not all(getattr(leaf, "is_fully_addressable", True) for leaf in jax.tree.leaves(x)):
        raise ValueError(
            f"`x` is cut over several processes, and `{name}` decides by its values; expected "
            "examples of this process. Give each process its own, or use integrated_gradients."
        )


def target_in_range(target: Any, num_classes: int) -> None:
    """The classes to explain exist; under a transform their values are not known."""
    if isinstance(target, jax.core.Tracer):
        return
    target = np.atleast_1d(held_here(target))
    is_one_hot = target.ndim == 2 and 2 < target.shape[1] == num_classes
    if is_one_hot and (np.sort(target, axis=1) == np.eye(num_classes)[-1]).all():
        raise ValueError(
            f"`target` has one-hot rows {target.shape}; expected integer classes. Use "
            "target.argmax(-1)."
        )
    wrong = (target < 0) | (target >= num_classes)
    if wrong.any():
        raise ValueError(
            f"`target` has the class {target[wrong][0]} for the example "
            f"{np.argwhere(wrong)[0][0]}; expected 0 to {num_classes - 1}."
        )


def scores_of(score: Any, outputs: Any, target: Any, num_examples: int) -> None:
    """A score is one floating-point number an example, or a named error."""
    if not callable(score):
        raise TypeError(
            f"`score` is {score!r}; expected a function score(logits, target) -> [batch], such as "
            "jinterp.logit."
        )
    found = eval_shape(score, outputs, target)
    shape = getattr(found, "shape", None)
    if shape != (num_examples,) or not jnp.issubdtype(found.dtype, jnp.floating):
        returned = _describe(found) if shape is not None else f"a {type(found).__name__}"
        raise ValueError(
            f"`score` ({name_of(score)}) returned {returned} for outputs {_describe(outputs)}; "
            f"expected one floating-point number an example, [{num_examples}]."
        )


def has_batch_axis(outputs: Any, num_examples: int) -> None:
    """What a model returns has a row an example."""
    if outputs.shape[:1] != (num_examples,):
        raise ValueError(
            f"`apply_fn` returned the shape {outputs.shape} for {num_examples} examples; expected "
            "[batch, classes], or [batch, ...]. Use x[None] for one example."
        )


def array(name: str, value: Any) -> jax.Array:
    """A number or array, or a named error."""
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` is {value!r}; expected a number or an array.") from None


def is_model_function(apply_fn: Any) -> None:
    if not callable(apply_fn):
        raise TypeError(
            f"`apply_fn` is a {type(apply_fn).__name__}; expected a function apply_fn(params, x) "
            "-> logits. A jinterp.Model is unpacked: f(*model, x)."
        )


def _has_hash(apply_fn: ApplyFn) -> None:
    try:
        hash(apply_fn)
    except TypeError as error:
        raise TypeError(
            f"`apply_fn` ({name_of(apply_fn)}) cannot be hashed ({error}), so what is compiled for "
            "it could not be found again; expected a function. Write one around it, once: "
            "def apply_fn(params, x): return model(params, x). A field of a Linen module that "
            "is a list or a dict is better a tuple or a flax.core.FrozenDict."
        ) from None


def is_layer_name(layer: Any) -> None:
    if not isinstance(layer, str):
        raise TypeError(
            f"`layer` is {layer!r}; expected one name, as layer.name of those that "
            "jinterp.layers(apply_fn, params, x) lists."
        )


def traced_outputs_of(apply_fn: ApplyFn, params: Params, x: Inputs) -> Any:
    """The abstract outputs, of any structure, of a model that need not be hashed."""
    is_model_function(apply_fn)
    try:
        return eval_shape(apply_fn, params, x)
    except (flax.errors.ScopeCollectionNotFound, flax.errors.ScopeParamNotFoundError) as error:
        raise ValueError(
            f"`apply_fn` did not find all its variables in `params`. {_WHOLE_VARIABLES} ({error})"
        ) from None
    except flax.errors.ModifyScopeVariableError as error:
        raise ValueError(
            f"`apply_fn` tried to change its own variables, as BatchNorm does in training. "
            f"{_EVALUATION_MODE} ({error})"
        ) from None
    except flax.errors.CallCompactUnboundModuleError:
        raise TypeError(
            f"`apply_fn` ({name_of(apply_fn)}) is a Linen module; expected a function "
            "apply_fn(params, x) -> logits. Use jinterp.from_linen(module, variables)."
        ) from None
    except flax.errors.InvalidRngError as error:
        raise ValueError(
            f"`apply_fn` asked for randomness, as dropout does in training. {_EVALUATION_MODE} "
            f"({error})"
        ) from None
    except Exception as error:
        error.add_note(
            f"This came from `apply_fn` ({name_of(apply_fn)}), given x of shape "
            f"{jax.tree.map(jnp.shape, x)}; expected a model that takes [batch, ...]. Use x[None] "
            "for one example, jnp.stack(x) for a list of them."
        )
        raise


def examples_interact() -> ValueError:
    return ValueError(
        "`apply_fn` mixes the examples of a batch: the logits of the first one changed when the "
        "others did, as with BatchNorm in training mode, so no number belongs to one example. "
        + _EVALUATION_MODE
    )


def losses_of(loss_fn: LossFn, logits: Any, targets: Any) -> jax.ShapeDtypeStruct:
    """The abstract result of a user's loss, or a named error."""
    try:
        losses = jax.eval_shape(loss_fn, logits, targets)
    except Exception as error:
        if str(error).startswith("`targets`"):  # cross_entropy's own sentence
            raise
        raise ValueError(
            f"`loss_fn` ({name_of(loss_fn)}) failed on logits {_describe(logits)} and targets "
            f"{_describe(targets)}: {error}"
        ) from error
    if not losses.shape or losses.shape[0] != logits.shape[0]:
        raise ValueError(
            f"`loss_fn` ({name_of(loss_fn)}) returned the shape {losses.shape} for a batch of "
            f"{logits.shape[0]}; expected one loss for each example. Leave out the mean."
        )
    return losses


def sum_to_one(rows: np.ndarray) -> bool:
    """Whether rows `[..., classes]` look like probabilities."""
    if rows.ndim < 2 or rows.shape[-1] < 2:
        return False
    return bool((rows >= 0).all() and np.allclose(rows.sum(axis=-1), 1, atol=1e-4))


def class_names_match(class_names: Sequence[str] | None, num_classes: int) -> list[str]:
    """The names as a list, the numbers where there are none."""
    if class_names is None:
        return [str(number) for number in range(num_classes)]
    found = names(class_names)
    num_names_match(len(found), num_classes)
    return found


def names(class_names: Sequence[str]) -> list[str]:
    """The names as a list, if they have an order."""
    if isinstance(class_names, str) or not isinstance(class_names, Sequence | np.ndarray):
        raise TypeError(
            f"`class_names` is a {type(class_names).__name__}; expected a list of names in the "
            "order of the classes. For a dict of number to name: [names[c] for c in range(n)]."
        )
    return [str(name) for name in class_names]


def num_names_match(num_names: int, num_classes: int) -> None:
    if num_names != num_classes:
        raise ValueError(
            f"`class_names` has {num_names} names; expected {num_classes}, one for each "
            "class of the logits."
        )


def at_least_one(name: str, value: int, usual: int = 9) -> None:
    if not isinstance(value, int | np.integer):
        raise TypeError(f"`{name}` is {value!r}; expected an integer. Try {usual}.")
    if value < 1:
        raise ValueError(f"`{name}` is {value}; expected at least 1. Try {usual}.")


def at_most_dataset(k: int, num_examples: int | None) -> None:
    at_least_one("k", k)
    if num_examples == 0:
        raise ValueError("`ds` is empty; expected at least one example.")
    if num_examples is not None and k > num_examples:
        raise ValueError(
            f"`k` is {k}; the dataset has {num_examples} examples. Use k={num_examples} or less."
        )


def _describe(struct: Any) -> str:
    return f"{struct.dtype}[{','.join(map(str, struct.shape))}]"


def is_key(key: Any) -> None:
    """A random key, new style or old."""
    dtype = getattr(key, "dtype", None)
    if dtype is None or not (jnp.issubdtype(dtype, jax.dtypes.prng_key) or dtype == jnp.uint32):
        raise TypeError(
            f"`key` is {key!r}; expected a random key, since the result is sampled. "
            "Use jax.random.key(0)."
        )
    if dtype != jnp.uint32 and key.shape:
        raise TypeError(f"`key` holds keys of shape {key.shape}; expected one. Use key[0].")


def has_space(leaf: Any, name: str) -> None:
    if leaf.ndim < 3:
        raise ValueError(
            f"`{name}` has the shape {leaf.shape}; expected [batch, *space, channels], with at "
            "least one axis in space."
        )


def axis_of_channels(channel_axis: int, num_axes: int) -> int:
    """Where the channels are in `[batch, ...]`, counted from the front."""
    if channel_axis not in (*range(1, num_axes), *range(1 - num_axes, 0)):
        raise ValueError(
            f"`channel_axis` is {channel_axis}; expected 1 to {num_axes - 1}, or -1 for the last "
            "axis."
        )
    return channel_axis % num_axes


def within(name: str, value: int | float, low: int | float, high: int | float) -> None:
    if not low <= value <= high:
        raise ValueError(f"`{name}` is {value}; expected {low:g} to {high:g}.")


def one_target(target: Any) -> None:
    """One class an example, where the method cannot share its work among several."""
    if target is not None and target.ndim == 2:
        raise ValueError(
            f"`target` has the shape {target.shape}; expected one class an example here. Call it "
            "once for each class."
        )


def is_concrete(name: str, tree: Any, instead: str = "") -> None:
    """The function looks at values, so no transform may hide them.

    Args:
        name: of the function.
        tree: what it looks at.
        instead: what else to call, where there is something.
    """
    if under_transform(tree):
        raise TypeError(
            f"`{name}` was called under jit, vmap or grad, which hides the values it decides by. "
            f"Call it from outside{f', or use {instead}' if instead else ''}."
        )


def one_array(x: Inputs) -> None:
    if not hasattr(x, "shape"):
        raise TypeError(
            f"`x` is a {type(x).__name__}; expected one array [batch, *space, channels]."
        )
