"""Which explainers can be believed, and what does it cost to ask?

python -m benchmarks.evidence tables [--images 64] writes the tables of docs/evidence.md;
python -m benchmarks.evidence cost [--images 256] compares 6 explainers by 8 metrics, and the time
with that of the bare passes it needs; python -m benchmarks.evidence quantus [--images 64] does what
Quantus does, beside it; python -m benchmarks.evidence agree [--images 16] compares what the metrics
of both find. All need the pretrained networks and CIFAR-10 (`JINTERP_SHARED`), the last two torch
and Quantus.
"""

import argparse
import functools
import statistics
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jinterp
from benchmarks.networks import NETWORKS
from benchmarks.shapes import CORES
from benchmarks.timing import in_turn, machine, table

KEY = jax.random.key(0)
PAGE = Path(__file__).parents[1] / "docs" / "evidence.md"


def at_random(apply_fn: Any, params: Any, x: jax.Array, target: Any = None) -> jax.Array:
    """Values that know nothing, others for each example."""
    noise = jax.random.key(1)  # not that of the metrics

    def one(row: jax.Array) -> jax.Array:
        own = jax.random.fold_in(noise, jax.lax.bitcast_convert_type(row.sum(), jnp.uint32))
        return jax.random.normal(own, row.shape)

    return jax.vmap(one)(x)


def absolute(apply_fn: Any, params: Any, x: jax.Array, target: Any = None) -> jax.Array:
    """The input itself."""
    return jnp.abs(x)


EXPLAINERS = {
    "gradient": jinterp.gradient,
    "saliency": jinterp.saliency,
    "input_x_gradient": jinterp.input_x_gradient,
    "integrated_gradients": jinterp.integrated_gradients,
    "deep_lift": jinterp.deep_lift,
    "lrp": jinterp.lrp,
    "guided_backprop": jinterp.guided_backprop,
    "occlusion": functools.partial(jinterp.occlusion, window=8, stride=4),
    "grad_cam": jinterp.grad_cam,
    "the input": absolute,
    "random": at_random,
}
OF_IMAGES = {
    "deletion": jinterp.deletion,
    "insertion": jinterp.insertion,
    "road": jinterp.road,
    "average_drop": jinterp.average_drop,
    "sensitivity_n": jinterp.sensitivity_n,
    "infidelity, scaled": functools.partial(jinterp.infidelity, scaled=True),
    "sparseness": jinterp.sparseness,
}
OF_PLANTED = {
    "pointing_game": jinterp.pointing_game,
    "energy_in_mask": jinterp.energy_in_mask,
    "deletion": functools.partial(jinterp.deletion, score=jinterp.logit),
    "insertion": functools.partial(jinterp.insertion, score=jinterp.logit),
    "sensitivity_n": jinterp.sensitivity_n,
}
NO_LAYER = {"grad_cam"}  # not of a formula


def tables(num_images: int) -> None:
    """Compare on ResNet-56 and on the planted problems, and write both into the page."""
    model, x, targets = images("resnet56", num_images)
    ds = jinterp.batches((x, targets), 16)  # the first batch compiles
    found = jinterp.compare(EXPLAINERS, OF_IMAGES, *model, ds, key=KEY)
    print(found, flush=True)
    replace("resnet56", found.to_markdown())
    planted = {name: one for name, one in EXPLAINERS.items() if name not in NO_LAYER}
    planted["occlusion"] = functools.partial(jinterp.occlusion, window=3, stride=1)
    parts = []
    for name, problem in jinterp.planted_problems(KEY).items():
        found = jinterp.compare(
            planted,
            OF_PLANTED,
            *(*problem.model, jinterp.batches((problem.x, problem.targets), 16)),
            key=KEY,
            masks=problem.masks,
        )
        print(f"\n{name}\n{found}", flush=True)
        parts.append(f"`{name}`\n\n{found.to_markdown()}")
    replace("planted", "\n\n".join(parts))


def replace(name: str, text: str) -> None:
    """What stands between two marks of the page."""
    page = PAGE.read_text(encoding="utf-8")
    first, last = f"<!-- {name}: benchmarks/evidence.py -->", f"<!-- end of {name} -->"
    before, rest = page.split(first)
    after = rest.split(last)[1]
    PAGE.write_text(f"{before}{first}\n\n{text}\n\n{last}{after}", encoding="utf-8")


COSTLY = {
    "gradient": jinterp.gradient,
    "input_x_gradient": jinterp.input_x_gradient,
    "integrated_gradients": jinterp.integrated_gradients,
    "lrp": jinterp.lrp,
    "occlusion": functools.partial(jinterp.occlusion, window=8, stride=4),
    "grad_cam": jinterp.grad_cam,
}
MEASURED: Mapping[str, Any] = {
    "deletion": functools.partial(jinterp.deletion, num_steps=32),
    "insertion": functools.partial(jinterp.insertion, num_steps=32),
    "pixel_flipping": functools.partial(jinterp.pixel_flipping, num_steps=32),
    "road": jinterp.road,
    "average_drop": jinterp.average_drop,
    "sensitivity_n": functools.partial(jinterp.sensitivity_n, num_samples=50),
    "infidelity": functools.partial(jinterp.infidelity, num_samples=50),
    "complexity": jinterp.complexity,
}
# Forward passes, and gradients, of each image.
PASSES = {
    "gradient": (0, 1),
    "input_x_gradient": (0, 1),
    "integrated_gradients": (0, 50),
    "lrp": (0, 1),
    "occlusion": (50, 0),
    "grad_cam": (1, 0),
    "deletion": (33, 0),
    "insertion": (33, 0),
    "pixel_flipping": (33, 0),
    "road": (18, 0),
    "average_drop": (2, 0),
    "sensitivity_n": (51, 0),
    "infidelity": (51, 0),
    "complexity": (0, 0),
}


def cost(num_images: int) -> None:
    """The time of one comparison over that of as many bare passes, measured before and after it."""
    model, x, targets = images("resnet20", num_images)
    few = x[:64], targets[:64]
    jinterp.compare(COSTLY, MEASURED, *model, few, key=KEY)  # compiles
    before = bare(model, *few)
    start = time.perf_counter()
    found = jinterp.compare(COSTLY, MEASURED, *model, (x, targets), key=KEY)
    seconds = time.perf_counter() - start
    after = bare(model, *few)
    print(found)
    forward, gradient = (statistics.mean(pair) for pair in zip(before, after, strict=True))
    each = [PASSES[name] for name in COSTLY]
    each += [PASSES[name] for name in MEASURED] * len(COSTLY)
    num_forward, num_gradients = (num_images * sum(pair) for pair in zip(*each, strict=True))
    needed = num_forward * forward + num_gradients * gradient
    print(
        f"\n{num_images} images: {num_forward:,} forward passes of {forward * 1e3:.3f} ms and "
        f"{num_gradients:,} gradients of {gradient * 1e3:.3f} ms, {needed:.1f} s; compare took "
        f"{seconds:.1f} s, {seconds / needed:.2f} of that"
    )
    for name, milliseconds in zip(
        found.metrics, found.measuring.seconds.mean(0) * 1e3, strict=True
    ):
        least = PASSES[name][0] * forward * 1e3
        print(f"{name}: {milliseconds:.1f} ms an image, passes alone {least:.1f} ms")


def bare(model: jinterp.Model, x: jax.Array, targets: jax.Array) -> tuple[float, float]:
    """Seconds of a forward pass and of a gradient of one image, in the fastest shapes of two."""
    logits = functools.partial(jinterp.integrated_gradients, num_steps=8)
    many = np.tile(np.asarray(x), (8, 1, 1, 1)), np.tile(np.asarray(targets), 8)
    scores = functools.partial(jinterp.pixel_flipping, num_steps=32)
    programs = {
        "gradients": lambda: jax.block_until_ready(jinterp.gradient(*model, *many)),
        "path": lambda: jax.block_until_ready(logits(*model, x, targets)),
        "flipping": lambda: jax.block_until_ready(scores(*model, x, x, targets)),
    }
    found = {name: statistics.median(each) for name, each in in_turn(programs, rounds=5).items()}
    gradient = min(found["gradients"] / len(many[0]), found["path"] / len(x) / 8)
    return forward_pass(model, x), gradient


def forward_pass(model: jinterp.Model, x: jax.Array) -> float:
    """Seconds of one image, in programs of 16 or 32 images, two of them side by side."""
    from benchmarks.score_cam import bare as passes

    forward = functools.partial(jax.jit(model.apply_fn), model.params)
    programs = {
        str(rows): passes(forward, x[:16], rows, threads)
        for rows, threads in ((16, CORES), (32, CORES))
    }
    found = in_turn(programs, rounds=7)
    return min(statistics.median(each) for each in found.values()) / (64 * 16)


def quantus(num_images: int) -> None:
    """Pixel flipping and infidelity with equal passes, beside Quantus; the curves are compared."""
    import torch
    from quantus.metrics.faithfulness.infidelity import Infidelity
    from quantus.metrics.faithfulness.pixel_flipping import PixelFlipping

    from benchmarks.torch_networks import twin

    warnings.filterwarnings("ignore")
    torch.set_num_threads(CORES)
    model, x, targets = images("resnet20", num_images)
    values = np.asarray(jinterp.integrated_gradients(*model, x, targets))
    other = twin("resnet20", model.params).eval()
    given = {
        "model": other,
        "x_batch": np.moveaxis(np.asarray(x), -1, 1),
        "y_batch": np.asarray(targets),
        "a_batch": np.moveaxis(values, -1, 1),
        "device": "cpu",
        "softmax": False,
    }
    elements = np.arange(values[0].size).reshape(values[0].shape)
    keep = {"normalise": False, "disable_warnings": True, "perturb_baseline": 0.0}
    flipping = PixelFlipping(features_in_step=64, **keep)
    ours = functools.partial(
        jinterp.deletion_curve, feature_mask=elements, score=jinterp.logit, num_steps=48
    )
    theirs = np.asarray(flipping(**given))
    found = np.asarray(ours(*model, x, values, targets).scores)[:, 1:]
    error = np.linalg.norm(found - theirs) / np.linalg.norm(theirs)
    print(f"pixel flipping: the curves differ by {error:.1e}")
    if not error < 1e-3:
        raise AssertionError("the curves of pixel flipping differ")
    squares = Infidelity(perturb_patch_sizes=[4], n_perturb_samples=1, **keep)
    mask = jinterp.patches(x, 4)
    infidelity = functools.partial(
        jinterp.infidelity,
        key=KEY,
        num_samples=64,
        remove=0.5,
        feature_mask=mask,
        values_of="elements",
    )
    programs = {
        "Quantus, PixelFlipping, 48 steps": lambda: flipping(**given),
        "**jinterp.deletion_curve**, 48 steps": lambda: np.asarray(
            ours(*model, x, values, targets).scores
        ),
        "Quantus, Infidelity, 64 squares": lambda: squares(**given),
        "**jinterp.infidelity**, 64 sets of squares": lambda: np.asarray(
            infidelity(*model, x, values, targets)
        ),
    }
    seconds = in_turn(programs, rounds=3)
    names = list(programs)
    for reference in (names[0], names[2]):
        pair = names[names.index(reference) : names.index(reference) + 2]
        print(table({name: seconds[name] for name in pair}, reference))
    one = PixelFlipping(features_in_step=1, **keep)
    few = {name: each[:8] if isinstance(each, np.ndarray) else each for name, each in given.items()}
    start = time.perf_counter()
    one(**few)
    taken = (time.perf_counter() - start) / 8
    print(f"Quantus with its default of one feature a step: {taken:.2f} s an image")


def agree(num_images: int) -> None:
    """What the metrics of Quantus find of the same values, and by what arguments."""
    from benchmarks.agreement import rows

    warnings.filterwarnings("ignore")
    found = rows(*images("resnet20", num_images))
    print("| jinterp | Quantus | difference | |\n|---|---|---|---|")
    for row in found:
        difference = "–" if row.difference is None else f"{row.difference:.0e}"
        print(f"| {row.metric} | {row.other} | {difference} | {row.remark} |")
    for row in found:
        if row.limit is not None and not (row.difference or 0) < row.limit:
            raise AssertionError(f"{row.metric} and {row.other} differ by {row.difference}")


def images(name: str, num: int) -> tuple[jinterp.Model, jax.Array, jax.Array]:
    make, data = NETWORKS[name]
    network = make()
    return jinterp.Model(network.apply_fn, network.params), *data(num)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["tables", "cost", "quantus", "agree"])
    parser.add_argument("--images", type=int)
    arguments = parser.parse_args()
    print(machine("jinterp", "jax", "flax"))
    usual = {"tables": 64, "cost": 256, "quantus": 64, "agree": 16}
    run = {"tables": tables, "cost": cost, "quantus": quantus, "agree": agree}[arguments.what]
    run(arguments.images or usual[arguments.what])


if __name__ == "__main__":
    main()
