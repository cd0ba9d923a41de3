"""The rows: what is timed, on how many examples, and by which program of a peer.

A method is one entry: jinterp's call, the same in plain JAX (`benchmarks.by_hand`), and the peer's
(`benchmarks.peers`). What plain JAX gives in the most straightforward shape is the oracle.
"""

import bisect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

import jinterp
from benchmarks import by_hand
from benchmarks.networks import NETWORKS_AND_TINY, TINY, Network
from benchmarks.shapes import Cut, Shape, Work

TOLERANCE = 5e-3  # relative, L2, float32: a ReLU's gradient jumps by the last bit of an input
NUM_STEPS = 50
NUM_SAMPLES, NOISE = 20, 0.15
ADAPTIVE = 0.02

Batches = Mapping[str, int]
LIGHT: Batches = {"cnn": 64, "resnet20": 64, "resnet56": 64, "resnet50": 4, "vit_s16": 4, TINY: 2}
HEAVY: Batches = {"cnn": 32, "resnet20": 32, "resnet56": 16, "resnet50": 1, "vit_s16": 1, TINY: 2}
PASS: Batches = {"cnn": 4096, "resnet20": 2048, "resnet56": 512, "resnet50": 64, "vit_s16": 64}


class Case(NamedTuple):
    """A network and a batch."""

    network: Network
    x: jax.Array
    targets: jax.Array

    @property
    def asked(self) -> tuple[Any, ...]:
        return self.network.apply_fn, self.network.params, self.x, self.targets

    @property
    def batch(self) -> tuple[Any, jax.Array, jax.Array]:
        return self.network.params, self.x, self.targets

    def of(self, some: np.ndarray) -> "Case":
        return self._replace(x=self.x[some], targets=self.targets[some])


Part = tuple[np.ndarray, Work]
"""Some of the examples, and what is computed for them."""


class Row(NamedTuple):
    """A method.

    Attributes:
        title: for readers; `title(network)`.
        ours: jinterp's answer.
        by_hand: the same in plain JAX, for all examples or in parts.
        batch: how many examples, by network.
        values: of jinterp's answer, what is compared.
        expected: `expected(case, plain)`, what the values must be, from plain JAX's.
        peers: the name of the method of `benchmarks.peers.Peer` that makes the peer's programs.
        like_peer: jinterp's answer by the peer's rule, where that is another; else None.
        peer_tolerance: how near the peer's values must be, relative in L2; a function of the case
            and the values expected where a number does not say it.
    """

    title: Callable[[str], str]
    ours: Callable[[Case], Any]
    by_hand: Callable[[Case], Work | list[Part]]
    batch: Batches
    peers: str
    values: Callable[[Any], np.ndarray] = np.asarray
    expected: Callable[[Case, np.ndarray], np.ndarray] = lambda case, plain: plain
    like_peer: Callable[[Case], np.ndarray] | None = None
    peer_tolerance: float | Callable[[Case, np.ndarray], float] = TOLERANCE

    def case(self, name: str) -> Case:
        make, data = NETWORKS_AND_TINY[name]
        return Case(make(), *data(self.batch[name]))

    def parts(self, case: Case) -> list[Part]:
        found = self.by_hand(case)
        return [(np.arange(len(case.x)), found)] if isinstance(found, Work) else found


def joined(case: Case, parts: list[Part], shape: Shape) -> tuple[Callable[[], np.ndarray], float]:
    """The program of all parts in a shape, and its seconds in proportion to a trial."""
    cuts = [
        (some, Cut(work, shape._replace(rows=min(shape.rows, len(some))), *case.of(some).batch))
        for some, work in parts
    ]
    tried = sum(cut.tried() for _, cut in cuts)

    def program() -> np.ndarray:
        found = [(some, cut()) for some, cut in cuts]
        values = np.empty((len(case.x), *found[0][1].shape[1:]), found[0][1].dtype)
        for some, own in found:
            values[some] = own
        return values

    return program, tried


def plain(case: Case, parts: list[Part]) -> np.ndarray:
    """By hand, in the most straightforward shape."""
    return joined(case, parts, Shape(min(len(case.x), 64), threads=1))[0]()


def _evaluate(case: Case) -> Any:
    return jinterp.evaluate(*case.asked[:2], (np.asarray(case.x), np.asarray(case.targets)))


def _evaluated(found: Any) -> np.ndarray:
    return np.concatenate([found.predictions.losses, found.confusion_matrix.ravel()])


def _expected_evaluation(case: Case, logits: np.ndarray) -> np.ndarray:
    """Losses and confusion counts, by NumPy."""
    logits, labels = logits.astype(np.float64), np.asarray(case.targets)
    shifted = logits - logits.max(1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]
    counts = np.zeros((logits.shape[1],) * 2)
    np.add.at(counts, (labels, logits.argmax(1)), 1)
    return np.concatenate([losses, counts.ravel()])


def _smoothgrad(case: Case, key: int = 0) -> jax.Array:
    smoothed = jinterp.smooth(
        jinterp.gradient, key=jax.random.key(key), num_samples=NUM_SAMPLES, noise=NOISE
    )
    return smoothed(*case.asked)


def _far_as_other_noise(case: Case, expected: np.ndarray) -> float:
    """The peer draws its own noise: it may be about as far as jinterp is with another key."""
    other = np.asarray(_smoothgrad(case, key=1))
    return 1.5 * float(np.linalg.norm(other - expected) / np.linalg.norm(expected))


def _as_many_steps(case: Case) -> list[Part]:
    """Integrated gradients with the steps that each example turned out to need."""
    steps = _adaptive(case).num_steps
    return [
        (np.flatnonzero(steps == num), by_hand.integrated_gradients(case.network, int(num)))
        for num in np.unique(steps)
    ]


def _adaptive(case: Case) -> Any:
    return jinterp.adaptive_integrated_gradients(*case.asked, tolerance=ADAPTIVE)


def _conductance(case: Case, **keywords: Any) -> jax.Array:
    layer = case.network.layer
    return jinterp.conductance(*case.asked, layer=layer, num_steps=NUM_STEPS, **keywords)


def num_channels(name: str) -> int | None:
    """Score-CAM looks through all channels of the small networks, and some of the large ones'."""
    return 32 if name in ("resnet50", "vit_s16") else None


def _score_cam(case: Case) -> jax.Array:
    network = case.network
    return jinterp.score_cam(
        *case.asked, layer=network.layer, max_channels=num_channels(network.name)
    )


ROWS: dict[str, Row] = {
    "evaluate": Row(
        title=lambda name: "evaluate pass",
        ours=_evaluate,
        values=_evaluated,
        by_hand=lambda case: by_hand.forward(case.network),
        expected=_expected_evaluation,
        batch=PASS | {TINY: 64},
        peers="evaluation",
    ),
    "gradient": Row(
        title=lambda name: "gradient",
        ours=lambda case: jinterp.gradient(*case.asked),
        by_hand=lambda case: by_hand.gradient(case.network),
        batch=LIGHT,
        peers="gradient",
    ),
    "integrated_gradients": Row(
        title=lambda name: f"integrated gradients, {NUM_STEPS} steps",
        ours=lambda case: jinterp.integrated_gradients(*case.asked, num_steps=NUM_STEPS),
        by_hand=lambda case: by_hand.integrated_gradients(case.network, NUM_STEPS),
        batch=HEAVY,
        peers="integrated_gradients",
    ),
    "adaptive_integrated_gradients": Row(
        title=lambda name: f"adaptive integrated gradients, {ADAPTIVE:.0%}",
        ours=_adaptive,
        values=lambda found: np.asarray(found.values),
        by_hand=_as_many_steps,
        batch=HEAVY | {"cnn": 16, "resnet20": 16, "resnet56": 8},
        peers="integrated_gradients_within",
        peer_tolerance=2 * ADAPTIVE,  # either is so far from the exact values
    ),
    "smoothgrad": Row(
        title=lambda name: f"SmoothGrad, {NUM_SAMPLES} samples",
        ours=_smoothgrad,
        by_hand=lambda case: by_hand.smoothgrad(
            case.network, jax.random.key(0), NUM_SAMPLES, NOISE
        ),
        batch=HEAVY,
        peers="smoothgrad",
        peer_tolerance=_far_as_other_noise,
    ),
    "grad_cam": Row(
        title=lambda name: "Grad-CAM",
        ours=lambda case: jinterp.grad_cam(*case.asked, layer=case.network.layer),
        by_hand=lambda case: by_hand.grad_cam(case.network),
        batch=LIGHT,
        peers="grad_cam",
    ),
    "score_cam": Row(
        title=lambda name: f"Score-CAM, {num_channels(name) or 'all'} channels",
        ours=_score_cam,
        by_hand=lambda case: by_hand.score_cam(case.network, num_channels(case.network.name)),
        batch=HEAVY | {"cnn": 16, "resnet20": 16},
        peers="score_cam",
    ),
    "conductance": Row(
        title=lambda name: f"conductance, {NUM_STEPS} steps",
        ours=_conductance,
        by_hand=lambda case: by_hand.conductance(case.network, NUM_STEPS),
        batch=HEAVY | {"cnn": 16, "resnet20": 16},
        peers="conductance",
        like_peer=lambda case: np.asarray(_conductance(case, rule="gauss_legendre")),
    ),
}


def waited(answer: Any) -> Any:
    """The answer once it is there."""
    return jax.tree.map(lambda leaf: jax.block_until_ready(leaf), answer)


def exact(case: Case) -> np.ndarray:
    """Integrated gradients with three times the steps that the adaptive rule needs at most."""
    num_steps = 3 * int(_adaptive(case).num_steps.max())
    return np.asarray(jinterp.integrated_gradients(*case.asked, num_steps=num_steps))


def fewest_steps(case: Case, candidates: tuple[int, ...]) -> int:
    """The first uniform rule whose values are within the tolerance for every example."""
    wanted = exact(case)

    def is_enough(num_steps: int) -> bool:
        found = jinterp.integrated_gradients(*case.asked, num_steps=num_steps)
        axes = tuple(range(1, wanted.ndim))
        difference = np.sqrt(((np.asarray(found) - wanted) ** 2).sum(axes))
        return bool((difference <= ADAPTIVE * np.sqrt((wanted**2).sum(axes))).all())

    place = bisect.bisect_left(candidates, True, key=is_enough)  # more steps, smaller errors
    return candidates[min(place, len(candidates) - 1)]
