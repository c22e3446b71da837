"""The numeric view of a Call: a few dozen figures of the call as a whole, judged by an isolation forest and by clusters.

What comes in is a Call at a known endpoint with its profile; what goes out are Surprises. The models are fitted by scikit-learn
(`trainer/fit_numeric.py`) and scored here as plain arrays, to the same figures within 1e-9: in scikit-learn one row costs 6 ms,
here tens of microseconds. Every score is higher the more anomalous the call is.

Not learned by default: on public data they caught no more attacks, at the smallest budget fewer, for several times the cost of a
decision (`python -m bench.numeric`, 2026-11).
"""

import math
import struct
from array import array
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from authz_server.engine.calibration import Calibration, p_value
from authz_server.engine.call import Call
from authz_server.engine.errors import BundleError
from authz_server.engine.evidence import surprise
from authz_server.engine.figures import FIGURES, to_categories, to_figures
from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.profile import EndpointProfile

__all__ = [
    "DECIMALS",
    "Clusters",
    "Forest",
    "NumericModel",
    "ReadyClusters",
    "ReadyForest",
    "ReadyNumeric",
    "Spread",
    "average_path_length",
]

DECIMALS: Final = 6
"""Of a score, so that it is the same however its parts were added up."""
_TOLD_FROM: Final = 2.0
"""Surprise from which on a score is told: a chance of one in a hundred."""
_TOLD_FIGURES: Final = 3
_EULER_GAMMA: Final = 0.5772156649015329


class Spread(msgspec.Struct, frozen=True, gc=False):
    """Centre and scale of each figure at one endpoint: its mean and standard deviation, a scale of 1 where it never changed."""

    centre: tuple[float, ...]
    scale: tuple[float, ...]


class Forest(msgspec.Struct, frozen=True, gc=False):
    """An IsolationForest as arrays, one tree after the other, in preorder: a node's left child is the next node.

    `sizes`: nodes of each tree. `features` (int8): the figure that a node compares, -1 for a leaf. `thresholds` (float32): left
    when the figure is at most this; of a leaf the training calls in it. `rights` (uint16): the right child's place in its tree.
    `samples`: training calls of each tree. All little-endian.
    """

    samples: int
    sizes: tuple[int, ...]
    features: bytes
    thresholds: bytes
    rights: bytes
    calibration: Calibration = Calibration()


class Clusters(msgspec.Struct, frozen=True, gc=False):
    """One-hot encoding, PCA and k-means as matrices (float64, little-endian, by rows).

    `categories`: for each category column the row of `hot` that stands for a value. `numbers`: a row for each figure, `hot`: for
    each category, with a column a component. `mean`: what is subtracted in PCA space. `centroids`: a row a cluster.
    """

    components: int
    categories: tuple[dict[str, int], ...]
    numbers: bytes
    hot: bytes
    mean: bytes
    centroids: bytes
    calibration: Calibration = Calibration()


class NumericModel(msgspec.Struct, frozen=True, gc=False):
    """Both models of one workload, either may be missing, fitted on `n` calls.

    `spreads`: by endpoint, pooled under the empty key. `calibration` of each: held-out scores, the highest ones.
    """

    n: int
    spreads: dict[str, Spread]
    forest: Forest | None = None
    clusters: Clusters | None = None


def average_path_length(n: int) -> float:
    """Tell how deep an isolation tree of n calls is on average: c(n) of Liu et al. (2008), eq. 1."""
    if n <= 1:
        return 0.0
    return 1.0 if n == 2 else 2.0 * (math.log(n - 1.0) + _EULER_GAMMA) - 2.0 * (n - 1.0) / n


class ReadyForest:
    """A Forest ready to score: flat lists; numpy level by level took no less for a single row (40 against 34 microseconds)."""

    __slots__ = ("_features", "_lefts", "_norm", "_rights", "_roots", "_thresholds")

    def __init__(self, forest: Forest) -> None:
        """Unpack; raises BundleError where a tree would lead out of itself, in a circle, or to a figure that isn't there."""
        total = sum(forest.sizes)
        if any(size < 1 for size in forest.sizes):
            raise BundleError("expected trees of at least one node")
        try:
            features = list(struct.unpack(f"<{total}b", forest.features))
            thresholds = list(struct.unpack(f"<{total}f", forest.thresholds))
            rights = list(struct.unpack(f"<{total}H", forest.rights))
        except struct.error as error:
            raise BundleError(f"expected a forest of {total} nodes: {error}") from error
        self._norm = len(forest.sizes) * average_path_length(forest.samples)
        self._features, self._rights, self._thresholds = features, rights, thresholds
        self._roots: list[int] = []
        start = 0
        for size in forest.sizes:
            self._unpack(start, start + size)
            self._roots.append(start)
            start += size

    def _unpack(self, start: int, end: int) -> None:
        """Make right children absolute, and of leaves path lengths."""
        depths = {start: 0}
        for node in range(start, end):
            depth, feature = depths.get(node, 0), self._features[node]
            if feature < 0:
                self._thresholds[node] = depth + average_path_length(int(self._thresholds[node]))
                continue
            right = start + self._rights[node]
            if not (node + 1 < right < end and feature < len(FIGURES)):
                raise BundleError(f"expected node {node} to compare a figure and to have children after it")
            self._rights[node] = right
            depths[node + 1] = depths[right] = depth + 1

    def score(self, figures: Sequence[float]) -> float:
        """Score scaled figures, in (0, 1]: minus scikit-learn's `score_samples`, which compares in float32 too."""
        row = array("f", figures).tolist()
        features, thresholds, rights = self._features, self._thresholds, self._rights
        depth = 0.0
        for root in self._roots:
            node = root
            feature = features[node]
            while feature >= 0:
                node = node + 1 if row[feature] <= thresholds[node] else rights[node]
                feature = features[node]
            depth += thresholds[node]
        return float(2.0 ** -(depth / self._norm if self._norm else 1.0))


Matrix = npt.NDArray[np.float64]


class ReadyClusters:
    """Clusters ready to score: matrix products, about 20 microseconds, nearly all of it calls of numpy."""

    __slots__ = ("_categories", "_centroids", "_hot", "_mean", "_numbers")

    def __init__(self, clusters: Clusters) -> None:
        """Unpack; raises BundleError where the matrices don't fit each other."""
        width = clusters.components
        rows = sum(len(column) for column in clusters.categories)
        self._categories = clusters.categories
        try:
            self._numbers = _matrix(clusters.numbers, len(FIGURES), width)
            self._hot = _matrix(clusters.hot, rows, width)
            self._mean = _matrix(clusters.mean, 1, width)[0]
            self._centroids = _matrix(clusters.centroids, -1, width)
        except ValueError as error:
            raise BundleError(f"expected matrices of {width} components: {error}") from error
        if sorted(row for column in clusters.categories for row in column.values()) != list(range(rows)) or not len(
            self._centroids
        ):
            raise BundleError("expected a row for each category, and a centroid")

    def __len__(self) -> int:
        return len(self._centroids)

    def score(self, figures: Sequence[float], categories: Sequence[str]) -> float:
        """Measure the distance to the nearest centroid in PCA space; an unknown category is none."""
        place = np.array(figures) @ self._numbers - self._mean
        for column, value in zip(self._categories, categories, strict=True):
            row = column.get(value)
            if row is not None:
                place += self._hot[row]
        away = self._centroids - place
        return math.sqrt(np.einsum("ij,ij->i", away, away).min())


def _matrix(data: bytes, rows: int, columns: int) -> Matrix:
    return np.frombuffer(data, dtype="<f8").astype(np.float64).reshape(rows, columns)


class ReadyNumeric:
    """A NumericModel ready to score calls."""

    __slots__ = ("_clusters", "_forest", "_model")

    def __init__(self, model: NumericModel) -> None:
        """Unpack; raises BundleError where the arrays aren't as they should be."""
        width = len(FIGURES)
        for endpoint, spread in model.spreads.items():
            if len(spread.centre) != width or len(spread.scale) != width or 0.0 in spread.scale:
                raise BundleError(f"expected {width} figures with a scale each at {endpoint or 'all endpoints'}")
        if "" not in model.spreads:
            raise BundleError("expected the figures of all endpoints together")
        self._model = model
        self._forest = ReadyForest(model.forest) if model.forest is not None else None
        self._clusters = ReadyClusters(model.clusters) if model.clusters is not None else None

    def score(self, call: Call, endpoint: str, positions: tuple[int, ...], profile: EndpointProfile) -> list[Surprise]:
        """List what is odd about a call as a whole."""
        model = self._model
        figures = to_figures(call, positions, profile)
        spread = model.spreads.get(endpoint) or model.spreads[""]
        scaled = [(figure - centre) / scale for figure, centre, scale in zip(figures, spread.centre, spread.scale, strict=True)]
        found: list[Surprise] = []
        if self._forest is not None and model.forest is not None:
            amount = _surprise(model.forest.calibration, self._forest.score(scaled))
            if amount >= _TOLD_FROM:
                found.append(self._told(FindingCode.NUMERIC_FOREST, amount, figures, scaled, spread, ""))
        if self._clusters is not None and model.clusters is not None:
            amount = _surprise(model.clusters.calibration, self._clusters.score(scaled, to_categories(call, endpoint)))
            if amount >= _TOLD_FROM:
                groups = f"near one of {len(self._clusters)} groups of calls: "
                found.append(self._told(FindingCode.NUMERIC_CLUSTER, amount, figures, scaled, spread, groups))
        return found

    def _told(
        self, code: FindingCode, amount: float, figures: list[float], scaled: list[float], spread: Spread, normal: str
    ) -> Surprise:
        """Tell the figures that deviate most, which need not be those that the model minded most."""
        most = sorted(range(len(scaled)), key=lambda index: (-abs(scaled[index]), index))[:_TOLD_FIGURES]
        seen = "; ".join(f"{FIGURES[index]}: {figures[index]:.3g}" for index in most)
        usual = "; ".join(f"{FIGURES[index]}: about {spread.centre[index]:.3g}" for index in most)
        return Surprise(code, amount, "", f"the call as a whole is unusual: {seen}", normal + usual, self._model.n)


def _surprise(calibration: Calibration, score: float) -> float:
    """Turn a score into -log10 of the share of held-out calls that scored as high."""
    return surprise(p_value(calibration, round(score, DECIMALS)))
