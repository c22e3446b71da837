"""Parity with scikit-learn to 1e-9, and the fitting: signs, determinism, bounds."""

import random
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from authz_server.engine.figures import FIGURES
from authz_server.engine.finding import FindingCode
from authz_server.engine.model import ReadyModel, WorkloadModel, decode_model, encode_model
from authz_server.engine.numeric import (
    Matrix,
    NumericModel,
    ReadyClusters,
    ReadyForest,
    ReadyNumeric,
    average_path_length,
)
from authz_server.engine.profile import Interval
from tests.factories_engine import call, codes, endpoint_profile, judge, model, parameter_profile, record
from trainer.fit_numeric import FittedForest, Row, fit_clusters, fit_forest, fit_numeric
from trainer.train import train_calls

WIDTH = len(FIGURES)
BOTH = frozenset({FindingCode.NUMERIC_FOREST, FindingCode.NUMERIC_CLUSTER})
NEAR = 1e-9


def table(rows: int, seed: int = 0) -> Matrix:
    """Random figures of several kinds: constant, few values, continuous, far out."""
    rng = np.random.default_rng(seed)
    figures = rng.normal(size=(rows, WIDTH))
    figures[:, 3] = 7.0
    figures[:, 4] = rng.integers(0, 3, rows)
    figures[:, 5] = np.round(figures[:, 5], 1)
    figures[:, 6] *= 1e6
    return figures


def names(rows: int, seed: int = 0) -> list[tuple[str, ...]]:
    rng = random.Random(seed)
    return [(rng.choice("abc"), rng.choice(["none", "json"]), str(min(99, int(rng.expovariate(0.05))))) for _ in range(rows)]


def assert_forest_agrees(fitted: FittedForest, judged: Matrix) -> None:
    ready = ReadyForest(fitted.export())
    ours = [ready.score(row.tolist()) for row in judged]
    assert np.abs(fitted.score(judged) - ours).max() <= NEAR


@pytest.mark.parametrize("rows", [1, 2, 3, 50, 256, 2_000])
def test_a_forest_scores_as_in_scikit_learn(rows: int) -> None:
    assert_forest_agrees(fit_forest(table(rows), 20), np.vstack([table(rows), table(300, seed=1)]))


def test_a_forest_of_constant_figures_has_leaves_alone() -> None:
    fitted = fit_forest(np.ones((100, WIDTH)), 5)
    assert (1,) * 5 == fitted.export().sizes
    assert_forest_agrees(fitted, table(50))


def test_a_forest_of_some_of_the_figures_scores_as_in_scikit_learn() -> None:
    forest = IsolationForest(n_estimators=10, max_features=5, random_state=1).fit(table(500))
    assert_forest_agrees(FittedForest(forest), table(200, seed=3))


@pytest.mark.parametrize("scale", [1e-5, 1e-3, 1.0, 1e7, 1e30])
def test_a_forest_agrees_at_its_thresholds(scale: float) -> None:
    """scikit-learn compares float32 figures with float64 thresholds: the least step on both sides of each, and it itself."""
    fitted = fit_forest(table(500) * scale, 10)
    thresholds = np.concatenate([tree.tree_.threshold[tree.tree_.feature >= 0] for tree in fitted.model.estimators_])
    near = thresholds.astype(np.float32)
    around = [near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf)), thresholds]
    judged = np.concatenate([one.astype(np.float64) for one in around])
    assert_forest_agrees(fitted, np.repeat(judged[:, None], WIDTH, axis=1)[::7])


@given(st.integers(1, 60), st.integers(1, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_any_forest_scores_as_in_scikit_learn(rows: int, trees: int, seed: int) -> None:
    assert_forest_agrees(fit_forest(np.round(table(rows, seed), seed % 4), trees), np.round(table(20, seed + 1), seed % 4))


@pytest.mark.parametrize("n", [1, 2, 3, 10, 256, 10_000])
def test_the_average_path_length_is_scikit_learns(n: int) -> None:
    from sklearn.ensemble._iforest import _average_path_length

    assert average_path_length(n) == pytest.approx(float(_average_path_length([n])[0]), abs=NEAR)


@pytest.mark.parametrize(("rows", "clusters"), [(2, 2), (5, 2), (200, 1), (2_000, None)])
def test_clusters_score_as_in_scikit_learn(rows: int, clusters: int | None) -> None:
    fitted = fit_clusters(table(rows), names(rows), clusters)
    judged, categories = table(300, seed=1), [*names(290, seed=1), *[("new", "none", "1")] * 10]
    ready = ReadyClusters(fitted.export())
    theirs = fitted.score(judged, categories)
    ours = np.array([ready.score(row.tolist(), name) for row, name in zip(judged, categories, strict=True)])
    assert (np.abs(theirs - ours) / np.maximum(1.0, theirs)).max() <= NEAR


@given(st.integers(2, 60), st.integers(1, 8), st.integers(0, 2**32 - 2))
@example(26, 8, 386910)
@settings(max_examples=25, deadline=None)
def test_any_clusters_score_as_in_scikit_learn(rows: int, clusters: int, seed: int) -> None:
    fitted = fit_clusters(table(rows, seed), names(rows, seed), clusters)
    judged, categories = table(20, seed + 1), names(20, seed + 1)
    ready = ReadyClusters(fitted.export())
    theirs = fitted.score(judged, categories)
    ours = np.array([ready.score(row.tolist(), name) for row, name in zip(judged, categories, strict=True)])
    # scikit-learn subtracts squares as large as the farthest row's from each other, so that is what its error is a share of.
    assert np.abs(theirs - ours).max() / max(1.0, theirs.max()) <= NEAR


def test_calls_that_are_all_alike_are_one_cluster() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = fit_clusters(np.ones((300, WIDTH)), [("a", "none", "")] * 300, 4)
    assert 1 == len(ReadyClusters(fitted.export()))
    assert 0.0 == ReadyClusters(fitted.export()).score([1.0] * WIDTH, ("a", "none", ""))


def test_rare_categories_are_left_out() -> None:
    fitted = fit_clusters(table(300), [(f"{n % 200}", "none", "") for n in range(300)])
    assert [64, 1, 1] == [len(column) for column in fitted.export().categories]


def rows(n: int = 600, seed: int = 0) -> list[Row]:
    return [
        Row(f"GET /{place[0]}", index * 32 // n, tuple(figures), place)
        for index, (figures, place) in enumerate(zip(table(n, seed).tolist(), names(n, seed), strict=True))
    ]


def fitted(n: int = 600, models: frozenset[FindingCode] = BOTH) -> NumericModel:
    made = fit_numeric(rows(n), models)
    assert made is not None
    return made


def test_the_same_rows_give_the_same_model() -> None:
    assert fitted() == fitted()


def test_scores_are_calibrated_on_all_rows_each_held_out_once() -> None:
    made = fitted()
    for one in (made.forest, made.clusters):
        assert one is not None
        assert (600, 30) == (one.calibration.n, one.calibration.positive)


def test_an_endpoint_with_enough_calls_has_its_own_spread() -> None:
    assert {"", "GET /a", "GET /b", "GET /c"} == fitted().spreads.keys()
    assert {""} == fitted(200).spreads.keys() - {"GET /a", "GET /b", "GET /c"}
    assert 1.0 == fitted().spreads[""].scale[3]


@pytest.mark.parametrize("models", [frozenset({code}) for code in BOTH])
def test_only_the_wanted_model_is_fitted(models: frozenset[FindingCode]) -> None:
    made = fitted(models=models)
    assert [code in models for code in (FindingCode.NUMERIC_FOREST, FindingCode.NUMERIC_CLUSTER)] == [
        made.forest is not None,
        made.clusters is not None,
    ]


@pytest.mark.parametrize(("n", "models"), [(600, frozenset[FindingCode]()), (199, BOTH), (0, BOTH)])
def test_without_models_or_calls_there_is_none(n: int, models: frozenset[FindingCode]) -> None:
    assert fit_numeric(rows(n), models) is None


def test_both_scores_are_higher_the_more_anomalous_a_call_is() -> None:
    made = fitted()
    assert made.forest is not None
    assert made.clusters is not None
    usual, odd = [0.0] * WIDTH, [40.0] * WIDTH
    forest, clusters = ReadyForest(made.forest), ReadyClusters(made.clusters)
    assert forest.score(odd) > forest.score(usual)
    assert clusters.score(odd, ("a",) * 3) > clusters.score(usual, ("a",) * 3)


def learned(numeric: frozenset[FindingCode]) -> WorkloadModel:
    rng = random.Random(1)
    targets = [f"/cart/items?count={rng.randint(1, 12)}&q={'ab' * rng.randint(1, 4)}" for _ in range(800)]
    made = [record("GET", target, record_id=f"d-{n}", ts=1e9 + n) for n, target in enumerate(targets)]
    return train_calls(lambda: iter(made), numeric=numeric)[0]


def test_training_learns_no_numeric_view_unless_asked() -> None:
    assert learned(frozenset()).numeric is None


def test_training_learns_the_numeric_view_when_asked() -> None:
    made = learned(BOTH)
    assert made == decode_model(encode_model(made))
    long = call("GET", f"/cart/items?count=5&q={'ab' * 500}")
    found = codes(judge(long, ReadyModel(made, "r")).surprises)
    assert FindingCode.NUMERIC_CLUSTER in found  # a forest sees no difference between the longest so far and a hundred times that
    assert not BOTH & set(codes(judge(call("GET", "/cart/items?count=5&q=abab"), ReadyModel(made, "r")).surprises))


def test_a_model_of_both_is_small() -> None:
    assert len(encode_model(model(numeric=fitted(5_000)))) < 200_000


def test_ready_numeric_scores_what_was_fitted() -> None:
    profile = endpoint_profile(parameters={"query:count": parameter_profile(numbers=Interval(0, 9))})
    for found in ReadyNumeric(fitted()).score(call("GET", "/cart/items?count=5"), "GET /a", (), profile):
        assert found.amount >= 2.0
        assert found.evidence == 600
