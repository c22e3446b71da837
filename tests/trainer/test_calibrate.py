"""From held-out scores to calibrations."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.calibration import Calibration, p_value
from tests.partition import merged, parts_of
from trainer import calibrate
from trainer.calibrate import MARGIN, CalibrationLearner, mesh_calibration, to_calibration


def learner(scores: Iterable[tuple[str, float]]) -> CalibrationLearner:
    made = CalibrationLearner()
    for endpoint, score in scores:
        made.update(endpoint, score)
    return made


def finished(*scores: float) -> Calibration:
    return learner(("GET /", score) for score in scores).finish()[""]


def test_nothing_held_out() -> None:
    assert CalibrationLearner().finish() == {"": Calibration()}


def test_scores_are_counted_from_above() -> None:
    made = finished(0.0, 2.0, 1.0, 2.0, 0.0)
    shifted = (round(1.0 + MARGIN, 3), round(2.0 + MARGIN, 3))
    assert made == Calibration(5, 3, shifted, (2, 0))


def test_equal_calls_are_not_odder_than_those_held_out() -> None:
    made = finished(*[0.0] * 97, 1.0, 2.0, 3.0)
    assert p_value(made, 3.0) == pytest.approx(3 / 101)
    assert p_value(made, 2.0) == pytest.approx((3 + 2**0.5) / 101)


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
    assert 0 < p_value(made, beyond) < 1 / 20_001


def test_too_few_scores_have_no_tail() -> None:
    made = finished(*[float(n) for n in range(30)])
    assert (made.tail_scale, made.tail_count) == (0.0, 0)


def test_equal_scores_have_no_tail_and_never_divide_by_nothing() -> None:
    made = finished(*[2.0] * 1_000)
    assert (made.tail_scale, len(made.scores)) == (0.0, 1)
    assert p_value(made, 99.0) == pytest.approx(1 / 1_001)


def test_kept_scores_are_bounded_and_a_p_value_is_never_too_small_for_it() -> None:
    rng = random.Random(5)
    scores = [round(rng.uniform(0.001, 50), 3) for _ in range(12_000)]
    made = finished(*scores)
    assert len(made.scores) <= 2_001
    shifted = sorted(round(score + MARGIN, 3) for score in scores)
    for score in rng.sample(shifted, 300):
        exact = min(1.0, (1 + (at_least := sum(other >= score for other in shifted)) + at_least**0.5) / (len(shifted) + 1))
        assert p_value(made, score) >= exact * (1 - 1e-9)
    at_least = sum(other >= shifted[-5] for other in shifted)
    assert p_value(made, shifted[-5]) == pytest.approx((1 + at_least + at_least**0.5) / 12_001)


PAIRS = st.lists(st.tuples(st.sampled_from(["", "GET /a", "GET /b"]), st.floats(0, 20)), max_size=80)


@given(PAIRS, st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_calibrations_do_not_depend_on_order_or_cut(pairs: list[tuple[str, float]], parts: int, rng: random.Random) -> None:
    def update(made: CalibrationLearner, pair: tuple[str, float]) -> None:
        made.update(*pair)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "MIN_OWN", 15)
        cut = merged(CalibrationLearner, update, parts_of(pairs, parts, rng), rng)
        assert learner(pairs).finish() == cut.finish()


def test_the_meshs_calibration_counts_all_workloads_and_keeps_the_highest_scores() -> None:
    learners = []
    for workload in range(4):
        learner = CalibrationLearner()
        for n in range(1_000):
            learner.update("GET /", (workload * 1_000 + n) / 1_000)
        learners.append(learner)
    mesh = mesh_calibration(learners)
    whole = to_calibration(4_000, [round(n / 1_000 + MARGIN, 3) for n in range(1, 4_000)])
    assert (4_000, 200) == (mesh.n, len(mesh.scores))
    for score in (3.95, 4.05, 4.2, 9.0):
        assert p_value(whole, score) == p_value(mesh, score)
    assert p_value(mesh, 1.0) >= 200 / 4_001
