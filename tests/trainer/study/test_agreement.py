"""Clusters against labels: perfect, useless, and undefined."""

import pytest

from trainer.study.agreement import Agreement, Part, agree
from trainer.study.words import agreed

BENIGN, SQLI, XSS = "", "sqli", "xss"


def agreement(classes: list[str | None], clusters: list[int], count: int = 2) -> Agreement:
    found = agree("labels", "attack", Part.ALL, classes, clusters, count)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("classes", "clusters", "rand", "purity", "majority", "rates"),
    [
        ([BENIGN] * 6 + [SQLI] * 2, [0] * 6 + [1] * 2, 1.0, 1.0, 0.75, (1.0, 0.0)),
        ([BENIGN] * 6 + [SQLI] * 2, [1] * 6 + [0] * 2, 1.0, 1.0, 0.75, (0.0, 1.0)),
        ([BENIGN] * 6 + [SQLI] * 2, [0] * 8, 0.0, 0.75, 0.75, (0.0, 0.0)),
        ([BENIGN, SQLI] * 4, [0, 0, 1, 1] * 2, -1 / 6, 0.5, 0.5, (0.5, 0.5)),
    ],
)
def test_agreement(
    classes: list[str | None], clusters: list[int], rand: float, purity: float, majority: float, rates: tuple[float, float]
) -> None:
    found = agreement(classes, clusters)
    smallest = found.readings[found.smallest - 1]
    assert (rand, purity, majority) == pytest.approx((found.rand, found.purity, found.majority), abs=1e-9)
    assert rates == (smallest.true_positives.rate, smallest.false_positives.rate)


def test_calls_of_which_nothing_is_known_are_left_out() -> None:
    assert 2 == agreement([None, BENIGN, SQLI, None], [0, 0, 1, 1]).n
    assert agree("labels", "attack", Part.ALL, [None, None], [0, 1], 2) is None


@pytest.mark.parametrize(("classes", "only"), [([BENIGN] * 3, "benign"), ([SQLI] * 3, "attack")])
def test_one_class_has_no_agreement(classes: list[str | None], only: str) -> None:
    found = agreement(classes, [0, 1, 0])
    assert (None, None, None) == (found.rand, found.homogeneity, found.completeness)
    assert f"all 3 calls are '{only}', so agreement isn't defined" in agreed(found)


def test_kinds_of_attacks_are_counted_by_cluster_the_most_frequent_first() -> None:
    found = agreement([BENIGN, XSS, SQLI, SQLI, SQLI], [0, 0, 1, 1, 0])
    assert [("sqli", (1, 2)), ("xss", (1, 0))] == list(found.kinds.items())


@pytest.mark.parametrize(
    ("classes", "clusters", "expected"),
    [
        ([BENIGN] * 60 + [SQLI] * 20, [0] * 60 + [1] * 20, "**good** (adjusted Rand index 1.000)"),
        ([BENIGN] * 60 + [SQLI] * 20, [0, 1] * 40, "**no better than chance**"),
        ([BENIGN] * 60 + [SQLI] * 20, [0, 1] * 40, "no better than always saying the more frequent kind"),
        ([BENIGN] * 60 + [SQLI] * 40, [0] * 50 + [1] * 10 + [1] * 30 + [0] * 10, "**moderate**"),
        ([BENIGN] * 6 + [SQLI] * 2, [1] * 6 + [0] * 2, "0.0% of 'attack' is in it, and 100.0% of the rest"),
    ],
)
def test_the_words_say_what_the_figures_say(classes: list[str | None], clusters: list[int], expected: str) -> None:
    assert expected in agreed(agreement(classes, clusters))
