"""The study's plots, each of the figures in a Study and the places of its calls; see `charts` for how they look."""

from collections import Counter
from typing import Any, Final

import numpy as np

from trainer.plural import plural
from trainer.study.charts import COLOURS, MARKERS, Mark, Plot, draw, label_of, legend, places, scatter, to_plot
from trainer.study.study import Clustering, Placed, Study
from trainer.study.table import Floats, share
from trainer.study.telemetry import NO_ANSWER, UNKNOWN

__all__ = ["draw_plots"]

_MAX_BARS: Final = 12
_GRID: Final = (600, 450)
"""Points at which the nearest centroid is looked up for the background."""
_CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx", NO_ANSWER, UNKNOWN)
_MARGIN: Final = 0.06


def draw_plots(study: Study, placed: Placed) -> list[Plot]:
    """Draw what can be drawn: counts always; sizes where response sizes are known; the others where there are clusters."""
    plots = [_counts(study)]
    if not np.isnan(placed.table.amounts["response_bytes"]).all():
        plots.append(_sizes(study, placed))
    if study.clustering is not None:
        plots.append(_plane(study.clustering, placed))
        if study.clustering.silhouettes:
            plots.append(_silhouettes(study.clustering))
        plots.append(_explanations(study.clustering))
        plots += _truths(study.clustering, placed)
    return plots


def _counts(study: Study) -> Plot:
    with draw(10.5, 4.2, 2) as (figure, both):
        for axes, name, counts in zip(both, ("method", "status"), (study.traffic.methods, study.traffic.statuses), strict=True):
            _bars(axes, counts)
            axes.set_title(f"Calls by {name}")
            axes.set_xlabel("calls")
            axes.set_ylabel({"method": "HTTP method", "status": "HTTP status"}[name])
        return to_plot(figure, "counts", "How many calls had which method and which status, of all calls read.")


def _bars(axes: Any, counts: dict[str, int]) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    total = sum(counts.values())
    kept = list(counts.items())[:_MAX_BARS]
    rest = total - sum(count for _, count in kept)
    if rest:
        kept.append((f"{len(counts) - len(kept)} others", rest))
    names, values = [label_of(name, 20) for name, _ in kept], [count for _, count in kept]
    positions = range(len(kept))
    axes.barh(positions, values, color=COLOURS[0], height=min(0.7, 0.14 * len(kept)))
    axes.set_yticks(positions, names)
    axes.set_ylim(max(len(kept), 3) - 0.4, -0.6)
    axes.set_xlim(0, max(values) * 1.45)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(visible=False, axis="y")
    for position, value in zip(positions, values, strict=True):
        axes.annotate(f" {value:,} ({share(value / total)})", (value, position), va="center", fontsize=9)


def _sizes(study: Study, placed: Placed) -> Plot:
    table = placed.table
    known = ~np.isnan(table.amounts["request_bytes"]) & ~np.isnan(table.amounts["response_bytes"])
    points = np.log2(1.0 + np.column_stack([table.amounts["request_bytes"][known], table.amounts["response_bytes"][known]]))
    statuses = [_class_of(status) for status, here in zip(table.categories["status"], known.tolist(), strict=True) if here]
    panels = [("by status", [_CLASSES.index(one) for one in statuses], [Mark(n, i) for i, n in enumerate(_CLASSES)])]
    if study.clustering is not None:
        panels.append(("by cluster", placed.clusters[known].tolist(), _cluster_marks(study.clustering)))
    low, high = _corners(points)
    constant = bool(points[:, 0].min() == points[:, 0].max())
    with draw(5.6 * len(panels) + 1.0, 6.2, len(panels), squeeze=False, sharey=True) as (figure, rows):
        for axes, (title, groups, marks) in zip(rows[0], panels, strict=True):
            scatter(axes, _side_by_side(points, groups) if constant else points, groups, marks, low, high)
            if constant:
                axes.set_xticks([points[0, 0]], [f"{table.amounts['request_bytes'][known][0]:,.0f} B"])
            else:
                _size_axis(axes.xaxis, float(high[0]))
            _size_axis(axes.yaxis, float(high[1]))
            axes.set_xlim(low[0], high[0])
            axes.set_ylim(low[1], high[1])
            axes.set_title(f"Request against response size, {title}")
            axes.set_xlabel("request body (bytes, logarithmic)")
            axes.set_ylabel("response (bytes, logarithmic)")
            legend(axes, {"by status": "status", "by cluster": "cluster"}[title], _most(points, low, high))
        missing = int((~known).sum())
        notes = [
            "Size of the request body against size of the response, both logarithmic.",
            "All request bodies are equally large, so groups stand side by side." if constant else "",
            f"{missing:,} sampled calls whose sizes aren't known are left out." if missing else "",
        ]
        return to_plot(figure, "sizes", " ".join([note for note in notes if note]))


def _side_by_side(points: Floats, groups: list[int]) -> Floats:
    """Move groups apart along the first axis, where they would hide each other."""
    present = sorted(set(groups))
    steps = {group: 0.5 * (index + 0.5 - len(present) / 2) / max(1, len(present) - 1) for index, group in enumerate(present)}
    moved: Floats = points + np.array([[steps[group], 0.0] for group in groups])
    return moved


def _class_of(status: str) -> str:
    return f"{status[0]}xx" if f"{status[0]}xx" in _CLASSES else status if status in _CLASSES else UNKNOWN


def _most(points: Floats, low: Floats, high: Floats) -> int:
    return int(places(points, low, high)[1].max())


def _corners(points: Floats) -> tuple[Floats, Floats]:
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.where(high > low, (high - low) * _MARGIN, 1.0)
    return low - margin, high + margin


def _size_axis(axis: Any, high: float) -> None:
    """Label an axis of log2(1 + bytes) in bytes."""
    steps = 2 if high <= 14 else 4
    sizes = [0, *[2**power for power in range(steps, int(high) + 1, steps)]] if high >= steps else [0, 1, 2]
    axis.set_ticks([float(np.log2(1.0 + size)) for size in sizes], [to_size(size) for size in sizes])


def to_size(size: int) -> str:
    """Write a power of 2 in bytes.

    >>> to_size(4096)
    '4 KiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size} {unit}"
        size //= 1024
    return f"{size:,} TiB"


def _cluster_marks(clustering: Clustering) -> list[Mark]:
    total = sum(one.calls for one in clustering.profiles)
    return [Mark(f"{one.cluster} ({share(one.calls / total)} of calls)", one.cluster - 1) for one in clustering.profiles]


def _plane(clustering: Clustering, placed: Placed) -> Plot:
    points, table = placed.points, placed.table
    centroids = np.array(clustering.centroids)
    low, high = _corners(np.vstack([points, centroids]))
    parts = (
        ("Training part, the earlier 80%", slice(0, table.train)),
        ("Test part, the later 20%", slice(table.train, len(table))),
    )
    panels = [(name, rows) for name, rows in parts if len(points[rows])]
    with draw(6.2 * len(panels) + 0.6, 6.4, len(panels), squeeze=False, sharex=True, sharey=True) as (figure, rows_of_axes):
        for axes, (name, rows) in zip(rows_of_axes[0], panels, strict=True):
            _regions(axes, centroids, low, high)
            scatter(axes, points[rows], placed.clusters[rows].tolist(), _cluster_marks(clustering), low, high)
            _centroids(axes, centroids)
            _component_labels(axes, clustering)
            axes.set_title(f"{name}: {len(points[rows]):,} calls")
            legend(axes, "cluster", _most(points, low, high))
        _headline(
            figure,
            f"Calls in the plane of two principal components, and which of {plural(len(centroids), 'cluster')} they fall to",
        )
        return to_plot(
            figure,
            "clusters",
            "Decision boundary: every point of the plane belongs to the nearest centroid. Crosses with a number are the"
            " centroids; each mark is one or more sampled calls. Clusters were fitted on the training part alone.",
        )


def _headline(figure: Any, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=13, fontweight="bold")


def _regions(axes: Any, centroids: Floats, low: Floats, high: Floats) -> None:
    """Shade which centroid is nearest, and draw the boundaries."""
    from matplotlib.colors import to_rgb

    xs, ys = np.linspace(low[0], high[0], _GRID[0]), np.linspace(low[1], high[1], _GRID[1])
    squares = (xs[np.newaxis, :, np.newaxis] - centroids[:, 0]) ** 2 + (ys[:, np.newaxis, np.newaxis] - centroids[:, 1]) ** 2
    nearest = squares.argmin(axis=2)
    light = np.array([[1.0 - 0.2 * (1.0 - part) for part in to_rgb(colour)] for colour in COLOURS])
    axes.imshow(
        light[nearest],
        extent=(low[0], high[0], low[1], high[1]),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        zorder=0,
    )
    for one in range(len(centroids)):
        if 0 < int((nearest == one).sum()) < nearest.size:
            axes.contour(xs, ys, (nearest == one).astype(float), levels=[0.5], colors="#444444", linewidths=0.9, zorder=2)
    axes.grid(visible=False)


def _centroids(axes: Any, centroids: Floats) -> None:
    axes.scatter(*centroids.T, s=110, marker="x", c="white", linewidths=4.5, zorder=5)
    axes.scatter(*centroids.T, s=110, marker="x", c="black", linewidths=1.8, zorder=5, label="centroid")
    for number, (x, y) in enumerate(centroids.tolist(), 1):
        axes.annotate(
            str(number),
            (x, y),
            xytext=(9, 9),
            textcoords="offset points",
            fontweight="bold",
            zorder=6,
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "black", "linewidth": 0.8},
        )


def _component_labels(axes: Any, clustering: Clustering) -> None:
    for index, label in enumerate((axes.set_xlabel, axes.set_ylabel)):
        made_of = ", ".join([label_of(one.name, 26) for one in clustering.loadings[index][:2]]) or "nothing"
        name = ("first", "second")[index]
        label(f"{name} principal component ({share(clustering.explained[index])} of variance)\nmostly {made_of}")


def _silhouettes(clustering: Clustering) -> Plot:
    numbers = [one.clusters for one in clustering.silhouettes]
    values = [one.silhouette for one in clustering.silhouettes]
    best = max(range(len(values)), key=lambda one: (values[one], -numbers[one]))
    with draw(6.6, 4.0) as (figure, axes):
        axes.plot(numbers, values, color=COLOURS[0], marker="o", label="tried")
        axes.scatter(numbers[best], values[best], s=150, marker="*", c=COLOURS[3], zorder=4, label=f"chosen: {numbers[best]}")
        axes.set_ylim(min(0.0, *values), 1.0)
        axes.set_xticks(numbers)
        axes.set_title("How well separated k clusters are")
        axes.set_xlabel("number of clusters k")
        axes.set_ylabel("mean silhouette (1: far apart, 0: touching)")
        axes.legend(loc="lower right")
        return to_plot(figure, "silhouettes", "The mean silhouette of each number of clusters tried; the highest is chosen.")


def _explanations(clustering: Clustering) -> Plot:
    found = clustering.explanations
    with draw(7.6, 1.4 + 0.34 * len(found)) as (figure, axes):
        positions = range(len(found))
        axes.barh(positions, [100.0 * one.information for one in found], color=COLOURS[0], height=0.65)
        axes.set_yticks(positions, [one.name for one in found])
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.set_xlim(0, 116)
        axes.set_xticks(range(0, 101, 20))
        axes.grid(visible=False, axis="y")
        for position, one in zip(positions, found, strict=True):
            axes.annotate(f" {one.information:.0%}", (100.0 * one.information, position), va="center", fontsize=9)
        axes.set_title("What one feature alone tells about the cluster")
        axes.set_xlabel("information about the cluster that the feature has (%)")
        axes.set_ylabel("feature")
        return to_plot(figure, "explanations", "100%: who knows this feature knows the cluster. 0%: it says nothing about it.")


def _truths(clustering: Clustering, placed: Placed) -> list[Plot]:
    """Draw the same plane by label and by verdict, where both kinds are there."""
    table = placed.table
    labels = [{0: "benign", 1: "attack"}.get(-1 if label is None else label, UNKNOWN) for label in table.labels]
    verdicts = [verdict or UNKNOWN for verdict in table.verdicts]
    plots = []
    for name, usual, odd, values in (("labels", "benign", "attack", labels), ("verdicts", "allow", "deny", verdicts)):
        counts = Counter(values)
        if counts[usual] and counts[odd]:
            plots.append(_truth(clustering, placed, name, (usual, odd, UNKNOWN), values))
    return plots


def _truth(clustering: Clustering, placed: Placed, name: str, kinds: tuple[str, ...], values: list[str]) -> Plot:
    points, centroids = placed.points, np.array(clustering.centroids)
    low, high = _corners(np.vstack([points, centroids]))
    counts = Counter(values)
    with draw(6.2 * 2 + 0.6, 6.4, 2, sharex=True, sharey=True) as (figure, both):
        for axes, kind, number in zip(both, kinds, (0, 3), strict=False):
            _regions(axes, centroids, low, high)
            chosen = np.array([value == kind for value in values])
            scatter(axes, points[chosen], [0] * int(chosen.sum()), [Mark(kind, number)], low, high)
            _centroids(axes, centroids)
            _component_labels(axes, clustering)
            axes.set_title(f"{counts[kind]:,} calls with the {name[:-1]} '{kind}'")
            legend(axes, name[:-1], _most(points, low, high))
        _headline(figure, f"The clusters' regions, and where calls of either {name[:-1]} lie")
        return to_plot(
            figure,
            name,
            f"The same plane and boundary, calls by their {name[:-1]}. If clusters agreed with {name}, the two kinds would lie on"
            " different sides of a boundary.",
        )


assert len(COLOURS) == len(MARKERS)
