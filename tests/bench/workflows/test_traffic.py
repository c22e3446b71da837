"""The generated sessions: reproducible, in the order of time, and labelled as they say."""

import io
import json
from itertools import pairwise

import pytest

from authz_server.engine.observe import Observer
from bench.workflows.bank import BANK
from bench.workflows.booking import BOOKING
from bench.workflows.measure import records_of
from bench.workflows.session import IDLE_SECONDS, Workflow
from bench.workflows.shop import SHOP
from bench.workflows.tracker import TRACKER
from bench.workflows.traffic import Session, Split, sessions_of, to_rows, write_rows

EACH = pytest.mark.parametrize("workflow", [SHOP, BANK, TRACKER, BOOKING], ids=["shop", "bank", "tracker", "booking"])


def made(workflow: Workflow, split: Split = Split.DEV, seed: int = 1) -> list[Session]:
    return sessions_of(workflow, split, seed, honest=60, abusive=8)


@EACH
def test_a_seed_makes_the_same_sessions_and_another_seed_or_split_others(workflow: Workflow) -> None:
    assert made(workflow) == made(workflow)
    assert made(workflow) != made(workflow, seed=2)
    assert made(workflow)[0].calls != made(workflow, Split.TEST)[0].calls


@EACH
def test_only_abusive_sessions_have_labelled_calls_and_all_of_them_have(workflow: Workflow) -> None:
    sessions = made(workflow)
    assert {"", *workflow.abuses} == {session.attack for session in sessions}
    assert [bool(session.attack) for session in sessions] == [any(call.attack for call in session.calls) for session in sessions]


@EACH
def test_train_has_no_abuse(workflow: Workflow) -> None:
    assert {""} == {session.attack for session in made(workflow, Split.TRAIN)}


@EACH
def test_labelled_calls_succeed_unless_the_service_was_overloaded_or_they_were_mistyped(workflow: Workflow) -> None:
    statuses = {call.status for session in made(workflow) for call in session.calls if call.attack}
    assert statuses <= {200, 201, 202, 204, 303, 401, 402, 403, 422, 503, 504}
    for session in made(workflow):
        if session.attack:
            assert any(call.attack and call.status < 300 for call in session.calls)


@EACH
def test_a_late_step_comes_after_the_session_is_over(workflow: Workflow) -> None:
    for session in made(workflow):
        if session.attack == "late_step":
            until = [call.at for call in session.calls]
            until = until[: 1 + next(index for index, call in enumerate(session.calls) if call.attack)]
            assert max(after - before for before, after in pairwise(until)) > IDLE_SECONDS


@EACH
def test_rows_are_in_the_order_of_time_and_are_read_by_the_importer(workflow: Workflow) -> None:
    sessions = made(workflow)
    rows = list(to_rows(workflow, Split.DEV, sessions))
    assert sum(len(session.calls) for session in sessions) == len(rows)
    assert [row["ts"] for row in rows] == sorted(row["ts"] for row in rows)
    records = records_of(workflow, Split.DEV, sessions, Observer())
    assert [(row["method"], row["status"], row["label"], row["attack"]) for row in rows] == [
        (record.method, record.status, record.label, record.attack) for record in records
    ]


def test_rows_are_written_one_json_object_a_line() -> None:
    rows = list(to_rows(SHOP, Split.DEV, made(SHOP)))
    file = io.StringIO()
    assert len(rows) == write_rows(iter(rows), file)
    assert rows == [json.loads(line) for line in file.getvalue().splitlines()]
