"""Two replicas that see alternate halves of what happens, and tell each other through a real Redis and a real Valkey."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from authz_server.afterwards import GRACE_SECONDS, PATIENCE, WARM, Afterwards
from authz_server.bundle import Bundle
from authz_server.elsewhere import Quarantined, Sighting
from authz_server.engine.call import Caller
from authz_server.engine.finding import Finding, FindingCode
from authz_server.engine.follow import Follow
from authz_server.engine.policy import Enforcement, Mode, Rule
from authz_server.engine.record import OutcomeRecord
from authz_server.engine.verdict import Action, Basis, Verdict
from authz_server.histories.redis_elsewhere import MAX_TOLD, RedisElsewhere
from authz_server.histories.redis_news_scripts import KEPT_SECONDS, MAX_QUARANTINED, QUARANTINE_KEY, TOLD_KEY
from authz_server.histories.redis_scripts import PERMISSIONS
from demo.redis_server import Kind, RedisServer
from tests.factories_engine import call, ready

SHOP, AUDIT, CART, RECORDS = "shop/shop", "shop/audit", "POST /cart", "POST /records"
FOLLOWS = {CART: {"2xx": (Follow(AUDIT, RECORDS, 3_484, 3.5),)}}
BUNDLE = Bundle("r-1", {SHOP: ready(workload=SHOP, follows=FOLLOWS), AUDIT: ready(workload=AUDIT)})
ENFORCEMENT = Enforcement(Rule(Mode.ENFORCE, quarantine_seconds=60.0), {})
LATER = GRACE_SECONDS + 0.1
FINDING = Finding(FindingCode.MISSING_CALL, "it was not followed", "nothing", "a record", 10, 1e-4)


@pytest.fixture(scope="module", params=list(Kind))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(request.param, tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(autouse=True)
def empty(request: pytest.FixtureRequest) -> None:
    if "server" in request.fixturenames:
        request.getfixturevalue("server").tell("FLUSHALL")


class Replica:
    """An Afterwards with its own way to Redis; the clock is its mesh's."""

    def __init__(self, mesh: "Mesh", name: str) -> None:
        self.alerts: list[Verdict] = []
        self.elsewhere = RedisElsewhere(mesh.url, name, 0.0, lambda: mesh.now)
        self.afterwards = Afterwards(lambda: BUNDLE, lambda: ENFORCEMENT, self.alerts.append, self.elsewhere)


class Mesh:
    """Two replicas, between which Checks and access log entries are dealt."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.now = 1000.0
        self.one, self.other = Replica(self, "one"), Replica(self, "other")
        self._calls = 0

    def poll(self, *replicas: Replica) -> None:
        for replica in replicas or (self.one, self.other):
            replica.afterwards.poll(self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass, while both poll."""
        for _ in range(round(seconds / 0.2)):
            self.now += 0.2
            self.poll()

    def cart(self, session: str, *, parent: Replica, child: Replica | None, entry: Replica, decision_id: bool = True) -> None:
        """A call to the cart: where its Check, its record's Check (None: it makes none) and its access log entry arrive."""
        self._calls += 1
        number = self._calls
        made = call("POST", "/cart", workload=SHOP, request_id=f"r{number}")
        made = msgspec.structs.replace(made, caller=Caller("td/ns/istio/sa/gateway", session))
        parent.afterwards.note(made, allowed(SHOP, CART, f"d{number}"))
        if child is not None:
            record = call("POST", "/records", workload=AUDIT, source="spiffe://td/ns/shop/sa/shop", request_id=f"r{number}")
            child.afterwards.note(record, allowed(AUDIT, RECORDS, f"a{number}"))
        name = f"d{number}" if decision_id else ""
        entry.afterwards.settle(OutcomeRecord(name, 0.0, f"r{number}", SHOP, "POST", 201), self.now)

    def warm(self) -> None:
        """Let replica `one` see often enough that a record follows, at the other."""
        for number in range(WARM):
            self.cart(f"s{number}", parent=self.one, child=self.other, entry=self.one)
        self.wait(1.0)

    @property
    def alerts(self) -> list[Verdict]:
        return [*self.one.alerts, *self.other.alerts]


def allowed(workload: str, endpoint: str, decision_id: str) -> Verdict:
    return Verdict(Action.ALLOW, Basis.JUDGED, Mode.ENFORCE, workload, decision_id, endpoint=endpoint)


def last_told(server: RedisServer, replica: str, seconds: float) -> None:
    """Let a replica have told what it saw so many seconds ago; Redis's clock is the real one."""
    server.tell("HSET", TOLD_KEY, replica, f"{(time.time() - seconds) * 1e6:.0f}")


@pytest.fixture
def mesh(server: RedisServer) -> Iterator[Mesh]:
    made = Mesh(server.url)
    made.poll()
    yield made
    for replica in (made.one, made.other):
        replica.elsewhere.close()


def test_what_followed_at_another_replica_is_not_missing(mesh: Mesh) -> None:
    mesh.warm()
    for number in range(20):
        mesh.cart(f"t{number}", parent=mesh.one, child=mesh.other, entry=mesh.one)
    mesh.wait(2.0)
    assert ([], 0) == (mesh.alerts, mesh.one.afterwards.unsure)


def test_what_followed_nowhere_is_an_alert_and_its_caller_is_refused_by_all_replicas(mesh: Mesh) -> None:
    mesh.warm()
    mesh.cart("mallory", parent=mesh.one, child=None, entry=mesh.one)
    mesh.wait(2.0)
    assert ["mallory"] == [alert.session for alert in mesh.alerts]
    found = [replica.afterwards.quarantine.of("mallory", mesh.now) for replica in (mesh.one, mesh.other)]
    assert found[0] is not None
    assert found[0] == found[1]
    assert "since decision" in found[0].text
    assert mesh.other.afterwards.quarantine.of("s1", mesh.now) is None
    assert mesh.other.afterwards.quarantine.of("mallory", mesh.now + 61.0) is None


@pytest.mark.parametrize("decision_id", [True, False])
def test_an_access_log_entry_finds_the_replica_that_waits_for_it(mesh: Mesh, decision_id: bool) -> None:
    mesh.warm()
    mesh.cart("mallory", parent=mesh.one, child=None, entry=mesh.other, decision_id=decision_id)
    mesh.wait(2.0)
    assert ["mallory"] == [alert.session for alert in mesh.one.alerts]


def test_an_access_log_entry_of_the_callee_at_another_replica_counts_as_having_followed(mesh: Mesh) -> None:
    mesh.warm()
    mesh.cart("quiet", parent=mesh.one, child=None, entry=mesh.one)
    mesh.other.afterwards.settle(OutcomeRecord("", 0.0, f"r{WARM + 1}", AUDIT, "POST", 200), mesh.now)
    mesh.wait(2.0)
    assert [] == mesh.alerts


def test_nothing_is_missing_before_all_replicas_told_what_they_saw(mesh: Mesh, server: RedisServer) -> None:
    mesh.warm()
    mesh.cart("late", parent=mesh.one, child=mesh.other, entry=mesh.one)
    mesh.now += LATER
    last_told(server, "other", 4.0)
    mesh.poll(mesh.one)
    assert ([], 0) == (mesh.alerts, mesh.one.afterwards.unsure)
    mesh.poll(mesh.other, mesh.one)
    assert ([], 0) == (mesh.alerts, mesh.one.afterwards.unsure)


def test_where_a_replica_does_not_tell_nobody_knows(mesh: Mesh, server: RedisServer) -> None:
    mesh.warm()
    last_told(server, "third", 20.0)
    mesh.cart("mallory", parent=mesh.one, child=None, entry=mesh.one)
    mesh.wait(PATIENCE + LATER + 0.4)
    assert ([], 1) == (mesh.alerts, mesh.one.afterwards.unsure)


def test_a_replica_that_could_not_tell_all_says_so(mesh: Mesh) -> None:
    for number in range(MAX_TOLD + 1):
        mesh.other.elsewhere.saw(f"x{number}", Sighting("", AUDIT, RECORDS))
    time.sleep(0.3)
    for _ in range(2):
        mesh.other.elsewhere.exchange(())
    age = mesh.one.elsewhere.exchange(()).age
    mesh.now += KEPT_SECONDS + 1.0
    mesh.other.elsewhere.exchange(())
    assert (True, True) == (age >= 0.3, mesh.one.elsewhere.exchange(()).age < age)


def test_a_replica_that_ends_is_not_waited_for(mesh: Mesh, server: RedisServer) -> None:
    mesh.other.elsewhere.close()
    assert b"other" not in server.tell("HGETALL", TOLD_KEY)
    assert mesh.one.elsewhere.exchange(()).age < 1.0


def test_a_replica_that_begins_later_hears_of_quarantines(mesh: Mesh, server: RedisServer) -> None:
    for number in range(1_200):
        mesh.one.elsewhere.quarantine(Quarantined(f"s{number}", 60.0, FINDING))
    mesh.one.elsewhere.quarantine(Quarantined("over", 0.0, FINDING))
    mesh.poll()
    third = Replica(mesh, "third")
    for _ in range(3):
        mesh.poll(third)
    found = [third.afterwards.quarantine.of(session, mesh.now) for session in ("s0", "s1199", "over")]
    assert [FINDING, FINDING, None] == found
    third.elsewhere.close()


def test_what_redis_keeps_is_bounded_and_expires(mesh: Mesh, server: RedisServer) -> None:
    for number in range(200):
        mesh.one.elsewhere.saw("one", Sighting("", AUDIT, f"GET /{number}"))
    long = msgspec.structs.replace(FINDING, text="x" * 10_000)
    for number in range(MAX_QUARANTINED + 50):
        mesh.one.elsewhere.quarantine(Quarantined(f"s{number}", 60.0, long if number == MAX_QUARANTINED else FINDING))
    mesh.cart("s", parent=mesh.one, child=None, entry=mesh.other)
    mesh.wait(0.6)
    mesh.other.elsewhere.exchange(())
    [seen] = mesh.one.elsewhere.exchange(["one"]).seen
    entries = int(server.tell("XLEN", QUARANTINE_KEY)[1:-2])
    assert (128, MAX_QUARANTINED) == (len(seen), entries)
    keys = server.tell("KEYS", "{meshwarden:2}:[efi]:*").split(b"\r\n")[2::2]
    assert len(keys) >= 2
    assert all(1 <= int(server.tell("TTL", key.decode())[1:-2]) <= 60 for key in keys)


@pytest.mark.parametrize("kind", list(Kind))
def test_while_redis_is_gone_nothing_is_missing_and_quarantines_go_on(tmp_path: Path, kind: Kind) -> None:
    with RedisServer(kind, tmp_path) as server, ExitStack() as ended:
        mesh = Mesh(server.url)
        for replica in (mesh.one, mesh.other):
            ended.callback(replica.elsewhere.close)
        mesh.poll()
        mesh.warm()
        mesh.cart("mallory", parent=mesh.one, child=None, entry=mesh.one)
        mesh.wait(1.0)
        server.kill()
        mesh.cart("trudy", parent=mesh.one, child=None, entry=mesh.one)
        mesh.cart("alice", parent=mesh.one, child=mesh.one, entry=mesh.one)
        mesh.wait(PATIENCE + 1.0)
        refused = [replica.afterwards.quarantine.of("mallory", mesh.now) is not None for replica in (mesh.one, mesh.other)]
        assert (["mallory"], 1, [True, True]) == ([one.session for one in mesh.alerts], mesh.one.afterwards.unsure, refused)
        assert [True, True] == [mesh.one.elsewhere.degraded, mesh.other.elsewhere.degraded]
        server.start()
        mesh.wait(2.0)
        mesh.cart("mallory", parent=mesh.one, child=None, entry=mesh.one)
        mesh.wait(2.0)
        assert (["mallory", "mallory"], False) == ([one.session for one in mesh.alerts], mesh.one.elsewhere.degraded)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_full_redis_is_told_again_when_there_is_room(tmp_path: Path, kind: Kind) -> None:
    with RedisServer(kind, tmp_path, {"maxmemory-policy": "noeviction"}) as server:
        mesh = Mesh(server.url)
        mesh.poll()
        server.tell("CONFIG", "SET", "maxmemory", "1")
        mesh.one.elsewhere.quarantine(Quarantined("mallory", 60.0, FINDING))
        mesh.poll(mesh.one)
        degraded = mesh.one.elsewhere.degraded
        server.tell("CONFIG", "SET", "maxmemory", "0")
        mesh.wait(2.0)
        found = mesh.other.afterwards.quarantine.of("mallory", mesh.now)
        assert (True, False, FINDING) == (degraded, mesh.one.elsewhere.degraded, found)
        for replica in (mesh.one, mesh.other):
            replica.elsewhere.close()


def test_after_connecting_nobody_knows_until_others_had_the_time_to_find_back(server: RedisServer) -> None:
    now = [1000.0]
    elsewhere = RedisElsewhere(server.url, "one", 3.0, lambda: now[0])
    ages = []
    for later in (0.0, 2.9, 0.2):
        now[0] += later
        ages.append(elsewhere.exchange(()).age < 5.0)
    elsewhere.close()
    assert [False, False, True] == ages


def test_the_permissions_we_name_are_enough(server: RedisServer) -> None:
    server.tell("ACL", "SETUSER", "mesh", "on", ">pw", "resetkeys", "-@all", *PERMISSIONS.split())
    mesh = Mesh(f"redis://mesh:pw@127.0.0.1:{server.port}/0")
    mesh.poll()
    mesh.warm()
    mesh.cart("mallory", parent=mesh.one, child=None, entry=mesh.other)
    mesh.wait(2.0)
    refused = mesh.other.afterwards.quarantine.of("mallory", mesh.now) is not None
    assert (1, True, False) == (len(mesh.alerts), refused, mesh.other.elsewhere.degraded)
    for replica in (mesh.one, mesh.other):
        replica.elsewhere.close()
