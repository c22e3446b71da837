"""The numeric view of a workload's calls, fitted by scikit-learn and exported as arrays (fits `engine/numeric.py`).

What comes in is a sample of teaching calls. Scores are calibrated on calls that the scoring model had not seen: the sample is cut
into `_FOLDS` stretches of time, and each is scored by models of the others.
"""

import struct
from collections import Counter as Counts
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.preprocessing import OneHotEncoder
from threadpoolctl import threadpool_limits

from authz_server.engine.calibration import Calibration
from authz_server.engine.endpoint import path_parameters
from authz_server.engine.figures import to_categories, to_figures
from authz_server.engine.finding import FindingCode
from authz_server.engine.numeric import (
    DECIMALS,
    Clusters,
    Forest,
    Matrix,
    NumericModel,
    Spread,
)
from authz_server.engine.profile import EndpointProfile
from trainer.calibrate import to_calibration
from trainer.call_sample import SampledCall
from trainer.support import WINDOWS

__all__ = ["FittedClusters", "FittedForest", "Row", "fit_clusters", "fit_forest", "fit_numeric", "to_rows"]

_MIN_SAMPLE: Final = 200
_TREES: Final = 50
_TREE_SAMPLES: Final = 256
"""Calls of each tree, as in Liu et al. (2008): more make masses mask what is odd."""
_FOLDS: Final = 2
_MIN_SPREAD: Final = 50
"""Calls of an endpoint from which on it has centres and scales of its own."""
_MAX_CATEGORIES: Final = 64
"""Values of a category column that are encoded, the most frequent."""
_MAX_COMPONENTS: Final = 16
_MAX_CLUSTERS: Final = 32
_CLUSTERS_PER_ENDPOINT: Final = 2
_KEPT_SCORES: Final = 0.05
"""The highest held-out scores that are kept: below, nothing is told."""
_SEED: Final = 0


class Row(NamedTuple):
    """A call as the models see it."""

    endpoint: str
    window: int
    figures: tuple[float, ...]
    categories: tuple[str, ...]


def to_rows(sample: Iterable[SampledCall], profiles: Mapping[str, EndpointProfile]) -> list[Row]:
    """View the sampled calls at endpoints that have a profile."""
    rows = []
    for endpoint, window, call in sample:
        profile = profiles.get(endpoint)
        if profile is not None:
            figures = to_figures(call, path_parameters(endpoint), profile)
            rows.append(Row(endpoint, window, tuple(figures), to_categories(call, endpoint)))
    return rows


def fit_numeric(rows: Sequence[Row], models: Collection[FindingCode]) -> NumericModel | None:
    """Fit models on rows, and calibrate them; None without models or with too few rows."""
    if not models or len(rows) < _MIN_SAMPLE:
        return None
    fitted = _Fitted(rows, models)
    held_out: dict[FindingCode, list[float]] = {code: [] for code in models}
    for fold in range(_FOLDS):
        there = [row.window * _FOLDS // WINDOWS == fold for row in rows]
        others = [row for row, inside in zip(rows, there, strict=True) if not inside]
        mine = [row for row, inside in zip(rows, there, strict=True) if inside]
        if mine and others:
            for code, scores in _Fitted(others, models).score(mine).items():
                held_out[code] += scores
    calibrations = {code: _calibration(scores) for code, scores in held_out.items()}
    return fitted.export(len(rows), calibrations)


def _calibration(scores: list[float]) -> Calibration:
    kept = sorted(scores)[-max(1, int(len(scores) * _KEPT_SCORES)) :]
    return to_calibration(len(scores), kept)


class _Fitted:
    """Both models, as far as wanted, of some rows."""

    def __init__(self, rows: Sequence[Row], models: Collection[FindingCode]) -> None:
        self._spreads = _spreads(rows)
        scaled = self._scale(rows)
        self._forest = fit_forest(scaled) if FindingCode.NUMERIC_FOREST in models else None
        self._clusters = None
        if FindingCode.NUMERIC_CLUSTER in models:
            self._clusters = fit_clusters(scaled, [row.categories for row in rows])

    def score(self, rows: Sequence[Row]) -> dict[FindingCode, list[float]]:
        scaled = self._scale(rows)
        found = {}
        if self._forest is not None:
            found[FindingCode.NUMERIC_FOREST] = self._forest.score(scaled)
        if self._clusters is not None:
            found[FindingCode.NUMERIC_CLUSTER] = self._clusters.score(scaled, [row.categories for row in rows])
        return {code: np.round(scores, DECIMALS).tolist() for code, scores in found.items()}

    def export(self, n: int, calibrations: Mapping[FindingCode, Calibration]) -> NumericModel:
        forest = self._forest.export(calibrations[FindingCode.NUMERIC_FOREST]) if self._forest is not None else None
        clusters = self._clusters.export(calibrations[FindingCode.NUMERIC_CLUSTER]) if self._clusters is not None else None
        return NumericModel(n, self._spreads, forest, clusters)

    def _scale(self, rows: Sequence[Row]) -> Matrix:
        """Scale as the engine does, with the same operations in the same order."""
        spreads = [self._spreads.get(row.endpoint) or self._spreads[""] for row in rows]
        figures = np.array([row.figures for row in rows], dtype=np.float64)
        centres, scales = np.array([one.centre for one in spreads]), np.array([one.scale for one in spreads])
        scaled: Matrix = (figures - centres) / scales
        return scaled


def _spreads(rows: Sequence[Row]) -> dict[str, Spread]:
    by_endpoint: dict[str, list[tuple[float, ...]]] = {}
    for row in rows:
        by_endpoint.setdefault(row.endpoint, []).append(row.figures)
    spreads = {name: _spread(figures) for name, figures in sorted(by_endpoint.items()) if len(figures) >= _MIN_SPREAD}
    return {"": _spread([row.figures for row in rows]), **spreads}


def _spread(figures: Sequence[tuple[float, ...]]) -> Spread:
    """Average in float32's precision, which keeps the bundle small; nothing depends on more."""
    table = np.array(figures, dtype=np.float64)
    scale = np.round(table.std(axis=0), DECIMALS)
    return Spread(tuple(np.round(table.mean(axis=0), DECIMALS).tolist()), tuple(np.where(scale == 0.0, 1.0, scale).tolist()))


class FittedForest:
    """A fitted IsolationForest."""

    def __init__(self, model: IsolationForest) -> None:
        self.model = model

    def score(self, scaled: Matrix) -> Matrix:
        """Score with scikit-learn; higher is more anomalous."""
        scores: Matrix = -self.model.score_samples(scaled)
        return scores

    def export(self, calibration: Calibration = Calibration()) -> Forest:  # noqa: B008
        """Write the trees as arrays; see Forest for their form."""
        nodes: list[tuple[int, float, int]] = []
        sizes = []
        for estimator, columns in zip(self.model.estimators_, self.model.estimators_features_, strict=True):
            tree = _flat(estimator.tree_, columns)
            nodes += tree
            sizes.append(len(tree))
        return Forest(
            int(self.model.max_samples_),
            tuple(sizes),
            struct.pack(f"<{len(nodes)}b", *[node[0] for node in nodes]),
            struct.pack(f"<{len(nodes)}f", *[node[1] for node in nodes]),
            struct.pack(f"<{len(nodes)}H", *[node[2] for node in nodes]),
            calibration,
        )


def _flat(tree: Any, columns: Any) -> list[tuple[int, float, int]]:
    """List a tree's nodes in preorder: column, threshold (of a leaf: its calls), right child."""
    lefts, rights, used = tree.children_left.tolist(), tree.children_right.tolist(), tree.feature.tolist()
    thresholds, calls = _rounded_down(tree.threshold).tolist(), tree.n_node_samples.tolist()
    order: list[int] = []
    waiting = [0]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if lefts[node] >= 0:
            waiting += [rights[node], lefts[node]]
    place = {node: index for index, node in enumerate(order)}
    return [
        (int(columns[used[node]]), thresholds[node], place[rights[node]]) if lefts[node] >= 0 else (-1, float(calls[node]), 0)
        for node in order
    ]


def _rounded_down(thresholds: Any) -> Any:
    """Round to the next lower float32: as figures are compared in float32, `figure <= threshold` stays exactly as it was."""
    near = thresholds.astype(np.float32)
    return np.where(near.astype(np.float64) > thresholds, np.nextafter(near, np.float32(-np.inf)), near)


def fit_forest(scaled: Matrix, trees: int = _TREES) -> FittedForest:
    """Fit an IsolationForest on scaled figures, a row a call. Deterministic."""
    samples = min(_TREE_SAMPLES, len(scaled))
    return FittedForest(IsolationForest(n_estimators=trees, max_samples=samples, random_state=_SEED).fit(scaled))


class FittedClusters:
    """A fitted one-hot encoder, PCA and k-means."""

    def __init__(self, encoder: OneHotEncoder, pca: PCA, kmeans: KMeans) -> None:
        self.encoder, self.pca, self.kmeans = encoder, pca, kmeans

    def score(self, scaled: Matrix, categories: Sequence[tuple[str, ...]]) -> Matrix:
        """Score with scikit-learn: the distance to the nearest centroid in PCA space; higher is more anomalous."""
        distances: Matrix = self.kmeans.transform(self.pca.transform(_encoded(self.encoder, scaled, categories)))
        nearest: Matrix = distances.min(axis=1)
        return nearest

    def export(self, calibration: Calibration = Calibration()) -> Clusters:  # noqa: B008
        """Write the matrices; PCA's centring becomes one row to subtract."""
        components = self.pca.components_.T
        figures = components.shape[0] - sum(len(values) for values in self.encoder.categories_)
        columns: list[dict[str, int]] = []
        row = 0
        for values in self.encoder.categories_:
            columns.append({str(value): row + index for index, value in enumerate(values)})
            row += len(values)
        return Clusters(
            components.shape[1],
            tuple(columns),
            _bytes(components[:figures]),
            _bytes(components[figures:]),
            _bytes(self.pca.mean_ @ components),
            _bytes(self.kmeans.cluster_centers_),
            calibration,
        )


def _bytes(matrix: Any) -> bytes:
    return np.ascontiguousarray(matrix, dtype="<f8").tobytes()


def _encoded(encoder: OneHotEncoder, scaled: Matrix, categories: Sequence[tuple[str, ...]]) -> Matrix:
    return np.hstack([scaled, encoder.transform(np.array(categories, dtype=object))])


def fit_clusters(scaled: Matrix, categories: Sequence[tuple[str, ...]], clusters: int | None = None) -> FittedClusters:
    """Fit one-hot + PCA + k-means on scaled figures and category columns, a row a call. Deterministic.

    `clusters` None: two for each value of the first column. One thread, since with more the sums depend on their number.
    """
    frequent = [_frequent(column) for column in zip(*categories, strict=True)]
    with threadpool_limits(1), np.errstate(invalid="ignore"):  # calls that are all alike have no variance to share out
        encoder = OneHotEncoder(categories=frequent, handle_unknown="ignore", sparse_output=False)
        encoder.fit(np.array([[values[0] for values in frequent]], dtype=object))
        encoded = _encoded(encoder, scaled, categories)
        pca = PCA(min(_MAX_COMPONENTS, *encoded.shape), svd_solver="covariance_eigh").fit(encoded)
        reduced = pca.transform(encoded)
        wanted = clusters or min(_MAX_CLUSTERS, _CLUSTERS_PER_ENDPOINT * len(frequent[0]))
        distinct = len(np.unique(np.round(reduced, DECIMALS), axis=0))
        kmeans = KMeans(min(wanted, distinct), n_init=2, random_state=_SEED).fit(reduced)
    return FittedClusters(encoder, pca, kmeans)


def _frequent(column: Sequence[str]) -> list[str]:
    """List the most frequent values, sorted."""
    ranked = sorted(Counts(column).items(), key=lambda item: (-item[1], item[0]))
    return sorted(value for value, _ in ranked[:_MAX_CATEGORIES])
