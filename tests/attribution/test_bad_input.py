"""What is wrong with a call is said in a sentence: given, expected, what to do."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jinterp
from tests.laws.explainers import DISCOVERED, PARAMS, Case, X, every
from tests.networks import CLASSES, IMAGES, ROWS, TOKENS, Cnn, cnn, linen, mlp, text, unet, vit

pytestmark = pytest.mark.usefixtures("as_user")
KEY = jax.random.key(0)
CAMS = [case for case in DISCOVERED if {"grid", "relu"} <= set(case.parameters)]
STEPPED = [case for case in DISCOVERED if "num_steps" in case.parameters]


def message(error: type[Exception], call: Callable[..., Any], *args: Any, **keywords: Any) -> str:
    with pytest.raises(error) as raised:
        call(*args, **keywords)
    return " ".join([str(raised.value), *getattr(raised.value, "__notes__", ())])


# --- the model


def test_a_model_that_returns_a_tuple() -> None:
    def apply_fn(params: Any, x: Any) -> Any:
        return cnn().apply_fn(params, x), x

    said = message(TypeError, jinterp.gradient, apply_fn, cnn().params, IMAGES, 0)
    assert "`apply_fn` returned a tuple of 2; expected one array of logits" in said
    assert "Wrap it: def apply_fn(params, x): return model(params, x)[0]" in said


def test_examples_that_interact() -> None:
    class Training(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.Dense(3)(nn.BatchNorm(use_running_average=False, name="norm")(x))

    apply_fn, params = linen(Training(), ROWS)

    def training(params: Any, x: Any) -> Any:
        return apply_fn.module.apply(params, x, mutable=["batch_stats"])[0]

    said = message(ValueError, jinterp.gradient, training, params, ROWS, 0)
    assert "`apply_fn` mixes the examples of a batch" in said
    assert "Give the model in evaluation mode" in said


@pytest.mark.parametrize(
    ("apply_fn", "given", "advice"),
    [
        (None, "`apply_fn` is a NoneType", "f(*model, x)"),
        (cnn(), "`apply_fn` is a Model", "f(*model, x)"),
        (Cnn(), "`apply_fn` (Cnn) is a Linen module", "jinterp.from_linen(module, variables)"),
    ],
)
def test_no_function(apply_fn: Any, given: str, advice: str) -> None:
    said = message(TypeError, jinterp.gradient, apply_fn, cnn().params, IMAGES, 0)
    assert given in said
    assert "expected a function apply_fn(params, x) -> logits" in said
    assert advice in said


def test_a_function_that_cannot_be_hashed() -> None:
    """As with an Equinox module, whose fields are arrays."""

    @dataclasses.dataclass
    class Scaled:
        factor: float

        def __call__(self, params: Any, x: Any) -> Any:
            return self.factor * x @ params

    said = message(TypeError, jinterp.gradient, Scaled(2.0), np.ones((7, 3), np.float32), ROWS, 0)
    assert "`apply_fn` (Scaled) cannot be hashed (unhashable type: 'Scaled')" in said
    assert "Write one around it, once: def apply_fn(params, x): return model(params, x)." in said
    weights = jnp.ones((7, 3))
    within = jax.jit(lambda x: jinterp.gradient(Scaled(2.0), weights, x, 0))
    np.testing.assert_array_equal(within(ROWS), 2.0)  # where nothing is to be found again


class Listed(nn.Module):
    sizes: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(self.sizes[0], name="head")(x)


def test_a_linen_module_that_cannot_be_hashed_is_a_linen_module_first() -> None:
    said = message(TypeError, jinterp.gradient, Listed([3]), {}, ROWS, 0)
    assert "`apply_fn` (Listed) is a Linen module" in said
    said = message(TypeError, jinterp.gradient, *linen(Listed([3]), ROWS), ROWS, 0)
    assert "sizes" in said
    assert "is better a tuple" in said


@pytest.mark.parametrize("call", [jinterp.gradient, jinterp.grad_cam])
def test_a_model_that_was_not_unpacked(call: Any) -> None:
    """What stands in the place of `x` are labels, of which nothing is said first."""
    said = message(TypeError, call, cnn(), IMAGES, np.zeros(4, int))
    assert "`apply_fn` is a Model; expected a function" in said
    assert "A jinterp.Model is unpacked: f(*model, x)." in said
    assert "is unpacked" in message(TypeError, jinterp.truncate, cnn(), "conv1")


@pytest.mark.parametrize("layer", [-1, ["conv1", "conv2"], Cnn()])
def test_a_layer_that_is_no_name(layer: Any) -> None:
    for call in (jinterp.grad_cam, jinterp.layer_cam):
        said = message(TypeError, call, *cnn(), IMAGES, 0, layer=layer)
        assert f"`layer` is {layer!r}; expected one name" in said
        assert "jinterp.layers(apply_fn, params, x) lists" in said
    assert "expected one name" in message(TypeError, jinterp.truncate, cnn().apply_fn, layer)
    assert "expected one name" in message(
        TypeError, jinterp.conductance, *cnn(), IMAGES, 0, layer=-1
    )


def test_a_collection_alone() -> None:
    apply_fn, params = cnn()
    said = message(ValueError, jinterp.gradient, apply_fn, params["params"], IMAGES, 0)
    assert "`apply_fn` did not find all its variables in `params`" in said


# --- the inputs


def test_integers() -> None:
    said = message(TypeError, jinterp.gradient, *text(), TOKENS, 0)
    assert "`x` is int32, by which no gradient exists; expected floating point" in said
    assert "jinterp.at_layer(jinterp.gradient, 'embed')(apply_fn, params, x)" in said
    values = jinterp.at_layer(jinterp.gradient, "embed")(*text(), TOKENS, 0)
    assert values.shape == (*TOKENS.shape, 8)


@pytest.mark.parametrize("dtype", [np.uint8, bool])
def test_bytes(dtype: Any) -> None:
    said = message(TypeError, jinterp.gradient, *cnn(), IMAGES.astype(dtype), 0)
    assert f"`x` is {np.dtype(dtype)}, by which no gradient exists" in said
    assert "Preprocess it to floats first, such as x.astype(jnp.float32)." in said
    assert "embedding" not in said


def test_no_example() -> None:
    said = message(ValueError, jinterp.gradient, *cnn(), IMAGES[:0], 0)
    assert said == "`x` has the shape (0, 8, 12, 3): no example; expected at least one."


def test_no_batch_axis() -> None:
    said = message(ValueError, jinterp.gradient, *mlp(), ROWS[0], 0)
    assert "`apply_fn` returned the shape (5,) for 7 examples; expected [batch, classes]" in said
    assert "Use x[None] for one example." in said
    assert "Use x[None]" in message(ValueError, jinterp.gradient, *mlp(), np.float32(1), 0)


def test_an_error_of_the_model_says_what_it_was_given() -> None:
    apply_fn, params = cnn()
    said = message(Exception, jinterp.gradient, apply_fn, params, IMAGES[0], 0)
    assert "given x of shape (8, 12, 3); expected a model that takes [batch, ...]" in said
    assert "Use x[None] for one example" in said
    said = message(Exception, jinterp.gradient, apply_fn, params, list(IMAGES), 0)
    assert "jnp.stack(x) for a list" in said


def test_inputs_of_different_lengths() -> None:
    x = {"a": ROWS, "b": ROWS[:2]}
    said = message(ValueError, jinterp.gradient, *mlp(), x, 0)
    assert "expected arrays that share the leading axis" in said


def test_no_space_to_blur() -> None:
    said = message(ValueError, jinterp.blur_integrated_gradients, *mlp(), ROWS, 0)
    assert "`x` has the shape (4, 7); expected [batch, *space, channels]" in said


# --- the target


@pytest.mark.parametrize(
    ("target", "wrong", "example"),
    [(7, 7, 0), (-1, -1, 0), ([0, 1, 2, 9], 9, 3), ([[0, 1], [0, 8], [0, 1], [0, 1]], 8, 1)],
)
def test_a_class_that_does_not_exist(target: Any, wrong: int, example: int) -> None:
    said = message(ValueError, jinterp.gradient, *cnn(), IMAGES, np.array(target))
    assert said == (
        f"`target` has the class {wrong} for the example {example}; expected 0 to {CLASSES - 1}."
    )


@pytest.mark.parametrize("shape", [(2,), (4, 1, 1), (3, 2)])
def test_a_target_of_another_shape(shape: tuple[int, ...]) -> None:
    said = message(ValueError, jinterp.gradient, *cnn(), IMAGES, np.zeros(shape, int))
    assert f"`target` has the shape {shape} for 4 examples; expected one class" in said
    assert "one for each example (4,), or several for each (4, targets)" in said


@pytest.mark.parametrize("target", [np.ones(4, np.float32), np.eye(CLASSES, dtype=np.float32)[:4]])
def test_a_float_target(target: np.ndarray) -> None:
    said = message(TypeError, jinterp.gradient, *cnn(), IMAGES, target)
    assert "`target` is float32; expected integer classes" in said
    assert "target.argmax(-1) for one-hot rows, target.astype(int)" in said


def test_one_hot_rows_of_integers_are_not_several_targets() -> None:
    rows = np.eye(CLASSES, dtype=int)[[0, 2, 1, 2]]
    said = message(ValueError, jinterp.gradient, *cnn(), IMAGES, rows)
    assert said == (
        f"`target` has one-hot rows (4, {CLASSES}); expected integer classes. Use "
        "target.argmax(-1)."
    )
    order = np.array([np.arange(CLASSES)] * 4)  # all classes are no one-hot rows
    assert jinterp.gradient(*cnn(), IMAGES, order).shape[:2] == (4, CLASSES)


def test_a_class_that_does_not_exist_under_jit() -> None:
    """The class is known, though the images are not."""
    explain = jax.jit(lambda x: jinterp.gradient(*cnn(), x, 7))
    assert "`target` has the class 7 for the example 0" in message(ValueError, explain, IMAGES)


def test_a_target_that_is_no_number() -> None:
    said = message(TypeError, jinterp.gradient, *cnn(), IMAGES, "cat")
    assert said == "`target` is 'cat'; expected a number or an array."


@pytest.mark.parametrize("explain", [jinterp.gradient, jinterp.grad_cam])
@pytest.mark.parametrize("target", [None, 1])
def test_a_dense_output_needs_a_score(explain: Any, target: Any) -> None:
    said = message(ValueError, explain, *unet(), IMAGES, target)
    assert "`logits` has the shape (4, 8, 12, 5); expected [batch, classes]" in said
    assert "for a unit of a layer score=jinterp.channel or jinterp.neuron" in said
    assert "every pixel use score=jinterp.region(mask) or jinterp.pixel(row, column)" in said
    assert "a `score` of your own" in said


def left_half(outputs: Any, target: Any) -> Any:
    return outputs[:, :, :6, 2].mean((1, 2))


@pytest.mark.parametrize("explain", [jinterp.gradient, jinterp.integrated_gradients])
def test_a_score_makes_a_dense_output_work(explain: Any) -> None:
    values = np.asarray(explain(*unet(), IMAGES, score=left_half))
    assert (values[:, :, :6] != 0).any()
    assert (values[:, :, 10:] == 0).all()  # out of the reach of its convolutions
    assert jinterp.grad_cam(*unet(), IMAGES, score=left_half).ndim == 3


def test_no_classes() -> None:
    said = message(ValueError, jinterp.each_class(jinterp.gradient, []), *cnn(), IMAGES)
    assert said == "`targets` is empty; expected classes, or None for all of them."
    assert "`target` has the class 9" in message(
        ValueError, jinterp.each_class(jinterp.gradient, [0, 9]), *cnn(), IMAGES
    )


# --- the score


def whole(outputs: Any, target: Any) -> Any:
    return outputs


def classes(outputs: Any, target: Any) -> Any:
    return outputs.argmax(-1)


def pair(outputs: Any, target: Any) -> Any:
    return outputs[:, 0], outputs[:, 1]


@pytest.mark.parametrize(
    ("score", "returned"), [(whole, "float32[4,5]"), (classes, "int32[4]"), (pair, "a tuple")]
)
def test_a_score_of_the_wrong_shape(score: Any, returned: str) -> None:
    said = message(ValueError, jinterp.gradient, *cnn(), IMAGES, 0, score=score)
    assert f"`score` ({score.__name__}, line " in said
    assert f"returned {returned} for outputs float32[4,5]" in said
    assert "expected one floating-point number an example, [4]" in said


def test_a_score_by_name() -> None:
    said = message(TypeError, jinterp.gradient, *cnn(), IMAGES, 0, score="logit")
    assert "`score` is 'logit'; expected a function score(logits, target) -> [batch]" in said


# --- the layer

AT_A_LAYER = [
    functools.partial(jinterp.grad_cam, layer="conv3"),
    functools.partial(jinterp.conductance, layer="conv3"),
    jinterp.at_layer(jinterp.gradient, "conv3"),
]


@pytest.mark.parametrize("explain", AT_A_LAYER)
def test_an_unknown_layer(explain: Any) -> None:
    said = message(ValueError, explain, *cnn(), IMAGES, 0)
    assert "there is no layer 'conv3'. Near it: 'conv2', 'conv1'." in said
    assert "jinterp.layers(apply_fn, params, x) lists all 3." in said


@every(CAMS)
def test_a_layer_without_space(case: Case) -> None:
    said = message(ValueError, case.explain, *cnn(), IMAGES, 0, layer="head")
    assert "the layer 'head' has an output of shape (4, 5); expected one with axes in space" in said
    assert "Use an earlier layer." in said
    said = message(ValueError, jinterp.grad_cam, *mlp(), ROWS, 0)
    assert "no layer has an output in space" in said
    assert "name one with `layer`" in said


@pytest.mark.parametrize("grid", [(3, 3), (2, 2, 2)])
def test_a_grid_that_does_not_fit(grid: tuple[int, ...]) -> None:
    said = message(ValueError, jinterp.grad_cam, *vit(), IMAGES, 0, layer="block0", grid=grid)
    assert f"`grid` {grid} has {np.prod(grid)} places; the layer 'block0' has the shape" in said
    assert "expected [batch, tokens, channels] with as many tokens or more" in said


def test_tokens_that_no_grid_holds() -> None:
    def apply_fn(params: Any, x: Any) -> Any:
        with jax.named_scope("tokens"):
            x = x.reshape(len(x), -1, 3)[:, :37] * params
        return x.mean(1)

    said = message(ValueError, jinterp.grad_cam, apply_fn, jnp.ones(()), IMAGES, 0, layer="tokens")
    assert "has 37 tokens, which no grid with the proportions of the input (8, 12) holds" in said
    assert "Give `grid`." in said


@pytest.mark.parametrize("axis", [0, 7, -4])
def test_a_channel_axis_that_is_none(axis: int) -> None:
    said = message(ValueError, jinterp.grad_cam, *cnn(), IMAGES, 0, channel_axis=axis)
    assert said == f"`channel_axis` is {axis}; expected 1 to 3, or -1 for the last axis."


def test_attention() -> None:
    assert "computes no attention" in message(ValueError, jinterp.attention_maps, *cnn(), IMAGES)
    said = message(ValueError, jinterp.attention_rollout, *vit(), IMAGES, token=9)
    assert said == "`token` is 9; expected 0 to 6."
    assert "`attentions` is empty" in message(ValueError, jinterp.rollout, [])
    said = message(ValueError, jinterp.rollout, [np.ones((1, 1, 2, 3))])
    assert "expected [batch, heads, tokens, tokens], with as many queries as keys" in said


# --- what else is given


@pytest.mark.parametrize("shape", [(8, 12), (3, 8, 12, 3)])
def test_a_baseline_of_another_shape(shape: tuple[int, ...]) -> None:
    baseline = np.zeros(shape)
    said = message(ValueError, jinterp.integrated_gradients, *cnn(), IMAGES, 0, baseline=baseline)
    assert f"`baseline` has the shape {shape}; expected a number, one example (8, 12, 3)" in said


@pytest.mark.parametrize(
    ("baseline", "error", "expected"),
    [
        ([], ValueError, "`baseline` is empty; expected at least one. Try 0.0."),
        ("black", TypeError, "`baseline` is 'black'; expected a number or an array."),
        (None, TypeError, "`baseline` is None; expected a number or an array."),
        ({"a": 0.0}, ValueError, "expected a number, or the structure of `x`"),
    ],
)
def test_no_baseline(baseline: Any, error: Any, expected: str) -> None:
    call = functools.partial(jinterp.integrated_gradients, *cnn(), IMAGES, 0)
    assert expected in message(error, call, baseline=baseline)


def test_baselines_from_data() -> None:
    call = functools.partial(jinterp.expected_gradients, *cnn(), IMAGES, 0, key=KEY)
    said = message(ValueError, call, baselines=IMAGES[0])
    assert "`baselines` hold examples of shape (12, 3); expected (8, 12, 3)" in said
    assert "Use baselines[None] for one." in said
    assert "`baselines` has the shape (0, 8, 12, 3)" in message(
        ValueError, call, baselines=IMAGES[:0]
    )


@every(STEPPED)
@pytest.mark.parametrize(("num_steps", "error"), [(0, ValueError), (10.0, TypeError)])
def test_no_steps(case: Case, num_steps: Any, error: Any) -> None:
    said = message(error, case, num_steps=num_steps)
    assert f"`num_steps` is {num_steps}; expected a" in said
    assert "Try " in said


def test_no_samples() -> None:
    smooth = functools.partial(jinterp.smooth, jinterp.gradient)
    assert "`num_samples` is 0; expected at least 1. Try 25." in message(
        ValueError, smooth, key=KEY, num_samples=0
    )
    call = functools.partial(jinterp.expected_gradients, *cnn(), IMAGES, 0, baselines=IMAGES)
    assert "`num_samples` is 0" in message(ValueError, call, key=KEY, num_samples=0)


SAMPLED = [case for case in DISCOVERED if "key" in case.parameters]


@every(SAMPLED)
@pytest.mark.parametrize(("num_samples", "error"), [(0, ValueError), (10.0, TypeError)])
def test_no_samples_of_an_explainer(case: Case, num_samples: Any, error: Any) -> None:
    said = message(error, case, num_samples=num_samples)
    assert f"`num_samples` is {num_samples}; expected a" in said
    assert "Try " in said


@every(SAMPLED)
def test_an_explainer_without_a_key(case: Case) -> None:
    said = message(TypeError, case, key=None)
    assert "`key` is None; expected a random key" in said
    assert "Use jax.random.key(0)." in said


def test_no_standard_error() -> None:
    said = message(TypeError, jinterp.with_error, jinterp.occlusion)
    assert said.startswith("`explain` (occlusion, line ")
    assert "takes no `key`: it does not sample, so its values have no standard error." in said
    assert "num_repeats` is 1; expected at least 2. Try 10." in message(
        ValueError, jinterp.with_error, jinterp.rise, num_repeats=1
    )
    explain = jinterp.with_error(jinterp.rise, num_repeats=2)
    assert "`key` is None; expected a random key" in message(TypeError, explain, *cnn(), IMAGES)
    found = explain(*cnn(), IMAGES, key=KEY, num_samples=3)
    for confidence in (0, 1, 95):
        assert message(ValueError, found.interval, confidence) == (
            f"`confidence` is {confidence}; expected more than 0 and less than 1. Try 0.95."
        )


@pytest.mark.parametrize("explain", [jinterp.rise, jinterp.sobol])
def test_integers_that_cannot_be_mixed(explain: Any) -> None:
    said = message(TypeError, explain, *text(), TOKENS, 0, key=KEY)
    assert "`x` is int32, which cannot be mixed with a baseline; expected floating point." in said
    assert "For tokens use an explainer that replaces them whole" in said


@pytest.mark.parametrize("key", [None, 0, np.zeros(2)])
def test_no_key(key: Any) -> None:
    said = message(TypeError, jinterp.smooth, jinterp.gradient, key=key)
    assert f"`key` is {key!r}; expected a random key" in said
    assert "Use jax.random.key(0)." in said
    call = functools.partial(jinterp.expected_gradients, *cnn(), IMAGES, 0, baselines=IMAGES)
    assert f"`key` is {key!r}" in message(TypeError, call, key=key)
    assert "'key'" in message(TypeError, jinterp.smooth, jinterp.gradient)


def test_several_keys() -> None:
    said = message(TypeError, jinterp.smooth, jinterp.gradient, key=jax.random.split(KEY, 3))
    assert said == "`key` holds keys of shape (3,); expected one. Use key[0]."


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            lambda: jinterp.integrated_gradients(*cnn(), IMAGES, 0, rule="simpson"),
            "`rule` is 'simpson'; expected one of 'midpoint', 'gauss_legendre'.",
        ),
        (
            lambda: jinterp.aggregate(IMAGES, "total"),
            "`how` is 'total'; expected one of 'sum', 'abs_sum', 'mean', 'max', 'norm'.",
        ),
        (
            lambda: jinterp.smooth(jinterp.gradient, key=KEY, reduce="median"),
            "`reduce` is 'median'; expected 'mean', 'square' or 'variance'.",
        ),
        (
            lambda: jinterp.smooth(jinterp.gradient, key=KEY, noise=-1),
            "`noise` is -1; expected a share of the range, such as 0.15.",
        ),
        (
            lambda: jinterp.adaptive_integrated_gradients(*cnn(), IMAGES, 0, tolerance=0),
            "`tolerance` is 0; expected more than 0. Try 0.02.",
        ),
        (
            lambda: jinterp.adaptive_integrated_gradients(*cnn(), IMAGES, 0, max_steps=5),
            "`max_steps` is 5; expected at least 21. Try 567.",
        ),
        (
            lambda: jinterp.guided_integrated_gradients(*cnn(), IMAGES, 0, fraction=2),
            "`fraction` is 2; expected 0 to 1.",
        ),
        (
            lambda: jinterp.guided_integrated_gradients(*cnn(), IMAGES, 0, max_dist=-1),
            "`max_dist` is -1; expected 0 to 1.",
        ),
        (
            lambda: jinterp.blur_integrated_gradients(*cnn(), IMAGES, 0, max_sigma=0),
            "`max_sigma` is 0; expected more than 0 pixels. Try 50.",
        ),
        (
            lambda: jinterp.score_cam(*cnn(), IMAGES, 0, max_channels=0),
            "`max_channels` is 0; expected at least 1. Try 64.",
        ),
        (
            lambda: jinterp.rise(*cnn(), IMAGES, 0, key=KEY, keep=1),
            "`keep` is 1; expected more than 0 and less than 1. Try 0.5.",
        ),
        (
            lambda: jinterp.rise(*cnn(), IMAGES, 0, key=KEY, num_cells=0),
            "`num_cells` is 0; expected at least 1. Try 7.",
        ),
        (
            lambda: jinterp.rise(*mlp(), ROWS, 0, key=KEY),
            "`x` has the shape (4, 7); expected [batch, *space, channels], with at least one axis "
            "in space.",
        ),
        (
            lambda: jinterp.gradient_shap(*cnn(), IMAGES, 0, key=KEY, baselines=IMAGES, noise=-0.1),
            "`noise` is -0.1; expected a share of the range, such as 0.15.",
        ),
        (
            lambda: jinterp.permutation_shapley(*mlp(), ROWS, 0, key=KEY, num_samples=7),
            "`num_samples` is 7; expected an even number, since orders come in pairs, each with "
            "its reverse. Use 8.",
        ),
        (
            lambda: jinterp.kernel_shap(*cnn(), IMAGES, 0, key=KEY, num_samples=500),
            "`num_samples` is 500 for 288 groups; expected at least 576, each group alone and all "
            "without it. Use num_samples=576 or more, or give fewer groups as `feature_mask`, "
            "such as jinterp.patches or jinterp.superpixels make.",
        ),
        (
            lambda: jinterp.lime(*mlp(), ROWS, 0, key=KEY, kernel_width=0),
            "`kernel_width` is 0; expected more than 0. Try 0.25.",
        ),
        (
            lambda: jinterp.lime(*mlp(), ROWS, 0, key=KEY, ridge=-1),
            "`ridge` is -1; expected 0 or more. Try 1.0.",
        ),
        (
            lambda: jinterp.lime(*mlp(), ROWS, 0, key=KEY, ridge=0, num_samples=7),
            "`num_samples` is 7 for 7 groups, and `ridge` is 0; expected at least 8, so that there "
            "is one solution. Give a ridge, more samples, or fewer groups as `feature_mask`.",
        ),
        (
            lambda: jinterp.sobol(*cnn(), IMAGES, 0, key=KEY, num_samples=1),
            "`num_samples` is 1; expected at least 2. Try 32.",
        ),
    ],
)
def test_a_setting_that_is_none(call: Any, expected: str) -> None:
    assert message(ValueError, call) == expected


# --- groups and windows

GROUPED = [case for case in DISCOVERED if "feature_mask" in case.parameters]


@every(GROUPED)
@pytest.mark.parametrize(
    ("mask", "error", "expected"),
    [
        (
            np.zeros((3, 5), int),
            ValueError,
            "`feature_mask` has the shape (3, 5); expected (3, 5, 2), that of one example, or "
            "(4, 3, 5, 2) for groups of each example; an axis may be 1.",
        ),
        (np.zeros((2, 3, 5, 2), int), ValueError, "`feature_mask` has the shape (2, 3, 5, 2)"),
        (
            np.full((3, 5, 1), 3) * (np.arange(5)[:, None] > 2),
            ValueError,
            "`feature_mask` has groups up to 3, but none is 1; expected each of 0 to the largest. "
            "Use np.unique(feature_mask, return_inverse=True)[1] to number them anew.",
        ),
        (
            np.full((1, 1, 2), -1),
            ValueError,
            "`feature_mask` has the group -1; expected 0 and above. What is never replaced needs "
            "a group of its own.",
        ),
        (
            np.zeros((3, 5, 2)),
            TypeError,
            "`feature_mask` is float64; expected integers from 0, one number a group. Use "
            "feature_mask.astype(int).",
        ),
        ([0, 1], ValueError, "expected the structure of `x`"),
        ({"a": np.zeros((3, 5, 2), int)}, ValueError, "expected the structure of `x`"),
    ],
    ids=["shape", "batch", "hole", "negative", "floats", "list", "dict"],
)
def test_groups_that_are_none(case: Case, mask: Any, error: Any, expected: str) -> None:
    assert expected in message(error, case, feature_mask=mask)


@every(GROUPED)
def test_groups_that_are_traced(case: Case) -> None:
    call = jax.jit(lambda mask: case(feature_mask=mask))
    said = message(TypeError, call, np.zeros((3, 5, 2), int))
    assert said.startswith("`feature_mask` is traced, which hides how many groups there are;")
    assert "Make it with NumPy, outside jit and vmap." in said


def test_values_of_groups_that_do_not_fit() -> None:
    said = message(ValueError, jinterp.group_values, IMAGES[:, 1:], None, IMAGES)
    assert said == (
        "`values` have the shapes [(4, 7, 12, 3)]; expected [(4, 8, 12, 3)], those of `x`, or with "
        "targets after the batch."
    )
    assert "`values` have" in message(ValueError, jinterp.group_values, IMAGES[0], None, IMAGES)


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        (
            {"window": 9},
            "`window` is 9 along an axis of 8 of an example of shape (8, 12, 3)",
        ),
        (
            {"window": 0},
            "`window` is 0 along an axis of 8 of an example of shape (8, 12, 3)",
        ),
        (
            {"window": 3, "stride": 4},
            "`stride` is 4 with a window of 3; expected 1 to 3, so that no element is left out.",
        ),
        ({"window": 3, "stride": 0}, "`stride` is 0 with a window of 3; expected 1 to 3"),
        (
            {"window": (3, 3)},
            "`window` is (3, 3); expected an integer, or one for each axis of an example of shape "
            "(8, 12, 3).",
        ),
        ({"window": 2.5}, "`window` is 2.5; expected an integer"),
        ({"window": 3, "stride": (1, 1)}, "`stride` is (1, 1); expected an integer"),
        (
            {"window": 3, "channel_axis": 4},
            "`channel_axis` is 4; expected 1 to 3, or -1 for the last axis.",
        ),
    ],
)
def test_a_window_that_does_not_fit(keywords: Any, expected: str) -> None:
    assert expected in message(ValueError, jinterp.occlusion, *cnn(), IMAGES, 0, **keywords)


@pytest.mark.parametrize("explain", [jinterp.permutation_shapley, jinterp.sobol])
def test_more_groups_than_fit_the_memory(explain: Any) -> None:
    x = np.zeros((1, 96, 96, 3), np.float32)
    said = message(ValueError, explain, *cnn(), x, 0, key=KEY)
    assert "there are 27648 groups, and " in said
    assert "who is in which would take " in said
    assert "Give fewer groups as `feature_mask`, such as jinterp.patches" in said


def test_no_regions() -> None:
    assert message(ValueError, jinterp.patches, IMAGES, 0) == (
        "`size` is 0; expected at least 1. Try 8."
    )
    assert "expected [batch, *space, channels]" in message(ValueError, jinterp.patches, ROWS, 2)
    said = message(ValueError, jinterp.patches, IMAGES, 2, channel_axis=9)
    assert "`channel_axis` is 9" in said
    assert "`num_segments` is 0; expected at least 1. Try 50." in message(
        ValueError, jinterp.superpixels, IMAGES, 0
    )
    said = message(ValueError, jinterp.superpixels, ROWS)
    assert "`x` has the shape (4, 7); expected images" in said
    assert "For signals use patches." in said
    said = message(TypeError, jax.jit(jinterp.superpixels), IMAGES)
    assert "`superpixels` was called under jit, vmap or grad, which hides the pixels." in said


# --- values that cannot be said


def blind(params: Any, x: Any) -> Any:
    with jax.named_scope("conv"):
        x = x @ params["conv"]
    return 0 * x.mean((1, 2)) @ params["head"]


BLIND = [case for case in DISCOVERED if case.name not in ("eigen_cam", "attention_rollout")]


@every([case for case in BLIND if case.name != "score_cam"])
def test_no_gradient_is_said_and_gives_zeros(case: Case) -> None:
    with pytest.warns(UserWarning, match=f"`{case.name}`: 4 of 4 examples are zero everywhere"):
        values = case(apply_fn=blind)
    np.testing.assert_array_equal(values, 0)


def test_no_gradient_in_score_cam_is_the_mean_of_the_channels() -> None:
    """Equal scores have equal weights."""
    values = jinterp.score_cam(blind, PARAMS, X, 0, relu=False)
    np.testing.assert_allclose(values, (X @ PARAMS["conv"]).mean(-1), rtol=0, atol=1e-6)


def only_two_see(params: Any, x: Any) -> Any:
    """The first two examples have NaN logits: the root of what is negative there."""
    return jnp.sqrt(x.sum((1, 2))) @ params["head"][:2]


@pytest.mark.parametrize("explain", [jinterp.gradient, jinterp.integrated_gradients])
def test_values_that_are_not_numbers_are_counted(explain: Any) -> None:
    x = np.abs(X) * np.array([-1, -1, 1, 1], np.float32)[:, None, None, None]
    with pytest.warns(UserWarning, match=f"`{explain.__name__}`: 2 of 4 examples have NaN"):
        values = np.asarray(explain(only_two_see, PARAMS, x, 0))
    assert np.isfinite(values[2:]).all()


def with_constant_channels(params: Any, x: Any) -> Any:
    """Channels of zeros, of a constant, and of the input."""
    with jax.named_scope("conv"):
        x = jnp.concatenate([0 * x, 0 * x + 2, x], axis=-1)
    return x.mean((1, 2)) @ params


@every(CAMS)
@pytest.mark.filterwarnings("ignore:.* are zero everywhere")
def test_constant_channels_divide_by_nothing(case: Case) -> None:
    params = np.ones((6, 3), np.float32)
    values = case(params, np.abs(X), 0, with_constant_channels)
    assert np.isfinite(values).all()
    constant = np.broadcast_to(np.float32([1, 2]), X.shape)  # so that no channel varies
    values = case(params, constant, 0, with_constant_channels, relu=False)
    assert np.isfinite(values).all()


def test_a_constant_map_is_zero() -> None:
    np.testing.assert_array_equal(jinterp.normalize(np.full((2, 3, 4), 7.0, np.float32)), 0)
    values = jinterp.normalize(np.array([[1.0, np.inf], [2.0, 2.0]], np.float32))
    np.testing.assert_array_equal(values[1], 0)
