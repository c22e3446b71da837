from collections.abc import Iterator

from authz_server.engine.record import OutcomeRecord
from tests.factories import outcome_record
from trainer.outcome_join import OutcomeJoin


def outcomes(*pairs: tuple[str, float]) -> Iterator[OutcomeRecord]:
    return iter([outcome_record(id=call_id, ts=ts) for call_id, ts in pairs])


def found(join: OutcomeJoin, call_id: str, ts: float) -> bool:
    return join.take(call_id, None, ts) is not None


def test_outcome_is_found_once() -> None:
    join = OutcomeJoin(outcomes(("a", 1.0)))
    assert found(join, "a", 0.0)
    assert not found(join, "a", 0.0)


def test_outcomes_out_of_order_are_found() -> None:
    join = OutcomeJoin(outcomes(("b", 5.0), ("a", 1.0), ("c", 3.0)))
    assert [True, True, True] == [found(join, call_id, ts) for call_id, ts in (("a", 0.0), ("b", 1.0), ("c", 2.0))]


def test_outcome_beyond_the_window_is_not_waited_for() -> None:
    rest = outcomes(*[("x", 1000.0 + n) for n in range(100)], ("a", 2000.0))
    join = OutcomeJoin(rest, window=120.0)
    assert not found(join, "a", 0.0)
    assert 80 < len(list(rest))


def test_one_wrong_clock_does_not_end_the_join() -> None:
    join = OutcomeJoin(outcomes(("far", 1e10), *[(f"{n}", float(n)) for n in range(1000)]))
    assert all(found(join, f"{n}", float(n)) for n in range(1000))


def test_what_is_past_is_forgotten() -> None:
    join = OutcomeJoin(outcomes(*[(f"{n}", float(n)) for n in range(10_000)]), window=100.0)
    for n in range(10_000):
        join.take("unknown", None, float(n))
    assert len(join._by_id) < 300
    assert len(join._order) < 300
