"""Two principal components and k-means in their plane, fitted on the training part; the test part is only assigned.

Clusters are numbered from the largest in the training part to the smallest. One thread and rounded places, so that the same
matrix gives the same clusters on every run.
"""

from typing import Any, Final

import msgspec
import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits

from trainer.study.table import Floats

__all__ = ["AUTO_RANGE", "Clusters", "Holding", "Plane", "Silhouette", "assign", "fit_clusters", "fit_plane", "hold", "project"]

AUTO_RANGE: Final = range(2, 11)
"""Numbers of clusters that `auto` tries."""
_SILHOUETTE_CALLS: Final = 2000
"""Calls that silhouettes are computed on, evenly spread: time and memory grow with the square."""
_DECIMALS: Final = 9
_STARTS: Final = 10

Integers = Any
"""Cluster numbers from 0, one a row."""


class Plane(msgspec.Struct, frozen=True):
    """The plane of the two principal components: `mean` of d columns, `components` 2 x d, `explained` shares of the variance."""

    mean: Any
    components: Any
    explained: tuple[float, float]


class Silhouette(msgspec.Struct, frozen=True):
    """The mean silhouette for a number of clusters: 1 for compact and far apart, 0 for overlapping."""

    clusters: int
    silhouette: float


class Clusters(msgspec.Struct, frozen=True):
    """Centroids (k x 2, largest cluster first), and the silhouettes that `auto` chose by; `distinct` training places."""

    centroids: Any
    silhouettes: tuple[Silhouette, ...]
    distinct: int


class Holding(msgspec.Struct, frozen=True):
    """How the clusters hold for later calls. Distances are mean squares in the plane; None: too few calls to tell.

    `refit` is the adjusted Rand index between test calls assigned to these centroids and clusters fitted on test calls alone.
    """

    train_shares: tuple[float, ...]
    test_shares: tuple[float, ...]
    train_distance: float
    test_distance: float | None
    train_silhouette: float | None
    test_silhouette: float | None
    refit: float | None


def fit_plane(matrix: Floats) -> Plane:
    """Fit PCA on at least two rows that aren't all equal; with one column the second component is 0."""
    with threadpool_limits(1):
        pca = PCA(min(2, *matrix.shape), svd_solver="covariance_eigh").fit(matrix)
    components = np.zeros((2, matrix.shape[1]))
    components[: len(pca.components_)] = pca.components_
    ratios = [*np.clip(pca.explained_variance_ratio_, 0.0, 1.0).tolist(), 0.0]
    return Plane(pca.mean_, components, (float(ratios[0]), float(ratios[1])))


def project(plane: Plane, matrix: Floats) -> Floats:
    """Place rows in the plane: n x 2."""
    with threadpool_limits(1):
        points: Floats = np.round((matrix - plane.mean) @ plane.components.T, _DECIMALS) + 0.0
    return points


def fit_clusters(points: Floats, wanted: int | None, seed: int) -> Clusters:
    """Fit k-means on places in the plane; `wanted` None: as many as the silhouette is best for, of `AUTO_RANGE`.

    Never more clusters than there are distinct places.
    """
    distinct = len(np.unique(points, axis=0))
    silhouettes = _silhouettes(points, distinct, seed) if wanted is None else ()
    best = max(silhouettes, key=lambda one: (one.silhouette, -one.clusters)).clusters if silhouettes else 2
    return Clusters(_centroids(points, min(wanted or best, distinct), seed), silhouettes, distinct)


def _silhouettes(points: Floats, distinct: int, seed: int) -> tuple[Silhouette, ...]:
    found = []
    for clusters in AUTO_RANGE:
        if clusters <= distinct:
            silhouette = silhouette_of(points, _centroids(points, clusters, seed))
            if silhouette is not None:
                found.append(Silhouette(clusters, silhouette))
    return tuple(found)


def _centroids(points: Floats, clusters: int, seed: int) -> Floats:
    with threadpool_limits(1):
        fitted = KMeans(clusters, n_init=_STARTS, random_state=seed).fit(points)
    centroids: Floats = np.round(fitted.cluster_centers_, _DECIMALS)
    sizes = np.bincount(assign(centroids, points), minlength=clusters)
    order = sorted(range(clusters), key=lambda one: (-sizes[one], *centroids[one].tolist()))
    return centroids[order]


def silhouette_of(points: Floats, centroids: Floats) -> float | None:
    """Compute the mean silhouette on evenly spread rows; None where it isn't defined."""
    chosen = points[np.linspace(0, len(points) - 1, min(len(points), _SILHOUETTE_CALLS)).astype(int)] if len(points) else points
    labels = assign(centroids, chosen)
    if not 2 <= len(np.unique(labels)) < len(chosen):
        return None
    with threadpool_limits(1):
        return round(float(silhouette_score(chosen, labels)), 6)


def assign(centroids: Floats, points: Floats) -> Integers:
    """Find each place's nearest centroid; the first of equally near ones."""
    return _squares(centroids, points).argmin(axis=1)


def _squares(centroids: Floats, points: Floats) -> Floats:
    squares: Floats = ((points[:, np.newaxis, :] - centroids[np.newaxis, :, :]) ** 2).sum(axis=2)
    return squares


def hold(centroids: Floats, train: Floats, test: Floats, seed: int) -> Holding:
    """Compare how training and test part lie around the centroids."""
    count = len(centroids)
    refit = None
    if len(test) and len(np.unique(test, axis=0)) >= count > 1:
        again = _centroids(test, count, seed)
        refit = round(float(adjusted_rand_score(assign(centroids, test), assign(again, test))), 6)
    return Holding(
        _shares(centroids, train),
        _shares(centroids, test),
        float(_squares(centroids, train).min(axis=1).mean()),
        float(_squares(centroids, test).min(axis=1).mean()) if len(test) else None,
        silhouette_of(train, centroids),
        silhouette_of(test, centroids),
        refit,
    )


def _shares(centroids: Floats, points: Floats) -> tuple[float, ...]:
    counts = np.bincount(assign(centroids, points), minlength=len(centroids)) if len(points) else np.zeros(len(centroids))
    return tuple([float(count) / max(1, len(points)) for count in counts])
