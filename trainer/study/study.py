"""From a sample of calls to all figures of the study; what reports, plots and `study.json` are derived from."""

from typing import Any, Final

import msgspec
import numpy as np

from trainer.study.agreement import Agreement, Part, agree
from trainer.study.clusters import (
    Clusters,
    Holding,
    Plane,
    Silhouette,
    assign,
    fit_clusters,
    fit_plane,
    hold,
    project,
)
from trainer.study.explanation import Explanation, Twins, explain, find_twins
from trainer.study.features import AmountFeature, CategoryFeature, Dropped, Encoding, encode, fit_encoding
from trainer.study.profile import Profile, profile
from trainer.study.sample import Sampled, Traffic
from trainer.study.table import Amount, Column, Floats, Table, amounts_of, columns_of, to_table

__all__ = ["Clustering", "Loading", "Placed", "Study", "run_study"]

_LOADINGS: Final = 5


class Loading(msgspec.Struct, frozen=True):
    """The weight of a column of the matrix in a principal component, -1 to 1."""

    name: str
    weight: float


class Clustering(msgspec.Struct, frozen=True):
    """What came of PCA and k-means.

    `explained`: share of the variance along each component, and `loadings`: the columns that weigh most in it. `distinct`:
    places in the plane that training calls have; there can't be more clusters.
    """

    explained: tuple[float, float]
    loadings: tuple[tuple[Loading, ...], tuple[Loading, ...]]
    clusters: int
    centroids: tuple[tuple[float, float], ...]
    distinct: int
    silhouettes: tuple[Silhouette, ...]
    holding: Holding
    profiles: tuple[Profile, ...]
    explanations: tuple[Explanation, ...]
    agreements: tuple[Agreement, ...]


class Study(msgspec.Struct, frozen=True):
    """All figures. `wanted` None: as the silhouette said. `clustering` None: there was nothing to tell calls apart by."""

    seed: int
    limit: int
    wanted: int | None
    workload: str | None
    traffic: Traffic
    sampled: int
    train: int
    columns: tuple[Column, ...]
    amounts: tuple[Amount, ...]
    dropped: tuple[Dropped, ...]
    encoded_categories: tuple[CategoryFeature, ...]
    encoded_amounts: tuple[AmountFeature, ...]
    matrix_columns: int
    twins: tuple[Twins, ...]
    clustering: Clustering | None


class Placed(msgspec.Struct, frozen=True):
    """The sample's table, and where its calls lie: places (n x 2) and clusters from 0; None where there is no clustering."""

    table: Table
    points: Any = None
    clusters: Any = None


def run_study(sampled: Sampled, limit: int, wanted: int | None, seed: int, workload: str | None = None) -> tuple[Study, Placed]:
    """Study at least one call. The same sample, `wanted` and `seed` give the same figures."""
    table = to_table(sampled.calls)
    encoding = fit_encoding(table)
    matrix = encode(table, encoding)
    placed, clustering = Placed(table), None
    if matrix.shape[1]:
        placed, clustering = _cluster(table, encoding, matrix, wanted, seed)
    study = Study(
        seed,
        limit,
        wanted,
        workload,
        sampled.traffic,
        len(table),
        table.train,
        columns_of(table),
        amounts_of(table),
        encoding.dropped,
        encoding.categories,
        encoding.amounts,
        matrix.shape[1],
        find_twins(table, encoding),
        clustering,
    )
    return study, placed


def _cluster(table: Table, encoding: Encoding, matrix: Floats, wanted: int | None, seed: int) -> tuple[Placed, Clustering]:
    plane = fit_plane(matrix[: table.train])
    points = project(plane, matrix)
    train, test = points[: table.train], points[table.train :]
    found = fit_clusters(train, wanted, seed)
    clusters = assign(found.centroids, points)
    clustering = Clustering(
        plane.explained,
        (_loadings(encoding.names, plane, 0), _loadings(encoding.names, plane, 1)),
        len(found.centroids),
        tuple([(float(x), float(y)) for x, y in found.centroids]),
        found.distinct,
        found.silhouettes,
        hold(found.centroids, train, test, seed),
        profile(table, encoding, clusters, len(found.centroids)),
        explain(table, encoding, clusters),
        _agreements(table, clusters.tolist(), found),
    )
    return Placed(table, points, clusters), clustering


def _loadings(names: list[str], plane: Plane, component: int) -> tuple[Loading, ...]:
    weights = np.round(plane.components[component], 6)
    order = sorted(range(len(names)), key=lambda one: (-abs(float(weights[one])), names[one]))
    return tuple([Loading(names[one], float(weights[one])) for one in order[:_LOADINGS] if weights[one]])


def _agreements(table: Table, clusters: list[int], found: Clusters) -> tuple[Agreement, ...]:
    labels = [
        {0: "", 1: attack}.get(-1 if label is None else label) for label, attack in zip(table.labels, table.attacks, strict=True)
    ]
    verdicts = [{"allow": "", "deny": "deny"}.get(verdict) for verdict in table.verdicts]
    agreements = []
    for against, positive, classes in (("labels", "attack", labels), ("verdicts", "deny", verdicts)):
        for part, start in ((Part.ALL, 0), (Part.TEST, table.train)):
            agreement = agree(against, positive, part, classes[start:], clusters[start:], len(found.centroids))
            agreements += [agreement] if agreement is not None else []
    return tuple(agreements)
