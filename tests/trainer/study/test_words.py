"""Sentences that hold for the figures they are about."""

import pytest

from tests.trainer.study.traffic import browse, order, sampled, shop
from trainer.evaluate import wilson
from trainer.study.agreement import Part, agree
from trainer.study.study import Clustering, Study, run_study
from trainer.study.words import agreed, chosen, explained, few, held, mixed, moment, number, rate, spanned


def studied(wanted: int | None = 2, calls: int = 40) -> tuple[Study, Clustering]:
    study, _ = run_study(sampled(shop(calls)), 1_000, wanted, 0)
    assert study.clustering is not None
    return study, study.clustering


@pytest.mark.parametrize(
    ("ts", "expected"),
    [(17.0, "line 17"), (1_750_000_000.0, "2025-06-15 15:06:40 UTC"), (1e300, "1e+300 s"), (-5.0, "line -5")],
)
def test_a_time_is_a_date_or_a_line(ts: float, expected: str) -> None:
    assert expected == moment(ts)


@pytest.mark.parametrize(("value", "expected"), [(0.0, "0"), (12.3456, "12.35"), (1234567.0, "1,234,567"), (-0.5, "-0.5")])
def test_numbers_have_four_digits(value: float, expected: str) -> None:
    assert expected == number(value)


def test_a_rate_has_its_interval_and_one_of_nothing_is_a_dash() -> None:
    assert ("-", "50.0% (9.5% to 90.5%)") == (rate(wilson(0, 0)), rate(wilson(1, 2)))


def test_the_summary_says_how_much_was_read_and_kept() -> None:
    study, clustering = studied()
    assert "40 calls to 1 workload were read" in spanned(study)
    assert "all of them went into the table" in spanned(study)
    assert "k-means made 2 clusters; the largest holds 65.0% of the calls, the smallest 35.0%" in mixed(clustering)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [(40, "Only 40 calls went into the table"), (400, "Only 80 calls are in the test part"), (520, "")],
)
def test_figures_of_few_calls_are_warned_of(calls: int, expected: str) -> None:
    said = few(studied(calls=calls)[0])
    assert said.startswith(f"**{expected}") if expected else not said


@pytest.mark.parametrize(("positives", "warned"), [(1, True), (99, True), (100, False), (301, True)])
def test_agreement_with_few_calls_of_one_kind_is_warned_of(positives: int, *, warned: bool) -> None:
    classes = ["x"] * positives + [""] * (400 - positives)
    found = agree("labels", "attack", Part.ALL, classes, [0, 1] * 200, 2)
    assert found is not None
    assert warned == ("of the rarer kind, and may be another" in agreed(found))


def test_it_is_said_when_clusters_restate_a_feature() -> None:
    assert "**The clusters mostly restate `body`**" in explained(studied()[1])
    assert "without it 65.0%" in explained(studied()[1])


@pytest.mark.parametrize(("wanted", "expected"), [(2, "2, was given"), (None, "has the highest mean silhouette")])
def test_it_is_said_who_chose_the_number_of_clusters(wanted: int | None, expected: str) -> None:
    assert expected in chosen(*studied(wanted))


def test_it_is_said_when_there_are_fewer_clusters_than_asked_for() -> None:
    study, _ = run_study(sampled([browse(3, id=f"{n}", status=200 + n % 2) for n in range(20)]), 1_000, 5, 0)
    assert study.clustering is not None
    assert "5 clusters were asked for; training calls have only 2 distinct places" in chosen(study, study.clustering)


def test_it_is_said_whether_the_clusters_hold() -> None:
    assert "finds the same structure" in held(studied()[1])
    study, _ = run_study(sampled([browse(0), order(1)]), 1_000, 2, 0)
    assert study.clustering is not None
    assert "There are too few calls for a test part." == held(study.clustering)
