"""Ranking where a session can be read from."""

import random

import pytest

from authz_server.engine.policy import SessionSource
from tests.factories_engine import raw_call, record
from trainer.callers import Candidate, CandidateLearner, seen_in_clear, seen_in_record

SESSION = "3f2a9c" + "0" * 14


def learn(seen: list[tuple[float, str, list[tuple[str, str]]]]) -> dict[str, Candidate]:
    learner = CandidateLearner()
    for ts, address, pairs in seen:
        learner.update(ts, address, pairs)
    return {one.source: one for one in learner.finish()}


def traffic(calls: int = 2_000, people: int = 100) -> list[tuple[float, str, list[tuple[str, str]]]]:
    rng = random.Random(3)
    made: list[tuple[float, str, list[tuple[str, str]]]] = []
    for n in range(calls):
        who = rng.randrange(people)
        seen = [("cookie:sid", f"s{who}"), ("header:x-trace", f"t{n}"), ("principal", "gateway"), ("cookie:theme", f"{who % 2}")]
        if n % 50 == 0:
            seen.append(("header:x-debug-user", f"u{who}"))
        made.append((float(n), f"10.0.0.{who % 50}", seen))
    return made


def test_the_session_cookie_comes_first_and_the_others_say_why_not() -> None:
    found = learn(traffic())
    assert next(iter(found)) == "cookie:sid"
    assert {
        "cookie:sid": "",
        "header:x-trace": "a new value nearly every time: a request's name, not a caller's",
        "principal": "one value for all calls",
        "cookie:theme": "only 2 values",
        "header:x-debug-user": "only 2.0% of the calls have it",
    } == {source: one.reason for source, one in found.items()}


def test_the_evidence_is_counted() -> None:
    sid = learn(traffic())["cookie:sid"]
    assert (1.0, 100, 0.95) == (sid.share, sid.callers, sid.again)
    assert 15 <= sid.calls <= 25
    assert sid.seconds > 1_500
    assert sid.addresses == 0.0


def test_a_population_is_not_a_caller() -> None:
    most = [(float(n), "", [("header:x-user", "batch" if n % 3 else f"u{n % 8}")]) for n in range(600)]
    assert learn(most)["header:x-user"].reason == "one value has 67% of the calls: a population, not a caller"


def test_values_that_move_between_addresses_are_told() -> None:
    calls = [(float(n), f"a{n}", [("cookie:sid", f"s{n % 10}")]) for n in range(100)]
    assert learn(calls)["cookie:sid"].addresses == 1.0


def test_many_values_are_counted_on_a_sample_and_memory_is_bounded() -> None:
    learner = CandidateLearner()
    for n in range(60_000):
        learner.update(float(n), "", [("cookie:sid", f"s{n // 3}")])
    (found,) = learner.finish()
    assert 18_000 < found.callers < 22_000
    assert 0.6 < found.again < 0.7
    assert len(learner._candidates["cookie:sid"].values) <= 8_192


def test_invented_cookies_are_bounded() -> None:
    learner = CandidateLearner()
    for n in range(1_000):
        learner.update(float(n), "", [(f"cookie:c{n}", "x")])
    assert len(learner.finish()) == 256


def test_what_a_record_shows_are_digests() -> None:
    made = record(headers={"cookie": f"sid={SESSION}; theme=dark; password=hunter2", "x-user": "bob", "accept": "*/*"})
    seen = dict(seen_in_record(made))
    assert {"cookie:sid", "cookie:theme", "header:x-user", "principal", "address"} == set(seen)
    assert SESSION not in seen.values()


def test_what_a_call_in_clear_shows() -> None:
    token = "Bearer e30.eyJzdWIiOiJhbGljZSIsImlhdCI6MX0.c2ln"
    made = raw_call(headers={"cookie": "sid=1", "authorization": token, "x-user": "bob", ":path": "/", "accept": "*/*"})
    expected = {
        "cookie:sid": "1",
        "header:x-user": "bob",
        "claim:sub": "alice",
        "principal": made.source,
        "address": made.address,
    }
    assert expected == dict(seen_in_clear(made))


@pytest.mark.parametrize(
    ("source", "policy"),
    [
        ("cookie:sid", '{cookie: "sid"}'),
        ("header:x-user", '{header: "x-user"}'),
        ("claim:sub", '{claim: "sub", unverified: true}'),
        ("principal", "principal"),
    ],
)
def test_how_a_candidate_is_written_in_the_policy(source: str, policy: str) -> None:
    from authz_server.enforcement import parse_enforcement

    candidate = Candidate(source, 1.0, 9, 9.0, 9.0, 1.0, 0.1, 0.0, "")
    assert policy == candidate.policy
    (read,) = parse_enforcement(f"version: 1\ndefaults: {{session: [{policy}]}}".encode()).defaults.session
    assert read != SessionSource()
