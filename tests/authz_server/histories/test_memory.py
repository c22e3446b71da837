"""Histories in this process's memory: what a visit returns, and what undoes it."""

import msgspec
import pytest

from authz_server.engine.history import MAX_RECENT
from authz_server.engine.pace import METERS, NO_PACES, Footprint, PaceLimits, to_limits
from authz_server.engine.record import OutcomeRecord
from authz_server.histories.memory import MemoryHistories
from authz_server.histories.visit import Visit, join_key

CART, PAY = "POST /cart", "POST /pay"


def visit(number: int, endpoint: str, session: str = "s", ts: float = 10.0) -> Visit:
    return Visit(f"d-{number}", ts, "shop/shop", session, endpoint, join_key(f"r-{number}", "shop/shop", "POST"))


def past(histories: MemoryHistories, session: str = "s") -> tuple[str, ...]:
    found = histories.visit(visit(999, "", session))
    assert found is not None
    return found.recent


def test_a_visit_returns_what_came_before_it() -> None:
    histories = MemoryHistories(0.0)
    first, second = histories.visit(visit(1, CART)), histories.visit(visit(2, PAY))
    assert first is not None
    assert second is not None
    assert ((), {}, 10.0) == (first.recent, first.ever, first.watched)
    assert ((CART,), {CART: 0}) == (second.recent, second.ever)


def test_only_the_last_steps_are_in_order() -> None:
    histories = MemoryHistories(0.0)
    for number in range(MAX_RECENT + 3):
        histories.visit(visit(number, f"GET /{number}"))
    assert tuple(f"GET /{number}" for number in range(3, MAX_RECENT + 3)) == past(histories)


def test_a_call_at_no_endpoint_is_no_step() -> None:
    histories = MemoryHistories(0.0)
    histories.visit(visit(1, ""))
    assert () == past(histories)


def test_a_refused_visit_is_no_step_and_waits_for_no_outcome() -> None:
    histories = MemoryHistories(0.0)
    refused = visit(1, PAY)
    histories.visit(refused)
    histories.take_back(refused)
    histories.take_back(refused)
    histories.settle(OutcomeRecord("d-1", 1.0, status=200))
    assert ((), 1) == (past(histories), histories.outcomes.unknown)


@pytest.mark.parametrize(("status", "steps"), [(200, (PAY,)), (302, (PAY,)), (402, ()), (503, ())])
def test_a_step_stays_only_if_its_call_succeeded(status: int, steps: tuple[str, ...]) -> None:
    histories = MemoryHistories(0.0)
    histories.visit(visit(1, PAY))
    histories.settle(OutcomeRecord("", 1.0, "r-1", "shop/shop", "POST", status))
    assert steps == past(histories)


def test_sessions_are_kept_apart_and_counted() -> None:
    histories = MemoryHistories(0.0)
    histories.visit(visit(1, CART, "one"))
    histories.visit(visit(2, PAY, "two"))
    assert ((CART,), (PAY,), 2) == (past(histories, "one"), past(histories, "two"), len(histories))


def paced(number: int, session: str = "s", address: str = "a", ts: float = 10.0) -> Visit:
    key = join_key(f"r-{number}", "shop/shop", "GET")
    return Visit(f"d-{number}", ts, "shop/shop", session, "", key, address, Footprint())


def test_a_visit_counts_the_pace_of_session_address_and_workload_itself_included() -> None:
    histories = MemoryHistories(0.0)
    histories.visit(paced(1, "one"))
    found = histories.visit(paced(2, "two"))
    assert found is not None
    assert (1, 2, 2) == tuple(one.counts[0] for one in (found.paces.session, found.paces.address, found.paces.workload))
    uncounted = histories.visit(visit(3, CART))
    assert uncounted is not None
    assert uncounted.paces is NO_PACES


def test_a_call_without_session_has_a_pace_and_no_steps() -> None:
    histories = MemoryHistories(0.0)
    found = histories.visit(paced(1, ""))
    assert found is not None
    assert ((), 1, 0) == (found.recent, found.paces.address.counts[0], len(histories))


def test_an_error_counts_when_its_outcome_comes() -> None:
    histories = MemoryHistories(0.0)
    histories.visit(paced(1))
    histories.visit(paced(2))
    histories.settle(OutcomeRecord("d-1", 10.0, status=503))
    histories.settle(OutcomeRecord("d-2", 10.0, status=200))
    found = histories.visit(paced(3))
    assert found is not None
    assert (1, 1, 1) == tuple(one.counts[4] for one in (found.paces.session, found.paces.address, found.paces.workload))


def test_a_refused_call_counts_and_makes_its_caller_new() -> None:
    histories = MemoryHistories(0.0)
    histories.visit(paced(1, ts=10.0))
    refused = paced(2, ts=100.0)
    histories.visit(refused)
    histories.take_back(refused)
    found = histories.visit(paced(3, ts=105.0))
    assert found is not None
    assert (5.0, 2, 95.0) == (found.paces.session.age, found.paces.session.counts[0], found.paces.workload.age)


def test_paces_are_returned_only_where_they_exceed_the_limits_of_the_visit() -> None:
    histories, every = MemoryHistories(0.0), MemoryHistories(0.0)
    limits = PaceLimits(*[to_limits((3.5,) * len(METERS))] * 3)
    found = [histories.visit(msgspec.structs.replace(paced(number), limits=limits)) for number in range(5)]
    expected = [every.visit(paced(number)) for number in range(5)]
    assert [NO_PACES] * 3 == [one.paces for one in found[:3] if one is not None]
    assert found[3:] == expected[3:]


def test_a_past_stays_as_it_is_while_the_caller_goes_on() -> None:
    histories = MemoryHistories(0.0)
    histories.visit(visit(1, CART))
    found = histories.visit(visit(2, PAY))
    histories.visit(visit(3, PAY))
    histories.settle(OutcomeRecord("d-1", 1.0, status=500))
    assert found is not None
    assert ((CART,), {CART: 0}, {CART: 1}) == (found.recent, found.ever, found.counts)
