"""Rules on the operations of a traced model: relevance, DeepLIFT, and other ways through a ReLU."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jinterp
from jinterp import rules
from jinterp.rules.graph import Graph
from tests.attribution.double import double
from tests.attribution.test_oracles import GRID, close, convolution
from tests.networks import IMAGES, ROWS, TOKENS, cnn, linen, mixer, mlp, text, vit

pytestmark = pytest.mark.usefixtures("flax_x64")
LRP_0 = rules.Epsilon(0)
RNG = np.random.default_rng(0)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """For a test the same, whichever ran before it."""
    RNG.bit_generator.state = START


def draw(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


# --- ReLUs


def test_guided_backprop_and_deconvolution() -> None:
    guided = jinterp.guided_backprop(convolution, None, GRID, 0)
    close(guided[0, ..., 0], [[0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]])
    found = jinterp.deconvolution(convolution, None, GRID, 0)
    close(found[0, ..., 0], [[2, 3, 3, 1], [3, 5, 5, 2], [3, 5, 5, 2], [1, 2, 2, 1]])


def test_guided_grad_cam_is_the_product() -> None:
    expected = jinterp.guided_backprop(convolution, None, GRID, 0)
    maps = jinterp.upsample(jinterp.grad_cam(convolution, None, GRID, 0, layer="relu"), GRID)
    found = jinterp.guided_grad_cam(convolution, None, GRID, 0, layer="relu")
    close(found, expected * maps[..., None])


def channels_first(params: None, x: jax.Array) -> jax.Array:
    with jax.named_scope("conv"):
        kernel = jnp.ones((2, 1, 3, 3), x.dtype)
        x = nn.relu(jax.lax.conv(x, kernel, (1, 1), "VALID") - 50)
    return x.sum((2, 3))


def test_guided_grad_cam_with_channels_first_and_several_targets() -> None:
    targets = np.array([[0, 1]])
    x = GRID.reshape(1, 1, 4, 4)
    maps = jinterp.grad_cam(channels_first, None, x, targets, channel_axis=1)
    found = jinterp.guided_grad_cam(channels_first, None, x, targets, channel_axis=1)
    guided = jinterp.guided_backprop(channels_first, None, x, targets)
    large = jinterp.upsample(maps, x, channel_axis=1)
    assert found.shape == (1, 2, 1, 4, 4)
    close(found, guided * large[:, :, None])


CUTS = {
    "maximum": lambda v: jnp.maximum(v, 0),
    "of zeros": lambda v: jnp.maximum(v, jnp.zeros_like(v)),
    "of an array": lambda v: jnp.maximum(v, np.zeros(v.shape)),
    "clip": lambda v: jnp.clip(v, 0),
    "clip at 6": lambda v: jnp.clip(v, 0, 6),
    "clamp": lambda v: jax.lax.clamp(0.0, v, 6.0),
    "where": lambda v: jnp.where(v > 0, v, 0),
    "where less": lambda v: jnp.where(v <= 0, 0, v),
    "relu6": nn.relu6,
    "relu": nn.relu,
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_relu_is_found_in_whatever_words(cut: str) -> None:
    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        return CUTS[cut](x @ params[0]) @ params[1]

    params, x = (draw(4, 8), draw(8, 3)), draw(3, 4) / 2
    expected = jinterp.guided_backprop(two_layers, params, x, 1)
    close(jinterp.guided_backprop(apply_fn, params, x, 1), expected)
    expected = jinterp.deconvolution(two_layers, params, x, 1)
    close(jinterp.deconvolution(apply_fn, params, x, 1), expected)


@pytest.mark.parametrize(
    "other",
    [
        lambda v: jnp.maximum(v, 1),
        lambda v: jnp.where(v > 0, v, 1),
        lambda v: jnp.where(v > 1, v, 0),
        lambda v: jnp.minimum(v, 0),
        lambda v: jax.lax.clamp(-1.0, v, 1.0),
    ],
)
def test_what_is_no_relu(other: Any) -> None:
    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        return other(x @ params)

    w, x = draw(3, 2), draw(2, 3)
    for _ in range(2):  # also where nothing is traced again
        with pytest.warns(UserWarning, match="`guided_backprop`: the model has no ReLU"):
            jinterp.guided_backprop(apply_fn, w, x, 0)


def test_a_branch_that_may_hold_a_relu_is_not_passed_over() -> None:
    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        h = jax.lax.cond(x.sum() > 0, lambda v: (1, nn.relu(v)), lambda v: (0, v), x)[1]
        return (nn.relu(x) + h) @ params

    with pytest.raises(NotImplementedError, match="guided has no rule for the operation `cond`"):
        jinterp.guided_backprop(apply_fn, draw(3, 2), draw(1, 3), 0)


def test_a_model_without_a_relu_is_said_to_have_none() -> None:
    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ params)

    w, x = draw(3, 2), draw(1, 3)
    with pytest.warns(UserWarning, match="`deconvolution`: the model has no ReLU"):
        found = jinterp.deconvolution(apply_fn, w, x, 0)
    close(found, jinterp.gradient(apply_fn, w, x, 0))


# --- relevance


def two_layers(params: Any, x: jax.Array) -> jax.Array:
    return jax.nn.relu(x @ params[0]) @ params[1]


THREES = (np.full((3, 3), 2.0), np.full((3, 1), 3.0))
WITH_NEGATIVE = (np.array([[-2.0, 2, 2], [2, 2, 2], [2, 2, 2]]), np.full((3, 1), 3.0))
LAST_GAMMA = rules.Composite(rules.Gamma(0.25))


def layered(params: Any, x: jax.Array) -> jax.Array:
    with jax.named_scope("first"):
        x = jax.nn.relu(x @ params[0])
    with jax.named_scope("second"):
        return x @ params[1]


@pytest.mark.parametrize(
    ("params", "given", "expected"),
    [
        (THREES, rules.Epsilon(), [18, 36, 54]),
        (
            WITH_NEGATIVE,
            rules.Composite(layers=(("first", rules.Gamma(1)), ("second", rules.Gamma(0.25)))),
            [28 / 3, 104 / 3, 52],
        ),
        (WITH_NEGATIVE, rules.AlphaBeta(1, 0), [12, 33.6, 50.4]),
    ],
)
def test_relevance_of_a_perceptron(params: Any, given: Any, expected: list[float]) -> None:
    x = jnp.array([[1.0, 2.0, 3.0]])
    close(jinterp.lrp(layered, params, x, 0, rules=given), [expected], 1e-6)


def shares(rule: Any, a: np.ndarray, w: np.ndarray, b: np.ndarray, relevance: np.ndarray) -> Any:
    """One layer by the formulas, unit by unit."""
    found = np.zeros_like(a)
    for j in range(w.shape[1]):
        z = a * w[:, j]
        total = z.sum() + b[j]
        up, down = np.maximum(z, 0), np.minimum(z, 0)
        match rule:
            case rules.Epsilon():
                part = z / (total + rule.epsilon * (1 if total >= 0 else -1))
            case rules.Gamma() if total >= 0:
                part = z + rule.gamma * up
                part = part / (total + rule.gamma * (up.sum() + max(b[j], 0)))
            case rules.Gamma():
                part = z + rule.gamma * down
                part = part / (total + rule.gamma * (down.sum() + min(b[j], 0)))
            case rules.AlphaBeta():
                part = rule.alpha * share(up, max(b[j], 0))
                part = part - rule.beta * share(down, min(b[j], 0))
            case rules.ZBox():
                part = z - rule.low * np.maximum(w[:, j], 0) - rule.high * np.minimum(w[:, j], 0)
                part = part / part.sum()
            case rules.WSquare():
                part = w[:, j] ** 2 / (w[:, j] ** 2).sum()
            case rules.Flat():
                part = np.full(len(a), 1 / len(a))
        found += part * relevance[j]
    return found


def share(part: np.ndarray, bias: Any) -> np.ndarray:
    """Of nothing, nothing."""
    total = part.sum() + bias
    return part / total if total else np.zeros_like(part)


RULES = [
    rules.Epsilon(0.1),
    rules.Gamma(0.5),
    rules.AlphaBeta(),
    rules.AlphaBeta(2, 1),
    rules.ZBox(-3, 3),
    rules.WSquare(),
    rules.Flat(),
]


@pytest.mark.parametrize("second", RULES[:4], ids=str)
@pytest.mark.parametrize("first", RULES, ids=str)
def test_every_rule_is_its_formula(first: Any, second: Any) -> None:
    """Two layers with biases, inputs and weights of both signs, and scales behind the first."""
    w, v = draw(6, 5), draw(5, 2)
    scale, shift, bias = draw(5), draw(5), draw(2)

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        w, v, scale, shift, bias = params
        h = 3 - (x @ w - shift[None]) * scale[None] / 2
        return jax.nn.relu(h) @ v + bias[None]

    x = draw(3, 6)
    given = rules.Composite(second, first=first)
    found = jinterp.lrp(apply_fn, (w, v, scale, shift, bias), x, 1, rules=given)
    folded, offset = -w * scale / 2, 3 + shift * scale / 2
    for row, values in zip(x, found, strict=True):
        hidden = np.maximum(row @ folded + offset, 0)
        logits = hidden @ v + bias
        relevance = shares(second, hidden, v, bias, np.array([0, logits[1]]))
        close(values, shares(first, row, folded, offset, relevance), 1e-9)


def relu_network(params: Any, x: jax.Array) -> jax.Array:
    """Convolutions, both poolings, a residual connection, a ReLU inside a jit, no biases."""

    def conv(x: jax.Array, w: Any) -> jax.Array:
        dimensions = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=dimensions)

    relu = jax.jit(lambda v: jnp.maximum(v, 0))
    x = relu(conv(x, params[0]))
    x = nn.max_pool(x, (2, 2), (2, 2))
    x = x + relu(conv(relu(conv(x, params[1])), params[2]))
    x = nn.avg_pool(x, (2, 2), (1, 1))
    return x.mean((1, 2)) @ params[3]


KERNELS = (draw(3, 3, 3, 4), draw(3, 3, 4, 4), draw(3, 3, 4, 4), draw(4, 5))
PIXELS = draw(3, 8, 12, 3)


def test_lrp_0_is_input_x_gradient_on_a_relu_network_without_biases() -> None:
    found = jinterp.lrp(relu_network, KERNELS, PIXELS, 2, rules=LRP_0)
    close(found, jinterp.input_x_gradient(relu_network, KERNELS, PIXELS, 2), 1e-9)
    close(found.sum((1, 2, 3)), relu_network(KERNELS, PIXELS)[:, 2], 1e-9)


@pytest.mark.parametrize(
    "given", [*RULES[1:3], rules.EPSILON_PLUS_FLAT, rules.EPSILON_ALPHA2_BETA1_FLAT], ids=str
)
def test_relevance_is_kept_where_there_are_no_biases(given: Any) -> None:
    found = jinterp.lrp(relu_network, KERNELS, PIXELS, 2, rules=given)
    close(found.sum((1, 2, 3)), relu_network(KERNELS, PIXELS)[:, 2], 1e-5)


def test_values_known_to_be_positive_are_not_split(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(relu_network, KERNELS, jnp.asarray(PIXELS))
    known = [node.product.is_nonnegative for node in graph.nodes if node.product]
    assert known == [False, True, True, True]
    given = rules.Composite(rules.Gamma(), rules.AlphaBeta(2, 1))
    expected = jinterp.lrp(relu_network, KERNELS, PIXELS, 1, rules=given)
    reading = rules.graph.Reading
    monkeypatch.setattr(reading, "is_nonnegative", lambda self, node: False)
    found = jinterp.lrp(lambda p, x: relu_network(p, x), KERNELS, PIXELS, 1, rules=given)
    close(found, expected, 1e-9)


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for number, strides in enumerate((1, 2)):
            x = nn.Conv(6, (3, 3), strides, name=f"conv{number}")(x)
            x = nn.BatchNorm(use_running_average=True, name=f"norm{number}")(x)
            x = nn.relu(x)
        return nn.Dense(5, name="head")(x.mean((1, 2)))


@pytest.mark.parametrize("given", [*RULES, rules.EPSILON_GAMMA], ids=str)
def test_batch_norm_is_folded_into_the_layer_before_it(given: Any) -> None:
    """So that a network is explained as the one whose kernels were folded by hand."""
    apply_fn, variables = double(linen(Normed(), IMAGES))
    params, stats = variables["params"], variables["batch_stats"]

    def folded(params: Any, x: jax.Array) -> jax.Array:
        for number, strides in enumerate((1, 2)):
            kernel, bias = params[f"conv{number}"]
            dimensions = ("NHWC", "HWIO", "NHWC")
            strides = (strides, strides)
            x = jax.lax.conv_general_dilated(
                x, kernel, strides, "SAME", dimension_numbers=dimensions
            )
            x = jax.nn.relu(x + bias[None, None, None])
        return x.mean((1, 2)) @ params["head"]["kernel"] + params["head"]["bias"][None]

    by_hand = {"head": params["head"]}
    for n in range(2):
        conv, norm, stat = params[f"conv{n}"], params[f"norm{n}"], stats[f"norm{n}"]
        scale = norm["scale"] / np.sqrt(stat["var"] + 1e-5)
        bias = (conv["bias"] - stat["mean"]) * scale + norm["bias"]
        by_hand[f"conv{n}"] = conv["kernel"] * scale[None, None, None], bias
    x = IMAGES.astype(np.float64)
    expected = jinterp.lrp(folded, by_hand, x, 1, rules=given)
    close(jinterp.lrp(apply_fn, variables, x, 1, rules=given), expected, 1e-8)


def two_branches(params: Any, x: jax.Array) -> jax.Array:
    first = x @ params[0]
    return jax.nn.relu(first + jnp.tanh(x @ params[1])) @ params[2]


def test_a_branch_computed_later_is_no_bias_of_a_layer() -> None:
    """Also for one example, whose rows look like what differs from unit to unit alone."""
    params, x = (draw(4, 5), draw(4, 5), draw(5, 3)), draw(3, 4)
    for explain in (functools.partial(jinterp.lrp, rules=LRP_0), jinterp.deep_lift):
        found = explain(two_branches, params, x, 1)
        close(found.sum(1), two_branches(params, x)[:, 1], 1e-9)
        each = [explain(two_branches, params, row[None], 1)[0] for row in x]
        close(found, each, 1e-9)


def test_the_rule_of_a_layer_goes_before_that_of_its_kind() -> None:
    params, x = (draw(4, 5), draw(5, 3)), draw(2, 4)
    first, second = rules.Flat(), rules.AlphaBeta(2, 1)
    named = rules.Composite(layers=(("first", first), ("second", second)))
    other = rules.Composite(second, first=first)
    assert rules.Composite(layers=[*named.layers]) == named
    found = jinterp.lrp(layered, params, x, 0, rules=named)
    close(found, jinterp.lrp(layered, params, x, 0, rules=other))
    assert (found != jinterp.lrp(layered, params, x, 0)).any()


def test_flat_relevance_reaches_black_pixels_behind_preprocessing() -> None:
    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        return ((x / 255).reshape(len(x), -1) - 0.5) @ params

    x = np.zeros((1, 2, 2, 1))
    w = draw(4, 1)
    expected = float(-0.5 * w.sum()) / 4
    found = jinterp.lrp(apply_fn, w, x, 0, rules=rules.Composite(first=rules.Flat()))
    close(found, np.full((1, 2, 2, 1), expected))


# --- attention, normalisation, gates


def transformer(detach: Callable[[Any], Any], params: Any, x: jax.Array) -> jax.Array:
    """A block without biases; what is detached is what only weighs something else."""
    normed = normalized(detach, x)
    q, k, v = (normed @ params[name] for name in ("q", "k", "v"))
    weights = jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", q, k) / 2)
    x = x + jnp.einsum("bqk,bkd->bqd", detach(weights), v)
    hidden = normalized(detach, x) @ params["up"]
    hidden = hidden * detach(0.5 * (1 + jax.lax.erf(hidden / np.sqrt(2))))
    x = x + hidden @ params["down"]
    return x.mean(1) @ params["head"]


def normalized(detach: Callable[[Any], Any], x: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * detach(jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-6))


BLOCK = {
    name: draw(*shape) / 2
    for name, shape in {
        "q": (6, 6),
        "k": (6, 6),
        "v": (6, 6),
        "up": (6, 8),
        "down": (8, 6),
        "head": (6, 3),
    }.items()
}
plain = functools.partial(transformer, lambda value: value)
detached = functools.partial(transformer, jax.lax.stop_gradient)


def test_attention_and_layer_norm_keep_relevance_as_published() -> None:
    """Ali et al. 2022: attention's weights and the deviation are constants; so is GELU's gate."""
    x = draw(3, 5, 6)
    found = jinterp.lrp(plain, BLOCK, x, 1, rules=LRP_0)
    close(found, jinterp.input_x_gradient(detached, BLOCK, x, 1), 1e-9)
    close(found.sum((1, 2)), plain(BLOCK, x)[:, 1], 1e-9)
    assert np.abs(found - jinterp.input_x_gradient(plain, BLOCK, x, 1)).max() > 0.01


def gated(params: Any, x: jax.Array) -> jax.Array:
    return (jax.nn.sigmoid(x @ params[0]) * (x @ params[1])) @ params[2]


def swiglu(params: Any, x: jax.Array) -> jax.Array:
    return (jax.nn.silu(x @ params[0]) * (x @ params[1])) @ params[2]


def squeezed(params: Any, x: jax.Array) -> jax.Array:
    """Squeeze and excitation: a gate made of the mean of what it weighs."""
    x = x @ params[1]
    return (x * jax.nn.sigmoid(x.mean(-1, keepdims=True))) @ params[2]


@pytest.mark.parametrize("apply_fn", [gated, swiglu, squeezed])
def test_relevance_is_kept_by_gates(apply_fn: Any) -> None:
    params, x = (draw(4, 5), draw(4, 5), draw(5, 3)), draw(3, 4)
    found = jinterp.lrp(apply_fn, params, x, 2, rules=LRP_0)
    close(found.sum(1), apply_fn(params, x)[:, 2], 1e-9)


def test_a_gate_gets_nothing() -> None:
    params, x = (draw(4, 5), draw(4, 5), draw(5, 3)), draw(3, 4)

    def weighed(params: Any, x: jax.Array) -> jax.Array:
        gate = jax.lax.stop_gradient(jax.nn.sigmoid(x @ params[0]))
        return (gate * (x @ params[1])) @ params[2]

    expected = jinterp.input_x_gradient(weighed, params, x, 2)
    close(jinterp.lrp(gated, params, x, 2, rules=LRP_0), expected, 1e-9)


# --- DeepLIFT


def hinges(params: None, x: jax.Array) -> jax.Array:
    return 2 * jax.nn.relu(x[:, :1]) + 2 * jax.nn.relu(x[:, 1:] - 1.5)


def test_deep_lift_of_hinges() -> None:
    close(jinterp.deep_lift(hinges, None, jnp.array([[1.0, 2.0]]), 0), [[2, 1]])


@pytest.mark.parametrize(
    ("baseline", "expected"), [([1, 2, 3, 9], [0, 0, 0, -8]), ([4, 8, 6, 7], [0, -7, 0, 0])]
)
@pytest.mark.parametrize("pooled", [True, False])
def test_deep_lift_of_a_maximum(baseline: Any, expected: Any, pooled: bool) -> None:
    def apply_fn(params: None, x: jax.Array) -> jax.Array:
        if pooled:
            return nn.max_pool(x[..., None], (4,), (4,))[:, 0]
        return x.max(axis=1, keepdims=True)

    baseline = jnp.asarray(baseline, jnp.float64)
    close(jinterp.deep_lift(apply_fn, None, jnp.ones((1, 4)), 0, baseline=baseline), [expected])

    def smallest(params: None, x: jax.Array) -> jax.Array:
        return x.min(axis=1, keepdims=True)

    lowest = jinterp.deep_lift(smallest, None, -jnp.ones((1, 4)), 0, baseline=-baseline)
    close(lowest, [[-each for each in expected]])


def everything(params: Any, x: jax.Array) -> jax.Array:
    """Activations of all kinds, one used twice, a quotient, a softmax, a recurrence."""
    relu = nn.relu
    h = relu(relu(x @ params[0]) @ params[1] + relu(x @ params[0]))
    h = h + nn.gelu(h - 1) + nn.leaky_relu(h - 2) + nn.elu(1 - h) + nn.silu(-h) + nn.relu6(h)
    h = h + nn.hard_swish(h) + jnp.where(h > 1, h**2, h) + jnp.tanh(h) / (1 + jnp.abs(h))

    def step(carry: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        carry = nn.sigmoid(value) * jnp.tanh(carry + value)
        return carry, carry

    _, states = jax.lax.scan(step, h[:, 0], h.T)
    h = h * jax.nn.softmax(h) + states.T
    h = jnp.maximum(h, h[:, ::-1]) - jnp.minimum(h, h.mean(1, keepdims=True))
    return (nn.LayerNorm(use_bias=False, use_scale=False).apply({}, h) @ params[2]).reshape(-1, 3)


DENSE = (draw(4, 5), draw(5, 5), draw(5, 3))


RESCALE_OR_REVEAL = pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])


@RESCALE_OR_REVEAL
@pytest.mark.parametrize(
    "score", [jinterp.logit, jinterp.probability, jinterp.margin, jinterp.loss]
)
def test_the_sum_of_deep_lift_is_the_difference_of_the_scores(score: Any, rule: str) -> None:
    x, baseline = draw(3, 4), draw(4)
    explain = functools.partial(jinterp.deep_lift, score=score, baseline=baseline, rule=rule)
    values = explain(everything, DENSE, x, 1)
    gap = jinterp.completeness_gap(everything, DENSE, x, values, 1, score=score, baseline=baseline)
    np.testing.assert_allclose(gap, 0, atol=1e-9 * np.abs(values).max())


@RESCALE_OR_REVEAL
@pytest.mark.parametrize(
    ("network", "x"), [(cnn, IMAGES), (mlp, ROWS), (vit, IMAGES), (mixer, IMAGES)]
)
def test_the_sum_of_deep_lift_on_networks_of_every_kind(
    network: Any, x: np.ndarray, rule: str
) -> None:
    model, x = double(network()), x.astype(np.float64)
    values = jinterp.deep_lift(*model, x, 1, rule=rule)
    gap = jinterp.completeness_gap(*model, x, values, 1)
    np.testing.assert_allclose(gap, 0, atol=1e-8 * np.abs(values).max())


def smaller(params: Any, x: jax.Array) -> jax.Array:
    """min(x1, x2) of a ReLU."""
    return x[:, :1] - jax.nn.relu(x @ params)


def unit(params: Any, x: jax.Array) -> jax.Array:
    return jax.nn.softplus(3 - (x @ params) / 2)


def test_reveal_cancel_tells_that_both_matter() -> None:
    """The paper's example, where rescale gives all to the smaller one."""
    x, difference = np.array([[10.0, 6.0]]), np.array([[1.0], [-1.0]])
    close(jinterp.deep_lift(smaller, difference, x, 0), [[0, 6]])
    close(jinterp.deep_lift(smaller, difference, x, 0, rule="reveal_cancel"), [[3, 3]])


@pytest.mark.parametrize("weights", [[2.0, -3.0], [-1.0, 2.0]])
def test_reveal_cancel_of_one_unit_is_its_shapley_value(weights: list[float]) -> None:
    """Of one input that raises it and one that lowers it."""
    w, x, b = np.array(weights)[:, None], np.array([[1.0, 2.0]]), np.array([[0.5, -1.0]])

    def at(first: int, second: int) -> float:
        mixed = np.array([[(b, x)[first][0, 0], (b, x)[second][0, 1]]])
        return float(unit(w, jnp.asarray(mixed))[0, 0])

    one = (at(1, 0) - at(0, 0) + at(1, 1) - at(0, 1)) / 2
    other = (at(0, 1) - at(0, 0) + at(1, 1) - at(1, 0)) / 2
    found = jinterp.deep_lift(unit, w, x, 0, baseline=b, rule="reveal_cancel")
    close(found, [[one, other]])


def scaled_units(params: Any, x: jax.Array) -> jax.Array:
    """Scaled, flipped and moved behind an axis more, so that nothing folds into the weights."""
    weights, scales, last = params
    h = (3 - (x @ weights)[:, None] * scales[None, None]).transpose(0, 2, 1)
    return jax.nn.relu(jnp.squeeze(h, 2) / -2) @ last


def test_reveal_cancel_contribution_by_contribution() -> None:
    """Every input in every unit by itself, by loops."""
    weights, scales, last = draw(4, 6), draw(6), draw(6, 2)
    x, start = draw(3, 4), draw(4)
    found = jinterp.deep_lift(
        scaled_units, (weights, scales, last), x, 1, baseline=start, rule="reveal_cancel"
    )
    expected = np.zeros_like(x)
    for row, unit_number in itertools.product(range(3), range(6)):
        own = weights[:, unit_number] * scales[unit_number] / 2
        given = (x[row] - start) * own
        up, down = given[given > 0].sum(), given[given < 0].sum()
        before = start @ own - 1.5

        def relu(level: float) -> float:
            return max(level, 0.0)

        of_up = relu(before + up) - relu(before) + relu(before + up + down) - relu(before + down)
        of_down = relu(before + down) - relu(before) + relu(before + up + down) - relu(before + up)
        slopes = np.where(given > 0, of_up / 2 / (up or 1), of_down / 2 / (down or 1))
        expected[row] += given * slopes * last[unit_number, 1]
    close(found, expected, 1e-12)


@pytest.mark.parametrize("rule", ["rescaled", "linear"])
def test_an_unknown_rule_of_deep_lift(rule: str) -> None:
    said = "expected one of 'rescale', 'reveal_cancel'"
    with pytest.raises(ValueError, match=said):
        jinterp.deep_lift(unit, draw(2, 1), draw(1, 2), 0, rule=rule)
    with pytest.raises(ValueError, match=said):
        jinterp.deep_lift_shap(unit, draw(2, 1), draw(1, 2), 0, baselines=draw(1, 2), rule=rule)


def test_deep_lift_where_nothing_changes_is_the_gradient() -> None:
    x = draw(3, 4)
    model = everything, DENSE
    values = jinterp.deep_lift(*model, x, 1, baseline=x)
    np.testing.assert_array_equal(values, 0)
    near = jinterp.deep_lift(*model, x, 1, baseline=x - 1e-6) / 1e-6
    np.testing.assert_allclose(near, jinterp.gradient(*model, x, 1), rtol=1e-3, atol=1e-3)


def test_deep_lift_shap_is_the_mean_over_baselines() -> None:
    x, baselines = draw(3, 4), draw(5, 4)
    model = everything, DENSE
    each = [jinterp.deep_lift(*model, x, 1, baseline=one) for one in baselines]
    found = jinterp.deep_lift_shap(*model, x, 1, baselines=baselines)
    close(found, sum(each[1:], each[0]) / 5, 1e-9)
    close(jinterp.deep_lift(*model, x, 1, baseline=[*baselines]), found, 1e-9)


# --- how they go together with the rest


@pytest.mark.parametrize("explain", [jinterp.lrp, jinterp.deep_lift])
def test_at_a_layer(explain: Any) -> None:
    """The layer after the first as an input of what follows."""
    params, x = (draw(4, 5), draw(5, 3)), draw(2, 4)
    hidden = jax.nn.relu(x @ params[0])
    expected = explain(lambda w, h: h @ w, params[1], hidden, 2)
    found = jinterp.at_layer(explain, "first")(layered, params, x, 2)
    close(found, expected, 1e-5)


def test_tokens_of_a_transformer_at_their_embedding() -> None:
    """Through which everything passes, so that the sum is that of the inputs."""
    model = double(text())
    values = jinterp.at_layer(jinterp.deep_lift, "embed")(*model, TOKENS, 1, baseline=0)
    gap = jinterp.completeness_gap(*model, TOKENS, values, 1, baseline=0)
    np.testing.assert_allclose(gap, 0, atol=1e-8)
    relevance = jinterp.at_layer(jinterp.lrp, "embed")(*model, TOKENS, 1)
    assert relevance.shape == values.shape
    assert np.isfinite(relevance).all()


def test_several_classes_share_the_forward_pass() -> None:
    params, x = (draw(4, 5), draw(5, 3)), draw(2, 4)
    for explain in (jinterp.lrp, jinterp.deep_lift, jinterp.guided_backprop):
        found = jinterp.each_class(explain)(layered, params, x)
        for number in range(3):
            close(found[:, number], explain(layered, params, x, number), 1e-9)


# --- what is wrong


def sorted_values(params: Any, x: jax.Array) -> jax.Array:
    with jax.named_scope("order"):
        x = jnp.sort(x, axis=1)
    return x @ params


@pytest.mark.parametrize("explain", [jinterp.lrp, jinterp.deep_lift])
def test_an_operation_without_a_rule_is_named_with_its_place(explain: Any) -> None:
    with pytest.raises(NotImplementedError) as raised:
        explain(sorted_values, draw(4, 3), draw(2, 4), 0)
    line = sorted_values.__code__.co_firstlineno + 2
    said = str(raised.value)
    assert f"{explain.__name__} has no rule for the operation `sort` in the layer 'order'" in said
    assert f"line {line} of {__file__}" in said
    assert "jinterp.at_layer(explain, layer)" in said


HIDDEN = {
    "fft": lambda v: jnp.fft.fft(v).real,
    "real": lambda v: jnp.fft.fft(v).real + v,
    "cond": lambda v: jax.lax.cond(v.sum() > 0, lambda u: (1, 2 * u), lambda u: (0, u), v)[1],
    "sort": lambda v: jax.lax.sort((jnp.arange(v.size).reshape(v.shape), v), num_keys=1)[1],
    "while": lambda v: jax.lax.while_loop(
        lambda s: s[0] < 2, lambda s: (s[0] + 1, 2 * s[1]), (0, v)
    )[1],
}


@pytest.mark.parametrize("explain", [jinterp.lrp, jinterp.deep_lift])
@pytest.mark.parametrize("operation", HIDDEN)
def test_nothing_is_lost_on_the_way_without_a_word(explain: Any, operation: str) -> None:
    """Of complex numbers, and behind results of integers."""

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        return (x + HIDDEN[operation](x)) @ params

    with pytest.raises(NotImplementedError, match="has no rule for the operation"):
        explain(apply_fn, draw(4, 3), draw(1, 4), 0)


CHOICES = {
    "select_n": lambda x: jnp.where(x[:, :2] > x[:, 2:], x[:, :2], x[:, 2:]),
    "gather": lambda x: jnp.take_along_axis(nn.relu(x), jnp.argsort(x, axis=1), axis=1)[:, :2],
}


@pytest.mark.parametrize("operation", CHOICES)
def test_deep_lift_refuses_a_choice_that_depends_on_the_input(operation: str) -> None:
    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        return CHOICES[operation](x) @ params

    said = f"`{operation}` with indices or conditions that depend on the input"
    with pytest.raises(NotImplementedError, match=said):
        jinterp.deep_lift(apply_fn, draw(2, 3), draw(2, 4), 0)
    assert np.isfinite(jinterp.lrp(apply_fn, draw(2, 3), draw(2, 4), 0)).all()


@RESCALE_OR_REVEAL
def test_deep_lift_under_a_mask_of_infinities(rule: str) -> None:
    def causal(params: Any, x: jax.Array) -> jax.Array:
        q = x @ params[0]
        scores = jnp.einsum("bqd,bkd->bqk", q, q)
        scores = jnp.where(np.tril(np.ones((1, 5, 5), bool)), scores, -jnp.inf)
        return (jax.nn.softmax(scores) @ q).mean(1) @ params[1]

    params, x, baseline = (draw(4, 4), draw(4, 3)), draw(2, 5, 4), draw(5, 4)
    values = jinterp.deep_lift(causal, params, x, 1, baseline=baseline, rule=rule)
    gap = jinterp.completeness_gap(causal, params, x, values, 1, baseline=baseline)
    np.testing.assert_allclose(gap, 0, atol=1e-8)


def test_reveal_cancel_sees_a_layer_through_what_moves_its_units() -> None:
    params, x = (draw(4, 5), draw(5, 3)), draw(3, 4)
    bias = draw(5)

    explain = functools.partial(jinterp.deep_lift, rule="reveal_cancel")
    moved_fn = functools.partial(of_units, True, bias)
    direct_fn = functools.partial(of_units, False, bias)
    close(explain(moved_fn, params, x, 1), explain(direct_fn, params, x, 1), 1e-9)


def of_units(is_moved: bool, bias: np.ndarray, params: Any, x: jax.Array) -> jax.Array:
    h = x @ params[0]
    h = (h.T + bias[:, None]).reshape(5, len(x), 1) if is_moved else h + bias[None]
    h = jax.nn.relu(h)
    return (h[..., 0].T if is_moved else h) @ params[1]


def test_fixed_relevance_is_shared_by_a_mean_over_neighbours() -> None:
    """Whose result has the shape of what it is given: each place shares with those it is of."""

    def pooled(x: jax.Array) -> jax.Array:
        return nn.avg_pool(x, (3,), (1,), "SAME", count_include_pad=False)

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        with jax.named_scope("head"):
            return pooled(x).reshape(len(x), -1) @ params

    w, x = draw(5, 2), draw(2, 5, 1)
    found = jinterp.lrp(apply_fn, w, x, 1, rules=rules.Flat())
    means, back = jax.vjp(pooled, x)
    relevance = jnp.broadcast_to(apply_fn(w, x)[:, 1:, None] / 5, means.shape)  # all alike
    close(found, x * back(relevance / means)[0], 1e-4)


def test_fixed_relevance_in_mixed_precision() -> None:
    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        return (jax.nn.relu(x.astype(jnp.bfloat16) @ params[0]).astype(jnp.float32)) @ params[1]

    params = jnp.asarray(draw(4, 5), jnp.bfloat16), jnp.asarray(draw(5, 3), jnp.float32)
    x = jnp.asarray(draw(2, 4), jnp.float32)
    for rule in (rules.Flat(), rules.WSquare(), rules.ZBox(-3, 3)):
        values = jinterp.lrp(apply_fn, params, x, 0, rules=rules.Composite(first=rule))
        assert values.dtype == jnp.float32
        assert np.isfinite(values).all()


def test_a_box_for_each_channel() -> None:
    params, x = (draw(4, 5), draw(5, 3)), draw(2, 4)
    boxes = rules.ZBox([-3.0] * 4, np.full(4, 3)), rules.ZBox(-3, 3)
    found = [jinterp.lrp(layered, params, x, 0, rules=rules.Composite(first=box)) for box in boxes]
    close(found[0], found[1])


def test_operations_that_reach_no_score_need_no_rule() -> None:
    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        order = jnp.argsort(x, axis=1)
        return jnp.where(order >= 0, x, 0) @ params

    params, x = draw(4, 3), draw(2, 4)
    close(
        jinterp.lrp(apply_fn, params, x, 0), jinterp.input_x_gradient(apply_fn, params, x, 0), 1e-5
    )


def relevance_by(given: Callable[[], Any]) -> Any:
    return jinterp.lrp(layered, (draw(4, 5), draw(5, 3)), draw(2, 4), 0, rules=given())


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (lambda: "epsilon", TypeError, "`rules` is 'epsilon'; expected a rule of jinterp.rules (E"),
        (lambda: rules.Composite(dense=0.25), TypeError, "the rule for 'dense' is 0.25"),
        (lambda: rules.Composite(layers={"a": rules.Flat()}), TypeError, "expected pairs of a na"),
        (lambda: rules.Composite(layers=("a", "b")), TypeError, "expected pairs of a name"),
        (lambda: rules.AlphaBeta(2, 2), ValueError, "expected alpha − beta = 1"),
        (lambda: rules.AlphaBeta(float("nan"), 0), ValueError, "expected alpha − beta = 1"),
        (lambda: rules.ZBox(1, 0), ValueError, "`low` is 1 and `high` 0; expected numbers, or one"),
        (lambda: rules.Epsilon(-1), ValueError, "`epsilon` is -1; expected 0 or more"),
        (
            lambda: rules.Composite(layers=(("thrid", rules.Flat()),)),
            ValueError,
            "`rules` has a rule for 'thrid'; expected a dense layer, a convolution, or what holds "
            "some: 'first', 'second'.",
        ),
    ],
)
def test_wrong_rules(given: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as raised:
        relevance_by(given)
    assert said in str(raised.value)
