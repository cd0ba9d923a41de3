"""jinterp's metrics beside those of Quantus, of the same values and, where they can be, draws.

`python -m benchmarks.evidence agree` prints the table. Where Quantus takes a function for its
perturbation or its explanation, that function hands it jinterp's draws; where it calls NumPy's
generator, the call is replaced for the time of the metric. Needs torch and Quantus.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import torch
from quantus import metrics
from quantus.functions.perturb_func import noisy_linear_imputation
from quantus.functions.similarity_func import correlation_spearman
from quantus.helpers.model.pytorch_model import PyTorchModel
from torch import nn

import jinterp
from benchmarks.torch_networks import twin
from jinterp.faithfulness._subsets import subsets

KEY = jax.random.key(0)
RAW: Any = {"normalise": False, "disable_warnings": True}
SQUARE = 4


class Row(NamedTuple):
    """What was found of a metric.

    Attributes:
        metric: of jinterp.
        other: what Quantus was asked, with the arguments that matter.
        difference: the largest, of numbers those of an image over its largest; None where there
            is nothing to compare.
        remark: what makes both the same, or what Quantus computes instead.
        limit: of the difference; None where Quantus computes something else.
    """

    metric: str
    other: str
    difference: float | None
    remark: str
    limit: float | None = 1e-3


class Given(NamedTuple):
    """What both libraries are asked about.

    Attributes:
        model: in JAX.
        other: the same in torch.
        x: `[batch, height, width, channels]`.
        targets: a class for each.
        values: in the shape of `x`.
    """

    model: jinterp.Model
    other: nn.Module
    x: jax.Array
    targets: jax.Array
    values: jax.Array

    @property
    def question(self) -> tuple[Any, ...]:
        """The first arguments of a metric of jinterp."""
        return *self.model, self.x, self.values, self.targets

    @property
    def first_half(self) -> "Given":
        """The same of half of the images."""
        num = len(self.x) // 2
        return Given(*self[:2], *(each[:num] for each in self[2:]))

    def ask(self, metric: Any, values: Any = None, **more: Any) -> Any:
        """The answer of a metric of Quantus, for these values or for others."""
        given = {
            "x_batch": channels_first(self.x),
            "a_batch": channels_first(self.values if values is None else values),
            "y_batch": np.array(self.targets),
            "channel_first": True,
            "softmax": False,
            "device": "cpu",
            "batch_size": len(self.x),
        }
        found = metric(model=self.other, **(given | more))
        return found if isinstance(found, dict) else np.asarray(found)


def rows(model: jinterp.Model, x: jax.Array, targets: jax.Array) -> list[Row]:
    """All metrics, of integrated gradients on the ResNet-20."""
    values = jinterp.integrated_gradients(*model, x, targets)
    given = Given(model, twin("resnet20", model.params), x, targets, values)
    return [row for each in METRICS for row in each(given)]


def channels_first(values: Any) -> np.ndarray:
    """A copy, `[batch, channels, height, width]`, of maps too."""
    values = np.array(values)
    return np.moveaxis(values, -1, 1) if values.ndim == 4 else values[:, None]


def elements(x: jax.Array) -> np.ndarray:
    """A feature for every channel of every pixel, in the order in which Quantus flattens them."""
    height, width, channels = x.shape[1:]
    return np.moveaxis(np.arange(x[0].size).reshape(channels, height, width), 0, -1)


def apart(ours: Any, theirs: Any) -> float:
    """The largest difference of an image's numbers over the largest of them."""
    ours, theirs = (np.asarray(each, np.float64) for each in (ours, theirs))
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    ours, theirs = (each.reshape(len(each), -1) for each in (ours, theirs))
    size = np.abs(theirs).max(axis=1)
    return float((np.abs(ours - theirs).max(axis=1) / np.where(size > 0, size, 1)).max())


def of_numbers(ours: Any, theirs: Any) -> float:
    """The largest difference, of what lies between -1 and 1, or is a yes or no."""
    ours, theirs = (np.asarray(each, np.float64) for each in (ours, theirs))
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.abs(ours - theirs).max())


def deletion(given: Given) -> list[Row]:
    one_by_one = jinterp.deletion_curve(
        *given.question, feature_mask=elements(given.x), score=jinterp.logit, num_steps=48
    )
    flipped = given.ask(metrics.PixelFlipping(features_in_step=64, perturb_baseline=0.0, **RAW))
    by_square = jinterp.deletion_curve(
        *given.question, feature_mask=jinterp.patches(given.x, 8), score=jinterp.logit
    ).scores
    fallen = given.ask(metrics.RegionPerturbation(patch_size=8, perturb_baseline=0.0, **RAW))
    return [
        Row(
            "deletion_curve, pixel_flipping",
            "PixelFlipping(features_in_step=64)",
            apart(one_by_one.scores[:, 1:], flipped),
            "every channel a feature of its own (feature_mask), logits",
        ),
        Row(
            "deletion_curve, pixel_flipping",
            "RegionPerturbation(patch_size=8)",
            apart(by_square[:, :1] - by_square[:, 1:], fallen),
            "feature_mask=patches(x, 8); there the fall of the score",
        ),
    ]


def put_back(x: jax.Array) -> Callable[..., np.ndarray]:
    """A perturbation of Quantus that gives features what they have in the images."""
    own = channels_first(x).reshape(len(x), -1)

    def perturb(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
        found = arr.copy()
        np.put_along_axis(found, indices, np.take_along_axis(own, indices, 1), 1)
        return found

    return perturb


def insertion(given: Given) -> list[Row]:
    curve = jinterp.insertion_curve(
        *given.question, feature_mask=elements(given.x), score=jinterp.logit, num_steps=48
    )
    metric = metrics.PixelFlipping(features_in_step=64, perturb_func=put_back(given.x), **RAW)
    found = given.ask(metric, x_batch=np.zeros_like(channels_first(given.x)))
    return [
        Row(
            "insertion_curve",
            "none; PixelFlipping(perturb_func=...) of blank images",
            apart(curve.scores[:, 1:], found),
            "a perturb_func that puts the image back",
        )
    ]


def infidelity(given: Given) -> list[Row]:
    batch, height, width, channels = given.x.shape
    num = (height // SQUARE) * (width // SQUARE)
    ids = jinterp.patches(given.x, SQUARE)
    ours = functools.partial(
        jinterp.infidelity,
        *given.question,
        key=KEY,
        feature_mask=ids,
        values_of="elements",
        num_samples=num,
    )
    taken = np.array(jax.random.bernoulli(KEY, jnp.float32(0.5), (num, num)))
    blank = iter(np.broadcast_to(taken[:, None, ids[..., 0]], (num, channels, height, width)))
    flat = channels_first(given.x).reshape(batch, -1)

    def without_next_set(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
        return np.where(next(blank).reshape(1, -1), 0, flat)

    slopes = given.values / given.x
    options = {"perturb_patch_sizes": [SQUARE], "n_perturb_samples": 1, **RAW}
    random = given.ask(metrics.Infidelity(perturb_func=without_next_set, **options), slopes)
    nested = given.ask(metrics.Infidelity(perturb_baseline=0.0, **options), slopes)
    one_after_another = jnp.asarray(np.tri(num, dtype=bool))
    with mock.patch.object(jax.random, "bernoulli", return_value=one_after_another):
        in_turn = ours()
    assert apart(in_turn, nested) < 1e-4
    return [
        Row(
            "infidelity",
            "Infidelity(perturb_func=...)",
            apart(ours(), random),
            "slopes there, slopes × (x − b) here; a perturb_func that takes jinterp's sets away",
        ),
        Row(
            "infidelity",
            "Infidelity()",
            apart(ours(), nested),
            "no expectation: squares go in the order of the places and stay away. Of these nested "
            f"sets both find the same ({apart(in_turn, nested):.0e})",
            limit=None,
        ),
    ]


def sensitivity_n(given: Given) -> list[Row]:
    num, size = 50, 300
    mask = elements(given.x)
    ours = jinterp.sensitivity_n(
        *given.question, key=KEY, feature_mask=mask, size=size, num_samples=num
    )
    taken = ~np.asarray(subsets(KEY, num, mask.size, size))
    draws = iter(np.repeat([np.flatnonzero(each) for each in taken], len(given.x), axis=0))
    metric = metrics.FaithfulnessCorrelation(
        subset_size=size, nr_runs=num, perturb_baseline=0.0, return_aggregate=False, **RAW
    )
    with mock.patch("numpy.random.choice", side_effect=draws):
        correlations = given.ask(metric)
    metric = metrics.SensitivityN(
        features_in_step=64, n_max_percentage=0.8, perturb_baseline=0.0, **RAW
    )
    found = float(given.ask(metric)[0])
    half = given.first_half
    assert given.ask(metric, batch_size=len(half.x)) == half.ask(metric)
    scores = jinterp.deletion_curve(
        *given.question, feature_mask=mask, score=jinterp.logit, num_steps=48
    ).scores
    lost = np.asarray(scores[:, :1] - scores[:, 1:])
    largest_first = -np.sort(-np.asarray(given.values).reshape(len(lost), -1), axis=1)
    said = largest_first.reshape(len(lost), 48, 64).sum(axis=2)
    over_images = [np.corrcoef(*each)[0, 1] for each in zip(lost.T, said.T, strict=True)]
    same = abs(np.mean(over_images[: int(0.8 * 1024 / 64)]) - found)
    terms = additive(given.x[:, :8, :8])
    of_terms = float(terms.ask(metrics.SensitivityN(perturb_baseline=0.0, **RAW))[0])
    ours_of_terms = jinterp.sensitivity_n(
        *terms.question, key=KEY, feature_mask=elements(terms.x), size=0.1
    )
    assert same < 1e-4
    assert np.abs(ours_of_terms - 1).max() < 1e-4
    return [
        Row(
            "sensitivity_n",
            f"FaithfulnessCorrelation(subset_size={size})",
            of_numbers(ours, correlations),
            "every channel a feature of its own; np.random.choice replaced by jinterp's sets",
        ),
        Row(
            "sensitivity_n",
            "SensitivityN",
            None,
            "the correlation over the images of a batch, for each step of pixel flipping, of the "
            "step's values and all that the score has lost by then; the mean over steps. That is "
            f"{found:.3f} here, from jinterp's curves too ({same:.0e}); of the terms of an "
            f"additive score, for which the paper has 1, it is {of_terms:.2f}. Of several batches "
            "only the first counts",
            limit=None,
        ),
    ]


def additive(x: jax.Array, weights: Any = None) -> Given:
    """A linear model of images, in both libraries, and its terms."""
    if weights is None:
        weights = np.random.default_rng(0).normal(size=x.shape[1:]).astype(np.float32)
    weights = np.stack([weights, -weights], axis=-1)
    linear = nn.Linear(x[0].size, 2, bias=False)
    flat = np.moveaxis(weights, 2, 0).reshape(-1, 2).T
    linear.load_state_dict({"weight": torch.from_numpy(flat.copy())})
    other = nn.Sequential(nn.Flatten(), linear).eval().requires_grad_(False)
    model = jinterp.Model(weighted, jnp.asarray(weights))
    targets = jnp.zeros(len(x), jnp.int32)
    return Given(model, other, x, targets, x * weights[..., 0])


def weighted(weights: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.tensordot(x, weights, 3, precision="highest")


def max_sensitivity(given: Given) -> list[Row]:
    nearby: list[Any] = []

    def explain(apply_fn: Any, params: Any, x: Any, target: Any = None) -> jax.Array:
        nearby.append(x)
        return jinterp.gradient(apply_fn, params, x, target)

    values = jinterp.gradient(*given.model, given.x, given.targets)
    ours = jinterp.max_sensitivity(
        *(*given.model, given.x, values, given.targets), explain=explain, key=KEY, num_samples=5
    )
    draws = iter([channels_first(each).reshape(len(each), -1) for each in nearby])
    metric = metrics.MaxSensitivity(nr_samples=5, perturb_func=lambda **_: next(draws), **RAW)
    theirs = given.ask(metric, values, explain_func=gradient_of)
    return [
        Row(
            "max_sensitivity",
            "MaxSensitivity(nr_samples=5, perturb_func=...)",
            apart(ours, theirs),
            "gradients in each library; a perturb_func that adds jinterp's draws",
        )
    ]


def gradient_of(
    model: nn.Module, inputs: Any, targets: Any, device: str | None = None
) -> np.ndarray:
    """The gradient in torch."""
    x = torch.as_tensor(np.asarray(inputs), dtype=torch.float32).requires_grad_()
    model(x)[torch.arange(len(x)), torch.as_tensor(np.array(targets))].sum().backward()
    assert x.grad is not None
    return x.grad.numpy()


def of_values(given: Given) -> list[Row]:
    maps = given.values.sum(-1)
    nothing = None, None, given.x, maps
    return [
        Row(
            "sparseness",
            "Sparseness",
            apart(jinterp.sparseness(*nothing), given.ask(metrics.Sparseness(**RAW), maps)),
            "1e-7 is added to each value there",
        ),
        Row(
            "complexity",
            "Complexity",
            apart(jinterp.complexity(*nothing), given.ask(metrics.Complexity(**RAW), maps)),
            "in nats",
        ),
    ]


def of_masks(given: Given) -> list[Row]:
    maps = given.values.sum(-1)
    mask = np.zeros(maps.shape, bool)
    mask[:, 8:24, 8:24] = True
    named = {"mask": mask}
    points = jinterp.pointing_game(None, None, given.x, maps, **named)
    shares = jinterp.energy_in_mask(None, None, given.x, maps, **named)
    pointed = given.ask(metrics.PointingGame(**RAW), maps, s_batch=mask[:, None])
    of_nothing = given.ask(metrics.PointingGame(**RAW), maps, s_batch=0 * mask[:, None])
    located = metrics.AttributionLocalisation(positive_attributions=True, abs=False, **RAW)
    above = jnp.maximum(maps, 0)
    mass = metrics.RelevanceMassAccuracy(**RAW)
    signed = given.ask(mass, maps, s_batch=mask[:, None])
    return [
        Row(
            "pointing_game",
            "PointingGame",
            of_numbers(points, pointed),
            f"an empty mask, which jinterp refuses, is a hit in {of_nothing.mean():.0%} of images "
            "there: its NaN becomes True",
        ),
        Row(
            "energy_in_mask",
            "AttributionLocalisation(positive_attributions=True, abs=False)",
            apart(shares, given.ask(located, maps, s_batch=mask[:, None])),
            "abs=True, the default, shares out sizes",
        ),
        Row(
            "energy_in_mask",
            "RelevanceMassAccuracy of max(values, 0)",
            apart(shares, given.ask(mass, above, s_batch=mask[:, None])),
            f"signed values, as they come, make it {signed.min():.1f} to {signed.max():.1f}",
        ),
    ]


def completeness(given: Given) -> list[Row]:
    gaps = jinterp.completeness_gap(
        given.model.apply_fn, given.model.params, given.x, given.values, given.targets
    )
    metric = metrics.Completeness(perturb_baseline=0.0, **RAW)
    terms = additive(given.x)
    exact = jinterp.completeness_gap(*terms.question)
    return [
        Row(
            "completeness_gap",
            "Completeness",
            None,
            "whether both sides are the same float: of integrated gradients "
            f"{given.ask(metric).mean():.0%}, with gaps of {np.abs(gaps).max():.1g}; of the terms "
            f"of a linear model {terms.ask(metric).mean():.0%}, with gaps of "
            f"{np.abs(exact).max():.0e}",
            limit=None,
        )
    ]


def monotonicity(given: Given) -> list[Row]:
    images = given.x - given.x.min() + 1
    found, mended = [], []
    for sign in (1, -1):
        planted = additive(images[:, :8, :8], np.full((8, 8, 3), sign, np.float32))
        planted = planted._replace(values=planted.x)
        ours = jinterp.monotonicity(
            *planted.question, score=jinterp.logit, feature_mask=elements(planted.x), num_steps=192
        )
        options = {"perturb_baseline": 0.0, **RAW}
        found.append((float(ours.mean()), planted.ask(metrics.Monotonicity(**options)).mean()))
        metric = metrics.Monotonicity(perturb_func=put_back(planted.x), **options)
        mended.append(of_numbers(ours == 1, planted.ask(metric)))
    (rising, _), (falling, always) = found
    return [
        Row(
            "monotonicity",
            "Monotonicity(perturb_func=...)",
            max(mended),
            "a perturb_func that puts the image back; whether the share is 1",
        ),
        Row(
            "monotonicity",
            "Monotonicity",
            None,
            "blanks what is blank already, and puts nothing back: of a score that each feature "
            f"raises {rising:.0%} of steps rise, of one that each lowers {falling:.0%}, and the "
            f"answer is yes for {always:.0%} of the images there",
            limit=None,
        ),
    ]


def is_right(logits: jax.Array, target: jax.Array) -> jax.Array:
    """The score of ROAD's paper: the accuracy."""
    return (logits.argmax(-1) == target).astype(jnp.float32)


def road(given: Given) -> list[Row]:
    maps, fractions = given.values.sum(-1), (0.125, 0.25, 0.5, 0.75)
    ours = jinterp.road(
        *given._replace(values=maps).question,
        key=KEY,
        score=is_right,
        fractions=fractions,
        noise=0.0,
    )
    num = maps[0].size

    def painted(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
        return noisy_linear_imputation(arr, np.unique(indices % num), noise=0.0)

    percentages = [300 * each for each in fractions]
    metric = functools.partial(metrics.ROAD, percentages=percentages, perturb_func=painted, **RAW)
    lerf, morf = (np.mean(list(given.ask(metric(), each).values())) for each in (-maps, maps))
    theirs = (lerf - morf) / 2
    half = given.first_half
    in_two = given.ask(metric(), maps, batch_size=len(half.x))
    assert in_two == half.ask(metric(), maps[: len(half.x)])
    try:
        given.ask(metrics.ROAD(noise=0.0, **RAW), maps)
        of_maps = "runs"
    except IndexError:
        of_maps = "raises an IndexError"
    holes = np.random.default_rng(0).random((len(maps), *maps.shape[1:], 1)) < 0.5
    filled = channels_first(jinterp.inpaint(given.x, ~holes))
    theirs_filled = [
        noisy_linear_imputation(each, np.flatnonzero(hole), noise=0.0)
        for each, hole in zip(channels_first(given.x), holes, strict=True)
    ]
    return [
        Row(
            "inpaint",
            "noisy_linear_imputation(noise=0)",
            apart(filled, theirs_filled),
            "half of the pixels",
        ),
        Row(
            "road",
            "ROAD of the values and of their negatives",
            abs(float(ours.mean()) - float(theirs)),
            f"score=accuracy, noise=0, (LeRF − MoRF) / 2, {theirs:.3f}; of maps of colour images "
            f"ROAD() {of_maps}: it ranks each pixel once a channel. Of several batches only the "
            "first counts",
        ),
    ]


def random_logit(given: Given) -> list[Row]:
    ours = jinterp.random_logit_check(
        jinterp.gradient, *given.model, given.x, given.targets, key=KEY
    )
    others, targets = np.asarray(ours.others), np.asarray(ours.targets)
    metric = metrics.RandomLogit(num_classes=10, similarity_func=correlation_spearman, **RAW)
    values = jinterp.gradient(*given.model, given.x, given.targets)
    with mock.patch("numpy.random.randint", return_value=others - (others > targets)):
        theirs = given.ask(metric, values, explain_func=gradient_of)
    return [
        Row(
            "random_logit_check",
            "RandomLogit(similarity_func=correlation_spearman)",
            of_numbers(ours.rank_correlations, theirs),
            "np.random.randint replaced by jinterp's classes; the default similarity is one over "
            "windows of 7 of the flattened values, across rows",
        )
    ]


def randomization(given: Given) -> list[Row]:
    copies: list[Any] = []

    def explain(apply_fn: Any, params: Any, x: Any, target: Any = None) -> jax.Array:
        copies.append(params)
        return jinterp.gradient(apply_fn, params, x, target)

    ours = jinterp.randomization_check(explain, *given.model, given.x, given.targets, key=KEY)
    random = twin("resnet20", copies[-1])
    for name, module in given.other.named_modules():
        module.own_name = name

    def redrawn(self: Any) -> None:
        self.load_state_dict(random.get_submodule(self.own_name).state_dict())

    values = jinterp.gradient(*given.model, given.x, given.targets)
    found = {}
    kinds = nn.Conv2d, nn.BatchNorm2d, nn.Linear
    with contextlib.ExitStack() as replaced:
        for kind in kinds:
            replaced.enter_context(mock.patch.object(kind, "reset_parameters", redrawn))
        for absolute in (False, True):
            metric = metrics.MPRT(similarity_func=correlation_spearman, abs=absolute, **RAW)
            found[absolute] = given.ask(metric, values, explain_func=gradient_of)
    layers = [name.replace(".", "/") for name in found[False]][1:]
    assert layers == list(ours.layers), (layers, ours.layers)
    theirs = [np.stack(list(found[absolute].values())[1:]) for absolute in (False, True)]
    differences = [
        np.abs(ours.rank_correlations - theirs[0]),
        np.abs(ours.absolute_rank_correlations - theirs[1]),
    ]
    as_it_comes = PyTorchModel(given.other, softmax=False)
    *_, (_, last) = as_it_comes.get_random_layer_generator("top_down", 42)
    convs = [last.get_submodule(f"layer1_{block}.conv1").weight for block in (0, 1)]
    equal = "the same" if torch.equal(*convs) else "other"
    return [
        Row(
            "randomization_check",
            "MPRT(similarity_func=correlation_spearman)",
            float(np.max(differences)),
            f"abs=False, True; {np.median(differences):.0e} in the median, more where a ReLU is at "
            "its kink; the same 39 layers from the top; reset_parameters replaced by jinterp's "
            "draws. As it comes the layers' own initialisers draw, as in the paper, but "
            f"with the same seed in each layer: two convolutions of one shape get {equal} weights",
            limit=1e-2,
        )
    ]


def input_invariance(given: Given) -> list[Row]:
    first = given.other.conv1
    shifted = nn.Conv2d(3, 16, 3, 1, 1)
    shifted.load_state_dict({"weight": first.weight, "bias": torch.zeros(16)})
    metric = metrics.InputInvariance(input_shift=1.0, **RAW)
    values = jinterp.gradient(*given.model, given.x, given.targets)
    try:
        given.ask(metric, values, explain_func=gradient_of)
        as_it_is = "runs"
    except TypeError:
        as_it_is = "raises a TypeError, since its first convolution has no bias"
    given.other.conv1 = shifted.requires_grad_(False)
    moved = PyTorchModel(given.other, softmax=False).add_mean_shift_to_first_layer(
        1.0, (1, *channels_first(given.x).shape[1:])
    )
    x = torch.from_numpy(channels_first(given.x))
    with torch.no_grad():
        before, after = (net(inputs).numpy() for net, inputs in ((given.other, x), (moved, x + 1)))
    given.other.conv1 = first
    answers = []
    for explain, other in ((jinterp.gradient, gradient_of), (jinterp.input_x_gradient, by_input)):
        small = unpadded(given.x[:, :8, :8])
        ours = jinterp.input_invariance(explain, *small.model, small.x, small.targets, shift=1.0)
        values = explain(*small.model, small.x, small.targets)
        theirs = small.ask(metric, values, explain_func=other)
        answers.append(of_numbers(ours < 1e-4, theirs))
    return [
        Row(
            "input_invariance",
            "InputInvariance, of a first layer without padding",
            max(answers),
            "whether the change is 0 (there: at most 1e-4 of any unit), of gradient (yes) and "
            "input × gradient (no)",
        ),
        Row(
            "input_invariance",
            "InputInvariance, of the ResNet-20",
            None,
            f"{as_it_is}; with one of 0 the shift is not taken back, since zeros pad the images: "
            f"its logits move by up to {np.abs(after - before).max():.1f}",
            limit=None,
        ),
    ]


def by_input(model: nn.Module, inputs: Any, targets: Any, device: str | None = None) -> np.ndarray:
    return gradient_of(model, inputs, targets) * np.asarray(inputs)


def unpadded(x: jax.Array) -> Given:
    """A convolution as large as the image and a tanh, in both libraries."""
    torch.manual_seed(0)
    other = nn.Sequential(nn.Conv2d(3, 10, x.shape[1]), nn.Tanh(), nn.Flatten()).eval()
    other.requires_grad_(False)
    kernel, bias = (np.array(each) for each in (other[0].weight, other[0].bias))
    model = jinterp.Model(convolved, (jnp.asarray(kernel.transpose(2, 3, 1, 0)), jnp.asarray(bias)))
    return Given(model, other, x, jnp.zeros(len(x), jnp.int32), x)


def convolved(params: Any, x: jax.Array) -> jax.Array:
    kernel, bias = params
    return jnp.tanh(jnp.tensordot(x, kernel, 3) + bias)


def missing(given: Given) -> list[Row]:
    return [
        Row(name, "none", None, "Quantus 0.6 has no such metric", limit=None)
        for name in ("average_drop", "increase")
    ]


METRICS: tuple[Callable[[Given], list[Row]], ...] = (
    deletion,
    insertion,
    infidelity,
    sensitivity_n,
    max_sensitivity,
    of_values,
    of_masks,
    completeness,
    monotonicity,
    road,
    random_logit,
    randomization,
    input_invariance,
    missing,
)
