"""The Check as a whole, without gRPC: what a caller that goes too fast is answered, and what others are."""

import time
from typing import Any

import msgspec
import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from google.rpc.code_pb2 import OK, RESOURCE_EXHAUSTED

from authz_server.afterwards import Afterwards
from authz_server.bundle import Bundle
from authz_server.check import Checker
from authz_server.engine.history import Past, Snapshot
from authz_server.engine.pace import NO_COUNTS, Counts, Paces
from authz_server.engine.policy import EndpointPolicy, Enforcement, Mode, Rule, SessionSource, WorkloadPolicy
from authz_server.engine.sequence import PrecedenceRule, SequenceModel
from authz_server.engine.verdict import Action, Basis, Verdict
from authz_server.engine.volume import VolumeModel
from authz_server.histories.memory import MemoryHistories
from authz_server.histories.visit import Histories, Visit
from tests.factories_engine import OBSERVER, PRINCIPAL, WORKLOAD, endpoint_profile, normal, ready

NAMESPACE, SERVICE = WORKLOAD.split("/")


def request(ts: float, session: str, address: str = "10.0.0.7") -> bytes:
    made = CheckRequest()
    attributes = made.attributes
    http = attributes.request.http
    http.method, http.path, http.host = "GET", "/cart/items", f"{SERVICE}.{NAMESPACE}"
    http.headers["x-session"] = session
    attributes.request.time.FromMilliseconds(int(ts * 1000))
    attributes.source.principal = f"spiffe://{PRINCIPAL}"
    attributes.source.address.socket_address.address = address
    attributes.destination.principal = f"spiffe://cluster.local/ns/{NAMESPACE}/sa/{SERVICE}"
    data: bytes = made.SerializeToString()
    return data


def checker(mode: Mode, seen: list[Verdict]) -> Checker:
    volume = VolumeModel(3600.0, {}, normal(), normal(1000.0))
    bundle = Bundle("r", {WORKLOAD: ready(volume=volume, shared=endpoint_profile(surprises={}))})
    enforcement = Enforcement(Rule(mode, session=(SessionSource(header="x-session"),)), {})
    errors: list[str] = []
    return Checker(
        lambda: enforcement,
        lambda: bundle,
        OBSERVER,
        MemoryHistories(0.0),
        Afterwards(lambda: bundle, lambda: enforcement, lambda _: None),
        lambda verdict, _, __: seen.append(verdict),
        errors.append,
    )


def flood(mode: Mode, calls: int = 600) -> tuple[list[CheckResponse], list[Verdict], CheckResponse]:
    seen: list[Verdict] = []
    checks = checker(mode, seen)
    answers = [CheckResponse.FromString(checks.check(request(1_750_000_000 + n * 0.01, "one"))) for n in range(calls)]
    return answers, seen, CheckResponse.FromString(checks.check(request(1_750_000_006.0, "other", "10.0.0.8")))


def test_a_flood_is_429_until_its_pace_is_normal_and_others_are_served() -> None:
    answers, seen, other = flood(Mode.ENFORCE)
    codes = [answer.status.code for answer in answers]
    served = codes.index(RESOURCE_EXHAUSTED)
    assert ([OK] * served, {RESOURCE_EXHAUSTED}) == (codes[:served], set(codes[served:]))
    assert 64 < served < 64 * 8
    last = answers[-1].denied_response
    assert (429, OK) == (last.status.code, other.status.code)
    wait = {option.header.key: option.header.value for option in last.headers}["retry-after"]
    assert 1 <= int(wait) <= 120
    assert msgspec.json.decode(last.body)["status"] == 429
    assert "600 calls in 10 s; in 48,211 windows of its callers it was at most 64" == seen[-2].findings[0].text


def test_in_dry_run_a_flood_is_told_and_served() -> None:
    answers, seen, _ = flood(Mode.DRY_RUN)
    assert {OK} == {answer.status.code for answer in answers}
    assert ("pace_calls", False) == (seen[-2].reason, seen[-2].refused)


PAY, SHIP = "POST /pay", "POST /ship"
RULES = SequenceModel(1.0, {SHIP: (PrecedenceRule(PAY, 6.0, 9_000),)})


class Mesh:
    """A Checker whose bundle and policy a test changes, and the last Verdict."""

    def __init__(self, bundle: Bundle, enforcement: Enforcement, histories: Histories | None = None) -> None:
        self.bundle, self.enforcement = bundle, enforcement
        self.verdicts: list[Verdict] = []
        self.afterwards = Afterwards(lambda: self.bundle, lambda: self.enforcement, lambda _: None)
        self._checker = Checker(
            lambda: self.enforcement,
            lambda: self.bundle,
            OBSERVER,
            histories if histories is not None else MemoryHistories(0.0),
            self.afterwards,
            lambda verdict, _, __: self.verdicts.append(verdict),
            lambda _: None,
        )

    def post(self, path: str, session: str = "alice", ts: float | None = None) -> Verdict:
        made = CheckRequest.FromString(request(time.time() if ts is None else ts, session))
        made.attributes.request.http.method, made.attributes.request.http.path = "POST", path
        self._checker.check(made.SerializeToString())
        return self.verdicts[-1]


def shop(*endpoints: str) -> Bundle:
    profiles = {endpoint: endpoint_profile() for endpoint in (*endpoints, SHIP)}
    return Bundle("r", {WORKLOAD: ready(profiles, sequence=RULES, shared=endpoint_profile(surprises={}))})


def policy(mode: Mode, **changes: Any) -> Enforcement:
    rule = Rule(mode, session=(SessionSource(header="x-session"),))
    return Enforcement(msgspec.structs.replace(rule, **changes), {})


def test_shipping_without_payment_is_refused() -> None:
    mesh = Mesh(shop(PAY), policy(Mode.ENFORCE))
    assert mesh.post("/ship").refused
    mesh.post("/pay", "bob")
    assert not mesh.post("/ship", "bob").refused


@pytest.mark.parametrize("before", [Bundle(), shop()], ids=["the first bundle", "an endpoint that wasn't known"])
def test_who_paid_before_the_bundle_changed_is_not_condemned(before: Bundle) -> None:
    mesh = Mesh(before, policy(Mode.ENFORCE))
    mesh.post("/pay")
    mesh.bundle = shop(PAY)
    assert not mesh.post("/ship").refused


def test_who_paid_before_the_workload_was_switched_on_is_not_condemned() -> None:
    mesh = Mesh(shop(PAY), policy(Mode.OFF))
    mesh.post("/pay")
    mesh.enforcement = policy(Mode.ENFORCE)
    assert not mesh.post("/ship").refused


class _Busy(MemoryHistories):
    """A history that tells of given paces, and remembers whether the load of what is refused was taken off."""

    def __init__(self, paces: Paces) -> None:
        super().__init__(0.0)
        self.paces = paces
        self.taken_back: list[bool] = []

    def visit(self, visit: Visit) -> Past | None:
        return Snapshot(-1.0, {}, (), self.paces)

    def take_back(self, visit: Visit, *, relieves: bool = False) -> None:
        self.taken_back.append(relieves)


@pytest.mark.parametrize(
    ("mode", "calls", "load", "taken_back"),
    [
        (Mode.ENFORCE, 1.0, 10.0, []),
        (Mode.ENFORCE, 900.0, 10.0, [True]),
        (Mode.ENFORCE, 900.0, 5_000.0, [True]),
        (Mode.ENFORCE, 1.0, 5_000.0, [False]),
        (Mode.DRY_RUN, 900.0, 10.0, []),
        (Mode.DRY_RUN, 1.0, 5_000.0, []),
    ],
    ids=["calm", "too fast", "too fast in a flood", "new in a flood", "too fast but served", "new but served"],
)
def test_what_is_refused_on_its_own_account_is_no_load(mode: Mode, calls: float, load: float, taken_back: list[bool]) -> None:
    volume = VolumeModel(3600.0, {}, normal(), None, normal(160.0))
    bundle = Bundle("r", {WORKLOAD: ready({SHIP: endpoint_profile()}, volume=volume, shared=endpoint_profile(surprises={}))})
    histories = _Busy(Paces(Counts(10.0, (calls,) * 4 + (0.0,) * 3), NO_COUNTS, Counts(90_000.0, (load,) * 4 + (0.0,) * 3)))
    verdict = Mesh(bundle, policy(mode), histories).post("/ship")
    assert taken_back == histories.taken_back
    assert (verdict.action is Action.DENY) == (calls > 1.0 or load > 10.0)


class _Broken(MemoryHistories):
    """A history that fails, as no history should."""

    def visit(self, visit: Visit) -> Past | None:
        raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("workload", "endpoint", "refused"),
    [(Mode.ENFORCE, Mode.DRY_RUN, False), (Mode.DRY_RUN, Mode.ENFORCE, True), (Mode.ENFORCE, Mode.ENFORCE, True)],
)
def test_where_judging_fails_the_endpoints_mode_decides(workload: Mode, endpoint: Mode, refused: bool) -> None:
    rule = Rule(workload, failure_mode_allow=False, session=(SessionSource(header="x-session"),))
    enforcement = Enforcement(rule, {WORKLOAD: WorkloadPolicy(endpoints={SHIP: EndpointPolicy(mode=endpoint)})})
    verdict = Mesh(shop(PAY), enforcement, _Broken(0.0)).post("/ship")
    assert (Basis.ERROR, refused) == (verdict.basis, verdict.refused)


def test_a_call_of_another_clock_counts_as_made_now() -> None:
    mesh = Mesh(shop(PAY), policy(Mode.ENFORCE))
    assert abs(mesh.post("/pay", ts=time.time() + 7200).ts - time.time()) < 60
    assert abs(mesh.post("/pay", ts=1_000_000.0).ts - time.time()) < 60
    a_little_late = time.time() - 3
    assert abs(mesh.post("/pay", ts=a_little_late).ts - a_little_late) < 0.01
