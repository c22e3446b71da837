"""From a score to a p-value."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.calibration import MESH, Calibration, calibrated, p_value
from trainer.calibrate import MARGIN, CalibrationLearner

SCORES = Calibration(n=999, positive=5, scores=(1.0, 2.0, 4.0), above=(3, 1, 0))


@pytest.mark.parametrize(
    ("score", "p"),
    [
        (-1.0, 1.0),
        (0.0, 1.0),
        (0.5, (6 + 5**0.5) / 1000),
        (1.0, (6 + 5**0.5) / 1000),
        (1.5, (4 + 3**0.5) / 1000),
        (2.0, (4 + 3**0.5) / 1000),
        (3.0, 3 / 1000),
        (4.0, 3 / 1000),
        (4.1, 1 / 1000),
        (1e9, 1 / 1000),
    ],
)
def test_p_value_counts_the_calls_at_least_as_odd(score: float, p: float) -> None:
    assert p == pytest.approx(p_value(SCORES, score))


def test_nothing_calibrated_condemns_nobody() -> None:
    assert p_value(Calibration(), 100.0) == 1.0


def test_a_fitted_tail_goes_on_where_counting_ends() -> None:
    calibration = Calibration(
        n=9_999, positive=100, scores=(1.0, 5.0), above=(1, 0), tail_from=1.0, tail_scale=0.5, tail_count=50
    )
    assert p_value(calibration, 5.0) == pytest.approx(3 / 10_000)
    assert p_value(calibration, 5.01) <= 1 / 10_000
    assert p_value(calibration, 9.0) < p_value(calibration, 8.0) < 1 / 10_000


def test_p_value_is_never_zero_however_narrow_the_tail() -> None:
    calibration = Calibration(n=9_999, positive=1, scores=(1.0,), above=(0,), tail_from=1.0, tail_scale=0.0001, tail_count=50)
    assert 0 < p_value(calibration, 1_000.0) < 1e-9


SCORE = st.floats(0, 60).map(lambda score: round(score, 3))


@given(st.lists(SCORE, max_size=60), SCORE, SCORE, st.integers(0, 500))
@settings(max_examples=100, deadline=None)
def test_p_value_is_monotone_and_a_probability(scores: list[float], one: float, other: float, quiet: int) -> None:
    learner = CalibrationLearner()
    for score in [*scores, *[0.0] * quiet]:
        learner.update("GET /", score)
    calibration = learner.finish()[""]
    low, high = sorted((one, other))
    assert 0 < p_value(calibration, high) <= p_value(calibration, low) <= 1


@given(st.lists(SCORE, max_size=25), SCORE)
@settings(max_examples=100, deadline=None)
def test_p_value_is_the_conformal_one_with_margin_and_standard_error(scores: list[float], score: float) -> None:
    learner = CalibrationLearner()
    for held_out in scores:
        learner.update("GET /", held_out)
    at_least = sum(held_out > 0 and round(held_out + MARGIN, 3) >= score for held_out in scores)
    expected = min(1.0, (1 + at_least + at_least**0.5) / (len(scores) + 1)) if score > 0 else 1.0
    assert expected == pytest.approx(p_value(learner.finish()[""], score))


@pytest.mark.parametrize("budget", [0.05, 0.01])
def test_normal_calls_are_denied_at_most_as_often_as_the_budget_says(budget: float) -> None:
    """On average over 30 calibrations; the bound lies four standard errors above the budget."""
    rng = random.Random(7)
    denied = total = 0

    def draw() -> float:
        return round(rng.expovariate(1.0), 3) if rng.random() < 0.3 else 0.0

    for _ in range(30):
        learner = CalibrationLearner()
        for _ in range(2_000):
            learner.update("GET /", draw())
        calibration = learner.finish()[""]
        denied += sum(p_value(calibration, draw()) <= budget for _ in range(1_000))
        total += 1_000
    assert denied / total <= budget + 4 * (budget / total) ** 0.5 + 4 * budget / (30 * 2_000 * budget) ** 0.5
    assert denied > 0


@pytest.mark.parametrize(
    ("calibrations", "score", "expected"),
    [
        ({"": Calibration(n=99), MESH: Calibration(n=9_999)}, 3.0, 1e-4),
        ({"": Calibration(n=99), MESH: Calibration(n=9_999)}, 0.0, 1.0),
        ({"": Calibration(99, 1, (3.5,), (0,)), MESH: Calibration(n=9_999)}, 3.0, 0.03),
        ({"": Calibration(99, 1, (2.5,), (0,)), MESH: Calibration(n=9_999)}, 3.0, 1e-4),
        ({"": Calibration(n=9_999), MESH: Calibration(n=99)}, 3.0, 1e-4),
        ({MESH: Calibration(n=9_999)}, 3.0, 1e-4),
        ({"GET /": Calibration(n=999), "": Calibration(n=99)}, 3.0, 1e-3),
    ],
    ids=[
        "beyond its own",
        "not odd",
        "as odd as its own",
        "odder than its own",
        "its own is better",
        "none of its own",
        "endpoint",
    ],
)
def test_beyond_a_workloads_own_scores_the_mesh_tells(
    calibrations: dict[str, Calibration], score: float, expected: float
) -> None:
    assert expected == pytest.approx(calibrated(calibrations, "GET /", score))
