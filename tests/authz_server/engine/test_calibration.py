"""From a score to a p-value."""

import math
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.calibration import MESH, Calibration, calibrated, p_value
from trainer.calibrate import MARGIN, PARTS, CalibrationLearner, to_calibration, to_pooled

SCORES = Calibration(n=999, positive=5, scores=(1.0, 2.0, 4.0), above=(3, 1, 0))


def limit(seen: float) -> float:
    """Gehrels' upper limit of a count at one standard error, written out again."""
    return seen + 1 + math.sqrt(seen + 0.75)


@pytest.mark.parametrize(
    ("score", "p"),
    [
        (-1.0, 1.0),
        (0.0, 1.0),
        (0.5, limit(5) / 1000),
        (1.0, limit(5) / 1000),
        (1.5, limit(3) / 1000),
        (2.0, limit(3) / 1000),
        (3.0, limit(1) / 1000),
        (4.0, limit(1) / 1000),
        (4.1, limit(0) / 1000),
        (1e9, limit(0) / 1000),
    ],
)
def test_p_value_counts_the_calls_at_least_as_odd(score: float, p: float) -> None:
    assert p == pytest.approx(p_value(SCORES, score))


@pytest.mark.parametrize(("score", "clusters"), [(0.5, 5 / 4), (3.0, 1 / 4), (9.0, 0.0)])
def test_calls_that_come_together_count_as_so_many_fewer(score: float, clusters: float) -> None:
    in_fours = msgspec.structs.replace(SCORES, together=4.0)
    assert 4 * limit(clusters) / 1003 == pytest.approx(p_value(in_fours, score))


def test_nothing_calibrated_condemns_nobody() -> None:
    assert p_value(Calibration(), 100.0) == 1.0


def test_a_fitted_tail_goes_on_where_counting_ends() -> None:
    calibration = Calibration(
        n=9_999, positive=100, scores=(1.0, 5.0), above=(1, 0), tail_from=1.0, tail_scale=0.5, tail_count=50
    )
    assert p_value(calibration, 5.0) == pytest.approx(limit(1) / 10_000)
    assert p_value(calibration, 5.5) == pytest.approx(limit(0) / 10_000 / math.e)
    assert p_value(calibration, 9.0) < p_value(calibration, 8.0) < 1 / 10_000


def test_a_tail_never_says_less_than_was_counted_just_beyond_the_highest_score() -> None:
    """A narrow tail below a few scores far off would: its excesses tell nothing of those."""
    calibration = Calibration(n=999, positive=40, scores=(1.9, 2.0, 3.0), above=(9, 2, 0), tail_from=1.9, tail_scale=0.5)
    assert p_value(calibration, 3.001) == pytest.approx(limit(0) / 1_000, rel=0.01)


def test_p_value_is_never_zero_however_narrow_the_tail() -> None:
    calibration = Calibration(n=9_999, positive=1, scores=(1.0,), above=(0,), tail_from=1.0, tail_scale=0.0001, tail_count=50)
    assert 0 < p_value(calibration, 1_000.0) < 1e-9


SCORE = st.floats(0, 60).map(lambda score: round(score, 3))


@given(st.lists(SCORE, max_size=60), SCORE, SCORE, st.integers(0, 500))
@settings(max_examples=100, deadline=None)
def test_p_value_is_monotone_and_a_probability(scores: list[float], one: float, other: float, quiet: int) -> None:
    learner = CalibrationLearner()
    for number, score in enumerate([*scores, *[0.0] * quiet]):
        learner.update("GET /", score, number % PARTS)
    calibration = learner.finish()[""]
    low, high = sorted((one, other))
    assert 0 < p_value(calibration, high) <= p_value(calibration, low) <= 1


@given(st.lists(SCORE, max_size=25), SCORE)
@settings(max_examples=100, deadline=None)
def test_p_value_is_the_conformal_one_with_margin_and_standard_error(scores: list[float], score: float) -> None:
    calibration = to_calibration(len(scores), [round(held_out + MARGIN, 3) for held_out in scores if held_out > 0])
    at_least = sum(held_out > 0 and round(held_out + MARGIN, 3) >= score for held_out in scores)
    expected = min(1.0, limit(at_least) / (len(scores) + 1)) if score > 0 else 1.0
    assert expected == pytest.approx(p_value(calibration, score))


ODD = 0.05
"""Share of the calls that have a score at all in the simulated traffic; the scores are exponential."""
CALLS = 20_000
TRAININGS = 40


def simulated(rng: random.Random, together: int) -> Calibration:
    """Calibrate on traffic whose odd calls come so many at a time, of one score, next to each other."""
    held = []
    for cluster in range(CALLS // together):
        if rng.random() < ODD:
            held += [(rng.expovariate(1.0), cluster * together * PARTS // CALLS)] * together
    return to_pooled(CALLS, held)


def rate_refused(calibration: Calibration, budget: float) -> float:
    """Tell the share of all calls there will ever be that is refused: the chance of a score beyond the threshold."""
    low, high = 0.0, 20.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if p_value(calibration, middle) <= budget else (middle, high)
    return ODD * math.exp(-high)


@pytest.mark.parametrize("together", [1, 2, 5])
@pytest.mark.parametrize("budget", [0.02, 0.01, 0.001, 0.0001])
def test_the_budget_is_kept_by_nearly_every_training_and_not_by_refusing_nothing(budget: float, together: int) -> None:
    """One standard error leaves one training in six over its budget; 13 of 40 is three standard errors above that."""
    rng = random.Random(f"{budget} {together}")
    rates = [rate_refused(simulated(rng, together), budget) for _ in range(TRAININGS)]
    assert sum(rates) / TRAININGS <= budget
    assert sum(rate > budget for rate in rates) <= 13
    assert sum(rates) / TRAININGS >= budget / 8


def test_clusters_taken_for_independent_calls_break_the_promise() -> None:
    """What the simulation is for: without `together` the very same traffic is refused too often."""
    rng = random.Random(11)
    naive = [msgspec.structs.replace(simulated(rng, 5), together=1.0) for _ in range(3 * TRAININGS)]
    over = sum(rate_refused(one, 0.01) > 0.01 for one in naive)
    assert over > 3 * TRAININGS / 4


@pytest.mark.parametrize(
    ("calibrations", "score", "expected"),
    [
        ({"": Calibration(n=99), MESH: Calibration(n=9_999)}, 3.0, limit(0) / 10_000),
        ({"": Calibration(n=99), MESH: Calibration(n=9_999)}, 0.0, 1.0),
        ({"": Calibration(99, 1, (3.5,), (0,)), MESH: Calibration(n=9_999)}, 3.0, limit(1) / 100),
        ({"": Calibration(99, 1, (2.5,), (0,)), MESH: Calibration(n=9_999)}, 3.0, limit(0) / 10_000),
        ({"": Calibration(n=9_999), MESH: Calibration(n=99)}, 3.0, limit(0) / 10_000),
        ({MESH: Calibration(n=9_999)}, 3.0, limit(0) / 10_000),
        ({"GET /": Calibration(n=999), "": Calibration(n=99)}, 3.0, limit(0) / 1_000),
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
