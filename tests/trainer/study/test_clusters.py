"""PCA and k-means: deterministic, bounded by the places there are, and tested on later calls."""

import numpy as np
import pytest

from trainer.study.clusters import AUTO_RANGE, assign, fit_clusters, fit_plane, hold, project
from trainer.study.table import Floats


def groups(*centres: tuple[float, float], calls: int = 60, spread: float = 0.1) -> Floats:
    """Make calls around centres, in turn; the first centre has twice as many."""
    rng = np.random.default_rng(7)
    chosen = np.array([centres[0], *centres])
    return np.array([chosen[number % len(chosen)] for number in range(calls)]) + rng.normal(size=(calls, 2)) * spread


def test_components_lie_along_what_differs_most() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(200, 4)) * [0.1, 9.0, 0.1, 3.0]
    plane = fit_plane(matrix)
    assert [1, 3] == np.abs(plane.components).argmax(axis=1).tolist()
    assert sum(plane.explained) == pytest.approx(1.0, abs=0.01)
    assert (200, 2) == project(plane, matrix).shape


@pytest.mark.parametrize("matrix", [[[0.0], [1.0]], [[0.0, 1.0], [1.0, 0.0]], [[1.0], [1.0], [3.0]]])
def test_a_single_column_or_two_calls_are_enough_for_a_plane(matrix: list[list[float]]) -> None:
    plane = fit_plane(np.array(matrix))
    assert (1.0, 0.0) == pytest.approx(plane.explained, abs=1e-12)
    assert np.allclose(0.0, project(plane, np.array(matrix))[:, 1])


def test_groups_are_found_and_numbered_by_size() -> None:
    found = fit_clusters(groups((5.0, 5.0), (0.0, 0.0)), 2, 0)
    assert [[5, 5], [0, 0]] == np.round(found.centroids).tolist()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_auto_finds_how_many_groups_there_are(count: int) -> None:
    centres = [(0.0, 0.0), (9.0, 0.0), (0.0, 9.0), (9.0, 9.0)][:count]
    found = fit_clusters(groups(*centres), None, 0)
    assert count == len(found.centroids)
    assert list(AUTO_RANGE) == [one.clusters for one in found.silhouettes]


@pytest.mark.parametrize(("wanted", "expected"), [(2, 2), (5, 3), (None, 2)])
def test_there_are_no_more_clusters_than_places(wanted: int | None, expected: int) -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0]] * 4)
    found = fit_clusters(points, wanted, 0)
    assert (expected, 3) == (min(expected, len(found.centroids)), found.distinct)
    assert len(found.centroids) <= 3


@pytest.mark.parametrize("wanted", [2, None])
@pytest.mark.parametrize("points", [[[1.0, 2.0]], [[1.0, 2.0]] * 5])
def test_one_place_is_one_cluster(points: list[list[float]], wanted: int | None) -> None:
    assert 1 == len(fit_clusters(np.array(points), wanted, 0).centroids)


def test_the_same_places_and_seed_give_the_same_clusters() -> None:
    points = groups((0.0, 0.0), (2.0, 1.0), spread=1.0)
    assert fit_clusters(points, None, 3).centroids.tobytes() == fit_clusters(points, None, 3).centroids.tobytes()


def test_a_place_between_two_centroids_belongs_to_the_first() -> None:
    assert [0, 0, 1] == assign(np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 0.0], [1.5, 0.0]])).tolist()


def test_clusters_that_hold_are_found_again_and_others_are_not() -> None:
    train = groups((0.0, 0.0), (9.0, 0.0))
    centroids = fit_clusters(train, 2, 0).centroids
    same, other = hold(centroids, train, train[:30], 0), hold(centroids, train, groups((0.0, 0.0), (0.0, 9.0)), 0)
    assert (1.0, True) == (same.refit, (other.refit or 0.0) < 0.1)
    assert (same.test_distance or 0.0) < 1.0 < (other.test_distance or 0.0)
    assert same.test_shares == pytest.approx(same.train_shares, abs=0.01)


def test_without_a_test_part_nothing_is_said_of_it() -> None:
    train = groups((0.0, 0.0), (9.0, 0.0))
    held = hold(fit_clusters(train, 2, 0).centroids, train, np.zeros((0, 2)), 0)
    assert (None, None, None, (0.0, 0.0)) == (held.test_distance, held.test_silhouette, held.refit, held.test_shares)
