"""Histories in a real Redis and a real Valkey: what two replicas see, and what happens when it is stopped, paused, full or
locked."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz_server.engine.errors import SettingError
from authz_server.engine.history import MAX_RECENT, MAX_STEPS, Past
from authz_server.engine.record import OutcomeRecord
from authz_server.histories.memory import MemoryHistories
from authz_server.histories.redis_fault import Fault
from authz_server.histories.redis_histories import RedisHistories
from authz_server.histories.redis_past import UNKNOWN
from authz_server.histories.visit import Visit, join_key
from demo.redis_server import Kind, RedisServer

LOGIN, CART, PAY, SHIP = "POST /login", "POST /cart", "POST /pay", "POST /ship"
TIMEOUT = 0.25
"""Long enough for a busy machine."""

Make = Callable[..., RedisHistories]


@pytest.fixture(scope="module", params=list(Kind))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server of each kind for the tests that leave it as it was, but for its keys."""
    with RedisServer(request.param, tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(params=list(Kind))
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """One for a test that stops it."""
    with RedisServer(request.param, tmp_path) as started:
        yield started


@pytest.fixture
def replica() -> Iterator[Make]:
    """Start a replica; `name` tells replicas apart."""
    with ExitStack() as started:

        def make(
            at: RedisServer, name: str = "a", *, timeout: float = TIMEOUT, url: str = "", settling: float = 0.0
        ) -> RedisHistories:
            return started.enter_context(RedisHistories(url or at.url, timeout, 2, name, settling))

        yield make


@pytest.fixture(autouse=True)
def empty(request: pytest.FixtureRequest) -> None:
    if "server" in request.fixturenames:
        request.getfixturevalue("server").tell("FLUSHALL")


def visit(
    number: int | str, endpoint: str, session: str = "s", workload: str = "shop/shop", request_id: str | None = None
) -> Visit:
    key = join_key(f"r-{number}" if request_id is None else request_id, workload, "POST")
    return Visit(f"d-{number}", 10.0, workload, session, endpoint, key)


def ended(number: int, status: int) -> OutcomeRecord:
    return OutcomeRecord(f"d-{number}", 1.0, status=status)


def past(histories: RedisHistories, session: str = "s", workload: str = "shop/shop") -> Past:
    found = histories.visit(visit("look", "", session, workload))
    assert found is not UNKNOWN
    return found


def eventually(look: Callable[[], Any], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "nothing seen"
        time.sleep(0.01)


def settled(histories: RedisHistories) -> None:
    """Wait until nothing waits."""
    eventually(lambda: not len(histories.outcomes))


def complete(histories: RedisHistories, session: str) -> bool:
    """Whether a caller that begins now is one that was watched from its beginning, for a gap of 10 ms."""
    time.sleep(0.02)
    return past(histories, session).watched >= 0.01


def test_a_visit_returns_what_came_before_it(server: RedisServer, replica: Make) -> None:
    histories = replica(server)
    first, second = histories.visit(visit(1, CART)), histories.visit(visit(2, PAY))
    assert ((), {}, {}) == (first.recent, first.ever, first.counts)
    assert ((CART,), {CART: 0}, {CART: 1}) == (second.recent, second.ever, second.counts)


def test_two_replicas_that_see_alternate_steps_know_the_whole_session(server: RedisServer, replica: Make) -> None:
    one, other = replica(server, "a"), replica(server, "b")
    for number, endpoint in enumerate((LOGIN, CART, PAY, SHIP)):
        (one if number % 2 else other).visit(visit(number, endpoint))
    assert (LOGIN, CART, PAY, SHIP) == past(one).recent == past(other).recent
    assert {LOGIN: 0, CART: 1, PAY: 2, SHIP: 3} == past(other).ever


def test_a_history_survives_the_replica(server: RedisServer, replica: Make) -> None:
    with RedisHistories(server.url, TIMEOUT, 1, "a", 0.0) as first:
        first.visit(visit(1, CART))
    again = replica(server, "a")
    assert ((CART,), 0) == (past(again).recent, again.holes)


def test_sessions_and_workloads_are_kept_apart(server: RedisServer, replica: Make) -> None:
    histories = replica(server)
    histories.visit(visit(1, CART, "one"))
    histories.visit(visit(2, PAY, "two"))
    histories.visit(visit(3, SHIP, "one", "shop/other"))
    found = [past(histories, "one").recent, past(histories, "two").recent, past(histories, "one", "shop/other").recent]
    assert [(CART,), (PAY,), (SHIP,)] == found


def test_a_call_without_session_is_not_asked_about(server: RedisServer, replica: Make) -> None:
    histories = replica(server)
    assert (UNKNOWN, 0) == (histories.visit(visit(1, CART, "")), histories.trips[0])


def test_a_visit_is_one_round_trip(server: RedisServer, replica: Make) -> None:
    """But for the replica's own word, once a second."""
    histories = replica(server)
    histories.visit(visit(0, CART))
    server.tell("CONFIG", "RESETSTAT")
    for number in range(1, 401):
        histories.visit(visit(number, CART))
    asked = int(server.tell("INFO", "commandstats").partition(b"cmdstat_evalsha:calls=")[2].split(b",")[0])
    assert (401, True) == (histories.trips[0], 400 <= asked < 420)


@pytest.mark.parametrize(("status", "steps"), [(200, (PAY,)), (302, (PAY,)), (402, ()), (503, ()), (0, ())])
def test_a_step_stays_only_if_its_call_succeeded(server: RedisServer, replica: Make, status: int, steps: tuple[str, ...]) -> None:
    """The Check reached one replica, its access log entry another."""
    one, other = replica(server, "a"), replica(server, "b")
    one.visit(visit(1, PAY))
    other.settle(ended(1, status))
    settled(other)
    assert (steps, 1, 0) == (past(one).recent, other.outcomes.joined, other.outcomes.unknown)


def test_without_decision_id_request_id_workload_and_method_join(server: RedisServer, replica: Make) -> None:
    one, other = replica(server, "a"), replica(server, "b")
    one.visit(visit(1, PAY))
    for workload, method in (("shop/other", "POST"), ("shop/shop", "GET")):
        other.settle(OutcomeRecord("", 1.0, "r-1", workload, method, 500))
    settled(other)
    assert ((PAY,), 2) == (past(one).recent, other.outcomes.unknown)
    other.settle(OutcomeRecord("", 1.0, "r-1", "shop/shop", "POST", 500))
    other.settle(OutcomeRecord("", 1.0, "r-1", "shop/shop", "POST", 500))
    settled(other)
    assert ((), 1, 3) == (past(one).recent, other.outcomes.joined, other.outcomes.unknown)


def test_an_outcome_without_any_id_joins_nobody(server: RedisServer, replica: Make) -> None:
    histories = replica(server)
    histories.visit(visit(1, PAY, request_id=""))
    histories.settle(OutcomeRecord("", 1.0, "", "shop/shop", "POST", 500))
    settled(histories)
    assert ((PAY,), 1) == (past(histories).recent, histories.outcomes.unknown)


def test_a_refused_visit_is_no_step_and_waits_for_no_outcome(server: RedisServer, replica: Make) -> None:
    histories = replica(server)
    refused = visit(1, PAY)
    histories.visit(refused)
    histories.take_back(refused)
    histories.take_back(refused)
    histories.settle(ended(1, 200))
    settled(histories)
    assert ((), 0, 1) == (past(histories).recent, histories.outcomes.joined, histories.outcomes.unknown)


def test_a_refusal_comes_before_the_callers_next_call_at_any_replica(server: RedisServer, replica: Make) -> None:
    one, other = replica(server, "a"), replica(server, "b")
    for number in range(200):
        refused = visit(number, PAY)
        one.visit(refused)
        one.take_back(refused)
        assert () == past(other).recent


def test_refusals_that_redis_has_no_script_for_are_told_again(server: RedisServer, replica: Make) -> None:
    histories = replica(server)
    refused = [visit(number, PAY) for number in range(30)]
    for one in refused:
        histories.visit(one)
    server.tell("SCRIPT", "FLUSH")
    for one in refused:
        histories.take_back(one)
    for _ in range(3):
        histories.visit(visit("more", CART, "other"))
    assert () == past(histories).recent


def test_steps_are_bounded_and_what_ever_happened_is_kept(server: RedisServer, replica: Make) -> None:
    histories = replica(server)
    for number, endpoint in enumerate((LOGIN, *[CART] * (MAX_STEPS + 10))):
        histories.visit(visit(number, endpoint))
    found = past(histories)
    assert ({LOGIN: 0, CART: MAX_STEPS + 10}, (CART,) * MAX_RECENT) == (found.ever, found.recent)
    size = int(server.tell("MEMORY", "USAGE", "{meshwarden:2}:c:shop/shop:s")[1:-2])
    assert size < 1_200


def test_a_history_of_too_many_endpoints_begins_anew_incomplete(server: RedisServer, replica: Make) -> None:
    histories = replica(server)
    for number in range(40):
        histories.visit(visit(number, f"GET /{number}/" + "x" * 1000))
    found = past(histories)
    assert (True, 0.0) == (0 < len(found.ever) < 10, found.watched)


def test_keys_expire_after_the_last_call(server: RedisServer, replica: Make) -> None:
    histories = replica(server)
    histories.visit(visit(1, CART))
    names = ["c:shop/shop:s", "d:d-1", "mark"]
    assert [b":1800\r\n", b":60\r\n", b":-1\r\n"] == [server.tell("TTL", f"{{meshwarden:2}}:{name}") for name in names]
    histories.settle(ended(1, 500))
    settled(histories)
    assert [b":1800\r\n", b":-2\r\n"] == [server.tell("TTL", f"{{meshwarden:2}}:{name}") for name in names[:2]]


WALKS = st.lists(st.tuples(st.sampled_from([LOGIN, CART, PAY]), st.sampled_from(["stays", "fails", "fails late"])), max_size=30)


@given(WALKS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_redis_keeps_what_memory_keeps(server: RedisServer, walk: list[tuple[str, str]]) -> None:
    server.tell("FLUSHALL")
    memory = MemoryHistories(0.0)
    with RedisHistories(server.url, TIMEOUT, 1, "a", 0.0) as shared:
        late = []
        for number, (endpoint, fate) in enumerate(walk):
            ours, theirs = shared.visit(visit(number, endpoint)), memory.visit(visit(number, endpoint))
            assert theirs is not None
            assert (theirs.recent, theirs.ever, theirs.counts) == (ours.recent, ours.ever, ours.counts)
            if fate == "fails late":
                late.append(number)
            else:
                late.insert(0, number) if fate == "fails" else None
            if len(late) > 3:
                failed = late.pop(0)
                shared.settle(ended(failed, 500))
                memory.settle(ended(failed, 500))
                settled(shared)


def test_a_step_that_fails_after_others_pushed_it_out_is_taken_back_as_in_memory(server: RedisServer, replica: Make) -> None:
    shared, memory = replica(server), MemoryHistories(0.0)
    endpoints = [PAY, LOGIN, PAY, *[CART] * (MAX_STEPS + 2), LOGIN]
    for number, endpoint in enumerate(endpoints):
        for histories in (shared, memory):
            histories.visit(visit(number, endpoint))
    for failed in (2, 1, 0, 3):
        for histories in (shared, memory):
            histories.settle(ended(failed, 500))
        settled(shared)
        ours, theirs = past(shared), memory.visit(visit("look", ""))
        assert theirs is not None
        assert (theirs.ever, theirs.counts, theirs.recent) == (ours.ever, ours.counts, ours.recent)


def test_endpoints_that_contain_one_another_are_told_apart(server: RedisServer, replica: Make) -> None:
    histories = replica(server)
    endpoints = ["GET /a", "GET /a/b", "GET /", "T /a", "GET /\u00ff\u20ac\U0001f600", "GET /\x00\x01"]
    endpoints += [f"GET /{number}" for number in range(300)]
    for number, endpoint in enumerate(endpoints):
        histories.visit(visit(number, endpoint))
    for number, endpoint in enumerate(endpoints):
        histories.visit(visit(f"again-{number}", endpoint))
    found = past(histories)
    assert {endpoint: len(endpoints) + number for number, endpoint in enumerate(endpoints)} == found.ever
    assert dict.fromkeys(endpoints, 2) == found.counts


def test_a_script_that_redis_forgot_is_told_again(server: RedisServer, replica: Make) -> None:
    histories = replica(server)
    histories.visit(visit(1, CART))
    server.tell("SCRIPT", "FLUSH")
    histories.visit(visit(2, PAY))
    server.tell("SCRIPT", "FLUSH")
    histories.settle(ended(2, 500))
    settled(histories)
    assert ((CART,), {}) == (past(histories).recent, histories.faults)


def test_whoever_begins_with_redis_is_not_known_from_the_beginning(server: RedisServer, replica: Make) -> None:
    histories = replica(server)
    assert past(histories).watched < 5.0
    assert complete(histories, "later")


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_a_redis_that_ends_costs_microseconds_a_call_and_is_found_again(
    own_server: RedisServer, replica: Make, ending: str
) -> None:
    histories = replica(own_server)
    histories.visit(visit(1, CART))
    getattr(own_server, ending)()
    assert [UNKNOWN] * 3 == [histories.visit(visit(number, PAY)) for number in range(2, 5)]
    assert histories.degraded
    began = time.process_time()
    for number in range(1_000):
        histories.visit(visit(number, PAY))
    assert time.process_time() - began < 0.5
    own_server.start()
    eventually(lambda: not histories.degraded)
    assert (past(histories).ever, histories.faults.total() >= 1, histories.outcomes.missed) == ({}, True, 1_003)


def test_after_redis_lost_its_data_nobody_is_known_from_the_beginning(own_server: RedisServer, replica: Make) -> None:
    histories = replica(own_server)
    assert complete(histories, "before")
    own_server.kill()
    own_server.start()
    eventually(lambda: histories.visit(visit(1, CART, "after")) is not UNKNOWN)
    assert past(histories, "after").watched < 5.0


def test_a_redis_that_comes_back_with_old_data_begins_all_histories_anew(tmp_path: Path, replica: Make) -> None:
    """What was done since it last wrote to disk is missing."""
    with RedisServer(Kind.REDIS, tmp_path) as server:
        histories = replica(server)
        histories.visit(visit(1, CART))
        server.tell("SAVE")
        histories.visit(visit(2, PAY))
        server.kill()
        server.start()
        eventually(lambda: not histories.degraded and histories.visit(visit(0, "", "other")) is not UNKNOWN)
        found = past(histories)
        assert ({}, 0.0, True) == (found.ever, found.watched, histories.holes >= 1)


def test_a_paused_redis_is_waited_for_briefly_and_its_callers_then_begin_anew(own_server: RedisServer, replica: Make) -> None:
    histories = replica(own_server, timeout=0.05)
    histories.visit(visit(1, CART, "touched"))
    histories.visit(visit(2, CART, "other"))
    own_server.pause()
    began = time.monotonic()
    seen = [histories.visit(visit(3, PAY, "touched"))]
    assert (seen, True) == ([UNKNOWN], time.monotonic() - began >= 0.05)
    assert [UNKNOWN] * 5 == [histories.visit(visit(number, SHIP, "touched")) for number in range(4, 9)]
    assert (True, 6) == (histories.faults[Fault.TIMEOUT] >= 1, histories.outcomes.missed)
    eventually(lambda: histories.degraded)
    own_server.resume()
    eventually(lambda: not histories.degraded)
    found = past(histories, "touched")
    assert (0.0, {}) == (found.watched, dict(found.ever))
    assert {CART: 0} == past(histories, "other").ever


def test_a_replica_that_missed_more_calls_than_it_kept_begins_all_histories_anew(own_server: RedisServer, replica: Make) -> None:
    histories, other = replica(own_server, "a", timeout=0.05), replica(own_server, "b")
    other.visit(visit(1, CART, "elsewhere"))
    own_server.pause()
    for number in range(1_500):
        histories.visit(visit(number, PAY, f"s-{number}"))
    own_server.resume()
    eventually(lambda: not (histories.degraded or histories.outcomes.in_doubt))
    found = past(other, "elsewhere")
    assert ({}, 0.0) == (found.ever, found.watched)


def test_one_slow_answer_costs_its_own_call_its_history_and_nobody_else(own_server: RedisServer, replica: Make) -> None:
    histories = replica(own_server, timeout=0.1)
    for session in ("slow", "quick"):
        histories.visit(visit(session, CART, session))
    own_server.tell("CLIENT", "PAUSE", "250")
    assert histories.visit(visit(2, PAY, "slow")) is UNKNOWN
    eventually(lambda: not histories.outcomes.in_doubt)
    assert [{CART: 0}, {CART: 0, PAY: 1}] == [past(histories, session).ever for session in ("quick", "slow")]
    assert {Fault.TIMEOUT: 1} == histories.faults


def test_a_redis_that_is_slow_for_a_moment_under_load_is_no_outage(
    own_server: RedisServer, replica: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls that were waiting are answered without their history; what they asked is counted, and nothing is mixed up."""
    histories = replica(own_server, timeout=0.05)
    sessions = [f"s-{number}" for number in range(40)]
    for session in sessions:
        histories.visit(visit(f"first-{session}", f"POST /{session}", session))
    ended_, unknown = threading.Event(), [0]
    foreign: list[str] = []

    def client(index: int) -> None:
        number = 0
        while not ended_.is_set():
            number += 1
            session = sessions[(number * 7 + index) % 20]
            found = histories.visit(visit(f"{index}-{number}", f"POST /{session}", session))
            unknown[0] += found is UNKNOWN
            foreign.extend(endpoint for endpoint in found.ever if endpoint != f"POST /{session}")

    clients = [threading.Thread(target=client, args=(index,)) for index in range(4)]
    for thread in clients:
        thread.start()
    try:
        for _ in range(3):
            time.sleep(0.2)
            own_server.pause()
            time.sleep(0.08)
            own_server.resume()
    finally:
        time.sleep(0.2)
        ended_.set()
        for thread in clients:
            thread.join(10)
    eventually(lambda: not histories.outcomes.in_doubt)
    assert ([], True, 0) == (foreign, unknown[0] > 0, histories.holes)
    assert "history_degraded" not in [record.message for record in caplog.records]
    other, untouched = replica(own_server, "b"), sessions[20:]
    assert [{f"POST /{session}": 0} for session in untouched] == [past(other, session).ever for session in untouched]


def test_a_late_answer_is_not_taken_for_the_next_one(own_server: RedisServer, replica: Make) -> None:
    histories = replica(own_server)
    for session, endpoint in (("late", CART), ("next", PAY)):
        histories.visit(visit(session, endpoint, session))
    own_server.pause()
    assert histories.visit(visit(3, SHIP, "late")) is UNKNOWN
    own_server.resume()
    eventually(lambda: not histories.outcomes.in_doubt)
    found = [past(histories, session).ever for session in ("next", "late", "next", "late")]
    assert [{PAY: 0}, {CART: 0, SHIP: 1}] * 2 == found
    assert ({Fault.TIMEOUT: 1}, False) == (histories.faults, histories.degraded)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_node_of_a_cluster_is_refused_at_the_start(tmp_path: Path, kind: Kind) -> None:
    with RedisServer(kind, tmp_path, {"cluster-enabled": "yes"}) as server:
        with pytest.raises(SettingError) as refused:
            RedisHistories(server.url, TIMEOUT, 1, "a").start()
        assert "history: expected a Redis or Valkey that is not in cluster mode" in refused.value.problems[0]


def test_a_replica_that_fell_silent_leaves_holes_that_the_others_know_of(server: RedisServer, replica: Make) -> None:
    """It may be judging without Redis, and what its callers do is missing here."""
    histories = replica(server, "a")
    histories.visit(visit(1, CART))
    server.tell("HSET", "{meshwarden:2}:replicas", "b", f"{time.time() - 6:.3f}")
    eventually(lambda: histories.holes > 0)
    found = past(histories)
    assert ({}, 0.0) == (found.ever, found.watched)
    server.tell("HSET", "{meshwarden:2}:replicas", "b", f"{time.time() - 301:.3f}")
    eventually(lambda: b"$1\r\nb\r\n" not in server.tell("HGETALL", "{meshwarden:2}:replicas"))


def test_a_replica_that_ends_says_so(server: RedisServer, replica: Make) -> None:
    staying = replica(server, "staying")
    with RedisHistories(server.url, TIMEOUT, 1, "ending", 0.0):
        assert b"ending" in server.tell("HGETALL", "{meshwarden:2}:replicas")
    assert b"ending" not in server.tell("HGETALL", "{meshwarden:2}:replicas")
    assert staying.holes == 0


@pytest.mark.parametrize("kind", list(Kind))
def test_a_full_redis_is_a_fault_and_its_end_a_hole(tmp_path: Path, replica: Make, kind: Kind) -> None:
    with RedisServer(kind, tmp_path, {"maxmemory-policy": "noeviction"}) as server:
        histories = replica(server)
        histories.visit(visit(1, CART))
        server.tell("CONFIG", "SET", "maxmemory", "1")
        assert histories.visit(visit(2, PAY)) is UNKNOWN
        time.sleep(0.3)
        assert histories.degraded
        server.tell("CONFIG", "SET", "maxmemory", "0")
        eventually(lambda: not histories.degraded)
        found = past(histories)
        assert (True, {}, 0.0) == (histories.faults[Fault.MEMORY] >= 1, found.ever, found.watched)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_caller_that_redis_evicted_is_not_taken_for_a_new_one(tmp_path: Path, replica: Make, kind: Kind) -> None:
    with RedisServer(kind, tmp_path, {"maxmemory-policy": "volatile-lfu"}) as server:
        histories = replica(server)
        for number in range(1_000):
            histories.visit(visit(number, CART, f"s-{number}"))
        assert complete(histories, "before")
        used = int(server.tell("INFO", "memory").partition(b"used_memory:")[2].split(b"\r\n")[0])
        server.tell("CONFIG", "SET", "maxmemory", str(used - 150_000))
        time.sleep(0.02)
        found = past(histories, "after")
        assert (True, {}) == (found.watched < 0.02, histories.faults)


@pytest.mark.parametrize("kind", list(Kind))
def test_many_distinct_callers_leave_redis_within_its_limit_and_real_ones_known(
    tmp_path: Path, replica: Make, kind: Kind
) -> None:
    with RedisServer(kind, tmp_path, {"maxmemory": "3mb", "maxmemory-policy": "volatile-lfu"}) as server:
        histories = replica(server)
        for turn in range(10):
            for session in range(20):
                histories.visit(visit(f"real-{turn}-{session}", CART, f"real-{session}"))
            for number in range(500):
                histories.visit(visit(f"{turn}-{number}", CART, f"invented-{turn}-{number}"))
        known = sum(bool(past(histories, f"real-{session}").ever) for session in range(20))
        used = int(server.tell("INFO", "memory").partition(b"used_memory:")[2].split(b"\r\n")[0])
        evicted = int(server.tell("INFO", "stats").partition(b"evicted_keys:")[2].split(b"\r\n")[0])
        assert (20, True, True, {}) == (known, used <= 3 * 2**20 + 100_000, evicted > 0, histories.faults)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_wrong_password_is_counted_retried_and_never_logged(
    tmp_path: Path, replica: Make, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    with RedisServer(kind, tmp_path, {"requirepass": "right"}) as server:
        url = f"redis://:wrong-hunter2@127.0.0.1:{server.port}/0"
        histories = replica(server, url=url)
        assert (UNKNOWN, True) == (histories.visit(visit(1, CART)), histories.degraded)
        assert histories.faults[Fault.CREDENTIALS] >= 1
        assert "hunter2" not in "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
        server.tell("CONFIG", "SET", "requirepass", "wrong-hunter2", password="right")
        eventually(lambda: not histories.degraded)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_user_with_just_the_permissions_we_name_is_enough(tmp_path: Path, replica: Make, kind: Kind) -> None:
    from authz_server.histories.redis_scripts import PERMISSIONS

    with RedisServer(kind, tmp_path) as server:
        server.tell("ACL", "SETUSER", "mesh", "on", ">p%w", "resetkeys", "-@all", *PERMISSIONS.split())
        histories = replica(server, url=f"redis://mesh:p%25w@127.0.0.1:{server.port}/0")
        histories.visit(visit(1, PAY))
        histories.settle(ended(1, 500))
        settled(histories)
        assert ((), 1, {}) == (past(histories).recent, histories.outcomes.joined, histories.faults)
        server.tell("ACL", "SETUSER", "mesh", "-set")
        assert histories.visit(visit(2, PAY)) is UNKNOWN
        assert histories.faults[Fault.PERMISSION] >= 1


def test_after_an_outage_nobody_is_judged_until_other_replicas_could_tell_what_they_missed(
    own_server: RedisServer, replica: Make
) -> None:
    histories = replica(own_server, timeout=0.05, settling=1.0)
    eventually(lambda: histories.visit(visit(1, CART, "before")) is not UNKNOWN)
    own_server.pause()
    eventually(lambda: histories.visit(visit(2, CART, "during")) is UNKNOWN and histories.degraded)
    own_server.resume()
    eventually(lambda: not histories.degraded)
    recovered = time.monotonic()
    found = histories.visit(visit(3, PAY, "before"))
    assert found is UNKNOWN or time.monotonic() - recovered > 0.5
    eventually(lambda: histories.visit(visit(4, SHIP, "before")) is not UNKNOWN)
    assert {CART, PAY, SHIP} == past(histories, "before").ever.keys()


def test_after_a_hole_nobody_is_judged_at_any_replica(server: RedisServer, replica: Make) -> None:
    histories = replica(server, "a", settling=3.0)
    eventually(lambda: histories.visit(visit(1, CART)) is not UNKNOWN)
    server.tell("HSET", "{meshwarden:2}:replicas", "b", f"{time.time() - 20:.3f}")
    eventually(lambda: histories.holes > 0)
    assert [UNKNOWN] * 3 == [histories.visit(visit(number, SHIP)) for number in range(2, 5)]


def test_calls_go_on_while_redis_is_restarted_under_load(own_server: RedisServer, replica: Make) -> None:
    replicas = [replica(own_server, name, timeout=0.05) for name in "ab"]
    ended_, wrong, answered = threading.Event(), [], [0, 0]

    def client(index: int) -> None:
        number = 0
        while not ended_.is_set():
            number += 1
            for endpoint in (PAY, SHIP):
                found = replicas[index].visit(visit(f"{index}-{number}-{endpoint}", endpoint, f"s-{index}-{number}"))
                if found is not UNKNOWN:
                    answered[0] += 1
                    if endpoint == SHIP and PAY not in found.ever and found.watched > 0.0:
                        wrong.append((number, found))
                else:
                    answered[1] += 1

    clients = [threading.Thread(target=client, args=(index,)) for index in (0, 1)]
    for thread in clients:
        thread.start()
    try:
        for act in (own_server.kill, own_server.start, own_server.pause, own_server.resume, own_server.stop, own_server.start):
            time.sleep(0.3)
            act()
        for one in replicas:
            eventually(lambda one=one: not one.degraded)  # type: ignore[misc]
        time.sleep(0.3)
    finally:
        ended_.set()
        for thread in clients:
            thread.join(10)
    assert ([], True, True) == (wrong, answered[0] > 100, answered[1] > 100)


def test_a_unix_socket_serves_as_well(tmp_path: Path, replica: Make) -> None:
    path = tmp_path / "redis.sock"
    with RedisServer(Kind.VALKEY, tmp_path, {"unixsocket": str(path)}) as server:
        histories = replica(server, url=f"unix://{path}")
        histories.visit(visit(1, CART))
        assert (CART,) == past(histories).recent
