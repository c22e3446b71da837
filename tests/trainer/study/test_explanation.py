"""What the clusters restate."""

import numpy as np
import pytest

from tests.trainer.study.traffic import browse, sampled, shop
from trainer.study.explanation import bin_names, explain, find_twins
from trainer.study.features import fit_encoding
from trainer.study.profile import profile
from trainer.study.table import Table, to_table


def mixed(calls: int = 2_000) -> Table:
    """Make calls whose method, status and size have nothing to do with each other."""
    rng = np.random.default_rng(1)
    draws = rng.integers(0, 2, size=(calls, 2)).tolist()
    return to_table(
        sampled([browse(n, method=("GET", "PUT")[a], status=(200, 404)[b]) for n, (a, b) in enumerate(draws)], calls).calls
    )


def test_a_feature_that_the_clusters_restate_tells_everything_and_others_nothing() -> None:
    table = mixed()
    found = {one.name: one for one in explain(table, fit_encoding(table), np.array(table.categories["method"]) == "PUT")}
    assert (1.0, 1.0) == (found["method"].information, found["method"].guessed)
    assert found["status"].information < 0.01
    assert found["status"].guessed == pytest.approx(0.5, abs=0.03)


def test_the_most_telling_feature_comes_first() -> None:
    table = mixed()
    assert "status" == explain(table, fit_encoding(table), np.array(table.categories["status"]) == "404")[0].name


def test_chance_is_taken_off_where_calls_are_few() -> None:
    rng = np.random.default_rng(2)
    table = to_table(sampled([browse(n, method=f"M{rng.integers(0, 15):02}") for n in range(100)]).calls)
    found = {one.name: one for one in explain(table, fit_encoding(table), rng.integers(0, 2, 100))}
    assert found["method"].information < 0.1


def test_one_cluster_needs_no_explanation() -> None:
    table = mixed(50)
    assert {0.0} == {one.information for one in explain(table, fit_encoding(table), np.zeros(50, dtype=int))}


def test_columns_that_tell_each_other_are_named() -> None:
    table = to_table(sampled(shop(60)).calls)
    pairs = {(one.first, one.second) for one in find_twins(table, fit_encoding(table))}
    assert ("method", "status") in pairs
    assert ("method", "duration_ms") not in pairs


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        ([1.0, 1.0, np.nan], ["0", "0", "missing"]),
        ([np.nan, np.nan], ["missing", "missing"]),
        ([float(n) for n in range(10)], [str(n) for n in range(10)]),
    ],
)
def test_amounts_are_binned_with_the_missing_ones_apart(amounts: list[float], expected: list[str]) -> None:
    assert expected == bin_names(np.array(amounts))


def test_a_profile_names_what_is_special_in_a_cluster() -> None:
    table = to_table(sampled(shop(60)).calls)
    orders = (np.array(table.categories["method"]) == "POST").astype(int)
    browsing, ordering = profile(table, fit_encoding(table), orders, 2)
    assert (40, 20) == (browsing.calls, ordering.calls)
    assert ("method", "POST", 1.0, 0.0) in [(one.name, one.level, one.inside, one.outside) for one in ordering.traits]
    assert 40.0 == ordering.medians["response_bytes"]
