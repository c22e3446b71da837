"""Verdict: deny or not, and the Findings in words."""

import msgspec
import pytest

from authz_server.engine.decide import Judgement
from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.pace import METERS
from authz_server.engine.policy import Mode, Rule
from authz_server.engine.verdict import Action, Basis, Verdict, to_finding, to_verdict
from authz_server.engine.volume import Excess, to_surprise
from tests.factories_engine import NOON, PRINCIPAL, WORKLOAD, call, judge, normal, ready, surprise

ID = "0123456789abcdef0123456789abcdef"


def judgement(p_value: float, *codes: FindingCode) -> Judgement:
    return Judgement("GET /cart/items", 4.0, p_value, tuple(surprise(code=code) for code in codes))


def verdict(p_value: float, mode: Mode = Mode.ENFORCE, budget: float = 1e-3) -> Verdict:
    return to_verdict(judgement(p_value, FindingCode.RANGE), call(), Rule(mode, budget), ID, "r-1")


@pytest.mark.parametrize(
    ("p_value", "mode", "action", "refused"),
    [
        (1.0, Mode.ENFORCE, Action.ALLOW, False),
        (1.1e-3, Mode.ENFORCE, Action.ALLOW, False),
        (1e-3, Mode.ENFORCE, Action.DENY, True),
        (1e-9, Mode.ENFORCE, Action.DENY, True),
        (1e-9, Mode.DRY_RUN, Action.DENY, False),
        (1.0, Mode.DRY_RUN, Action.ALLOW, False),
    ],
)
def test_deny_at_a_p_value_up_to_the_budget_and_refuse_only_when_enforced(
    p_value: float, mode: Mode, action: Action, refused: bool
) -> None:
    made = verdict(p_value, mode)
    assert (action, refused) == (made.action, made.refused)


def test_verdict_carries_everything_that_answers_and_logs_derive_from() -> None:
    made = verdict(1e-4)
    assert made == Verdict(
        Action.DENY,
        Basis.JUDGED,
        Mode.ENFORCE,
        WORKLOAD,
        ID,
        "r-1",
        "GET /cart/items",
        1e-4,
        4.0,
        1e-3,
        made.reasons,
        "GET",
        "/cart/items",
        PRINCIPAL,
        "",
        "r-1",
        NOON,
    )
    assert (made.reason, len(made.findings)) == ("range", 1)


def test_reasons_stay_as_the_models_gave_them_until_somebody_asks_for_words() -> None:
    made = verdict(1e-4)
    assert made.reasons == judgement(1e-4, FindingCode.RANGE).surprises
    (reason,) = judgement(1e-4, FindingCode.RANGE).surprises
    assert made.findings == (to_finding(reason, "GET /cart/items"),)
    told = msgspec.structs.replace(made, reasons=made.findings)
    assert (told.reason, told.findings) == (made.reason, made.findings)


def test_a_verdict_whose_words_nobody_asked_for_has_a_hash() -> None:
    def judged() -> Verdict:
        made = call("GET", "/cart/items?count=-1")
        return to_verdict(judge(made, ready()), made, Rule(Mode.ENFORCE), ID, "r-1")

    made = judged()
    assert not any(isinstance(reason.told, str) for reason in made.reasons if isinstance(reason, Surprise))
    assert {made} == {judged(), made}


EXCESS = Excess(1e-6, 0, (812.0,) * len(METERS), NOON, "its callers", normal(), 10.0, FindingCode.PACE_CALLS)


@pytest.mark.parametrize(
    ("call_p_value", "mode", "budget", "told"),
    [
        (1.0, Mode.ENFORCE, 1e-3, True),
        (1e-4, Mode.ENFORCE, 1e-3, False),
        (1.0, Mode.ENFORCE, 1e-7, False),
        (1.0, Mode.DRY_RUN, 1e-3, False),
    ],
    ids=["too-fast", "odd-by-itself", "neither", "not-refused"],
)
def test_only_a_caller_whose_pace_is_the_reason_is_told_when_to_come_back(
    call_p_value: float, mode: Mode, budget: float, *, told: bool
) -> None:
    found = (to_surprise(EXCESS),)
    made = to_verdict(Judgement("GET /a", 0.0, 1e-6, found, call_p_value, EXCESS), call(), Rule(mode, budget), ID, "r-1")
    assert told == (made.retry_after > 0)


def test_a_pace_in_words() -> None:
    found = to_finding(to_surprise(EXCESS), "GET /a")
    assert "812 calls in 10 s; in 48,211 windows of its callers it was at most 64" == found.text
    assert ("", "", "") == (found.location, found.name, found.pointer)


def test_reason_is_the_first_code_or_the_basis() -> None:
    assert to_verdict(judgement(1.0), call(), Rule(), ID, "").reason == "judged"
    two = judgement(1.0, FindingCode.VALUE, FindingCode.RANGE)
    assert to_verdict(two, call(), Rule(), ID, "").reason == "value"


def test_findings_are_bounded_and_the_strongest_are_told() -> None:
    many = judgement(1e-4, *[FindingCode.VALUE] * 3, *[FindingCode.LENGTH] * 300)
    made = to_verdict(many, call(), Rule(), ID, "")
    assert [finding.code for finding in made.findings[:3]] == [FindingCode.VALUE] * 3
    assert len(made.findings) <= 8


WORDS = [
    ("body:/count", "`/count` was -1; in 48,211 calls it was an integer from 1 to 12", "body", "/count"),
    ("query:count", "`count` was -1; in 48,211 calls it was an integer from 1 to 12", "query", "count"),
    ("header:x-count", "`x-count` was -1; in 48,211 calls it was an integer from 1 to 12", "header", "x-count"),
    ("path:0", "path segment 1 was -1; in 48,211 calls it was an integer from 1 to 12", "path", "segment 1"),
    ("query:a:b", "`a:b` was -1; in 48,211 calls it was an integer from 1 to 12", "query", "a:b"),
    ("", "-1; in 48,211 calls: an integer from 1 to 12", "", ""),
]


@pytest.mark.parametrize(("key", "text", "location", "name"), WORDS)
def test_finding_says_what_where_and_on_how_much_evidence(key: str, text: str, location: str, name: str) -> None:
    finding = to_finding(surprise(key=key), "POST /cart/{*}")
    assert (text, location, name, 48_211) == (finding.text, finding.location, finding.name, finding.evidence)
    assert finding.chance == pytest.approx(1e-4)


POINTERS = [
    ("POST /cart/{*}", "body:/count", "/components/schemas/post.cart.cartId/properties/count"),
    ("POST /cart", "body:/items/*/id", "/components/schemas/post.cart/properties/items/items/properties/id"),
    ("POST /cart", "body:/*", "/components/schemas/post.cart/items"),
    ("POST /cart", "body:/prices/{*}", "/components/schemas/post.cart/properties/prices/additionalProperties"),
    ("POST /cart", "body:count", "/components/schemas/fields.post.cart/properties/count"),
    ("POST /cart", "body:", "/components/schemas/post.cart"),
    ("GET /cart", "query:count", "/components/parameters/get.cart.query.count"),
    ("GET /cart", "header:user-agent", "/components/parameters/header.user-agent"),
    ("GET /cart", "header:authorization", "/components/securitySchemes/header.authorization"),
    ("GET /cart", "header:content-type", "/paths/~1cart/get"),
    ("GET /items/{*}", "path:1", "/components/parameters/get.items.itemId.path.itemId"),
    ("GET /items/{*}", "path:0", "/paths/~1items~1{itemId}/get"),
    ("GET /~me", "", "/paths/~1~0me/get"),
    ("PROPFIND /cart", "", "/paths/~1cart/x-propfind"),
    ("", "query:count", ""),
]


@pytest.mark.parametrize(("endpoint", "key", "pointer"), POINTERS)
def test_finding_points_into_the_learned_document(endpoint: str, key: str, pointer: str) -> None:
    assert pointer == to_finding(surprise(key=key), endpoint).pointer


def test_what_the_document_has_no_place_for_points_to_the_operation() -> None:
    finding = to_finding(surprise(code=FindingCode.UNKNOWN_PARAMETER, key="query:debug"), "GET /cart")
    assert (finding.name, finding.pointer) == ("debug", "/paths/~1cart/get")


def test_every_code_can_be_told() -> None:
    for code in FindingCode:
        finding = to_finding(surprise(code=code), "GET /cart")
        assert finding.text
        assert msgspec.json.decode(msgspec.json.encode(finding))["code"] == code.value
