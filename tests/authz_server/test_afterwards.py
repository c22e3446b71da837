"""Alerts when a call is over, and quarantine."""

import msgspec
import pytest

from authz_server.afterwards import GRACE_SECONDS, WARM, Afterwards
from authz_server.bundle import Bundle
from authz_server.engine.call import Caller
from authz_server.engine.finding import Finding, FindingCode, Surprise
from authz_server.engine.follow import Follow
from authz_server.engine.policy import Enforcement, Mode, Rule
from authz_server.engine.record import OutcomeRecord
from authz_server.engine.sequence import SequenceModel
from authz_server.engine.verdict import Action, Basis, Verdict
from tests.factories_engine import call, ready

SHOP, AUDIT, CART, RECORDS = "shop/shop", "shop/audit", "POST /cart", "POST /records"
FOLLOWS = {CART: {"2xx": (Follow(AUDIT, RECORDS, 3_484, 3.5),)}}
BUNDLE = Bundle("r-1", {SHOP: ready(workload=SHOP, follows=FOLLOWS), AUDIT: ready(workload=AUDIT)})
LATER = GRACE_SECONDS + 0.1


def allowed(workload: str, endpoint: str, decision_id: str, *reasons: Finding | Surprise) -> Verdict:
    return Verdict(Action.ALLOW, Basis.JUDGED, Mode.ENFORCE, workload, decision_id, endpoint=endpoint, reasons=reasons)


class Mesh:
    """Calls that go through, told to one Afterwards; time is counted in calls."""

    def __init__(self, rule: Rule | None = None, bundle: Bundle = BUNDLE) -> None:
        self.alerts: list[Verdict] = []
        enforcement = Enforcement(rule or Rule(Mode.ENFORCE, quarantine_seconds=60.0), {})
        self.afterwards = Afterwards(lambda: bundle, lambda: enforcement, self.alerts.append)
        self.now = 1000.0
        self._calls = 0

    def cart(self, session: str, *, audited: bool = True, status: int = 201, **log: str) -> None:
        self._calls += 1
        number, self.now = self._calls, self.now + 10
        made = call("POST", "/cart", workload=SHOP, request_id=f"r{number}")
        made = msgspec.structs.replace(made, caller=Caller("td/ns/istio/sa/gateway", session))
        self.afterwards.note(made, allowed(SHOP, CART, f"d{number}"))
        if audited:
            record = call("POST", "/records", workload=AUDIT, source="spiffe://td/ns/shop/sa/shop", request_id=f"r{number}")
            self.afterwards.note(record, allowed(AUDIT, RECORDS, f"a{number}"))
        entry = OutcomeRecord(f"d{number}", 0.0, f"r{number}", SHOP, "POST", status)
        self.afterwards.settle(msgspec.structs.replace(entry, **log), self.now)
        self.afterwards.poll(self.now + LATER)

    def warm(self, calls: int = WARM) -> None:
        for number in range(calls):
            self.cart(f"s{number}")


def test_a_call_that_nothing_followed_is_an_alert_with_its_reason() -> None:
    mesh = Mesh()
    mesh.warm()
    assert [] == mesh.alerts
    mesh.cart("mallory", audited=False)
    (alert,) = mesh.alerts
    assert (Basis.AFTERWARDS, CART, False, "mallory", "missing_call", f"d{WARM + 1}") == (
        alert.basis,
        alert.endpoint,
        alert.refused,
        alert.session,
        alert.reason,
        alert.decision_id,
    )
    assert "POST /cart was not followed by POST /records at shop/audit" in alert.findings[0].text


def test_without_a_decision_id_the_request_id_joins() -> None:
    mesh = Mesh()
    mesh.warm()
    mesh.cart("mallory", audited=False, id="")
    assert 1 == len(mesh.alerts)


def test_the_alert_waits_for_what_may_still_come() -> None:
    mesh = Mesh()
    mesh.warm()
    made = call("POST", "/cart", workload=SHOP, request_id="late")
    mesh.afterwards.note(made, allowed(SHOP, CART, "d-late"))
    mesh.afterwards.settle(OutcomeRecord("d-late", 0.0, "late", SHOP, "POST", 200), 5000.0)
    mesh.afterwards.poll(5000.0 + GRACE_SECONDS / 2)
    mesh.afterwards.note(
        call("POST", "/records", workload=AUDIT, source="spiffe://td/ns/shop/sa/shop", request_id="late"),
        allowed(AUDIT, RECORDS, "a-late"),
    )
    mesh.afterwards.poll(5000.0 + LATER)
    assert [] == mesh.alerts


def test_an_access_log_entry_of_the_workload_counts_as_having_followed() -> None:
    mesh = Mesh()
    mesh.warm()
    made = call("POST", "/cart", workload=SHOP, request_id="r-x")
    mesh.afterwards.note(made, allowed(SHOP, CART, "d-x"))
    mesh.afterwards.settle(OutcomeRecord("", 0.0, "r-x", AUDIT, "POST", 200), 5000.0)
    mesh.afterwards.settle(OutcomeRecord("d-x", 0.0, "r-x", SHOP, "POST", 200), 5000.0)
    mesh.afterwards.poll(5000.0 + LATER)
    assert [] == mesh.alerts


@pytest.mark.parametrize("status", [0, 402, 503])
def test_other_outcomes_cause_nothing(status: int) -> None:
    mesh = Mesh()
    mesh.warm()
    mesh.cart("s", audited=False, status=status)
    assert [] == mesh.alerts


def test_a_lost_access_log_entry_is_no_alert() -> None:
    mesh = Mesh()
    mesh.warm()
    mesh.afterwards.note(call("POST", "/cart", workload=SHOP, request_id="lost"), allowed(SHOP, CART, "d-lost"))
    mesh.afterwards.poll(10_000.0)
    assert [] == mesh.alerts


def test_where_we_never_saw_it_follow_its_absence_means_nothing() -> None:
    mesh = Mesh()
    for number in range(100):
        mesh.cart(f"s{number}", audited=False)
    assert ([], 100) == (mesh.alerts, mesh.afterwards.unsure)


def test_where_other_replicas_see_half_of_it_its_absence_means_nothing() -> None:
    mesh = Mesh()
    for number in range(200):
        mesh.cart(f"s{number}", audited=number % 2 == 0)
    assert len(mesh.alerts) <= 1


def test_one_caller_can_not_make_skipping_look_normal() -> None:
    mesh = Mesh()
    mesh.warm(60)
    for _ in range(40):
        mesh.cart("mallory", audited=False)
    assert 40 == len(mesh.alerts)


def test_a_caller_is_in_quarantine_for_as_long_as_the_policy_says() -> None:
    mesh = Mesh()
    mesh.warm()
    mesh.cart("mallory", audited=False)
    finding = mesh.afterwards.quarantine.of("mallory", mesh.now + 30)
    assert finding is not None
    assert "this caller is in quarantine since decision" in finding.text
    assert mesh.afterwards.quarantine.of("s1", mesh.now + 30) is None
    assert mesh.afterwards.quarantine.of("mallory", mesh.now + 62) is None


@pytest.mark.parametrize(
    ("rule", "alerts"),
    [
        (Rule(Mode.DRY_RUN, quarantine_seconds=60.0), 1),
        (Rule(Mode.ENFORCE), 1),
        (Rule(Mode.OFF), 0),
        (Rule(Mode.ENFORCE, 1e-5), 0),
    ],
    ids=["dry run", "no quarantine asked for", "off", "too little evidence for the budget"],
)
def test_when_nobody_is_quarantined(rule: Rule, alerts: int) -> None:
    mesh = Mesh(rule)
    mesh.warm()
    mesh.cart("mallory", audited=False)
    assert (alerts, None) == (len(mesh.alerts), mesh.afterwards.quarantine.of("mallory", mesh.now + 1))


def test_a_bundle_without_follows_remembers_nothing() -> None:
    mesh = Mesh(bundle=Bundle("r", {SHOP: ready(workload=SHOP), AUDIT: ready(workload=AUDIT)}))
    mesh.warm()
    assert not mesh.afterwards._requests


def test_what_is_remembered_is_bounded() -> None:
    mesh = Mesh()
    for number in range(21_000):
        mesh.afterwards.note(call("POST", "/cart", workload=SHOP, request_id=f"x{number}"), allowed(SHOP, CART, f"x{number}"))
    assert len(mesh.afterwards._requests) == len(mesh.afterwards._causes) == len(mesh.afterwards._ids) == 20_000


ABSENT = Finding(
    FindingCode.MISSING_PARAMETER, "`/password` was absent; in 1,336 calls it was present", "absent", "present", 1336, 1e-3
)


@pytest.mark.parametrize(
    ("status", "finding", "alerts"),
    [
        (200, ABSENT, 1),
        (200, Surprise(FindingCode.MISSING_PARAMETER, 3.0, "body:/password", "absent", "present", 1336), 1),
        (302, ABSENT, 1),
        (401, ABSENT, 0),
        (503, ABSENT, 0),
        (0, ABSENT, 0),
        (200, msgspec.structs.replace(ABSENT, chance=0.1), 0),
        (200, msgspec.structs.replace(ABSENT, code=FindingCode.LENGTH), 0),
    ],
    ids=[
        "succeeds",
        "succeeds, not yet in words",
        "redirects",
        "fails",
        "breaks",
        "no answer",
        "too usual",
        "odd for another reason",
    ],
)
def test_what_never_succeeded_and_now_does_is_an_alert(status: int, finding: Finding | Surprise, alerts: int) -> None:
    mesh = Mesh()
    mesh.afterwards.note(call("POST", "/login", workload=SHOP, request_id="r"), allowed(SHOP, "POST /login", "d", finding))
    mesh.afterwards.settle(OutcomeRecord("d", 0.0, "r", SHOP, "POST", status))
    assert alerts == len(mesh.alerts)
    for alert in mesh.alerts:
        assert alert.reason == "unexpected_success"
        assert alert.findings[0].text == "it succeeded, although `/password` was absent; in 1,336 calls it was present"


def test_a_request_id_that_comes_again_hides_nothing() -> None:
    mesh = Mesh()
    mesh.warm(100)
    for number, audited in enumerate((True, False, False)):
        made = call("POST", "/cart", workload=SHOP, request_id="same")
        made = msgspec.structs.replace(made, caller=Caller("td/ns/istio/sa/gateway", "mallory"))
        mesh.afterwards.note(made, allowed(SHOP, CART, f"again{number}"), 2000.0 + number)
        if audited:
            record = call("POST", "/records", workload=AUDIT, source="spiffe://td/ns/shop/sa/shop", request_id="same")
            mesh.afterwards.note(record, allowed(AUDIT, RECORDS, f"audit{number}"), 2000.1 + number)
        mesh.afterwards.settle(OutcomeRecord(f"again{number}", 0.0, "same", SHOP, "POST", 201), 2000.2 + number)
    mesh.afterwards.poll(3000.0)
    assert ["again1", "again2"] == [alert.decision_id for alert in mesh.alerts]


def test_another_method_at_the_same_workload_is_not_what_had_to_follow() -> None:
    mesh = Mesh()
    mesh.warm()
    made = call("POST", "/cart", workload=SHOP, request_id="r-x")
    mesh.afterwards.note(made, allowed(SHOP, CART, "d-x"))
    mesh.afterwards.settle(OutcomeRecord("", 0.0, "r-x", AUDIT, "GET", 404), 5000.0)
    mesh.afterwards.settle(OutcomeRecord("d-x", 0.0, "r-x", SHOP, "POST", 200), 5000.0)
    mesh.afterwards.poll(5000.0 + LATER)
    assert 1 == len(mesh.alerts)


def test_a_population_is_not_put_into_quarantine() -> None:
    everybody = SequenceModel(populations=frozenset({"gateway"}))
    mesh = Mesh(
        bundle=Bundle("r", {SHOP: ready(workload=SHOP, follows=FOLLOWS, sequence=everybody), AUDIT: BUNDLE.models[AUDIT]})
    )
    mesh.warm()
    mesh.cart("gateway", audited=False)
    assert (1, None) == (len(mesh.alerts), mesh.afterwards.quarantine.of("gateway", mesh.now + 1))


def test_invented_callers_silence_alerts_for_some_minutes_only() -> None:
    mesh = Mesh()
    mesh.warm(200)
    for number in range(40):
        mesh.cart(f"invented{number}", audited=False)
    raised = len(mesh.alerts)
    assert 1 <= raised < 40
    for number in range(600):
        mesh.cart(f"later{number}")
    mesh.cart("mallory", audited=False)
    assert raised + 1 == len(mesh.alerts)


def test_without_a_request_id_nobody_elses_outcome_is_taken() -> None:
    mesh = Mesh()
    mesh.afterwards.note(call("POST", "/login", workload=SHOP, request_id=""), allowed(SHOP, "POST /login", "d", ABSENT))
    mesh.afterwards.settle(OutcomeRecord("", 0.0, "", SHOP, "POST", 200))
    assert [] == mesh.alerts


def test_a_bundle_that_lost_a_workload_is_no_error() -> None:
    mesh = Mesh(bundle=Bundle("r", {SHOP: ready(workload=SHOP, follows=FOLLOWS)}))
    mesh.afterwards.note(call("POST", "/records", workload=AUDIT, request_id="r"), allowed(AUDIT, RECORDS, "d"))
