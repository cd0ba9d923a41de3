"""The results as a table and a plot, for docs/speed.md."""

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
HEADINGS = (
    "network",
    "examples",
    "jinterp",
    "over the limit",
    "peer over jinterp",
    "first call",
    "peak memory",
)
NETWORKS = {
    "cnn": "CNN, 28×28",
    "resnet20": "ResNet-20, 32×32",
    "resnet56": "ResNet-56, 32×32",
    "resnet50": "ResNet-50, 224×224",
    "vit_s16": "ViT-S/16, 224×224",
}
OURS, LIMIT, PEER = "#222222", "#4477aa", "#cc6677"


def render(folder: Path, docs: Path = DOCS) -> None:
    """Write the tables of all machines between the marks of speed.md, and a plot for each."""
    page = docs / "speed.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    sections = []
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        picture = docs / "images" / f"speed-{path.stem}.png"
        plot(found["rows"], picture)
        sections.append(section(found, picture.name))
    inside = "\n\n".join(sections)
    page.write_text(f"{before}{BEGIN}\n\n{inside}\n\n{END}{after}", encoding="utf-8")


def section(found: dict[str, Any], picture: str) -> str:
    """The plot and the tables of a machine."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    blocks = [
        f"## {found['machine']}",
        versions + ".",
        f"![Time of the limit and of the peer over that of jinterp](images/{picture})",
    ]
    for name in dict.fromkeys(each["row"] for each in found["rows"]):
        rows = [each for each in found["rows"] if each["row"] == name]
        blocks.append(f"### {method(rows[0])}")
        blocks.append(method_table(rows))
    if "scaling" in found:
        blocks += scaling(found["scaling"])
    return "\n\n".join(blocks)


def method(row: dict[str, Any]) -> str:
    title = row["name"].removesuffix(f", {row['model']}")
    return title[0].upper() + title[1:]


def method_table(rows: list[dict[str, Any]]) -> str:
    lines = [_cells(HEADINGS), _cells(["---"] * len(HEADINGS))]
    for row in rows:
        peer = f"{row['peer_ratio']:.2f} ({row['peer']})" if row["peer"] else "not measured"
        note = f", {method(row)}" if method(row) != method(rows[0]) else ""
        lines.append(
            _cells(
                [
                    NETWORKS.get(row["model"], row["model"]) + note,
                    f"{row['batch']:,}",
                    duration(row["seconds"]),
                    f"{row['limit_ratio']:.2f} ({row['limit'].removeprefix('by hand, ')})",
                    peer,
                    duration(row["compile_seconds"] + row["seconds"]),
                    f"{row['peak_bytes'] / 2**20:,.0f} MiB",
                ]
            )
        )
    return "\n".join(lines)


def scaling(found: dict[str, Any]) -> list[str]:
    """The two tables of `benchmarks.scaling`."""
    devices = [
        _cells(["devices", "evaluate", "integrated gradients", "counts", "largest difference"])
    ]
    devices.append(_cells(["---"] * 5))
    for each in found["devices"]:
        devices.append(
            _cells(
                [
                    str(each["devices"]),
                    duration(each["evaluate_seconds"]),
                    duration(each["integrated_gradients_seconds"]),
                    "equal" if each["counts_equal"] else "DIFFERENT",
                    f"{each['largest_difference']:.0e}",
                ]
            )
        )
    lengths = [_cells(["examples", "time", "time of an example", "peak memory"])]
    lengths.append(_cells(["---"] * 4))
    for each in found["lengths"]:
        lengths.append(
            _cells(
                [
                    f"{each['examples']:,}",
                    duration(each["seconds"]),
                    duration(each["seconds"] / each["examples"]),
                    f"{each['peak_bytes'] / 2**20:,.0f} MiB",
                ]
            )
        )
    return [
        "### Simulated devices",
        "\n".join(devices),
        "### Length of a stream",
        "\n".join(lengths),
    ]


def duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def _cells(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """For each network the times of the limit and the peer, where jinterp's is 1."""
    networks = [name for name in NETWORKS if any(row["model"] == name for row in rows)]
    networks += sorted({row["model"] for row in rows} - set(networks))
    methods = list(dict.fromkeys(row["row"] for row in rows))
    titles = {row["row"]: method(row).split(",")[0] for row in rows}
    figure, axes = plt.subplots(
        1,
        len(networks),
        figsize=(2.2 + 2.3 * len(networks), 1.6 + 0.42 * len(methods)),
        sharey=True,
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for name, ax in zip(networks, axes[0], strict=True):
        own = [row for row in rows if row["model"] == name]
        _panel(ax, {methods.index(row["row"]): row for row in own})
        ax.set_title(NETWORKS.get(name, name), fontsize=10)
    first = axes[0][0]
    first.set_yticks(range(len(methods)), [titles[each] for each in methods])
    first.set_ylim(len(methods) - 0.5, -0.5)
    figure.supxlabel("time over that of jinterp (left of 1: faster than jinterp)", fontsize=10)
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(ax: Axes, rows: dict[int, dict[str, Any]]) -> None:
    ax.axvline(1, color=OURS, linewidth=1.5, label="jinterp, and its time", zorder=1)
    peers = {place: row["peer_ratio"] for place, row in rows.items() if row["peer"]}
    limits = {place: 1 / row["limit_ratio"] for place, row in rows.items()}
    for place, ratio in peers.items():
        ax.plot([1, ratio], [place, place], color=PEER, linewidth=1, alpha=0.5, zorder=1)
    for found, color, marker, label in (
        (limits, LIMIT, "|", "plain JAX by hand, the fastest shape"),
        (peers, PEER, "o", "peer (Captum, pytorch-grad-cam or torchmetrics)"),
    ):
        size = {"|": 130, "o": 34}[marker]
        width = 2.5 if marker == "|" else 1
        ax.scatter(
            list(found.values()),
            list(found),
            s=size,
            c=color,
            marker=marker,
            linewidths=width,
            label=label,
            zorder=2,
        )
    for place, row in rows.items():
        ax.annotate(
            duration(row["seconds"]),
            (1, place),
            xytext=(4, -5),
            textcoords="offset points",
            va="top",
            fontsize=7.5,
            color="#555555",
        )
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator([0.25, 0.5, 1, 2, 4, 8]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.grid(axis="x", color="#dddddd", linewidth=0.7)
    ax.tick_params(labelsize=9, length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
