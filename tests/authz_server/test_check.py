"""The Check as a whole, without gRPC: what a caller that goes too fast is answered, and what others are."""

import msgspec
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from google.rpc.code_pb2 import OK, RESOURCE_EXHAUSTED

from authz_server.afterwards import Afterwards
from authz_server.bundle import Bundle
from authz_server.check import Checker
from authz_server.engine.policy import Enforcement, Mode, Rule, SessionSource
from authz_server.engine.verdict import Verdict
from authz_server.engine.volume import VolumeModel
from authz_server.histories.memory import MemoryHistories
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
