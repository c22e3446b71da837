"""From held-out scores to calibrations."""

import math
import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.calibration import Calibration, p_value
from tests.partition import merged, parts_of
from trainer import calibrate
from trainer.calibrate import MARGIN, PARTS, CalibrationLearner, mesh_calibration, to_calibration, to_together


def learner(scores: Iterable[tuple[str, float]]) -> CalibrationLearner:
    made = CalibrationLearner()
    for number, (endpoint, score) in enumerate(scores):
        made.update(endpoint, score, number % PARTS)
    return made


def finished(*scores: float) -> Calibration:
    return learner(("GET /", score) for score in scores).finish()[""]


def limit(seen: float, n: int, together: float = 1.0) -> float:
    """The upper limit of a share at one standard error (Gehrels 1986), written out again."""
    clusters = seen / together
    return together * (clusters + 1 + math.sqrt(clusters + 0.75)) / (n + together)


def test_nothing_held_out() -> None:
    assert CalibrationLearner().finish() == {"": Calibration()}


def test_scores_are_counted_from_above() -> None:
    made = finished(0.0, 2.0, 1.0, 2.0, 0.0)
    shifted = (round(1.0 + MARGIN, 3), round(2.0 + MARGIN, 3))
    assert made == Calibration(5, 3, shifted, (2, 0), together=2.0)


def test_equal_calls_are_not_odder_than_those_held_out() -> None:
    made = finished(*[0.0] * 97, 1.0, 2.0, 3.0)
    assert p_value(made, 3.0) == pytest.approx(limit(1, 100, 2.0))
    assert p_value(made, 2.0) == pytest.approx(limit(2, 100, 2.0))


def test_an_endpoint_has_its_own_calibration_where_there_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "MIN_OWN", 20)
    pairs = [("GET /many", 1.0)] * 20 + [("GET /few", 3.0)] * 19 + [("", 5.0)] * 30
    made = learner(pairs).finish()
    assert set(made) == {"", "GET /many"}
    assert ([made["GET /many"].n, made[""].n], [made["GET /many"].positive, made[""].positive]) == ([20, 69], [20, 69])


def test_the_tail_is_fitted_to_the_highest_scores() -> None:
    rng = random.Random(3)
    made = finished(*[rng.expovariate(2.0) for _ in range(20_000)])
    assert made.tail_count == 100
    assert made.tail_scale == pytest.approx(0.5, rel=0.4)
    beyond = max(made.scores) + 1.0
    assert 0 < p_value(made, beyond) < limit(0, 20_000, made.together) / 5


def test_a_tail_falls_no_faster_than_the_scores_say_chances_do() -> None:
    """Scores that are nearly all alike would make one so steep that anything beyond them is as good as impossible."""
    made = finished(*[2.0 + n / 10_000 for n in range(500)], 3.0)
    assert made.tail_scale == pytest.approx(1 / math.log(10), abs=1e-4)
    assert p_value(made, 4.0 + MARGIN) == pytest.approx(p_value(made, 3.0 + MARGIN + 1e-6) / 10, rel=0.01)


def test_a_workload_with_few_odd_calls_has_a_tail_of_those_there_are() -> None:
    rng = random.Random(4)
    made = finished(*[0.0] * 20_000, *[rng.expovariate(2.0) for _ in range(50)])
    assert (made.tail_count, made.tail_from) == (49, made.scores[0])


def test_too_few_scores_have_no_tail() -> None:
    made = finished(*[float(n) for n in range(30)])
    assert (made.tail_scale, made.tail_count) == (0.0, 0)


def test_equal_scores_have_the_steepest_tail_there_is_and_never_divide_by_nothing() -> None:
    made = finished(*[2.0] * 1_000)
    assert (made.tail_scale, len(made.scores)) == (0.4343, 1)
    assert p_value(made, 99.0) < p_value(made, 2.0 + MARGIN + 0.001)


def scattered(rng: random.Random, clusters: int, together: int) -> list[int]:
    return [part for part in rng.choices(range(PARTS), k=clusters) for _ in range(together)]


@pytest.mark.parametrize("together", [1, 2, 4])
def test_how_many_come_together_is_measured(together: int) -> None:
    rng = random.Random(together)
    measured = [to_together(scattered(rng, 200, together)) for _ in range(50)]
    assert together <= sum(measured) / 50 <= 1.35 * together


def test_what_comes_together_over_a_longer_time_is_seen_too() -> None:
    rng = random.Random(9)
    measured = []
    for _ in range(30):
        hours = [hour * 16 + rng.randrange(16) for hour in rng.choices(range(PARTS // 16), k=30) for _ in range(4)]
        measured.append(to_together(hours))
    assert sum(measured) / 30 == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize(
    ("parts", "together"),
    [([], 2.0), ([5] * 9, 2.0), ([5] * 10, 8.0), ([5] * 10_000, 8.0), (list(range(PARTS)), 1.0)],
    ids=["none", "too few to tell", "a burst", "an attacker's burst", "like clockwork"],
)
def test_how_many_come_together_is_bounded(parts: list[int], together: float) -> None:
    assert together == to_together(parts)


def test_a_caller_that_repeats_one_odd_thing_counts_so_often_and_no_more() -> None:
    made = CalibrationLearner()
    for number in range(300):
        made.update("GET /", 5.0, number, "mallory debug")
        made.update("GET /", 3.0, number)
    for number in range(20):
        made.update("GET /", 4.0, number, f"ann {number}")
    calibration = made.finish()[""]
    assert (328, 328) == (calibration.n, calibration.positive)
    assert (28, 8, 0) == calibration.above


def test_only_the_highest_scores_tell_how_many_come_together() -> None:
    """So that a burst of slightly odd calls doesn't blind the workload to very odd ones."""
    made = CalibrationLearner()
    for number in range(10_000):
        made.update("GET /", 5.0 + number / 1_000 if number % 200 == 0 else 0.0, number * PARTS // 10_000)
    for _ in range(100):
        made.update("GET /", 1.0, 7)
    assert made.finish()[""].together <= 1.2


def test_kept_scores_are_bounded_and_a_p_value_is_never_too_small_for_it() -> None:
    rng = random.Random(5)
    scores = [round(rng.uniform(0.001, 50), 3) for _ in range(12_000)]
    made = finished(*scores)
    assert len(made.scores) <= 2_001
    shifted = sorted(round(score + MARGIN, 3) for score in scores)
    for score in rng.sample(shifted, 300):
        exact = min(1.0, limit(sum(other >= score for other in shifted), len(shifted), made.together))
        assert p_value(made, score) >= exact * (1 - 1e-9)
    at_least = sum(other >= shifted[-5] for other in shifted)
    assert p_value(made, shifted[-5]) == pytest.approx(limit(at_least, 12_000, made.together))


HELD = st.lists(st.tuples(st.sampled_from(["", "GET /a", "GET /b"]), st.floats(0, 20), st.integers(0, PARTS - 1)), max_size=80)


@given(HELD, st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_calibrations_do_not_depend_on_order_or_cut(held: list[tuple[str, float, int]], parts: int, rng: random.Random) -> None:
    def update(made: CalibrationLearner, one: tuple[str, float, int]) -> None:
        made.update(*one)

    whole = CalibrationLearner()
    for one in held:
        update(whole, one)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "MIN_OWN", 15)
        cut = merged(CalibrationLearner, update, parts_of(held, parts, rng), rng)
        assert whole.finish() == cut.finish()


def test_the_meshs_calibration_counts_all_workloads_and_keeps_the_highest_scores() -> None:
    learners = []
    for workload in range(4):
        learner = CalibrationLearner()
        for n in range(1_000):
            learner.update("GET /", (workload * 1_000 + n) / 1_000, n * 7 % PARTS)
        learners.append(learner)
    mesh = mesh_calibration(learners)
    whole = to_calibration(4_000, [round(n / 1_000 + MARGIN, 3) for n in range(1, 4_000)], mesh.together)
    assert (4_000, 200) == (mesh.n, len(mesh.scores))
    for score in (3.95, 4.05, 4.2, 9.0):
        assert p_value(whole, score) == p_value(mesh, score)
    assert p_value(mesh, 1.0) >= 200 / 4_001
