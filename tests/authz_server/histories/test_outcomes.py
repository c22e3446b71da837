"""Joining access log entries to the steps of callers."""

from threading import Lock

import pytest

from authz_server.engine.history import CallerHistory, add_step
from authz_server.engine.record import OutcomeRecord
from authz_server.histories.outcomes import MAX_PENDING, Outcomes
from authz_server.histories.visit import Visit, join_key

PAY = "POST /pay"


def caller() -> CallerHistory:
    return CallerHistory(0.0, 0.0)


def step(outcomes: Outcomes, who: CallerHistory, decision_id: str = "d-1", request_id: str = "r-1") -> None:
    key = join_key(request_id, "shop/pay", "POST")
    outcomes.expect(Visit(decision_id, 0.0, "shop/pay", "s", PAY, key), who, add_step(who, PAY))


def ended(status: int, decision_id: str = "d-1", request_id: str = "r-1") -> OutcomeRecord:
    return OutcomeRecord(decision_id, 1.0, request_id, "shop/pay", "POST", status)


@pytest.mark.parametrize(
    ("status", "stays"),
    [(200, True), (101, True), (204, True), (302, True), (400, False), (404, False), (503, False), (0, False)],
)
def test_a_step_that_failed_is_taken_back(status: int, stays: bool) -> None:
    outcomes, who = Outcomes(Lock()), caller()
    step(outcomes, who)
    outcomes.settle(ended(status))
    assert (stays, 1, 0) == (PAY in who.ever, outcomes.joined, outcomes.unknown)


def test_without_decision_id_request_id_workload_and_method_join() -> None:
    outcomes, who = Outcomes(Lock()), caller()
    step(outcomes, who)
    outcomes.settle(OutcomeRecord("", 1.0, "r-1", "shop/other", "POST", 500))
    outcomes.settle(OutcomeRecord("", 1.0, "r-1", "shop/pay", "GET", 500))
    assert (PAY in who.ever, outcomes.unknown) == (True, 2)
    outcomes.settle(ended(500, decision_id=""))
    assert (PAY in who.ever, outcomes.joined) == (False, 1)


def test_an_outcome_is_taken_once() -> None:
    outcomes, who = Outcomes(Lock()), caller()
    step(outcomes, who)
    outcomes.settle(ended(200))
    outcomes.settle(ended(500))
    outcomes.settle(ended(500, decision_id=""))
    assert (PAY in who.ever, outcomes.joined, outcomes.unknown) == (True, 1, 2)


def test_an_outcome_without_any_id_joins_nobody() -> None:
    outcomes, who = Outcomes(Lock()), caller()
    step(outcomes, who, request_id="")
    outcomes.settle(ended(500, decision_id="", request_id=""))
    assert (PAY in who.ever, outcomes.unknown) == (True, 1)


def test_an_unknown_outcome_is_counted() -> None:
    outcomes = Outcomes(Lock())
    outcomes.settle(ended(500))
    assert (outcomes.joined, outcomes.unknown) == (0, 1)


def test_two_calls_under_one_request_id_do_not_lose_each_other() -> None:
    outcomes, first, second = Outcomes(Lock()), caller(), caller()
    step(outcomes, first, "d-1")
    step(outcomes, second, "d-2")
    outcomes.settle(ended(200, "d-1"))
    outcomes.settle(ended(500, ""))
    assert (PAY in first.ever, PAY in second.ever, outcomes.joined) == (True, False, 2)


def test_pending_decisions_are_bounded_and_the_oldest_then_count_as_succeeded() -> None:
    outcomes, first, rest = Outcomes(Lock()), caller(), caller()
    step(outcomes, first, "first", "first")
    for number in range(MAX_PENDING):
        step(outcomes, rest, str(number), str(number))
    outcomes.settle(ended(500, "first", "first"))
    outcomes.settle(ended(500, "", "first"))
    assert (PAY in first.ever, outcomes.unknown) == (True, 2)
    assert len(outcomes._pending) == len(outcomes._ids) == MAX_PENDING
