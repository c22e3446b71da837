"""How fast callers go, counted in a real Redis and a real Valkey: as in memory, and for all replicas."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha1
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz_server.engine.counters import Counters
from authz_server.engine.pace import NO_PACES, Counts, Footprint, Paces
from authz_server.engine.record import OutcomeRecord
from authz_server.histories.redis_connector import connector
from authz_server.histories.redis_errand import Errand, to_question, to_refusal, to_settlement
from authz_server.histories.redis_histories import RedisHistories
from authz_server.histories.redis_link import Link
from authz_server.histories.redis_paces import to_paces
from authz_server.histories.redis_scripts import Script, pace_key
from authz_server.histories.visit import Visit, join_key
from demo.redis_server import Kind, RedisServer

SHOP, START = "shop/shop", 1_750_000_123.5
TIMEOUT = 0.25


@pytest.fixture(scope="module", params=list(Kind))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(request.param, tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture
def two(server: RedisServer) -> Iterator[tuple[RedisHistories, RedisHistories]]:
    server.tell("FLUSHALL")
    with ExitStack() as started:
        one, other = (started.enter_context(RedisHistories(server.url, TIMEOUT, 2, name, 0.0)) for name in "ab")
        yield one, other


def visit(number: int, session: str = "s", address: str = "a", footprint: Footprint | None = Footprint()) -> Visit:  # noqa: B008
    key = join_key(f"r-{number}", SHOP, "POST")
    return Visit(f"d-{number}", START, SHOP, session, "POST /pay", key, address, footprint)


def eventually(look: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10.0
    while not look():
        assert time.monotonic() < deadline, "nothing seen"
        time.sleep(0.01)


def settled(histories: RedisHistories) -> None:
    eventually(lambda: not len(histories.outcomes))


def paces(histories: RedisHistories, made: Visit) -> Paces:
    past = histories.visit(made)
    assert past.watched >= 0.0
    return past.paces


class Clocked:
    """The scripts, run by a Redis whose clock a test sets."""

    def __init__(self, server: RedisServer) -> None:
        server.tell("FLUSHALL")
        self._server = server
        self._link: Link = connector(server.url, 5.0)(0)

    def run(self, errand: Errand, ts: float) -> Any:
        seconds, microseconds = divmod(round(ts * 1e6), 1_000_000)
        text = errand.script.text.replace("redis.call('TIME')", "{" + f"{seconds}, {microseconds}" + "}")
        assert text != errand.script.text
        return self._link.run(Errand(Script(text, sha1(text.encode()).hexdigest()), errand.keys, errand.args))

    def close(self) -> None:
        self._link.close()


def about(*counts: float) -> Any:
    """Redis's clock may begin a window in the middle of a test."""
    return pytest.approx(counts, rel=0.05)


def near(counts: Counts) -> Any:
    return pytest.approx((counts.age, *counts.counts), rel=1e-9, abs=1e-5)


BITS = st.integers(0, 255)
FOOTPRINTS = st.builds(Footprint, st.floats(0.0, 50.0), BITS, st.lists(BITS, max_size=3).map(tuple))
STEPS = st.tuples(
    st.sampled_from(["one", "other", ""]),
    st.sampled_from(["here", "there", ""]),
    st.one_of(st.floats(0.0, 3.0), st.floats(0.0, 130.0), st.sampled_from([10.0, 60.0, 599.0, 1300.0, 1801.0])),
    FOOTPRINTS,
    st.sampled_from(["stays", "stays", "fails", "fails later", "refused", "refused for itself", "refused later"]),
)


@given(st.lists(STEPS, max_size=40), st.integers(0, 1_300_000_000))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_redis_counts_what_memory_counts(server: RedisServer, steps: list[tuple[Any, ...]], late: int) -> None:
    ours, theirs, ts = Counters(), Clocked(server), START + late / 1e6
    later: list[tuple[Visit, float]] = []
    answered: list[tuple[Visit, float]] = []

    def refuse(made: Visit, called: float, *, itself: bool) -> None:
        cost = made.footprint.cost if itself and made.footprint is not None else None
        ours.refuse(SHOP, made.session, made.address, called, cost)
        theirs.run(to_refusal(made, relieves=itself), ts)

    def fail(made: Visit, called: float) -> None:
        ours.fail(SHOP, made.session, made.address, called)
        assert theirs.run(to_settlement(OutcomeRecord(made.decision_id, 0.0, status=500)) or None, ts) == 1  # type: ignore[arg-type]

    try:
        for number, (session, address, after, footprint, fate) in enumerate(steps):
            ts = round(ts + after, 6)
            made = visit(number, session, address, footprint)
            expected = ours.visit(SHOP, session, address, ts, footprint)
            found = to_paces(*theirs.run(to_question(made, "0"), ts)[1:])
            for one, two_ in ((expected.session, found.session), (expected.address, found.address)):
                assert ((two_.age, *two_.counts) == near(one)) if one.counts else (not two_.counts)
            assert (found.workload.age, *found.workload.counts) == near(expected.workload)
            if fate == "fails":
                fail(made, ts)
            elif fate == "fails later":
                later.append((made, ts))
            elif fate == "refused later":
                answered.append((made, ts))
            elif fate.startswith("refused"):
                refuse(made, ts, itself=fate != "refused")
            if len(answered) > 1:
                refuse(*answered.pop(0), itself=True)
            if later and ts - later[0][1] < 60.0 and len(later) > 2:
                fail(*later.pop(0))
    finally:
        theirs.close()


def test_what_was_evicted_is_taken_off_nothing(server: RedisServer) -> None:
    theirs = Clocked(server)
    try:
        for number in range(3):
            theirs.run(to_question(visit(number), "0"), START)
        server.tell("DEL", pace_key("w", SHOP, ""))
        theirs.run(to_question(visit(3), "0"), START)
        for number in range(3):
            theirs.run(to_refusal(visit(number), relieves=True), START)
        found = to_paces(*theirs.run(to_question(visit(4), "0"), START)[1:])
        assert (1.0, 1.0, 1.0, 1.0) == found.workload.counts[:4]
    finally:
        theirs.close()


def test_an_error_known_late_counts_in_the_window_its_call_came_in(server: RedisServer) -> None:
    theirs, border = Clocked(server), 1_750_000_200.0
    try:
        found = []
        for number, ts in enumerate((border - 10.0, border + 60.0, border + 300.0)):
            found.append(to_paces(*theirs.run(to_question(visit(number), "0"), ts)[1:]).session.counts[4])
            if number == 1:
                for failed in (0, 1):
                    settlement = to_settlement(OutcomeRecord(f"d-{failed}", 0.0, status=500))
                    assert settlement is not None
                    theirs.run(settlement, ts)
        assert pytest.approx([0.0, 0.0, 1.5]) == found
    finally:
        theirs.close()


def test_distinct_values_are_counted_until_all_bits_are_set(server: RedisServer) -> None:
    ours, theirs = Counters(), Clocked(server)
    try:
        for number in range(256):
            footprint = Footprint(1.0, number, (number, 255 - number))
            expected = ours.visit(SHOP, "s", "", START, footprint)
            found = to_paces(*theirs.run(to_question(visit(number, "s", "", footprint), "0"), START)[1:])
            assert (found.session.age, *found.session.counts) == near(expected.session)
        assert found.session.counts[6] > 1_400
        again = to_paces(*theirs.run(to_question(visit(1, "s", "", footprint), "0"), START)[1:])
        assert again.session.counts[5:] == found.session.counts[5:]
    finally:
        theirs.close()


def test_a_caller_that_spreads_its_calls_over_replicas_is_seen_at_its_whole_pace(
    two: tuple[RedisHistories, RedisHistories],
) -> None:
    for number in range(40):
        found = paces(two[number % 2], visit(number, "s", f"a-{number % 4}"))
    assert about(40.0, 10.0, 40.0) == (found.session.counts[2], found.address.counts[2], found.workload.counts[2])


def test_an_error_counts_wherever_its_access_log_entry_arrives(two: tuple[RedisHistories, RedisHistories]) -> None:
    one, other = two
    for number in range(4):
        one.visit(visit(number))
        other.settle(OutcomeRecord(f"d-{number}", 0.0, status=500 if number else 200))
    settled(other)
    found = paces(one, visit(9))
    assert about(3.0, 3.0, 3.0) == tuple(counts.counts[4] for counts in (found.session, found.address, found.workload))


def test_a_refused_call_makes_its_caller_new_and_its_pace_counts_on(two: tuple[RedisHistories, RedisHistories]) -> None:
    one, other = two
    one.visit(visit(1))
    time.sleep(0.2)
    refused = visit(2)
    assert paces(one, refused).session.age >= 0.2
    one.take_back(refused)
    found = paces(other, visit(3))
    assert about(3.0) == (found.session.counts[2],)
    assert (True, True) == (found.session.age < 0.2, found.workload.age >= 0.2)


def test_a_call_without_session_counts_for_its_address_and_workload(two: tuple[RedisHistories, RedisHistories]) -> None:
    one, other = two
    one.visit(visit(1, ""))
    found = other.visit(visit(2, ""))
    assert (-1.0, ()) == (found.watched, found.paces.session.counts)
    assert about(2.0, 2.0) == (found.paces.address.counts[2], found.paces.workload.counts[2])


def test_without_a_volume_model_nothing_is_counted(server: RedisServer, two: tuple[RedisHistories, RedisHistories]) -> None:
    found = two[0].visit(visit(1, footprint=None))
    assert (NO_PACES, b"*0\r\n") == (found.paces, server.tell("KEYS", "*:p:*"))


def test_counters_expire_and_are_small(server: RedisServer, two: tuple[RedisHistories, RedisHistories]) -> None:
    two[0].visit(visit(1))
    for kind, name in (("s", "s"), ("a", "a"), ("w", "")):
        key = f"{{meshwarden:2}}:p:{kind}:{SHOP}:{name}"
        assert 1800 <= int(server.tell("TTL", key)[1:-2]) <= 1810
        assert int(server.tell("STRLEN", key)[1:-2]) < 60
    two[0].settle(OutcomeRecord("d-1", 0.0, status=500))
    settled(two[0])
    assert 1800 <= int(server.tell("TTL", f"{{meshwarden:2}}:p:s:{SHOP}:s")[1:-2]) <= 1810


@pytest.mark.parametrize("kind", list(Kind))
def test_while_redis_is_gone_each_replica_goes_by_its_own_count(tmp_path: Path, kind: Kind) -> None:
    with RedisServer(kind, tmp_path) as server, ExitStack() as started:
        one, other = (started.enter_context(RedisHistories(server.url, TIMEOUT, 2, name, 0.0)) for name in "ab")
        for number in range(3):
            one.visit(visit(number))
        assert about(4.0) == other.visit(visit(3)).paces.session.counts[2:3]
        server.kill()
        counted = [histories.visit(visit(number)).paces.session.counts[0] for number, histories in ((4, one), (5, other))]
        assert ([4.0, 2.0], [True, True]) == (counted, [one.degraded, other.degraded])
        alone = one.visit(msgspec.structs.replace(visit(6), session="", address=""))
        assert (5.0, -1.0, 2) == (alone.paces.workload.counts[0], alone.watched, len(one))
