"""The randomisation check on explainers that must fail and that must not, of any model."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy.stats import spearmanr

import jinterp
from jinterp import demo
from jinterp.faithfulness import RandomizationCheck
from tests import networks
from tests.attribution.double import double
from tests.model.test_depth import NnxNormalised, Normalised
from tests.networks import CNNS, IMAGES, ROWS, TOKENS, cnn, cnn_nnx
from tests.problems import count_compiles

KEY = jax.random.key(7)
TARGET = np.array([2, 0, 4, 1])
CLOSE = {"rtol": 0, "atol": 1e-4}
SOME_BLANK = pytest.mark.filterwarnings("ignore:.* (zero|the same) everywhere")


def copied(apply_fn: Any, params: Any, x: Any, target: Any = None) -> Any:
    return x


def check(explain: Any, *arguments: Any, **keywords: Any) -> RandomizationCheck:
    return jinterp.randomization_check(explain, *arguments, key=KEY, **keywords)


def arrays(found: RandomizationCheck) -> list[np.ndarray]:
    return [found.rank_correlations, found.absolute_rank_correlations, found.ssims]


@functools.cache
def digits() -> tuple[jinterp.Model, Any]:
    data = demo.digits()
    with jax.numpy_dtype_promotion("standard"):  # optax adds int32 to floats
        model = demo.train(data.train, key=jax.random.key(0))
    return model, demo.preprocess(jnp.asarray(data.held_out[0][:32]))


@pytest.mark.parametrize("cascading", [True, False])
def test_an_explainer_that_copies_the_input_fails(cascading: bool) -> None:
    found = check(copied, *cnn(), IMAGES, TARGET, cascading=cascading)
    assert found.layers == ("head", "conv2", "conv1")
    assert found.cascading == cascading
    for own in arrays(found):
        np.testing.assert_allclose(own, np.ones((3, 4)), atol=1e-5)
    assert found.failed().all()
    assert found.failed(absolute=True).all()


def test_the_gradient_of_a_trained_network_passes_and_guided_backprop_stays_more_alike() -> None:
    model, x = digits()
    found = check(jinterp.gradient, *model, x)
    assert found.layers == ("Dense_1", "Dense_0", "Conv_1", "Conv_0")
    assert not found.failed().any()
    assert not found.failed(absolute=True).any()
    assert np.abs(arrays(found)).mean(axis=2).max() < 0.4
    guided = check(jinterp.guided_backprop, *model, x)
    assert guided.rank_correlations.mean() > found.rank_correlations.mean() + 0.3


def test_sizes_of_input_times_gradient_are_those_of_the_input() -> None:
    model, x = digits()
    found = check(jinterp.input_x_gradient, *model, x)
    assert not found.failed().any()
    assert found.failed(absolute=True).all()


def test_one_layer_at_a_time_and_all_above_it() -> None:
    """Every leaf is drawn once: the first row is the same, and so is the rest of the model."""
    model = networks.cnn_plain()
    seen: list[Any] = []

    def explain(apply_fn: Any, params: Any, x: Any, target: Any = None) -> Any:
        seen.append(jax.tree.map(np.asarray, params))
        return jinterp.gradient(apply_fn, params, x, target)

    found = check(explain, *model, IMAGES, TARGET)
    alone = check(explain, *model, IMAGES, TARGET, cascading=False)
    np.testing.assert_array_equal(alone.rank_correlations[0], found.rank_correlations[0])
    original, everything, separate = seen[0], seen[3], seen[5:]
    for number, name in enumerate(["head", "conv2", "conv1"]):
        for other in original:
            same = jax.tree.map(np.array_equal, seen[1 + number][other], original[other])
            is_reached = ["head", "conv2", "conv1"].index(other) <= number
            assert same == {"kernel": not is_reached, "bias": not is_reached}
            of_one = everything if other == name else original
            same = jax.tree.map(np.array_equal, separate[number][other], of_one[other])
            assert all(same.values())
    kernel, drawn = original["conv2"]["kernel"], everything["conv2"]["kernel"]
    assert drawn.std() == pytest.approx(kernel.std(), rel=0.1)
    assert drawn.mean() == pytest.approx(kernel.mean(), abs=0.05)
    assert not np.array_equal(np.sort(drawn, None), np.sort(kernel, None))
    np.testing.assert_array_equal(
        np.sort(everything["conv1"]["bias"]), np.sort(original["conv1"]["bias"])
    )


def test_similarities_are_those_of_the_explanations() -> None:
    seen: list[np.ndarray] = []

    def explain(*arguments: Any) -> Any:
        seen.append(np.asarray(jinterp.gradient(*arguments)))
        return seen[-1]

    found = check(explain, *cnn(), IMAGES, TARGET)
    expected = np.array(
        [
            [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(seen[0], own, strict=True)]
            for own in seen[1:]
        ]
    )
    np.testing.assert_allclose(found.rank_correlations, expected, atol=1e-5)


def test_the_class_stays_the_one_predicted_by_the_model_as_it_is() -> None:
    seen: list[Any] = []

    def explain(apply_fn: Any, params: Any, x: Any, target: Any = None) -> Any:
        seen.append(np.asarray(target))
        return x

    check(explain, *cnn(), IMAGES)
    predicted = np.asarray(cnn().apply_fn(cnn().params, IMAGES)).argmax(axis=1)
    assert len(seen) == 4
    assert all((each == predicted).all() for each in seen)


@SOME_BLANK
@pytest.mark.parametrize("kind", ["nnx", "plain"])
@pytest.mark.parametrize("explain", [jinterp.gradient, jinterp.grad_cam])
def test_libraries_have_the_same_layers(explain: Any, kind: str) -> None:
    """The draws differ: a leaf has another number among those of another library."""
    expected = check(explain, *cnn(), IMAGES, TARGET)
    found = check(explain, *CNNS[kind](), IMAGES, TARGET)
    assert found.layers == expected.layers
    assert np.isfinite(found.rank_correlations).any()
    assert not found.failed().all()


def test_variances_stay_positive_and_random_states_stay() -> None:
    model = networks.linen(Normalised(), IMAGES)
    seen: list[Any] = []

    def explain(apply_fn: Any, params: Any, x: Any, target: Any = None) -> Any:
        seen.append(params["batch_stats"]["norm"]["var"])
        return jinterp.gradient(apply_fn, params, x, target)

    found = check(explain, *model, IMAGES, TARGET)
    assert found.layers == ("head", "norm", "conv")
    assert np.isfinite(found.rank_correlations).all()
    assert sorted(np.asarray(seen[-1])) == sorted(np.asarray(seen[0]))
    assert list(np.asarray(seen[-1])) != list(np.asarray(seen[0]))


def scaled(params: Any, x: jax.Array) -> jax.Array:
    return (x / jnp.sqrt(params["variance"][0])) @ params["head"] * params["pair"][None]


def test_vectors_are_permuted_whatever_their_axes_and_never_stay() -> None:
    """Half of all permutations of two elements leave them where they are."""
    rng = np.random.default_rng(0)
    params = {
        "variance": rng.random((1, 1, 7)).astype(np.float32),
        "head": rng.normal(size=(7, 2)).astype(np.float32),
        "pair": np.array([1, 2], np.float32),
    }
    seen: list[Any] = []

    def explain(apply_fn: Any, params: Any, x: Any, target: Any = None) -> Any:
        seen.append(params)
        return x

    for seed in range(6):
        key = jax.random.key(seed)
        found = jinterp.randomization_check(explain, scaled, params, ROWS, 0, key=key)
        assert found.layers == ("pair", "head", "variance")
        assert seen[-1]["pair"].tolist() == [2, 1]
        assert sorted(seen[-1]["variance"].ravel()) == sorted(params["variance"].ravel())
        assert not np.array_equal(seen[-1]["variance"], params["variance"])


def test_layers_whose_parameters_are_equal_are_left_out_and_named() -> None:
    model = jinterp.from_nnx(NnxNormalised(nnx.Rngs(0)))
    found = check(jinterp.gradient, *model, IMAGES, TARGET)
    assert found.layers == ("head", "conv")
    assert found.unchanged == ("norm",)
    assert str(found).endswith("\nConstant, and left as they are: norm.")


def plain(params: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ params["w"] + params["shift"][None]) @ params["head"]


def test_a_plain_function_without_scopes_has_a_layer_a_leaf() -> None:
    rng = np.random.default_rng(0)
    shapes = {"w": (7, 6), "shift": (6,), "head": (6, 3), "unread": (2, 2)}
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    params["step"] = np.arange(3)
    found = check(jinterp.gradient, plain, params, ROWS, 1)
    assert found.layers == ("head", "shift", "w")
    assert np.isnan(found.ssims).all()
    assert "–" in str(found)


@SOME_BLANK
@pytest.mark.parametrize(
    ("explain", "shape"),
    [
        (jinterp.grad_cam, (4, 4, 6)),
        (functools.partial(jinterp.occlusion, window=3), IMAGES.shape),
        (functools.partial(jinterp.rise, key=KEY, num_samples=8), IMAGES.shape),
        (jinterp.smooth(jinterp.gradient, key=KEY, num_samples=2), IMAGES.shape),
        (jinterp.at_layer(jinterp.gradient, "conv2"), (4, 4, 6, 8)),
    ],
)
def test_values_of_every_kind(explain: Any, shape: tuple[int, ...]) -> None:
    assert explain(*cnn(), IMAGES, TARGET).shape == shape
    found = check(explain, *cnn(), IMAGES, TARGET)
    is_known = ~np.isnan(found.rank_correlations)
    assert is_known.any()
    assert np.isfinite(found.ssims[is_known]).all()
    assert np.abs(np.nan_to_num(arrays(found))).max() <= 1 + 1e-5


def two_inputs(params: Any, x: Any) -> jax.Array:
    return jnp.tanh(x["a"] @ params["a"] + x["b"] @ params["b"]) @ params["head"]


def test_inputs_that_are_a_pytree() -> None:
    rng = np.random.default_rng(0)
    shapes = {"a": (7, 6), "b": (3, 6), "head": (6, 3)}
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    x = {"a": ROWS, "b": ROWS[:, :3]}
    assert check(copied, two_inputs, params, x).failed().all()
    assert not check(jinterp.gradient, two_inputs, params, x).failed().all()


def test_tokens_by_an_explainer_of_the_embedding() -> None:
    explain = jinterp.at_layer(jinterp.gradient, "embed")
    found = check(explain, *networks.text(), TOKENS, TARGET)
    assert found.layers[-1] == "embed"
    assert found.layers[0] == "head"
    # The gradient by the output of the embedding depends on it through the network above.
    assert np.isfinite(found.rank_correlations).all()


def switched(params: Any, x: jax.Array) -> jax.Array:
    hidden = jax.nn.relu(x @ params["w"] - params["threshold"][None])
    return hidden @ params["head"]


def test_blank_values_are_nan_and_counted() -> None:
    """Of an example whose units are all off nothing can be said, nor does it fail."""
    rng = np.random.default_rng(0)
    shapes = {"w": (7, 30), "head": (30, 3)}
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    params["threshold"] = np.ones(30, np.float32)
    x = np.concatenate([ROWS, np.zeros((1, 7), np.float32)])
    with pytest.warns(UserWarning, match="(zero|the same) everywhere") as caught:
        found = check(jinterp.gradient, switched, params, x, 0)
    messages = [str(each.message) for each in caught]
    assert sum(each.startswith("`gradient`") for each in messages) == 1  # of the model itself
    assert "`randomization_check`: 1 of 5 examples have values that are the same" in messages[-1]
    assert np.isnan(found.rank_correlations[:, 4]).all()
    assert not found.failed(-2)[4]
    assert not found.passed(2)[4]
    assert found.passed(2)[:4].all()
    assert not found.passed(-2).any()
    assert "1 cannot be told" in str(found)
    assert found.failed(-2)[:4].all()
    assert str(found).splitlines()[1].split()[-1] == "4"


def test_the_same_key_draws_the_same_and_another_another() -> None:
    first, again = (check(jinterp.gradient, *cnn(), IMAGES, TARGET) for _ in range(2))
    np.testing.assert_array_equal(first.rank_correlations, again.rank_correlations)
    other = jinterp.randomization_check(
        jinterp.gradient, *cnn(), IMAGES, TARGET, key=jax.random.key(8)
    )
    assert not np.allclose(first.rank_correlations, other.rank_correlations)


def test_nothing_is_compiled_from_layer_to_layer_nor_again() -> None:
    compiled: list[int] = []
    with count_compiles() as counter:

        def explain(*arguments: Any) -> Any:
            compiled.append(counter.compiled)
            return jinterp.gradient(*arguments)

        check(explain, *networks.vit(), IMAGES, TARGET)
        assert len(compiled) == 22
        # The first two calls compile the explainer, and how values are prepared and compared.
        assert set(compiled[2:]) == {counter.compiled}
        counter.compiled = 0
        check(explain, *networks.vit(), IMAGES, TARGET)
        assert counter.compiled == 0


@SOME_BLANK
@pytest.mark.parametrize("explain", [jinterp.gradient, jinterp.grad_cam])
def test_no_number_depends_on_the_batch(explain: Any) -> None:
    whole = check(explain, *cnn(), IMAGES, TARGET)
    order = np.array([2, 0, 3])
    some = check(explain, *cnn(), IMAGES[order], TARGET[order])
    one = check(explain, *cnn(), IMAGES[:1], TARGET[:1])
    for own, of_some, of_one in zip(arrays(whole), arrays(some), arrays(one), strict=True):
        np.testing.assert_allclose(of_some, own[:, order], **CLOSE)
        np.testing.assert_allclose(of_one, own[:, :1], **CLOSE)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_two_devices_give_the_same(kind: Any) -> None:
    mesh = jax.make_mesh((2,), ("batch",), (kind,), devices=jax.devices()[:2])
    rows = NamedSharding(mesh, PartitionSpec("batch"))
    whole = NamedSharding(mesh, PartitionSpec())
    params, x, target = (
        jax.device_put(each, place)
        for each, place in ((cnn().params, whole), (IMAGES, rows), (jnp.asarray(TARGET), rows))
    )
    found = check(jinterp.gradient, cnn().apply_fn, params, x, target)
    expected = check(jinterp.gradient, *cnn(), IMAGES, TARGET)
    for own, other in zip(arrays(found), arrays(expected), strict=True):
        np.testing.assert_allclose(own, other, **CLOSE)


def test_parameters_cut_over_devices_stay_where_they_are() -> None:
    mesh = jax.make_mesh((2,), ("model",), (AxisType.Auto,), devices=jax.devices()[:2])
    model = networks.cnn_plain()
    places = {1: PartitionSpec("model"), 4: PartitionSpec(None, None, None, "model")}
    params = dict(model.params)
    params["conv2"] = {
        name: jax.device_put(leaf, NamedSharding(mesh, places[leaf.ndim]))
        for name, leaf in params["conv2"].items()
    }
    seen: list[Any] = []

    def explain(apply_fn: Any, params: Any, x: Any, target: Any = None) -> Any:
        seen.append(params["conv2"]["kernel"].sharding)
        return jinterp.gradient(apply_fn, params, x, target)

    found = check(explain, model.apply_fn, params, IMAGES, TARGET)
    assert seen == [params["conv2"]["kernel"].sharding] * 4
    expected = check(jinterp.gradient, *model, IMAGES, TARGET)
    for own, other in zip(arrays(found), arrays(expected), strict=True):
        np.testing.assert_allclose(own, other, **CLOSE)


def test_float64_draws_the_same(x64: None) -> None:
    found = check(jinterp.gradient, *double(networks.mlp()), ROWS.astype(float), TARGET)
    assert found.rank_correlations.dtype == np.float64
    with jax.enable_x64(False):
        expected = check(jinterp.gradient, *networks.mlp(), ROWS, TARGET)
    np.testing.assert_allclose(found.rank_correlations, expected.rank_correlations, atol=1e-6)


def test_kernels_are_drawn_with_their_mean_and_deviation() -> None:
    rng = np.random.default_rng(0)
    kernels = rng.normal(5, 2, (7, 300)).astype(np.float32), rng.normal(-3, 1, (300, 4))
    seen = []

    def kept(apply_fn: Any, params: Any, x: Any, target: Any = None) -> Any:
        seen.append(params)
        return x

    def two(params: Any, x: Any) -> jax.Array:
        return jnp.tanh(x @ params[0]) @ params[1].astype(x.dtype)

    check(kept, two, kernels, ROWS, 0)
    for learnt, drawn in zip(kernels, seen[-1], strict=True):
        assert (np.asarray(drawn) != learnt).all()
        np.testing.assert_allclose(np.mean(drawn), learnt.mean(), atol=0.2)
        np.testing.assert_allclose(np.std(drawn), learnt.std(), rtol=0.06)


def test_print_shows_a_row_a_layer() -> None:
    lines = str(check(copied, *cnn(), IMAGES, TARGET)).splitlines()
    assert lines[0].split() == ["random", "rank", "|rank|", "SSIM", "examples"]
    assert lines[1].split() == ["head", "1.00", "1.00", "1.00", "4"]
    assert [line.split()[:1] for line in lines[2:4]] == [["conv2"], ["conv1"]]
    assert lines[5] == (
        "4 of 4 examples stay above a rank correlation of 0.5 in every row, 4 above one of sizes."
    )


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("explain", "keywords", "error", "said"),
    [
        (copied, {"key": None}, TypeError, r"`key` is None; expected a random key"),
        (jinterp.rise, {}, TypeError, r"needs `key`; .*functools.partial\(explain, key=...\)"),
        (None, {}, TypeError, "`explain` is a NoneType; expected a function"),
        (lambda *a: a[2].sum(), {}, ValueError, r"returned float32\[\] for 4 examples"),
        (lambda *a: a[2][:3], {}, ValueError, r"returned float32\[3, 8, 12, 3\] for 4 examples"),
        (lambda *a: jnp.ones(4, bool), {}, ValueError, r"returned bool\[4\] for 4 examples"),
        (lambda *a: (), {}, ValueError, "returned nothing for 4 examples"),
        (copied, {"target": np.zeros((4, 2), int)}, ValueError, "expected one class an example"),
        (copied, {"target": 9}, ValueError, "`target` has the class 9"),
        (copied, {"channel_axis": 4}, ValueError, "`channel_axis` is 4; expected 1 to 3"),
    ],
)
def test_named_errors(explain: Any, keywords: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        jinterp.randomization_check(explain, *cnn(), IMAGES, **{"key": KEY, **keywords})


def test_values_of_another_shape_for_another_model() -> None:
    sizes = iter([3, 2, 1])

    def explain(apply_fn: Any, params: Any, x: Any, target: Any = None) -> Any:
        return x[:, : next(sizes)]

    with pytest.raises(
        ValueError, match=r"`explain` .* returned .*\[4, 2, 12, 3\].*\[4, 3, 12, 3\]"
    ):
        check(explain, *cnn(), IMAGES)


def projected(params: Any, x: jax.Array) -> jax.Array:
    return x if params is None else x @ jnp.asarray(params, x.dtype)


@pytest.mark.parametrize("params", [None, np.ones((7, 3), np.float32), np.ones((7, 3), int)])
def test_parameters_that_cannot_be_drawn(params: Any) -> None:
    with pytest.raises(ValueError, match="`params` has no array that can be drawn anew"):
        check(copied, projected, params, ROWS, 0)


def test_under_a_transform() -> None:
    with pytest.raises(TypeError, match=r"under jit, vmap or grad.*Call it from outside\."):
        jax.jit(lambda x: check(copied, *cnn(), x, 0).rank_correlations)(IMAGES)


def test_an_exported_model() -> None:
    exported = jinterp.from_exported(jinterp.export_model(*cnn(), IMAGES), cnn().params)
    with pytest.raises(TypeError, match="`apply_fn` is an exported model"):
        check(jinterp.gradient, *exported, IMAGES)


def test_nnx_parameters_are_seen_as_they_are() -> None:
    assert check(copied, *cnn_nnx(), IMAGES).layers == ("head", "conv2", "conv1")
